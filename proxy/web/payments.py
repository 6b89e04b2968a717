"""The data plane's handler: an aiohttp request becomes a Payment, its Answer becomes the response."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from proxy.core.answers import Told, problem
from proxy.core.cards import looks_like_card_number
from proxy.core.errors import RequestRefused
from proxy.core.events import PaymentFinished
from proxy.core.headers import Hop, to_provider
from proxy.core.model import Answer, Kind, Outcome, Payment
from proxy.core.profiles import Profile
from proxy.core.routes import Match
from proxy.forward import Caller, Forwarder
from proxy.ports import Clock, EventSink
from proxy.runtime import Runtime
from proxy.web.body import read_body
from proxy.web.response import AnswerResponse

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACE_ID = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_AUTHORITY = re.compile(r"[^/?#]*://[^/?#]*")
NOWHERE = "none"
"""Label of requests that no route took."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """What we note of a request before anything is decided."""

    request: web.BaseRequest
    request_id: str
    trace_id: str | None
    started: float


class Payments:
    """Handles whatever is not the control plane's."""

    def __init__(
        self, current: Callable[[], Runtime], *, clock: Clock, new_id: Callable[[], str], events: EventSink
    ) -> None:
        self._current = current
        self._clock = clock
        self._new_id = new_id
        self._events = events

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; never an exception for something a client or a provider did."""
        inbound = self._note(request)
        runtime = self._current()
        match = runtime.routes.match(_origin_form(request.raw_path))
        if match is None or request.method == "CONNECT":
            refusal = RequestRefused(404, "No route is configured for this path; nothing was sent.")
            return self._refuse(inbound, None, refusal)
        try:
            answer = await self._forward(inbound, match, runtime.forwarders[match.route.upstream])
        except RequestRefused as refusal:
            return self._refuse(inbound, match, refusal, runtime.forwarders[match.route.upstream].profile)
        return AnswerResponse(answer, inbound.request_id)

    async def _forward(self, inbound: Inbound, match: Match, forwarder: Forwarder) -> Answer:
        request, upstream = inbound.request, forwarder.upstream
        body, length = await read_body(
            request,
            retry_body=upstream.retry_body,
            max_body=upstream.max_body,
            remaining=inbound.started + upstream.timeouts.total - self._clock.now(),
        )
        payment = Payment(
            request_id=inbound.request_id,
            route=match.route.path,
            method=request.method,
            target=forwarder.base_path + match.target,
            headers=to_provider(request.raw_headers, self._hop(inbound, forwarder), length),
            body=body,
            body_length=length,
        )
        return await forwarder.forward(payment, Caller(inbound.started, lambda: _gone(request), inbound.trace_id))

    def _note(self, request: web.BaseRequest) -> Inbound:
        """A request id that is safe to log: the client's own if it is a plain token, else one of ours."""
        started = self._clock.now()
        given = request.headers.get("X-Request-Id", "")
        plain = _REQUEST_ID.fullmatch(given) is not None and not looks_like_card_number(given)
        trace = _TRACE_ID.fullmatch(request.headers.get("traceparent", ""))
        return Inbound(request, given if plain else self._new_id(), trace and trace[1], started)

    @staticmethod
    def _hop(inbound: Inbound, forwarder: Forwarder) -> Hop:
        request = inbound.request
        host = request.headers.get("Host", "") if forwarder.upstream.preserve_host else ""
        return Hop(
            host=host.encode("utf-8", "surrogateescape") or forwarder.host,
            client_ip=(request.remote or "unknown").encode(),
            scheme=request.scheme.encode(),
            request_id=inbound.request_id.encode(),
        )

    def _refuse(
        self, inbound: Inbound, match: Match | None, refusal: RequestRefused, profile: Profile | None = None
    ) -> AnswerResponse:
        attempts = 0 if refusal.outcome is Outcome.NOT_SENT else 1  # what broke off on its way had its one attempt
        told = Told(inbound.request_id, attempts, refusal.outcome, profile=profile)
        answer = problem(refusal.status, refusal.error, refusal.detail, told)
        self._events.publish(
            PaymentFinished(
                route=match.route.path if match else NOWHERE,
                upstream=match.route.upstream if match else NOWHERE,
                request_id=inbound.request_id,
                trace_id=inbound.trace_id,
                method=inbound.request.method,
                kind=Kind.UNKEYED,
                status=answer.status,
                outcome=answer.outcome,
                attempts=attempts,
                seconds=self._clock.now() - inbound.started,
                error=answer.error,
            )
        )
        response = AnswerResponse(answer, inbound.request_id)
        content = inbound.request.content
        if not content.is_eof() or content.exception() is not None:
            response.force_close()
        return response


def _origin_form(target: str) -> str:
    """The path and query of a request target, whether in origin-form or absolute-form (RFC 9112 section 3.2)."""
    absolute = None if target.startswith("/") else _AUTHORITY.match(target)
    if absolute is None:
        return target
    path = target[absolute.end() :]
    return path if path.startswith("/") else "/" + path


def _gone(request: web.BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()
