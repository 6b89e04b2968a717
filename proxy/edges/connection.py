"""One connection to an upstream: writes a request, waits for its answer, and says how far things got."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from proxy.core.model import Response, Result, WireError
from proxy.edges.last_words import LastWords, unread
from proxy.edges.pump import Pump, stop
from proxy.edges.response import ResponseReader, failure
from proxy.edges.stream import ResponseStream
from proxy.edges.wire import ResponseCut, not_sent

if TYPE_CHECKING:
    from proxy.core.model import ByteStream, Payment


AT_ONCE = 8 * 1024
"""A body up to this leaves with the first write; a larger one may still be writing when the answer comes."""


class Keeper(Protocol):
    """Who keeps connections between requests."""

    def put(self, connection: Connection) -> None:
        """Take back a connection whose answer allows another request."""

    def ended(self, connection: Connection) -> None:
        """The peer closed a connection, or spoke on it, although nobody had asked."""


class Connection(asyncio.Protocol):
    """Carries one request at a time; whoever holds it either settles it or aborts it."""

    __slots__ = (
        "_expired",
        "_idle",
        "_keeper",
        "_limit",
        "_loop",
        "_paused",
        "_pump",
        "_reader",
        "_sent",
        "_streaming",
        "_transport",
        "_waiter",
        "address",
        "idle_since",
        "lost",
        "raw",
        "rested",
        "retire_at",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, keeper: Keeper) -> None:
        self._loop = loop
        self._limit = limit
        self._keeper = keeper
        self._pump = Pump()
        self._reader = ResponseReader()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._idle = self._sent = True
        self._expired = self._paused = self._streaming = False
        self.idle_since = 0.0
        self.rested: float | None = None
        """Seconds that it had been idle before the request it carries now; None for its first one."""
        self.retire_at = float("inf")
        self.address = ("", 0)
        self.raw: asyncio.Transport | None = None
        """What lies beneath TLS."""
        self.lost = False

    async def exchange(self, payment: Payment, head: bytes, deadline: float, patience: float) -> Result:
        """Send one request and return what came of it by `deadline` (loop time).

        `patience`: seconds a streamed answer may be silent. If this raises, the connection is closed.
        """
        if not self.usable or self._loop.time() >= deadline:
            usable = self.usable
            self.abort()
            error = WireError.CONNECT_TIMEOUT if usable else WireError.RESET
            return not_sent(error, "no time left" if usable else "closed before the request was written")
        self._idle = self._expired = self._streaming = False
        self._reader.begin(bodiless=payment.method == "HEAD")
        try:
            if isinstance(payment.body, bytes) and len(payment.body) <= AT_ONCE:
                self._write(head + payment.body)
                await self._wait(deadline)
            else:
                with LastWords(self.raw):
                    await self._send_large(head, payment, deadline)
        except BaseException:
            self.abort()
            raise
        return self._result(patience)

    @property
    def usable(self) -> bool:
        """Whether, as far as is known here, the peer still listens."""
        return not self.lost and self._transport is not None and not self._transport.is_closing()

    @property
    def silent(self) -> bool:
        """Whether not a byte of an answer has come since the request was sent."""
        return not self._reader.heard

    def settle(self) -> None:
        """Give the connection back if it can carry another request, else close it."""
        unsent = not self._sent or self._transport is None or self._transport.get_write_buffer_size()
        if unsent or not self._reader.reusable:
            self.abort()
            return
        self._idle = True
        self._resume_reading()
        self._keeper.put(self)

    def abort(self) -> None:
        """Close at once; what was not yet sent or read is dropped."""
        self.lost = True
        if self._transport is not None:
            self._transport.abort()

    async def read(self, patience: float) -> bytes:
        """Body bytes as they come; empty at the end. Raises ResponseCut if there is no proper end."""
        reader = self._reader
        self._expired = False
        while not reader.chunks and not reader.complete:
            if reader.trouble or self.lost or self._expired:
                raise ResponseCut(failure(reader, lost=self.lost).detail)
            self._resume_reading()
            await self._wait(self._loop.time() + patience)
        return reader.take()

    @property
    def finished(self) -> bool:
        """Whether the whole body has arrived and been read."""
        return self._reader.complete and not self._reader.chunks

    def _result(self, patience: float) -> Result:
        """Say what came back; only a whole answer, or one still streaming, leaves the connection open."""
        reader = self._reader
        if reader.trouble or not (reader.complete or (self._streaming and not self.lost)):
            lost = self.lost
            self.abort()
            return failure(reader, lost=lost)
        if not reader.complete or reader.size > self._limit:
            stream = ResponseStream(self, patience)
            return Response(reader.status, reader.reason, reader.headers, stream)
        body = reader.take()
        self.settle()
        return Response(reader.status, reader.reason, reader.headers, body)

    async def _send_large(self, head: bytes, payment: Payment, deadline: float) -> None:
        if isinstance(payment.body, bytes):
            self._write(head + payment.body)
            await self._wait(deadline)
        else:
            await self._converse(head, payment.body, payment.body_length or 0, deadline)

    async def _converse(self, head: bytes, body: ByteStream, length: int, deadline: float) -> None:
        """Send `head` and `body` until something can be said of the answer; that ends the sending, whole or not."""
        self._sent = False
        self._write(head)
        pump = self._loop.create_task(self._send_body(body, length))
        try:
            await self._wait(deadline)
        finally:
            error = await stop(pump)
        if error is not None and not self._answered and not self.lost:
            raise error

    async def _send_body(self, body: ByteStream, length: int) -> None:
        try:
            await self._pump.run(body, length, self._write)
            self._sent = True
        except BaseException:
            self._wake()
            raise

    def _write(self, chunk: bytes) -> None:
        if not self.lost and self._transport is not None:
            self._transport.write(chunk)

    # Waiting

    async def _wait(self, deadline: float) -> None:
        """Sleep until something can be said, at `deadline` (loop time) at the latest."""
        self._waiter = waiter = self._loop.create_future()
        timer = self._loop.call_at(deadline, self.expire)
        try:
            await waiter
        finally:
            timer.cancel()

    def expire(self) -> None:
        """End the wait as its deadline does: whatever is known by now is the result."""
        self._expired = True
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    @property
    def _answered(self) -> bool:
        return self._reader.complete or self._streaming or bool(self._reader.trouble)

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self.lost:  # beneath TLS it may have ended by now
            transport.abort()  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if self._idle or self.lost:
            # Nobody asked: kept, this could be taken for the answer to the next request.
            self._end_idle()
            self.abort()
            return
        reader = self._reader
        reader.feed(data)
        if reader.status and not reader.complete:
            self._streaming = self._streaming or reader.exceeds(self._limit)
            self._hold_back()
        if self._answered:
            self._wake()

    def eof_received(self) -> None:
        if not self.lost:
            self._end_idle()
            self.lost = True
            self._reader.end()
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self.eof_received()
        elif not self.lost:
            self._hear_out()
        self._end_idle()
        self.lost = True
        self._reader.close()
        self._pump.resume()
        self._wake()

    def _hear_out(self) -> None:
        """A failed write ends the connection although the answer may lie there, received and not yet read."""
        if self.raw is None and self._transport is not None and not self._idle:
            for data in unread(self._transport):
                self.data_received(data)

    def _end_idle(self) -> None:
        """Tell that the peer ended this while it was idle, unless it was us."""
        if self._idle and not self.lost:
            self._keeper.ended(self)

    def pause_writing(self) -> None:
        self._pump.pause()

    def resume_writing(self) -> None:
        self._pump.resume()

    def _hold_back(self) -> None:
        if self._reader.size > self._limit and not self._paused and self.usable and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._paused and not self.lost and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
