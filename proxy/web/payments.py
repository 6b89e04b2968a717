"""The data plane's handler: an aiohttp request becomes a Payment, its Answer becomes the response."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from proxy.core.answers import Told, problem
from proxy.core.cards import looks_like_card_number
from proxy.core.chained import LOOP_STATUS, Chain
from proxy.core.errors import RequestRefused
from proxy.core.events import PaymentFinished
from proxy.core.headers import Hop, lost_trailers, to_provider, with_host
from proxy.core.malformed import Flaw, Target, read_target
from proxy.core.model import Answer, Kind, Outcome, Payment
from proxy.core.profiles import Profile
from proxy.core.routes import Match
from proxy.forward import Caller, Forwarder
from proxy.ports import Clock, EventSink
from proxy.runtime import Runtime
from proxy.web.body import read_body
from proxy.web.memory import BodyMemory, Hold
from proxy.web.refusals import NOWHERE
from proxy.web.response import AnswerResponse

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
LONGEST_ID = 1024
"""A client's id that is longer is not even looked through for card numbers, and replaced: that would take too long."""
_BUG = RequestRefused(500, "Holdfast met an internal error.", error="proxy_internal_error", outcome=Outcome.UNKNOWN)
_TRACE_ID = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Inbound:
    """What we note of a request before anything is decided."""

    request: web.BaseRequest
    request_id: str
    trace_id: str | None
    started: float
    own_id: bool = False
    """Whether the client's id is not to be passed on: it could be a card number, or is too long to tell."""


class Payments:
    """Handles whatever is not the control plane's."""

    def __init__(
        self,
        current: Callable[[], Runtime],
        *,
        clock: Clock,
        new_id: Callable[[], str],
        events: EventSink,
        chain: Chain,
    ) -> None:
        self._current = current
        self._clock = clock
        self._new_id = new_id
        self._events = events
        self._chain = chain
        self._via = chain.via
        self._memory = BodyMemory(lambda: current().config.buffered_bodies)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; never an exception for something a client or a provider did."""
        inbound = self._note(request)
        runtime = self._current()
        target = read_target(request.raw_path)
        if isinstance(target, Flaw):
            return self._refuse(inbound, None, RequestRefused(target.status, target.detail, reason=target.reason))
        match = runtime.routes.match(target.path_and_query)
        if match is None or request.method == "CONNECT":
            refusal = RequestRefused(404, "No route is configured for this path; nothing was sent.")
            return self._refuse(inbound, None, refusal)
        forwarder, hold = runtime.forwarders[match.route.upstream], Hold(self._memory)
        try:
            answer = await self._forward(inbound, target, match, forwarder, hold)
        except RequestRefused as refusal:
            return self._refuse(inbound, match, refusal, forwarder.profile)
        except Exception as bug:  # noqa: BLE001 - what was sent by then nobody here can say: unknown, and never a word less
            request.protocol.log_exception("unexpected error", exc_info=bug)
            return self._refuse(inbound, match, _BUG, forwarder.profile)
        finally:
            hold.release()
        return AnswerResponse(answer, inbound.request_id)

    async def _forward(
        self, inbound: Inbound, target: Target, match: Match, forwarder: Forwarder, hold: Hold
    ) -> Answer:
        request, upstream = inbound.request, forwarder.upstream
        headers = request.raw_headers
        if target.authority is not None:
            headers = with_host(headers, target.authority.encode())
        self._check_loop(request)
        if "Trailer" in request.headers and lost_trailers(headers, forwarder.profile):
            detail = "A field that the provider should read comes as a trailer; send it in the head. Nothing was sent."
            raise RequestRefused(400, detail, reason="trailer")
        body, length = await read_body(
            request,
            hold,
            retry_body=upstream.retry_body,
            max_body=upstream.max_body,
            remaining=inbound.started + upstream.timeouts.total - self._clock.now(),
        )
        payment = Payment(
            request_id=inbound.request_id,
            route=match.route.path,
            method=request.method,
            target=forwarder.base_path + match.target,
            headers=to_provider(headers, self._hop(inbound, target, forwarder), length, forwarder.profile),
            body=body,
            body_length=length,
        )
        return await forwarder.forward(payment, Caller(inbound.started, lambda: _gone(request), inbound.trace_id))

    def _check_loop(self, request: web.BaseRequest) -> None:
        """Refuse a request that this very replica sent, whatever stands in between (RFC 9110 section 7.6.3)."""
        if "Via" in request.headers and self._chain.has_looped(request.headers.getall("Via")):
            detail = "The request came back to the Holdfast that sent it on; see the upstream's url. Nothing was sent."
            mark = self._chain.mark(request.raw_headers)
            raise RequestRefused(LOOP_STATUS, detail, error="proxy_loop_detected", reason="loop", extra=mark)

    def _note(self, request: web.BaseRequest) -> Inbound:
        """A request id that is safe to log: the client's own if it is a plain token, else one of ours."""
        started = self._clock.now()
        given = request.headers.get("X-Request-Id", "")
        card = bool(given) and (len(given) > LONGEST_ID or looks_like_card_number(given))
        plain = _REQUEST_ID.fullmatch(given) is not None and not card
        trace = _TRACE_ID.fullmatch(request.headers.get("traceparent", ""))
        return Inbound(request, given if plain else self._new_id(), trace and trace[1], started, card)

    def _hop(self, inbound: Inbound, target: Target, forwarder: Forwarder) -> Hop:
        request = inbound.request
        host: str = request.headers.get("Host", "") if target.authority is None else target.authority
        if not forwarder.upstream.preserve_host:
            host = ""
        return Hop(
            host=host.encode("utf-8", "surrogateescape") or forwarder.host,
            client_ip=(request.remote or "unknown").encode(),
            scheme=request.scheme.encode(),
            request_id=inbound.request_id.encode(),
            via=self._via,
            own_id=inbound.own_id,
        )

    def _refuse(
        self, inbound: Inbound, match: Match | None, refusal: RequestRefused, profile: Profile | None = None
    ) -> AnswerResponse:
        attempts = 0 if refusal.outcome is Outcome.NOT_SENT else 1  # what broke off on its way had its one attempt
        told = Told(inbound.request_id, attempts, refusal.outcome, profile=profile)
        answer = problem(refusal.status, refusal.error, refusal.detail, told, refusal.extra)
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
                malformed=refusal.reason,
            )
        )
        response = AnswerResponse(answer, inbound.request_id)
        content = inbound.request.content
        if not content.is_eof() or content.exception() is not None:
            response.force_close()
        return response


def _gone(request: web.BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()
