"""Square through Holdfast: `pip install squareup`, profile `square`."""

import os
import sys
import uuid

from square import Square

client = Square(
    token=os.environ.get("SQUARE_TOKEN", "token"),
    base_url=os.environ.get("HOLDFAST_URL", "http://127.0.0.1:3000"),  # the one line
)
ONE_RETRY_LAYER = {"max_retries": 0}  # the default of 2 also repeats calls that have no key, like `complete`


def pay(reference, key):
    """Charge 12.00 EUR once; Square's key is a field of the body, so it is always the caller's."""
    answer = client.payments.create(
        source_id="cnon:card-nonce-ok",
        idempotency_key=key,
        amount_money={"amount": 1200, "currency": "EUR"},
        reference_id=reference,
        request_options=ONE_RETRY_LAYER,
    )
    return f"{answer.payment.id} {answer.payment.status}"


if __name__ == "__main__":
    order = sys.argv[1] if len(sys.argv) > 1 else uuid.uuid4().hex
    print(pay(order, key=order))
