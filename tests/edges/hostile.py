"""Raw servers on port 0, one ill manner each, that remember every byte they were sent.

A script is a coroutine that gets one `Peer` per accepted connection:

    async with serving(reset_after_reading) as server:
        ...
        assert server.arrived == [b"POST ..."]
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Script = Callable[["Peer"], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PATIENCE = 5.0
"""Seconds after which a test gives up waiting for what it knows must come."""


class Peer:
    """One accepted connection, seen from the server."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._unparsed = b""
        self.received = b""
        self.sent = 0

    async def read(self) -> bytes:
        """Some bytes; empty once the client has closed or reset."""
        try:
            data = await self._loop.sock_recv(self._sock, 65536)
        except ConnectionError:
            data = b""
        self.received += data
        return data

    async def head(self) -> bytes:
        """The next request's head, blank line included; empty if the client has closed."""
        while b"\r\n\r\n" not in self._unparsed:
            data = await self.read()
            if not data:
                return b""
            self._unparsed += data
        head, _, self._unparsed = self._unparsed.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    async def request(self) -> bytes:
        """The next request, head and body; empty if the client has closed."""
        head = await self.head()
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(self._unparsed) < length:
            self._unparsed += await self.read()
        body, self._unparsed = self._unparsed[:length], self._unparsed[length:]
        return head + body

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            await self._loop.sock_sendall(self._sock, data)
            self.sent += len(data)

    async def readable(self) -> None:
        """Return once something has arrived, and leave it unread."""
        ready = asyncio.Event()
        self._loop.add_reader(self._sock.fileno(), ready.set)
        try:
            await ready.wait()
        finally:
            self._loop.remove_reader(self._sock.fileno())

    async def gone(self) -> None:
        """Return once the client has closed or reset."""
        while await self.read():
            pass

    def close(self) -> None:
        self._sock.close()

    def reset(self) -> None:
        """Close so that the client gets a RST instead of a FIN."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()


@dataclass
class Server:
    port: int
    peers: list[Peer] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def arrived(self) -> list[bytes]:
        """What came in, one entry per connection."""
        return [peer.received for peer in self.peers]

    async def done(self) -> None:
        """Return once every connection's script has ended."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*self.tasks)


@contextlib.asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Server]:
    """A server that runs `script` on each connection; what a script raises, the test gets."""
    with listening() as listener:
        server = Server(listener.getsockname()[1])
        accepting = asyncio.create_task(_accept(listener, server, script))
        try:
            yield server
        finally:
            for task in (accepting, *server.tasks):
                task.cancel()
            results = await asyncio.gather(accepting, *server.tasks, return_exceptions=True)
            for peer in server.peers:
                peer.close()
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _accept(listener: socket.socket, server: Server, script: Script) -> None:
    loop = asyncio.get_running_loop()
    while True:
        sock, _ = await loop.sock_accept(listener)
        sock.setblocking(False)
        peer = Peer(sock)
        server.peers.append(peer)
        server.tasks.append(asyncio.create_task(_run(script, peer)))


async def _run(script: Script, peer: Peer) -> None:
    await script(peer)


@contextlib.contextmanager
def listening(backlog: int = 16) -> Iterator[socket.socket]:
    """A listening socket that nobody accepts from."""
    with socket.socket() as listener:
        listener.setblocking(False)
        listener.bind(("127.0.0.1", 0))
        listener.listen(backlog)
        yield listener


def refused_port() -> int:
    """A port that was free a moment ago."""
    with listening() as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def blackhole() -> Iterator[int]:
    """A port whose backlog is full: the next SYN is dropped, as by a firewall."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening(backlog=0))
        for _ in range(64):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            if not select.select([], [client], [], 0.1)[1]:
                yield listener.getsockname()[1]
                return
        raise RuntimeError("the backlog does not fill up here")


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until `condition` holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


async def turns(count: int = 200) -> None:
    """Let everyone who can still move on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


# Scripts


async def reset_unread(peer: Peer) -> None:
    await peer.readable()
    peer.reset()


async def reset_after_reading(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def eof_after_reading(peer: Peer) -> None:
    await peer.request()
    peer.close()


async def reset_at_once(peer: Peer) -> None:
    """During a TLS handshake: the client's hello is answered with a RST."""
    await peer.read()
    peer.reset()


async def eof_at_once(peer: Peer) -> None:
    """During a TLS handshake: the client's hello is answered with a FIN."""
    await peer.read()
    peer.close()


async def reading(peer: Peer) -> None:
    """Reads for ever and says nothing."""
    await peer.gone()


async def hang(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


def answering(*answers: bytes) -> Script:
    """One answer per request, the last repeats; stays open until the client closes."""

    async def script(peer: Peer) -> None:
        left = list(answers)
        while await peer.request():
            await peer.send(left.pop(0) if len(left) > 1 else left[0])

    return script


def answering_then_hanging(*pieces: bytes) -> Script:
    """Pieces of one answer, one write each, and then silence."""

    async def script(peer: Peer) -> None:
        await peer.request()
        for piece in pieces:
            await peer.send(piece)
        await peer.gone()

    return script


def answering_then_eof(answer: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        peer.close()

    return script


def answering_then_reset(answer: bytes, seen: asyncio.Event) -> Script:
    """Resets only when the client is known to have `seen` the answer, since a RST may overtake it."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await seen.wait()
        peer.reset()

    return script


async def closing_on_second_request(peer: Peer) -> None:
    """The keep-alive race: the first request is answered, the second is read and then dropped."""
    await peer.request()
    await peer.send(OK)
    await peer.request()
    peer.close()
