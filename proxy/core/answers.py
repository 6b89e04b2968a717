"""Answers we make ourselves, and the header fields every answer carries."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from http import HTTPStatus

import orjson

from proxy.core.headers import to_client
from proxy.core.ids import plain_id
from proxy.core.model import Answer, Headers, Kind, Outcome, Response, Result, TransportFailure, header
from proxy.core.outcome import Row
from proxy.core.profiles import Profile

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
    profile: Profile | None = None
    """Of the provider whose language our own errors speak; None where no provider was chosen yet."""


def problem(status: int, error: str, detail: str, told: Told, extra: Headers = ()) -> Answer:
    """An error of our own as an Answer, in the provider's envelope if it has one. `error` is an RFC 9209 error type."""
    headers, body = _document(status, error, detail, told)
    return Answer(
        status=status,
        reason=HTTPStatus(status).phrase.encode(),
        headers=(*headers, STOP_HINT, *extra),
        body=body,
        outcome=told.outcome,
        attempts=told.attempts,
        error=error,
        injected_key=told.injected_key,
        degraded=told.degraded,
    )


def _document(status: int, error: str, detail: str, told: Told) -> tuple[Headers, bytes]:
    """Content-Type and body: the provider's envelope, else an RFC 9457 problem document."""
    title = HTTPStatus(status).phrase
    if told.profile is not None and told.profile.envelope is not None:
        envelope = told.profile.envelope
        facts = {
            "message": detail,
            "request_id": told.request_id,
            "outcome": told.outcome.value,
            "attempts": str(told.attempts),
            "status": str(status),
            "title": title,
            "code": error,
            "CODE": error.upper(),
        }
        return envelope.header_fields(facts), envelope.render(facts)
    document = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "error": error,
        "outcome": told.outcome,
        "attempts": told.attempts,
        "request_id": told.request_id,
    }
    return ((b"Content-Type", b"application/problem+json"),), orjson.dumps(document)


def refused(retry_after: float, cap: float, detail: str, told: Told) -> Answer:
    """503: nothing was sent; 504 if an earlier call with the same key may have been carried out.

    `Retry-After` is the true remaining time, in whole seconds rounded up, at most `cap`.
    """
    seconds = max(1, math.ceil(min(retry_after, cap)))
    status = 503 if told.outcome is Outcome.NOT_SENT else 504
    return problem(status, BREAKER_OPEN, detail, told, ((b"Retry-After", b"%d" % seconds),))


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


def _failed_status(row: Row, kind: Kind, unknown_status: int, told: Told, *, write: bool) -> int:
    """504 where a client that repeats the request cannot do it twice; a key that it does not have does not help it."""
    if kind is Kind.READ:
        return 504 if write else _READ_STATUS.get(row, 502)
    return unknown_status if kind is Kind.UNKEYED or told.injected_key is not None else 504


def failed(
    failure: TransportFailure, row: Row, kind: Kind, unknown_status: int, told: Told, *, write: bool = False
) -> Answer:
    """No answer came: 502 if nothing was sent by any attempt, else what the table says for this kind of request.

    `write`: what the profile calls safe to repeat may have changed something at the provider all the same.
    """
    if told.outcome is Outcome.NOT_SENT:
        answer = problem(502, failure.error, "The provider could not be reached; nothing was sent.", told)
        return replace(answer, detail=failure.detail or None)
    same_key = ", and pay again with the same key only" if kind is Kind.KEYED and told.injected_key is None else ""
    detail = (
        "The request was sent and no complete answer came back. The provider may have carried it out: "
        f"look it up before paying again{same_key}."
    )
    status = _failed_status(row, kind, unknown_status, told, write=write)
    answer = problem(status, failure.error, detail, told, _upstream_facts(failure, told.profile))
    return replace(answer, detail=failure.detail or None)


def _upstream_facts(failure: TransportFailure, profile: Profile | None) -> Headers:
    """What was seen of an answer that broke off."""
    if failure.status is None:
        return ()
    facts: list[tuple[bytes, bytes]] = [(b"X-Upstream-Status", b"%d" % failure.status)]
    own = () if profile is None else (name.lower().encode() for name in profile.request_id_headers)
    ids = (plain_id(header(failure.headers, name)) for name in (*own, b"request-id", b"x-request-id"))
    if request_id := next(filter(None, ids), None):
        facts.append((b"X-Upstream-Request-Id", request_id.encode()))
    return tuple(facts)


def answer_for(result: Result, row: Row, kind: Kind, unknown_status: int, told: Told, *, write: bool = False) -> Answer:
    """What the client gets when the attempts have ended with `result`."""
    if isinstance(result, Response):
        return provider_answer(result, told)
    return failed(result, row, kind, unknown_status, told, write=write)


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
        added.append((b"Proxy-Status", _proxy_status(answer.error, answer.detail)))
    return (*answer.headers, *added)


def _proxy_status(error: str, detail: str | None) -> bytes:
    """RFC 9209; the details are a string of RFC 8941 section 3.3.3, which knows printable ASCII only."""
    status = f"holdfast; error={error}"
    if detail and detail.isascii() and detail.isprintable():
        escaped = detail.replace("\\", "\\\\").replace('"', '\\"')
        status += f'; details="{escaped}"'
    return status.encode()
