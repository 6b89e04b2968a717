"""What has to come of each case with Node's SDKs: by hand, like cases.py."""

from __future__ import annotations

from dataclasses import dataclass

from tests.sdk.cases import (
    AFTER_500,
    BEFORE_503,
    DECLINE,
    IN_FLIGHT,
    KEYED_ANSWERED,
    OPEN,
    REFUSED,
    RESET,
    SUCCESS,
    TIMEOUT,
    Row,
)
from tests.sdk.stubs.adyen import Adyen
from tests.sdk.stubs.api import Api
from tests.sdk.stubs.mollie import Mollie
from tests.sdk.stubs.stripe import Stripe


@dataclass(frozen=True)
class NodeSdk:
    """One SDK: its stub, its package, whether it comes by TLS, and what has to come of each case."""

    api: type[Api]
    package: str
    tls: bool
    rows: dict[str, Row]
    own_list: bool = False
    """Whether it trusts the authorities of its own list alone, whatever Node was told."""


SDKS = {
    "stripe": NodeSdk(
        Stripe,
        "stripe",
        tls=False,
        rows={
            SUCCESS: (1, 1, "final", None),
            DECLINE: (0, 1, "final", "StripeCardError"),
            OPEN: (0, 0, "not_sent", "StripeAPIError"),
            REFUSED: (0, 0, "not_sent", "StripeAPIError"),
            TIMEOUT: KEYED_ANSWERED,
            RESET: KEYED_ANSWERED,
            AFTER_500: (1, 1, "unknown", "StripeAPIError"),
            BEFORE_503: (0, 3, "unknown", "StripeAPIError"),
            IN_FLIGHT: KEYED_ANSWERED,
        },
    ),
    "adyen": NodeSdk(
        Adyen,
        "@adyen/api-library",
        tls=True,
        rows={
            SUCCESS: (1, 1, "final", None),
            DECLINE: (0, 1, "final", None),
            OPEN: (0, 0, "not_sent", "HttpClientException"),
            REFUSED: (0, 0, "not_sent", "HttpClientException"),
            TIMEOUT: KEYED_ANSWERED,
            RESET: KEYED_ANSWERED,
            AFTER_500: (1, 1, "unknown", "HttpClientException"),
            BEFORE_503: (0, 1, "unknown", "HttpClientException"),
            IN_FLIGHT: KEYED_ANSWERED,
        },
    ),
    "mollie": NodeSdk(
        Mollie,
        "@mollie/api-client",
        tls=True,
        rows={
            SUCCESS: (1, 1, "final", None),
            DECLINE: (0, 1, "final", None),
            OPEN: (0, 0, "not_sent", "ApiError"),
            REFUSED: (0, 0, "not_sent", "ApiError"),
            TIMEOUT: KEYED_ANSWERED,
            RESET: KEYED_ANSWERED,
            AFTER_500: KEYED_ANSWERED,
            IN_FLIGHT: KEYED_ANSWERED,
        },
        own_list=True,
    ),
}
