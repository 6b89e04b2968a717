"""A TCP link in front of a real store that is far away, replies nonsense, slips a reply in, or resets, when told to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import hiredis

HOST = "127.0.0.1"
CHUNK = 65536


@dataclass
class Shim:
    """What the link does now. `reply` stands for every reply; `extra` goes out once, before a reply of the store's."""

    store_port: int
    delay_seconds: float = 0.0
    """One way: a round trip is twice that."""
    reply: bytes | None = None
    extra: bytes = b""
    early: bytes = b""
    """Goes out once as soon as a command comes in, well before the store's reply to it."""
    accepted: int = 0
    port: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _serving: set[asyncio.Task[None] | None] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._writers)

    def reset(self) -> None:
        """Reset every connection (RST), as a middlebox that forgot them does."""
        for writer in list(self._writers):
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError, ValueError, AttributeError):  # it is gone already
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def end(self) -> None:
        """Reset every connection, and see it gone."""
        self.reset()
        await asyncio.gather(*(task for task in self._serving if task is not None), return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client's."""
        self.accepted += 1
        self._serving.add(asyncio.current_task())
        self._writers.add(writer)
        upstream: asyncio.StreamWriter | None = None
        with contextlib.suppress(OSError):
            back, upstream = await asyncio.open_connection(HOST, self.store_port)
            both = [
                asyncio.ensure_future(self._out(reader, writer, upstream)),
                asyncio.ensure_future(self._in(back, writer)),
            ]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        self._writers.discard(writer)
        for end in (writer, upstream):
            if end is not None:
                end.close()

    async def _out(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, store: asyncio.StreamWriter
    ) -> None:
        commands = hiredis.Reader()
        while data := await reader.read(CHUNK):
            early, self.early = self.early, b""
            writer.write(early)
            await self._wait()
            if self.reply is None:
                store.write(data)
                continue
            commands.feed(data)
            while commands.gets() is not False:
                writer.write(self.reply)

    async def _in(self, store: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await store.read(CHUNK):
            await self._wait()
            if self.reply is None:
                extra, self.extra = self.extra, b""
                writer.write(extra + data)

    async def _wait(self) -> None:
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)


@contextlib.asynccontextmanager
async def shimmed(store_port: int, **now: float) -> AsyncIterator[Shim]:
    """A link to the store on a port of its own."""
    shim = Shim(store_port, **now)  # type: ignore[arg-type]
    server = await asyncio.start_server(shim.serve, HOST, 0)
    shim.port = server.sockets[0].getsockname()[1]
    try:
        yield shim
    finally:
        server.close()
        await shim.end()
