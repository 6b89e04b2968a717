"""Answers we make ourselves, and the header fields every answer carries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from http import HTTPStatus

import orjson

from proxy.core.headers import to_client
from proxy.core.model import Answer, Headers, Kind, Outcome, Response, Result, TransportFailure, header
from proxy.core.outcome import Row

STOP_HINT = (b"Stripe-Should-Retry", b"false")
"""Keeps Stripe's SDK from tripling an answer we made (payments.md section 3); every other client ignores it."""

BREAKER_OPEN = "connection_limit_reached"
"""RFC 9209 has no type for an open breaker; the nearest is the limit on requests to the next hop."""


@dataclass(frozen=True, slots=True)
class Told:
    """What every answer says of its payment, whoever made it, so that a person can find it again."""

    request_id: str
    attempts: int
    outcome: Outcome
    injected_key: str | None = None
    degraded: str | None = None


def problem(status: int, error: str, detail: str, told: Told, extra: Headers = ()) -> Answer:
    """An RFC 9457 problem document as an Answer. `error` is an RFC 9209 error type."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "error": error,
        "outcome": told.outcome,
        "attempts": told.attempts,
        "request_id": told.request_id,
    }
    headers: Headers = ((b"Content-Type", b"application/problem+json"), STOP_HINT, *extra)
    return Answer(
        status=status,
        reason=HTTPStatus(status).phrase.encode(),
        headers=headers,
        body=orjson.dumps(document),
        outcome=told.outcome,
        attempts=told.attempts,
        error=error,
        injected_key=told.injected_key,
        degraded=told.degraded,
    )


def refused(retry_after: float, cap: float, detail: str, told: Told) -> Answer:
    """503: nothing was sent. `Retry-After` is the true remaining time, in whole seconds rounded up, at most `cap`."""
    seconds = max(1, math.ceil(min(retry_after, cap)))
    return problem(503, BREAKER_OPEN, detail, told, ((b"Retry-After", b"%d" % seconds),))


def provider_answer(response: Response, told: Told) -> Answer:
    """The provider's answer, untouched but for the connection's own fields."""
    return Answer(
        status=response.status,
        reason=response.reason,
        headers=to_client(response.headers),
        body=response.body,
        outcome=told.outcome,
        attempts=told.attempts,
        injected_key=told.injected_key,
        degraded=told.degraded,
    )


_READ_STATUS = {Row.TIMEOUT: 504}


def _failed_status(row: Row, kind: Kind, unknown_status: int) -> int:
    if kind is Kind.READ:
        return _READ_STATUS.get(row, 502)
    return 504 if kind is Kind.KEYED else unknown_status


def failed(failure: TransportFailure, row: Row, kind: Kind, unknown_status: int, told: Told) -> Answer:
    """No answer came: 502 if nothing was sent by any attempt, else what the table says for this kind of request."""
    if told.outcome is Outcome.NOT_SENT:
        return problem(502, failure.error, "The provider could not be reached; nothing was sent.", told)
    detail = (
        "The request was sent and no complete answer came back. The provider may have carried it out: "
        "look it up before paying again."
    )
    status = _failed_status(row, kind, unknown_status)
    return problem(status, failure.error, detail, told, _upstream_facts(failure))


def _upstream_facts(failure: TransportFailure) -> Headers:
    if failure.status is None:
        return ()
    facts: list[tuple[bytes, bytes]] = [(b"X-Upstream-Status", b"%d" % failure.status)]
    request_id = header(failure.headers, b"request-id") or header(failure.headers, b"x-request-id")
    if request_id:
        facts.append((b"X-Upstream-Request-Id", request_id))
    return tuple(facts)


def answer_for(result: Result, row: Row, kind: Kind, unknown_status: int, told: Told) -> Answer:
    """What the client gets when the attempts have ended with `result`."""
    if isinstance(result, Response):
        return provider_answer(result, told)
    return failed(result, row, kind, unknown_status, told)


def answer_headers(answer: Answer, request_id: str) -> Headers:
    """The answer's header fields with ours added; X-Request-Id only where the provider sent none."""
    added = [
        (b"X-Payment-Outcome", answer.outcome.encode()),
        (b"X-Proxy-Attempts", b"%d" % answer.attempts),
    ]
    if header(answer.headers, b"x-request-id") is None:
        added.append((b"X-Request-Id", request_id.encode("latin-1")))
    if answer.injected_key is not None:
        added.append((b"X-Proxy-Idempotency-Key", answer.injected_key.encode()))
    if answer.degraded is not None:
        added.append((b"X-Proxy-Degraded", answer.degraded.encode()))
    if answer.error is not None:
        added.append((b"Proxy-Status", b"holdfast; error=%s" % answer.error.encode()))
    return (*answer.headers, *added)
