"""An answer that was already there wins over the write error that follows it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from tests.certificates import write_certificate
from tests.edges.upstream_kit import answered, connected, on_both_loops, payment, whole

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

EARLY = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"
TIMES = 20


@contextlib.contextmanager
def refusing(context: ssl.SSLContext | None = None, *, answer: bytes = EARLY) -> Iterator[int]:
    """A server in threads that reads a little of a request, answers and closes, so that a RST follows the answer."""

    def one(peer: socket.socket) -> None:
        # Without this the answer may wait for an acknowledgement, and be dropped by the close before it was ever sent.
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            peer = peer if context is None else context.wrap_socket(peer, server_side=True)
            peer.recv(65536)
            peer.sendall(answer)
        peer.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


async def pieces(size: int) -> AsyncGenerator[bytes]:
    for _ in range(size // 65536):
        yield b"x" * 65536
        await asyncio.sleep(0)


@pytest.mark.parametrize("size", [900_000, 1_300_000, 3_000_000, 9_000_000])
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("secure", [True, False])
@on_both_loops
async def test_an_early_refusal_is_read_though_the_upload_broke(
    size: int, streamed: bool, secure: bool, tmp_path: Path
) -> None:
    size -= size % 65536
    server = None
    options: dict[str, object] = {}
    if secure:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pem = write_certificate(tmp_path)
        server.load_cert_chain(*pem)
        options = {"ssl": ssl.create_default_context(cafile=pem[0]), "server_hostname": "localhost"}
    with refusing(server) as port:
        async with connected(port, **options) as upstream:
            for _ in range(TIMES):
                body = pieces(size) if streamed else b"x" * size
                answer = await upstream.send(payment(body=body, length=size), timeout=5)
                assert (answered(answer).status, whole(answer)) == (413, b"big")
            assert len(upstream._pool) == 0


async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads each request to its end and tells its length."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            told = b"%d" % len(await reader.readexactly(length))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(told) + told)
    writer.close()


@on_both_loops
async def test_large_bodies_and_small_ones_follow_one_another_over_tls(tmp_path: Path) -> None:
    """What stands between the transport and TLS for a while passes everything on, and is gone afterwards."""
    pem = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pem)
    peers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer)
        await swallow(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    trusting = ssl.create_default_context(cafile=pem[0])
    size = 64 * 65536
    async with connected(
        server.sockets[0].getsockname()[1], ssl=trusting, server_hostname="localhost", max_age_seconds=600
    ) as upstream:
        for body in (b"{}", pieces(size), b"x" * 900_000, b"{}", pieces(size), pieces(size), b"{}"):
            length = len(body) if isinstance(body, bytes) else size
            answer = await upstream.send(payment(body=body, length=length), timeout=10)
            assert whole(answer) == b"%d" % length
        assert len(peers) == 1
    server.close()
