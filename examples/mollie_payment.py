"""Mollie through Holdfast: `pip install mollie-api-python`, profile `mollie`."""

import os
import sys
import uuid

from mollie.api.client import Client

client = Client(
    api_endpoint=os.environ.get("HOLDFAST_URL", "http://127.0.0.1:3000"),  # the one line
    timeout=(2, 15),  # the default of 10 s to read is no longer than Holdfast's `timeouts.total` of 10 s
    retry=0,  # one retry layer: Holdfast's
)
client.set_api_key(os.environ.get("MOLLIE_API_KEY", "test_" + 30 * "a"))


def pay(reference, key):
    """Charge 12.00 EUR once; the SDK makes a key of its own where `key` is None."""
    payment = client.payments.create(
        {
            "amount": {"currency": "EUR", "value": "12.00"},
            "description": reference,
            "redirectUrl": "https://shop.example/return",
            "metadata": {"reference": reference},
        },
        idempotency_key=key or "",
    )
    return f"{payment.id} {payment.status}"


if __name__ == "__main__":
    order = sys.argv[1] if len(sys.argv) > 1 else uuid.uuid4().hex
    print(pay(order, key=order))
