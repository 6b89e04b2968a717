"""Everything this provider says, as frozen values. Knows JSON and status codes, no sockets."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mock_provider.faults import Fault
from mock_provider.journal import Charge, Entry
from mock_provider.ledger import Refusal

_JSON = {"Content-Type": "application/json"}
_PROBLEM = {"Content-Type": "application/problem+json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, its body and its headers."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def settled(entry: Entry) -> Answer:
    """Return the answer to a payment that was charged or declined."""
    return created(entry.charge) if entry.charge else DECLINED


def replayed(entry: Entry) -> Answer:
    """Return the first answer again, marked as such."""
    answer = settled(entry)
    return replace(answer, headers={**answer.headers, "Idempotent-Replayed": "true"})


def created(charge: Charge) -> Answer:
    """Return 201 with the payment."""
    return Answer(201, _payment(charge), _JSON)


def found(charge: Charge | None) -> Answer:
    """Return 200 with the payment, or 404."""
    return Answer(200, _payment(charge), _JSON) if charge else NOT_FOUND


def invalid(message: str, field: str | None = None) -> Answer:
    """Return 400 with what is wrong."""
    return _error(400, "invalid_request_error", "invalid_request", message, field)


def document(content: object, status: int = 200) -> Answer:
    """Return `content` as JSON."""
    return Answer(status, json.dumps(content).encode(), _JSON)


def unavailable(retry_after_s: int) -> Answer:
    """Return 503 with Retry-After."""
    return replace(_UNAVAILABLE, headers={**_JSON, "Retry-After": str(retry_after_s)})


def instead(fault: Fault, answer: Answer, retry_after_s: int) -> Answer:
    """Return the error a fault puts in the place of `answer`, or `answer` itself."""
    match fault:
        case Fault.HTTP_500 | Fault.HTTP_500_AFTER:
            return SERVER_ERROR
        case Fault.HTTP_503:
            return unavailable(retry_after_s)
        case Fault.HTTP_429:
            return replace(_TOO_MANY, headers={**_JSON, "Retry-After": str(retry_after_s)})
        case _:
            return answer


def refused(refusal: Refusal) -> Answer:
    """Return why the key cannot be used: 409 while it is in flight, 422 with another body."""
    return _REFUSALS[refusal]


def _payment(charge: Charge) -> bytes:
    payment = {
        "id": charge.id,
        "status": "succeeded",
        "amount": charge.amount,
        "currency": charge.currency,
        "reference": charge.reference,
    }
    return json.dumps(payment).encode()


def _error(status: int, kind: str, code: str, message: str, field: str | None = None) -> Answer:
    named = {} if field is None else {"field": field}
    return document({"error": {"type": kind, "code": code, "message": message, **named}}, status)


def _problem(status: int, title: str, detail: str) -> Answer:
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return Answer(status, json.dumps(problem).encode(), _PROBLEM)


DECLINED = _error(402, "card_error", "card_declined", "Your card was declined.")
NOT_FOUND = _error(404, "invalid_request_error", "resource_missing", "No such payment.")
TOO_LARGE = _error(413, "invalid_request_error", "body_too_large", "The body is too large.")
SERVER_ERROR = _error(500, "api_error", "internal_error", "Something went wrong on our side.")
_UNAVAILABLE = _error(503, "api_error", "unavailable", "The service is temporarily unavailable.")
_TOO_MANY = _error(429, "rate_limit_error", "rate_limited", "Too many requests.")
_REFUSALS = {
    Refusal.IN_FLIGHT: _problem(
        409, "A request is outstanding for this Idempotency-Key", "The first request is still being processed."
    ),
    Refusal.OTHER_BODY: _problem(
        422, "Idempotency-Key is already used", "This key was first used with another request body."
    ),
}
