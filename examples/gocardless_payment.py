"""GoCardless through Holdfast: `pip install gocardless_pro`, profile `gocardless`."""

import os
import sys
import uuid

import gocardless_pro

client = gocardless_pro.Client(
    access_token=os.environ.get("GOCARDLESS_TOKEN", "token"),
    base_url=os.environ.get("HOLDFAST_URL", "http://127.0.0.1:3000"),  # the one line
)
# Its three tries have no setting, and behind Holdfast they do no harm: they repeat a call only when the connection
# fails or the answer is not JSON, with the key of the first try. The timeout of 60 s is longer than `timeouts.total`.


def pay(reference, key):
    """Collect 12.00 EUR once; the SDK makes a key of its own where `key` is None."""
    payment = client.payments.create(
        params={
            "amount": 1200,
            "currency": "EUR",
            "reference": reference,
            "links": {"mandate": "MD123"},
        },
        headers={"Idempotency-Key": key} if key else None,
    )
    return f"{payment.id} {payment.status}"


if __name__ == "__main__":
    order = sys.argv[1] if len(sys.argv) > 1 else uuid.uuid4().hex
    print(pay(order, key=order))
