"""Requests that are refused before a route is known: each is answered in JSON, told of, and counted."""

from __future__ import annotations

from collections.abc import Callable

from proxy.core.answers import BREAKER_OPEN, Told, problem
from proxy.core.events import ClientDropped, PaymentFinished
from proxy.core.malformed import Flaw
from proxy.core.model import Headers, Kind, Outcome
from proxy.ports import EventSink
from proxy.web.response import AnswerResponse

NOWHERE = "none"
"""Label of requests that no route took."""
_BUSY = "This replica has all the connections it can serve (limits.max_connections); nothing was sent. Try again."
_FULL = Flaw(503, "too_many_connections", _BUSY)
_BUG = Flaw(500, "bug", "Holdfast met an internal error.")
RETRY_SOON: Headers = ((b"Retry-After", b"1"),)


class Refusals:
    """Makes the answers and publishes what happened; `new_id` draws a request id."""

    def __init__(self, events: EventSink, new_id: Callable[[], str]) -> None:
        self._events = events
        self._new_id = new_id

    def malformed(self, flaw: Flaw, method: str) -> AnswerResponse:
        """A request that is at fault itself: nothing was sent, and the connection ends."""
        return self._answer(flaw, "http_request_error", Outcome.NOT_SENT, method, malformed=flaw.reason)

    def busy(self, method: str, *, heard: bool) -> AnswerResponse:
        """503 on a connection beyond the limit; what was not even `heard` is no payment with a line of its own."""
        malformed = None if heard else _FULL.reason
        return self._answer(_FULL, BREAKER_OPEN, Outcome.NOT_SENT, method, malformed=malformed, extra=RETRY_SOON)

    def bug(self, method: str, request_id: str | None = None) -> AnswerResponse:
        """500 for an exception of ours: what was sent by then, nobody here can say."""
        return self._answer(_BUG, "proxy_internal_error", Outcome.UNKNOWN, method, request_id=request_id)

    def dropped(self, reason: str) -> None:
        """A connection that was ended or turned away without an answer to read."""
        self._events.publish(ClientDropped(reason))

    def _answer(
        self,
        flaw: Flaw,
        error: str,
        outcome: Outcome,
        method: str,
        *,
        malformed: str | None = None,
        extra: Headers = (),
        request_id: str | None = None,
    ) -> AnswerResponse:
        request_id = request_id or self._new_id()
        answer = problem(flaw.status, error, flaw.detail, Told(request_id, 0, outcome), extra)
        self._events.publish(
            PaymentFinished(
                route=NOWHERE,
                upstream=NOWHERE,
                request_id=request_id,
                trace_id=None,
                method=method,
                kind=Kind.UNKEYED,
                status=flaw.status,
                outcome=outcome,
                attempts=0,
                seconds=0.0,
                error=error,
                malformed=malformed,
            )
        )
        response = AnswerResponse(answer, request_id)
        response.force_close()
        return response
