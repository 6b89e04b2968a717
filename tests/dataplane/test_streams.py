"""Large bodies pass through at the reader's pace, in flat memory, and a cut stays a cut."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.dataplane.rig import OK, Rig, proxied, replica
from tests.edges.hostile import PATIENCE, Peer, Server, until

CHUNK = os.urandom(64 * 1024)
COUNT = 800
SIZE = COUNT * len(CHUNK)
MARGIN = 12 << 20
"""Bytes that memory may grow by while 50 MiB pass through: buffers of four sockets, and what the allocator keeps."""


def memory() -> int:
    """This process's resident bytes now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Firehose:
    """A provider that streams SIZE bytes to every request, framed by length or chunks."""

    def __init__(self, *, chunked: bool) -> None:
        self.chunked = chunked
        self.sent = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        framing = b"Transfer-Encoding: chunked" if self.chunked else b"Content-Length: %d" % SIZE
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(COUNT):
                writer.write(b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK) if self.chunked else CHUNK)
                await writer.drain()
                self.sent += len(CHUNK)
            writer.write(b"0\r\n\r\n" if self.chunked else b"")
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def behind(firehose: Firehose) -> AsyncIterator[Rig]:
    server = await asyncio.start_server(firehose, "127.0.0.1", 0)
    async with server, replica(Server(server.sockets[0].getsockname()[1])) as rig:
        yield rig


@pytest.mark.parametrize("chunked", [False, True])
async def test_fifty_megabytes_come_back_whole_in_flat_memory_and_wait_for_a_slow_reader(chunked: bool) -> None:
    firehose = Firehose(chunked=chunked)
    expected = hashlib.sha256()
    for _ in range(COUNT):
        expected.update(CHUNK)
    async with behind(firehose) as rig, rig.client() as client:
        before = peak = memory()
        await client.send(rig.request())
        head = await client.head()
        assert (b"chunked" in head) is chunked
        await stands_still(firehose)
        assert firehose.sent < SIZE // 2
        seen, left = hashlib.sha256(), SIZE
        async with asyncio.timeout(4 * PATIENCE):
            while left:
                if chunked:
                    size = int(await client.reader.readuntil(b"\r\n"), 16)
                    data = (await client.reader.readexactly(size + 2))[:-2]
                else:
                    data = await client.reader.read(min(left, 1 << 18))
                    assert data
                seen.update(data)
                left -= len(data)
                peak = max(peak, memory())
        assert seen.digest() == expected.digest()
        assert peak - before < MARGIN


async def stands_still(firehose: Firehose) -> None:
    """Return once the provider has not got rid of another byte for a quarter of a second."""
    sent = -1
    async with asyncio.timeout(PATIENCE):
        while sent != firehose.sent:
            sent = firehose.sent
            await asyncio.sleep(0.25)


async def test_a_reader_that_leaves_stops_the_provider() -> None:
    firehose = Firehose(chunked=False)
    async with behind(firehose) as rig, rig.client() as client:
        await client.send(rig.request())
        await client.head()
        (connection,) = rig.server_connections()
        client.reset()
        await until(lambda: connection.transport is None)
        await stands_still(firehose)
        assert firehose.sent < SIZE
        (finished,) = await rig.finished()
        assert (finished.status, finished.outcome) == (200, "final")


async def test_an_upload_passes_in_flat_memory_with_one_attempt() -> None:
    digest, got = hashlib.sha256(), 0

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        await reader.readuntil(b"\r\n\r\n")
        while got < SIZE:
            data = await reader.read(1 << 16)
            assert data
            digest.update(data)
            got += len(data)
        writer.write(b"HTTP/1.1 503 no\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    upstream = Server(server.sockets[0].getsockname()[1])
    async with server, replica(upstream, max_body=SIZE) as rig, rig.client() as client:
        before = peak = memory()
        await client.send(rig.request(b"POST /api/payment HTTP/1.1", b"Content-Length: %d" % SIZE))
        expected = hashlib.sha256()
        for _ in range(COUNT):
            expected.update(CHUNK)
            await client.send(CHUNK)
            peak = max(peak, memory())
        reply = await client.reply()
        assert (reply.status, reply.one("X-Proxy-Attempts"), got) == (503, b"1", SIZE)
        assert digest.digest() == expected.digest()
        assert peak - before < MARGIN


BIG = b"x" * 400_000
SHORT = {"connect": "50ms", "attempt": "200ms", "total": "400ms"}


async def is_cut(rig: Rig, go: asyncio.Event, version: bytes) -> None:
    """See the answer begin, let the provider go on, and see a reset instead of an end."""
    async with rig.client() as client:
        await client.send(rig.request(b"POST /api/payment HTTP/" + version))
        assert b"200 OK" in await client.head()
        go.set()
        with pytest.raises(ConnectionResetError):
            await client.rest()


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize(
    ("framing", "last"),
    [
        (b"Content-Length: 500000\r\n\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n\r\n61a80\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n\r\n61a80\r\n", b"\r\n"),
        (b"Transfer-Encoding: chunked\r\n\r\n61a80\r\n", b"\r\nzz\r\n"),
    ],
    ids=["length", "in a chunk", "after a chunk", "junk"],
)
async def test_a_streamed_answer_that_is_cut_is_cut_for_the_client(framing: bytes, last: bytes, version: bytes) -> None:
    go = asyncio.Event()

    async def cut(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n" + framing + BIG)
        await go.wait()
        await peer.send(last)
        peer.close()

    async with proxied(cut) as rig:
        await is_cut(rig, go, version)
        assert len(rig.provider.peers) == 1


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_streamed_answer_that_falls_silent_is_cut_for_the_client(version: bytes) -> None:
    async def stall(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n61a80\r\n" + BIG)
        await peer.gone()

    async with proxied(stall, timeouts=SHORT) as rig:
        await is_cut(rig, asyncio.Event(), version)


async def test_events_arrive_as_they_happen() -> None:
    go = asyncio.Event()

    async def events(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await peer.send(b"3\r\none\r\n")
        await go.wait()
        await peer.send(b"3\r\ntwo\r\n0\r\n\r\n")
        while await peer.request():
            await peer.send(OK)

    async with proxied(events) as rig, rig.client() as client:
        await client.send(rig.request())
        await client.head()
        async with asyncio.timeout(PATIENCE):
            assert await client.reader.readexactly(8) == b"3\r\none\r\n"
            go.set()
            assert await client.reader.readexactly(13) == b"3\r\ntwo\r\n0\r\n\r\n"
        assert (await client.ask(rig.request())).status == 200
        assert len(rig.provider.peers) == 1
