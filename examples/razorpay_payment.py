"""Razorpay through Holdfast: `pip install razorpay`, profile `razorpay`."""

import os
import sys
import uuid

import razorpay

client = razorpay.Client(
    auth=(os.environ.get("RAZORPAY_KEY_ID", "rzp_test"), os.environ.get("RAZORPAY_KEY_SECRET", "secret")),
    base_url=os.environ.get("HOLDFAST_URL", "http://127.0.0.1:3000"),  # the one line
)
client.enable_retry(False)  # its default: switched on it would repeat an order that has no key, up to five times
TIMEOUT = 20  # seconds, longer than Holdfast's `timeouts.total`; the SDK's own default is to wait for ever


def pay(reference, key):
    """Without a key: create an order of 12.00 INR. With one: refund that much, which has a key. Once, both."""
    data = {"amount": 1200, "receipt": reference}
    if key is None:
        order = client.order.create({**data, "currency": "INR"}, timeout=TIMEOUT)
        return f"{order['id']} {order['status']}"
    refund = client.payment.refund("pay_1", data, headers={"X-Refund-Idempotency": key}, timeout=TIMEOUT)
    return f"{refund['id']} {refund['status']}"


if __name__ == "__main__":
    order = sys.argv[1] if len(sys.argv) > 1 else uuid.uuid4().hex
    print(pay(order, key=None))
