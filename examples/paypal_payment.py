"""PayPal through Holdfast: `pip install paypal-server-sdk`, profile `paypal`."""

import os
import sys
import uuid

from paypalserversdk.configuration import Configuration, Environment, Server
from paypalserversdk.http.auth.o_auth_2 import ClientCredentialsAuthCredentials
from paypalserversdk.models.amount_with_breakdown import AmountWithBreakdown
from paypalserversdk.models.order_request import OrderRequest
from paypalserversdk.models.purchase_unit_request import PurchaseUnitRequest
from paypalserversdk.paypal_serversdk_client import PaypalServersdkClient

URL = os.environ.get("HOLDFAST_URL", "http://127.0.0.1:3000")
Configuration.environments[Environment.SANDBOX][Server.DEFAULT] = URL  # the one line: the SDK has no option for it
client = PaypalServersdkClient(
    client_credentials_auth_credentials=ClientCredentialsAuthCredentials(
        o_auth_client_id=os.environ.get("PAYPAL_CLIENT_ID", "client"),
        o_auth_client_secret=os.environ.get("PAYPAL_CLIENT_SECRET", "secret"),
    ),
    environment=Environment.SANDBOX,
    max_retries=0,  # its default; the timeout of 60 s is longer than Holdfast's `timeouts.total`
)


def pay(reference, key):
    """Create an order of 12.00 EUR once; Holdfast adds a `PayPal-Request-Id` where `key` is None."""
    amount = AmountWithBreakdown(currency_code="EUR", value="12.00")
    unit = PurchaseUnitRequest(amount=amount, invoice_id=reference)
    options = {"body": OrderRequest(intent="CAPTURE", purchase_units=[unit]), "paypal_request_id": key}
    order = client.orders.create_order({name: value for name, value in options.items() if value is not None}).body
    return f"{order.id} {order.status}"


if __name__ == "__main__":
    order = sys.argv[1] if len(sys.argv) > 1 else uuid.uuid4().hex
    print(pay(order, key=order))
