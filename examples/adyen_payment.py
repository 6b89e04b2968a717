"""Adyen through Holdfast: `pip install Adyen`, profile `adyen`."""

import os
import sys
import uuid

import Adyen

adyen = Adyen.Adyen(xapikey=os.environ.get("ADYEN_API_KEY", "key"), platform="test")
adyen.checkout.payments_api.baseUrl = os.environ.get("HOLDFAST_URL", "http://127.0.0.1:3000") + "/v72"  # the one line
# Nothing else to set: the SDK retries nothing, and its timeout of 30 s is longer than Holdfast's `timeouts.total`.


def pay(reference, key):
    """Charge 12.00 EUR once; Holdfast adds a key where `key` is None."""
    result = adyen.checkout.payments_api.payments(
        {
            "merchantAccount": "ShopECOM",
            "amount": {"currency": "EUR", "value": 1200},
            "reference": reference,
            "paymentMethod": {"type": "scheme", "storedPaymentMethodId": "8415"},
            "returnUrl": "https://shop.example/return",
        },
        idempotency_key=key,
    )
    return f"{result.message['pspReference']} {result.message['resultCode']}"  # a decline is no exception: `Refused`


if __name__ == "__main__":
    order = sys.argv[1] if len(sys.argv) > 1 else uuid.uuid4().hex
    print(pay(order, key=order))
