"""Stripe through Holdfast: `pip install stripe`, profile `stripe`."""

import os
import sys
import uuid

import stripe

stripe.api_key = os.environ.get("STRIPE_API_KEY", "sk_test_123")
stripe.api_base = os.environ.get("HOLDFAST_URL", "http://127.0.0.1:3000")  # the one line
stripe.max_network_retries = 0  # one retry layer: Holdfast's
CARD = "pm_card_visa"


def pay(reference, key):
    """Charge 12.00 EUR once; the SDK makes a key of its own where `key` is None."""
    intent = stripe.PaymentIntent.create(
        amount=1200,
        currency="eur",
        payment_method=CARD,
        confirm=True,
        metadata={"reference": reference},
        idempotency_key=key,
    )
    return f"{intent.id} {intent.status}"


if __name__ == "__main__":
    order = sys.argv[1] if len(sys.argv) > 1 else uuid.uuid4().hex
    print(pay(order, key=order))
