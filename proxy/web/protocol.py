"""One client connection: aiohttp's, made fit for payments and for clients that mean no good."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, BadHttpMethod, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _ErrInfo

from proxy.core.config import Limits
from proxy.core.malformed import (
    FIELD_LARGE,
    HEAD_LATE,
    LOOSE,
    NOT_HTTP,
    TARGET_LONG,
    Flaw,
    flaw_of_start,
    is_loose,
)
from proxy.web.door import Door, Entry
from proxy.web.pace import Framing, HeadWatch, begun_behind
from proxy.web.refusals import Refusals
from proxy.web.response import AnswerResponse

SLICE_BYTES = 8 << 10
"""A body in chunks is parsed in pieces of this size: tiny chunks cost the loop a microsecond for every byte."""
HEARD_SECONDS = 1.0
"""How long a connection beyond the limit may take to say what it wants."""
LINGER_SECONDS = 2.0
"""How long a client that we stop listening to may take to read why (RFC 9112 section 9.6)."""
LATE_LINGER_SECONDS = 0.5
"""The same where it was silent anyway."""
_REQUEST_TIMEOUT = 408


class Flawed(BadHttpMessage):
    """A flaw on its way through aiohttp's queue."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.detail)
        self.flaw = flaw


class TooManyConnections(Exception):
    """The same for a connection that is not even heard."""


_TOO_MANY = _ErrInfo(status=503, exc=TooManyConnections(), message="")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every connection of one listener shares."""

    refusals: Refusals
    door: Door
    limits: Callable[[], Limits]
    draining: Callable[[], bool]


class PaymentProtocol(web.RequestHandler):
    """One client connection."""

    __slots__ = (
        "_answered",
        "_around",
        "_backlog",
        "_curt",
        "_framing",
        "_gone",
        "_head",
        "_last_payload",
        "_unheard",
        "_wire",
        "half_closed",
        "heard_only",
        "write_timeout",
    )

    def __init__(self, manager: web.Server, around: Surroundings, **kwargs: Any) -> None:
        limits = around.limits()
        super().__init__(manager, keepalive_timeout=limits.idle_timeout, **kwargs)
        self._around = around
        self._head = HeadWatch(self._loop, limits.head_timeout, self._head_is_late)
        self.write_timeout = limits.write_timeout
        self._last_payload: Any = None
        self._answered: Any = None
        self._backlog: deque[bytes] = deque()
        self._curt = False
        self._framing = Framing()
        self._unheard = False
        self._gone: asyncio.Event | None = None
        self._wire: asyncio.Transport | None = None
        self.half_closed = False
        self.heard_only = False

    @property
    def refusals(self) -> Refusals:
        """Who answers and tells of what went wrong."""
        return self._around.refusals

    @property
    def must_end(self) -> bool:
        """Whether the answer being written is the last this connection can carry."""
        return (self.half_closed or self._around.draining()) and not self._messages

    # coming and going ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection; one beyond the limit is only heard, one beyond the reserve is told so and ends."""
        self._wire = transport  # type: ignore[assignment]
        super().connection_made(transport)
        entry = self._around.door.enter()
        if entry is not Entry.SERVED:
            self.heard_only = True
            self._head.seconds = min(self._head.seconds, HEARD_SECONDS)
            self.refusals.dropped("too_many_connections")
        if entry is Entry.TURNED_AWAY:
            self._curt = True
            self._refuse(None)
        else:
            self._head.watch()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count the connection as gone, whatever it was doing."""
        if self._manager is not None:
            self._around.door.leave()
        self._head.stop()
        self._backlog.clear()
        if self._gone is not None:
            self._gone.set()
        super().connection_lost(exc)

    async def start(self) -> None:
        """Serve the connection; what its client has still not taken some time after the end is given up."""
        wire = self._wire
        try:
            await super().start()
        finally:
            if wire is not None and wire.get_write_buffer_size():
                self._loop.call_later(self.write_timeout, wire.abort)

    # reading ------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what came, in pieces where it is chunked: a flood of tiny chunks must not hold everybody up."""
        if self._unheard:
            return
        if not self._backlog and (len(data) <= SLICE_BYTES or self._is_counted_body()):  # the usual case
            self._parse(data)
            return
        if self._backlog:
            self._parse(b"")
        if data:
            self._backlog.append(data)
        self._work_off()

    def _is_counted_body(self) -> bool:
        """Whether a body with a length is being read, whose every byte is worth a byte."""
        payload = self._last_payload
        return payload is not None and not self._framing.chunked and not payload.is_eof()

    def _work_off(self) -> None:
        """Parse what waits, until the reader of the body has enough."""
        while self._backlog and not (self._reading_paused or self._buffer_paused or self._unheard):
            data = self._backlog.popleft()
            if len(data) > SLICE_BYTES and not self._is_counted_body():
                self._backlog.appendleft(data[SLICE_BYTES:])
                data = data[:SLICE_BYTES]
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        payload, known = self._last_payload, len(self._messages)
        in_body = payload is not None and not payload.is_eof()
        before = payload.total_bytes if in_body else 0
        super().data_received(data)
        if len(self._messages) > known:
            self._take_note(data, known)
        elif in_body:
            if self._framing.chunked:
                self._count_framing(payload, len(data), before)
        elif not (self._close or self._force_close):
            self._head.begins(data)

    def _count_framing(self, payload: Any, size: int, before: int) -> None:
        """Refuse a chunked body that is mostly chunk sizes."""
        total = payload.total_bytes
        if self._framing.is_too_much(size, total - before, total) and not payload.is_eof():
            self._break_off("the body's chunks are too small")
            self._stop_hearing()

    def _take_note(self, data: bytes, known: int) -> None:
        """Mend what aiohttp's parser leaves open in what it has just queued, behind what was `known` before."""
        last, payload = self._messages[-1]
        seen = self._head.ends(data)
        if not isinstance(last, RawRequestMessage):
            self._break_off("the body is not valid")
            self._messages[-1] = (_error(self._flaw_of(last, seen + b"".join(self._backlog))), payload)
            self._stop_hearing()
            return
        self._last_payload = payload
        self._framing.begins(chunked=bool(last.chunked))
        if data and not last.chunked and payload.is_eof():
            length = last.headers.get("Content-Length")
            if behind := begun_behind(seen, 0 if length is None else int(length)):
                self._head.begins(behind)
        for place in range(known, len(self._messages)):
            message, body = self._messages[place]
            if not isinstance(message, RawRequestMessage):
                continue
            if is_loose(message.method, message.path, seen):
                self._messages[place] = (_error(LOOSE), EMPTY_PAYLOAD)
                self._break_off("the request line before it is not valid")
                self._stop_hearing()
            elif _must_be_last(message) and not message.should_close:
                self._messages[place] = (message._replace(should_close=True), body)

    def _flaw_of(self, error: _ErrInfo, seen: bytes) -> Flaw:
        """What the parser gave up over, as far as that can be told."""
        if isinstance(error.exc, LineTooLong):
            in_target = b"\r\n" not in seen.lstrip(b"\r\n")[: self.max_line_size]
            return TARGET_LONG if in_target else FIELD_LARGE
        if "Too many headers" in (error.message or ""):
            return FIELD_LARGE
        return flaw_of_start(seen, at_method=isinstance(error.exc, BadHttpMethod))

    def _break_off(self, why: str) -> None:
        """Tell a handler that still reads its body that there is no more to come."""
        payload = self._last_payload
        if payload is None or payload.is_eof():
            return
        if payload is not self._answered:
            payload.set_exception(web.RequestPayloadError(why))
        payload.feed_eof()

    def _stop_hearing(self) -> None:
        """Read no more requests; what still comes is thrown away."""
        self._unheard = True
        self._backlog.clear()
        self._head.stop()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio takes a bool, aiohttp promised none
        """Keep the write side open for a client that is done sending but still waits (RFC 9112 section 9.6).

        aiohttp would drop the request. One that is not whole is answered 400; without one there is nothing to wait for.
        Under TLS the event loop ends the connection whatever is returned, so the write goes on and only its outcome
        is recorded, as for any client that has gone.
        """
        if self._gone is not None:
            self._gone.set()
        if self.transport is not None and self.transport.get_extra_info("sslcontext") is not None:
            return False
        if self._waiter is not None and not self._waiter.done() and not self._messages:
            return False
        self._break_off("the client closed within the body")
        self.half_closed = True
        if not self._messages:
            self.close()  # an answer may be on its way already, without a word of it being the last
        return True

    # a head that does not come ------------------------------------------------------------------------------------

    def _head_is_late(self) -> None:
        """Answer 408 where a head had begun; end a connection that never said a word."""
        if self._buffer_paused or self._reading_paused:  # it is we who do not read on
            self._head.watch()
        elif self._head.start:
            self._refuse(HEAD_LATE)
        elif self._waiter is not None and not self._messages:
            self.force_close()

    def _refuse(self, flaw: Flaw | None) -> None:
        """Queue a refusal behind what is being answered; None: there are too many connections."""
        error = _TOO_MANY if flaw is None else _error(flaw)
        self._stop_hearing()
        self._messages.append((error, EMPTY_PAYLOAD))
        self._request_count += 1
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _process_keepalive(self) -> None:
        if not self._head.start:  # else a head has begun, and its own time runs
            super()._process_keepalive()

    # answering ----------------------------------------------------------------------------------------------------

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Answer `request`; what may be left of its body now interests nobody."""
        self._answered = request.content
        answering = super().finish_response(request, resp, start_time)
        late = resp.status == _REQUEST_TIMEOUT and not request.content.is_eof()
        if late:
            self._lingering_time = 0.0
        return self._and_linger(answering, resp) if late or (self._unheard and not self._curt) else answering

    async def _and_linger(
        self, answering: Coroutine[Any, Any, tuple[web.StreamResponse, bool]], resp: web.StreamResponse
    ) -> tuple[web.StreamResponse, bool]:
        """Answer, then let the client read it: closing on bytes that nobody read would take the answer back."""
        result = await answering
        if resp.keep_alive or self._messages:  # not the last one yet
            return result
        self._stop_hearing()
        wire = self.transport
        if result[1] or wire is None or self.half_closed:
            return result
        self._gone = asyncio.Event()
        self._resume_transport_reading()
        if wire.can_write_eof():
            wire.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(LATE_LINGER_SECONDS if resp.status == _REQUEST_TIMEOUT else LINGER_SECONDS):
                await self._gone.wait()
        return result

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's signature
    ) -> AnswerResponse:
        """A malformed request, a connection too many, or a bug of ours, as a problem document; the connection ends."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer was already under way")
        method = request.method
        if isinstance(exc, Flawed):
            return self.refusals.malformed(exc.flaw, method)
        if isinstance(exc, TooManyConnections):
            return self.refusals.busy(method, heard=False)
        if status < 500:  # noqa: PLR2004
            return self.refusals.malformed(NOT_HTTP, method)
        self.log_exception("unexpected error", exc_info=exc)
        return self.refusals.bug(method)


def _error(flaw: Flaw) -> _ErrInfo:
    return _ErrInfo(status=flaw.status, exc=Flawed(flaw), message=flaw.detail)


def _must_be_last(message: RawRequestMessage) -> bool:
    """Whether what follows on the connection could not be trusted.

    aiohttp's parser hands the last trailer of a chunked body to the next request as a header field, and after an
    offer to switch to one of these protocols it parses out of our sight.
    """
    switching = message.upgrade and message.headers.get("Upgrade", "").lower() in {"websocket", "tcp"}
    return message.chunked or switching
