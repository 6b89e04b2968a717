"""What has to come of each case, provider by provider: written down by hand from section 6 of payments.md.

A row reads: charges in the provider's books, calls that reached it, the outcome told, the SDK's own error class.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.sdk.stubs.adyen import Adyen
from tests.sdk.stubs.api import Api
from tests.sdk.stubs.braintree import Braintree
from tests.sdk.stubs.checkout_com import CheckoutCom
from tests.sdk.stubs.gocardless import GoCardless
from tests.sdk.stubs.mollie import Mollie
from tests.sdk.stubs.paypal import PayPal
from tests.sdk.stubs.razorpay import Razorpay
from tests.sdk.stubs.square import Square
from tests.sdk.stubs.stripe import Stripe

Row = tuple[int, int, str, str | None]

SUCCESS, DECLINE = "success", "decline"
OPEN, REFUSED = "breaker open", "connect refused"
TIMEOUT, RESET = "timeout after send", "reset after the charge"
AFTER_500, BEFORE_503 = "500 after the charge", "503 without end"
IN_FLIGHT, HINTED = "in flight", "hint to retry"

KEYED_ANSWERED: Row = (1, 2, "final", None)
"""Charged by the first call, and the second with the same key was told so."""


@dataclass(frozen=True)
class Variant:
    """An SDK as a shop uses it: with a key of the shop's own or without one."""

    api: type[Api]
    profile: str
    package: str
    """The module to look for when asking whether the SDK is there."""
    base: str
    """The SDK's ordinary API error; every error it raises here has to be one."""
    rows: dict[str, Row]
    keyed: bool = True
    tells: bool = True
    """Whether the SDK keeps the error's text for its caller."""


def _adyen() -> dict[str, Row]:
    return {
        SUCCESS: (1, 1, "final", None),
        DECLINE: (0, 1, "final", None),
        OPEN: (0, 0, "not_sent", "Adyen.AdyenAPIResponseError"),
        REFUSED: (0, 0, "not_sent", "Adyen.AdyenAPIResponseError"),
        TIMEOUT: KEYED_ANSWERED,
        RESET: KEYED_ANSWERED,
        AFTER_500: (1, 1, "unknown", "Adyen.AdyenAPICommunicationError"),
        BEFORE_503: (0, 1, "unknown", "Adyen.AdyenAPIResponseError"),
        IN_FLIGHT: KEYED_ANSWERED,
        HINTED: KEYED_ANSWERED,
    }


def _paypal() -> dict[str, Row]:
    return {
        SUCCESS: (1, 1, "final", None),
        DECLINE: (0, 1, "final", "paypalserversdk.ErrorException"),
        OPEN: (0, 0, "not_sent", "paypalserversdk.ErrorException"),
        REFUSED: (0, 0, "not_sent", "paypalserversdk.ErrorException"),
        TIMEOUT: KEYED_ANSWERED,
        RESET: KEYED_ANSWERED,
        AFTER_500: KEYED_ANSWERED,
        BEFORE_503: (0, 3, "unknown", "paypalserversdk.ErrorException"),
        IN_FLIGHT: KEYED_ANSWERED,
    }


def _checkout_com() -> dict[str, Row]:
    error = "checkout_sdk.CheckoutApiException"
    return {
        SUCCESS: (1, 1, "final", None),
        DECLINE: (0, 1, "final", None),
        OPEN: (0, 0, "not_sent", error),
        REFUSED: (0, 0, "not_sent", error),
        TIMEOUT: (1, 1, "unknown", error),  # it may have been a 500, after which the same key would charge again
        RESET: (1, 1, "unknown", error),
        AFTER_500: (1, 1, "unknown", error),  # the same key would charge again
        BEFORE_503: (0, 1, "unknown", error),
        IN_FLIGHT: (1, 1, "unknown", error),  # as may be what is in flight
    }


VARIANTS: dict[str, Variant] = {
    "stripe": Variant(
        Stripe,
        "stripe",
        "stripe",
        "stripe.StripeError",
        {
            SUCCESS: (1, 1, "final", None),
            DECLINE: (0, 1, "final", "stripe.CardError"),
            OPEN: (0, 0, "not_sent", "stripe.APIError"),
            REFUSED: (0, 0, "not_sent", "stripe.APIError"),
            TIMEOUT: KEYED_ANSWERED,
            RESET: KEYED_ANSWERED,
            AFTER_500: (1, 1, "unknown", "stripe.APIError"),  # the key only replays the 500
            BEFORE_503: (0, 3, "unknown", "stripe.APIError"),
            IN_FLIGHT: KEYED_ANSWERED,
            HINTED: KEYED_ANSWERED,
        },
    ),
    "adyen": Variant(Adyen, "adyen", "Adyen", "Adyen.AdyenAPIResponseError", _adyen()),
    "adyen, key injected": Variant(Adyen, "adyen", "Adyen", "Adyen.AdyenAPIResponseError", _adyen(), keyed=False),
    "paypal": Variant(PayPal, "paypal", "paypalserversdk", "paypalserversdk.ApiException", _paypal()),
    "paypal, key injected": Variant(
        PayPal, "paypal", "paypalserversdk", "paypalserversdk.ApiException", _paypal(), keyed=False
    ),
    "square": Variant(
        Square,
        "square",
        "square",
        "square.ApiError",
        {
            SUCCESS: (1, 1, "final", None),
            DECLINE: (0, 1, "final", "square.ApiError"),
            OPEN: (0, 0, "not_sent", "square.ApiError"),
            REFUSED: (0, 0, "not_sent", "square.ApiError"),
            TIMEOUT: KEYED_ANSWERED,
            RESET: KEYED_ANSWERED,
            AFTER_500: KEYED_ANSWERED,
            BEFORE_503: (0, 3, "unknown", "square.ApiError"),
        },
    ),
    "checkout_com": Variant(
        CheckoutCom, "checkout_com", "checkout_sdk", "checkout_sdk.CheckoutException", _checkout_com(), tells=False
    ),
    "checkout_com, key injected": Variant(
        CheckoutCom,
        "checkout_com",
        "checkout_sdk",
        "checkout_sdk.CheckoutException",
        _checkout_com(),
        keyed=False,
        tells=False,
    ),
    "mollie": Variant(
        Mollie,
        "mollie",
        "mollie",
        "mollie.Error",
        {
            SUCCESS: (1, 1, "final", None),
            DECLINE: (0, 1, "final", None),
            OPEN: (0, 0, "not_sent", "mollie.ResponseError"),
            REFUSED: (0, 0, "not_sent", "mollie.ResponseError"),
            TIMEOUT: KEYED_ANSWERED,
            RESET: KEYED_ANSWERED,
            AFTER_500: KEYED_ANSWERED,
            BEFORE_503: (0, 3, "unknown", "mollie.ResponseError"),
            IN_FLIGHT: KEYED_ANSWERED,
        },
    ),
    "razorpay, refund": Variant(
        Razorpay,
        "razorpay",
        "razorpay",
        "builtins.Exception",  # its errors have no base of their own
        {
            SUCCESS: (1, 1, "final", None),
            OPEN: (0, 0, "not_sent", "razorpay.ServerError"),
            REFUSED: (0, 0, "not_sent", "razorpay.ServerError"),
            TIMEOUT: (1, 1, "unknown", "razorpay.ServerError"),
            RESET: (1, 1, "unknown", "razorpay.ServerError"),
            AFTER_500: (1, 1, "unknown", "razorpay.ServerError"),  # nothing is documented, so nothing is tried
            BEFORE_503: (0, 1, "unknown", "razorpay.ServerError"),
            IN_FLIGHT: (1, 1, "unknown", "razorpay.BadRequestError"),
        },
    ),
    "razorpay, order without a key": Variant(
        Razorpay,
        "razorpay",
        "razorpay",
        "builtins.Exception",  # its errors have no base of their own
        {
            SUCCESS: (1, 1, "final", None),
            DECLINE: (0, 1, "final", "razorpay.BadRequestError"),
            OPEN: (0, 0, "not_sent", "razorpay.ServerError"),
            REFUSED: (0, 0, "not_sent", "razorpay.ServerError"),
            TIMEOUT: (1, 1, "unknown", "razorpay.ServerError"),
            RESET: (1, 1, "unknown", "razorpay.ServerError"),
            AFTER_500: (1, 1, "unknown", "razorpay.ServerError"),
            BEFORE_503: (0, 1, "unknown", "razorpay.ServerError"),
        },
        keyed=False,
    ),
    "braintree, without a key": Variant(
        Braintree,
        "braintree",
        "braintree",
        "braintree.BraintreeError",
        {
            SUCCESS: (1, 1, "final", None),
            DECLINE: (0, 1, "final", None),
            OPEN: (0, 0, "not_sent", "braintree.ServiceUnavailableError"),
            REFUSED: (0, 0, "not_sent", "braintree.UnexpectedError"),
            TIMEOUT: (1, 1, "unknown", "braintree.UnexpectedError"),
            RESET: (1, 1, "unknown", "braintree.UnexpectedError"),
            AFTER_500: (1, 1, "unknown", "braintree.ServerError"),
            BEFORE_503: (0, 1, "unknown", "braintree.ServiceUnavailableError"),
        },
        keyed=False,
        tells=False,
    ),
    "braintree": Variant(
        Braintree,
        "braintree",
        "braintree",
        "braintree.BraintreeError",
        {
            SUCCESS: (1, 1, "final", None),
            DECLINE: (0, 1, "final", None),
            OPEN: (0, 0, "not_sent", "braintree.ServiceUnavailableError"),
            REFUSED: (0, 0, "not_sent", "braintree.UnexpectedError"),
            TIMEOUT: KEYED_ANSWERED,
            RESET: KEYED_ANSWERED,
            AFTER_500: KEYED_ANSWERED,
            BEFORE_503: (0, 3, "unknown", "braintree.ServiceUnavailableError"),
            IN_FLIGHT: KEYED_ANSWERED,
        },
        tells=False,
    ),
    "gocardless": Variant(
        GoCardless,
        "gocardless",
        "gocardless_pro",
        "gocardless_pro.GoCardlessProError",
        {
            SUCCESS: (1, 1, "final", None),
            DECLINE: (0, 1, "final", "gocardless_pro.ValidationFailedError"),
            OPEN: (0, 0, "not_sent", "gocardless_pro.GoCardlessInternalError"),
            REFUSED: (0, 0, "not_sent", "gocardless_pro.GoCardlessInternalError"),
            TIMEOUT: KEYED_ANSWERED,  # by a 409 that names the payment, which the SDK then gets
            RESET: KEYED_ANSWERED,
            AFTER_500: KEYED_ANSWERED,
            BEFORE_503: (0, 3, "unknown", "gocardless_pro.GoCardlessInternalError"),
        },
    ),
}
