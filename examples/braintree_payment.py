"""Braintree through Holdfast: `pip install braintree`, profile `braintree`."""

import os
import sys
import uuid
from urllib.parse import urlsplit

import braintree

holdfast = urlsplit(os.environ.get("HOLDFAST_URL", "http://127.0.0.1:3000"))
environment = braintree.Environment(  # the one line; a port other than 443 means plain HTTP to this SDK
    "holdfast", holdfast.hostname, str(holdfast.port), "https://auth.example", is_ssl=False, ssl_certificate=None
)
gateway = braintree.BraintreeGateway(
    braintree.Configuration(
        environment=environment,
        merchant_id=os.environ.get("BRAINTREE_MERCHANT_ID", "merchant"),
        public_key=os.environ.get("BRAINTREE_PUBLIC_KEY", "public"),
        private_key=os.environ.get("BRAINTREE_PRIVATE_KEY", "private"),
        timeout=60,  # its default, longer than Holdfast's `timeouts.total`; it retries nothing
    )
)


def pay(reference, key):
    """Charge 12.00 once. `key` (api_request_key) is for merchants whom Braintree has switched it on."""
    sale = {"amount": "12.00", "payment_method_nonce": "fake-valid-nonce", "order_id": reference}
    if key is not None:
        sale["api_request_key"] = key
    result = gateway.transaction.sale(sale)
    if not result.is_success:  # a decline is no exception
        return f"{type(result).__name__} {result.message}"
    return f"{result.transaction.id} {result.transaction.status}"


if __name__ == "__main__":
    order = sys.argv[1] if len(sys.argv) > 1 else uuid.uuid4().hex
    print(pay(order, key=None))
