"""What clients may take of the process: time for a head, memory for bodies, connections, and the loop's attention."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from proxy.core.descriptors import RESERVE
from proxy.core.events import ClientDropped
from proxy.web.memory import FREE_BYTES
from proxy.web.protocol import PaymentProtocol
from tests.dataplane.client import Client
from tests.dataplane.rig import OK, Rig, proxied
from tests.edges.hostile import Peer, until

HEAD = b"POST /api/payment HTTP/1.1\r\nHost: shop\r\nX-Request-Id: r\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
MIB = 1 << 20

# heads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"P", b"POST /api/payment HTTP/1.1\r\nHost: sh", HEAD, b"\r\n\r\nPOST"])
async def test_a_head_that_does_not_end_is_told_408_and_the_connection_ends(start: bytes) -> None:
    async with proxied(limits={"head_timeout": "50ms"}) as rig, rig.client() as client:
        reply = await client.ask(start)
        assert (reply.status, reply.problem()["outcome"]) == (408, "not_sent")
        assert reply.one("Connection") == b"close"
        assert await client.rest() == b""
        (told,) = await rig.finished()
        assert (told.status, told.malformed, told.request_id) == (408, "head_timeout", reply.problem()["request_id"])


async def test_a_head_that_goes_on_byte_by_byte_gains_no_time() -> None:
    async with proxied(limits={"head_timeout": "100ms"}) as rig, rig.client() as client:

        async def drip() -> None:
            for byte in HEAD * 1000:
                await client.send(bytes([byte]))
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        assert (await client.reply()).status == 408
        dripping.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await dripping


@pytest.mark.parametrize("said", [b"", b"\r\n"])
async def test_a_connection_that_never_says_a_word_ends_without_one(said: bytes) -> None:
    async with proxied(limits={"head_timeout": "50ms"}) as rig, rig.client() as client:
        await client.send(said)
        assert await client.rest() == b""
        assert rig.recorder.events == []


async def test_between_two_requests_the_idle_time_counts_and_ends_silently() -> None:
    async with proxied(limits={"head_timeout": "50ms", "idle_timeout": "300ms"}) as rig, rig.client() as client:
        assert (await client.ask(rig.request())).status == 200
        await asyncio.sleep(0.15)
        assert (await client.ask(rig.request())).status == 200
        assert await client.rest() == b""
        assert len(await rig.finished(2)) == 2


async def test_the_next_head_has_its_own_time_too() -> None:
    async with proxied(limits={"head_timeout": "50ms"}) as rig, rig.client() as client:
        assert (await client.ask(rig.request())).status == 200
        assert (await client.ask(b"POST /api")).status == 408
        assert await client.rest() == b""


async def test_a_late_head_behind_a_payment_under_way_does_not_cost_its_answer() -> None:
    go = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.send(OK)

    async with proxied(slow, limits={"head_timeout": "30ms"}) as rig, rig.client() as client:
        await client.send(rig.request())
        await until(lambda: bool(rig.provider.peers))
        await client.send(b"POST /api")
        (connection,) = rig.server_connections()
        await until(lambda: len(connection._messages) == 1)
        go.set()
        assert (await client.reply()).status == 200
        assert (await client.reply()).status == 408
        assert await client.rest() == b""


async def test_a_body_that_is_late_gets_its_408_and_the_connection_ends_at_once() -> None:
    """Not after aiohttp's ten seconds of lingering, which is longer than the client of this test waits."""
    slow = {"connect": "50ms", "attempt": "100ms", "total": "200ms"}
    async with proxied(timeouts=slow) as rig, rig.client() as client:
        reply = await client.ask(HEAD + b"Content-Length: 10\r\n\r\n12")
        assert (reply.status, reply.one("Connection")) == (408, b"close")
        async with asyncio.timeout(2):
            assert await client.rest() == b""
        (told,) = await rig.finished()
        assert told.malformed == "body_timeout"


# bodies in memory -------------------------------------------------------------------------------------------------


def held(rig: Rig) -> int:
    return rig.payments._memory.held


async def upload(rig: Rig, stack: contextlib.AsyncExitStack, size: int) -> Client:
    """A client that has sent the start of a chunked body and then stalls."""
    client = await stack.enter_async_context(rig.client())
    await client.send(CHUNKED + b"%x\r\n" % (5 * MIB) + b"x" * size)
    return client


async def test_bodies_beyond_the_bound_are_refused_503_and_what_clients_leave_is_given_back() -> None:
    limits = {"buffered_bodies": "4MiB"}
    async with proxied(limits=limits, max_body="4MiB") as rig, contextlib.AsyncExitStack() as stack:
        stalled = await upload(rig, stack, 3 * MIB)
        await until(lambda: held(rig) >= 3 * MIB - FREE_BYTES - 1)
        reply = await (await upload(rig, stack, 2 * MIB)).reply()
        assert (reply.status, reply.problem()["outcome"]) == (503, "not_sent")
        assert reply.one("Retry-After") == b"1"
        assert b"buffered_bodies" in reply.body
        assert held(rig) <= 4 * MIB
        assert (await rig.ask(rig.request(body=b""))).status == 200
        small = HEAD + b"Content-Length: %d\r\n\r\n" % FREE_BYTES + b"x" * FREE_BYTES
        assert (await rig.ask(small)).status == 200
        stalled.reset()
        await until(lambda: held(rig) == 0)
        whole = CHUNKED + b"%x\r\n" % (3 * MIB) + b"x" * (3 * MIB) + b"\r\n0\r\n\r\n"
        assert (await rig.ask(whole)).status == 200
        assert held(rig) == 0


@pytest.mark.parametrize("end", ["answered", "refused", "broken off", "malformed"])
async def test_nothing_is_held_when_a_request_is_over_however_it_ended(end: str) -> None:
    async with proxied(max_body="2MiB") as rig, rig.client() as client:
        size = {"refused": 3 * MIB}.get(end, MIB)
        await client.send(CHUNKED + b"%x\r\n" % size + b"x" * (size - 1))
        if end == "answered":
            assert (await client.ask(b"x\r\n0\r\n\r\n")).status == 200
        elif end == "refused":
            assert (await client.reply()).status == 413
        elif end == "malformed":
            await until(lambda: held(rig) > 0)
            assert (await client.ask(b"x\r\nzz\r\n")).status == 400
        else:
            await until(lambda: held(rig) > 0)
            client.reset()
        await until(lambda: held(rig) == 0)


async def test_a_body_kept_for_a_retry_counts_until_the_payment_is_answered() -> None:
    go = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.send(OK)

    async with proxied(slow) as rig, rig.client() as client:
        size = MIB // 2
        await client.send(HEAD + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
        await until(lambda: bool(rig.provider.peers))
        assert held(rig) == size - FREE_BYTES
        go.set()
        assert (await client.reply()).status == 200
        assert held(rig) == 0


# tiny chunks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n", b"1;" + b"e" * 100 + b"\r\nx\r\n", b"0001\r\nx\r\n"])
async def test_a_body_that_is_mostly_chunk_sizes_is_refused_early(chunk: bytes) -> None:
    async with proxied() as rig, rig.client() as client:
        sending = asyncio.create_task(client.send(CHUNKED + chunk * 300_000))
        reply = await client.reply()
        assert (reply.status, reply.problem()["outcome"]) == (400, "not_sent")
        (told,) = await rig.finished()
        assert told.malformed == "body"
        with contextlib.suppress(ConnectionError):
            await sending
        assert rig.provider.peers == []


async def test_no_piece_of_it_is_large_enough_to_hold_up_the_others() -> None:
    """Counted, not timed: bytes that one connection gives the parser without anybody else having a turn."""
    fed: list[int] = []
    parse = PaymentProtocol._parse

    def counting(self: PaymentProtocol, data: bytes) -> None:
        fed.append(len(data))
        parse(self, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PaymentProtocol, "_parse", counting)
        async with proxied() as rig, rig.client() as client:
            sending = asyncio.create_task(client.send(CHUNKED + b"1\r\nx\r\n" * 300_000))
            assert (await client.reply()).status == 400
            with contextlib.suppress(ConnectionError):
                await sending
    assert max(fed) <= 8192
    assert sum(fed) < 50_000


@pytest.mark.parametrize("size", [16, 100, 1000, 100_000])
async def test_chunks_of_a_usual_size_pass_whole_however_many(size: int) -> None:
    body = b"x" * (size * max(10, 400_000 // size))
    chunks = b"".join(b"%x\r\n%b\r\n" % (size, body[at : at + size]) for at in range(0, len(body), size))
    async with proxied() as rig, rig.client() as client:
        await client.send(CHUNKED + chunks + b"0\r\n\r\n")
        assert (await client.reply()).status == 200
        assert rig.provider.arrived[0].endswith(body)


async def test_a_short_body_may_come_byte_by_byte() -> None:
    async with proxied() as rig:
        assert (await rig.ask(CHUNKED + b"1\r\nx\r\n" * 2000 + b"0\r\n\r\n")).status == 200
        assert rig.provider.arrived[0].endswith(b"x" * 2000)


# connections ------------------------------------------------------------------------------------------------------


async def test_connections_beyond_the_limit_are_told_and_health_still_answers() -> None:
    async with proxied(limits={"max_connections": 3}) as rig, contextlib.AsyncExitStack() as stack:
        first = [await stack.enter_async_context(rig.client()) for _ in range(3)]
        for client in first:
            assert (await client.ask(rig.request())).status == 200
        for _ in range(2 * RESERVE):  # one after the other: each leaves its place
            reply = await rig.ask(rig.request())
            assert (reply.status, reply.problem()["outcome"], reply.one("Retry-After")) == (503, "not_sent", b"1")
            assert reply.one("Connection") == b"close"
        health = await rig.ask(b"GET /healthz HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert (health.status, health.one("Connection")) == (200, b"close")
        assert (await first[0].ask(rig.request())).status == 200
        assert {drop.reason for drop in rig.recorder.of(ClientDropped)} == {"too_many_connections"}
        first[1].close()
        await until(lambda: len(rig.server_connections()) == 2)
        assert (await rig.ask(rig.request())).status == 200


async def test_beyond_the_reserve_a_connection_is_told_so_unheard() -> None:
    async with proxied(limits={"max_connections": 1}) as rig, contextlib.AsyncExitStack() as stack:
        for _ in range(1 + RESERVE):
            await stack.enter_async_context(rig.client())
        await until(lambda: len(rig.server_connections()) == 1 + RESERVE)
        async with rig.client() as client:
            reply = await client.reply()
            assert (reply.status, reply.problem()["outcome"]) == (503, "not_sent")
            assert await client.rest() == b""


# clients that do not read -----------------------------------------------------------------------------------------


async def deaf(rig: Rig, *, half_close: bool = False) -> socket.socket:
    """A client that asks and then reads nothing, with as little room for the answer as the system allows."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", rig.port))
    await loop.sock_sendall(sock, b"GET /api/payment HTTP/1.1\r\nHost: shop\r\n\r\n")
    if half_close:
        sock.shutdown(socket.SHUT_WR)
    return sock


def large(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size


@pytest.mark.parametrize("half_close", [True, False])
@pytest.mark.parametrize("size", [900_000, 20 * MIB])
async def test_a_client_that_reads_nothing_is_cut_off_and_told_of(size: int, half_close: bool) -> None:
    """Smaller answers are kept whole and larger ones are streamed; neither may hold its connection for ever."""
    async with proxied(large(size), limits={"write_timeout": "200ms", "idle_timeout": "200ms"}) as rig:
        with await deaf(rig, half_close=half_close):
            await until(lambda: bool(rig.provider.peers))
            await until(lambda: not rig.server_connections())
            await until(lambda: rig.runtime.forwarders["mock"].under_way == 0)
            if size > MIB:
                assert [drop.reason for drop in rig.recorder.of(ClientDropped)] == ["not_reading"]


async def test_a_client_that_reads_slowly_gets_everything() -> None:
    """Longer than it may read nothing at all, and with more in the kernel than it takes in that time."""
    size, reads = 16 * MIB, 0
    async with proxied(large(size), limits={"write_timeout": "100ms"}) as rig, rig.client() as client:
        await client.send(b"GET /api/payment HTTP/1.1\r\nHost: shop\r\n\r\n")
        await client.head()
        while size:
            async with asyncio.timeout(5):
                data = await client.reader.read(MIB // 4)
            assert data, f"cut off after {reads} reads"
            size, reads = size - len(data), reads + 1
            await asyncio.sleep(0.01)
        assert rig.recorder.of(ClientDropped) == []


@pytest.mark.parametrize("body", [b"", b"{}", b"\r\n\r\n"])
async def test_a_head_that_began_in_the_packet_of_a_whole_request_has_its_time_too(body: bytes) -> None:
    whole = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    limits = {"head_timeout": "50ms", "idle_timeout": "300ms"}
    async with proxied(limits=limits) as rig:
        for empty_line in (b"", b"\r\n"):
            async with rig.client() as client:
                assert (await client.ask(whole + empty_line)).status == 200
                assert await client.rest() == b""
            async with rig.client() as client:
                assert (await client.ask(whole + empty_line + b"POST /a")).status == 200
                assert (await client.reply()).status == 408
