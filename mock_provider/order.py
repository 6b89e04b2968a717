"""Read the body of a payment request. Pure: bytes in, a frozen order or one clear refusal out."""

import json
from dataclasses import dataclass
from typing import Any

DECLINED_TOKEN = "tok_declined"  # noqa: S105 (a test token, no secret)
_LARGEST_AMOUNT = 2**63 - 1


class InvalidOrderError(ValueError):
    """A body that is no payment order; the message is for the client."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a client asks to be charged."""

    amount: int
    currency: str
    reference: str | None
    declined: bool


def read_order(body: bytes) -> Order:
    """Return the order in `body`; fields it does not know are ignored."""
    document = _document(body)
    return Order(
        _amount(document.get("amount")),
        _text(document, "currency") or "EUR",
        _text(document, "reference"),
        DECLINED_TOKEN in (document.get("source"), document.get("token")),
    )


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        message = "body must be a JSON object"
        raise InvalidOrderError(message)
    return document


def _amount(value: object) -> int:
    # A bool is an int to Python, but "amount": true is no money.
    if type(value) is not int or not 0 < value <= _LARGEST_AMOUNT:
        message = "amount must be a positive integer in the currency's smallest unit"
        raise InvalidOrderError(message)
    return value


def _text(document: dict[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        message = f"{name} must be a string"
        raise InvalidOrderError(message)
    return value
