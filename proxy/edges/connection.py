"""One connection to an upstream: writes a request, waits for its answer, and says how far things got."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from proxy.core.model import Response, Result, WireError
from proxy.edges.pump import Pump, stop
from proxy.edges.response import ResponseReader, failure
from proxy.edges.stream import ResponseStream
from proxy.edges.wire import ResponseCut, not_sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.model import ByteStream, Payment


class Connection(asyncio.Protocol):
    """Carries one request at a time; whoever holds it either settles it or aborts it."""

    __slots__ = (
        "_expired",
        "_idle",
        "_limit",
        "_loop",
        "_paused",
        "_pump",
        "_reader",
        "_release",
        "_sent",
        "_streaming",
        "_transport",
        "_waiter",
        "idle_since",
        "lost",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, release: Callable[[Connection], None]) -> None:
        self._loop = loop
        self._limit = limit
        self._release = release
        self._pump = Pump()
        self._reader = ResponseReader()
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None] | None = None
        self._idle = self._sent = True
        self._expired = self._paused = self._streaming = False
        self.idle_since = 0.0
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
            if isinstance(payment.body, bytes):
                self._transport.write(head + payment.body)
                await self._wait(deadline)
            else:
                await self._converse(head, payment.body, payment.body_length or 0, deadline)
        except BaseException:
            self.abort()
            raise
        return self._result(patience)

    @property
    def usable(self) -> bool:
        """Whether, as far as is known here, the peer still listens."""
        return not self.lost and not self._transport.is_closing()

    def settle(self) -> None:
        """Give the connection back if it can carry another request, else close it."""
        unsent = not self._sent or self._transport.get_write_buffer_size()
        if self.lost or unsent or not self._reader.reusable:
            self.abort()
            return
        self._idle = True
        self._resume_reading()
        self._release(self)

    def abort(self) -> None:
        """Close at once; what was not yet sent or read is dropped."""
        self.lost = True
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

    async def _converse(self, head: bytes, body: ByteStream, length: int, deadline: float) -> None:
        """Send `head` and `body` until something can be said of the answer; that ends the sending, whole or not."""
        self._sent = False
        self._transport.write(head)
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
        if not self.lost:
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

    def data_received(self, data: bytes) -> None:
        if self._idle or self.lost:
            # Nobody asked: kept, this could be taken for the answer to the next request.
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
            self.lost = True
            self._reader.end()
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self.eof_received()
        self.lost = True
        self._reader.close()
        self._pump.resume()
        self._wake()

    def pause_writing(self) -> None:
        self._pump.pause()

    def resume_writing(self) -> None:
        self._pump.resume()

    def _hold_back(self) -> None:
        if self._reader.size > self._limit and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._paused and not self.lost:
            self._paused = False
            self._transport.resume_reading()
