"""Checkout.com through Holdfast: `pip install checkout-sdk`, profile `checkout_com`."""

import os
import sys
import uuid

from checkout_sdk.checkout_sdk import CheckoutSdk
from checkout_sdk.environment import Environment
from checkout_sdk.payments.payments import PaymentRequest, PaymentRequestTokenSource

URL = os.environ.get("HOLDFAST_URL", "http://127.0.0.1:3000") + "/"  # the slash at the end belongs to it
holdfast = Environment(URL, URL, URL, URL, URL, URL, URL, is_sandbox=True)
client = (
    CheckoutSdk.builder()
    .secret_key(os.environ.get("CHECKOUT_SECRET_KEY", "sk_sbox_" + 27 * "a"))
    .environment(holdfast)  # the one line
    .use_legacy_domain()  # else the SDK puts the merchant's subdomain before the host
    .build()
)
# The SDK retries nothing and has no timeout at all: Holdfast's `timeouts.total` is the one there is.


def pay(reference, key):
    """Charge 12.00 EUR once; Holdfast adds a key where `key` is None."""
    source = PaymentRequestTokenSource()
    source.token = "tok_ubfj2q76miwundwlk72vxt2i7q"
    request = PaymentRequest()
    request.source, request.amount, request.currency, request.reference = source, 1200, "EUR", reference
    answer = client.payments.request_payment(request, key)
    return f"{answer.id} {'approved' if answer.approved else 'declined'} {answer.response_code}"  # 201 for both


if __name__ == "__main__":
    order = sys.argv[1] if len(sys.argv) > 1 else uuid.uuid4().hex
    print(pay(order, key=order))
