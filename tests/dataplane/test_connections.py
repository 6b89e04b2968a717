"""The client's connection: reuse, pipelining, HTTP/1.0, half-closing, leaving."""

from __future__ import annotations

import asyncio

import pytest

from proxy.core.events import AttemptFinished, RetryDenied
from tests.dataplane.rig import OK, proxied
from tests.edges.hostile import Peer, until

GET = b"GET /api/payment HTTP/1.1"
POST = b"POST /api/payment HTTP/1.1"
GET_1_0 = b"GET /api/payment HTTP/1.0"


async def naming(peer: Peer) -> None:
    """Answers every request with its own X-Request-Id."""
    while request := await peer.request():
        name = next(line for line in request.split(b"\r\n") if line.startswith(b"X-Request-Id: "))
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + name + b"\r\n\r\n")


async def test_a_connection_carries_one_request_after_another() -> None:
    async with proxied() as rig, rig.client() as client:
        for _ in range(5):
            reply = await client.ask(rig.request(body=b""))
            assert (reply.status, reply.all("Connection")) == (200, [])


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("count", [2, 31, 32, 33, 100])
async def test_pipelined_requests_are_answered_in_their_order(count: int, half: bool) -> None:
    async with proxied(naming) as rig, rig.client() as client:
        await client.send(b"".join(rig.request(GET) for _ in range(count)))
        if half:
            client.half_close()
        replies = [await client.reply() for _ in range(count)]
        assert [reply.one("X-Request-Id") for reply in replies] == [b"r%d" % number for number in range(count)]
        if half:
            assert [reply.all("Connection") for reply in replies[-2:]][1] == [b"close"]
            assert await client.rest() == b""


@pytest.mark.parametrize("half", [False, True])
async def test_pipelined_payments_with_bodies_hold_up_nobody(half: bool) -> None:
    async with proxied() as rig, rig.client() as client:
        await client.send(b"".join(rig.request(POST, b"Content-Length: 20000", body=b"q" * 20_000) for _ in range(50)))
        if half:
            client.half_close()
        async with asyncio.timeout(20):
            assert [(await client.reply()).status for _ in range(50)] == [200] * 50


async def test_what_follows_connection_close_is_not_answered() -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slow(peer: Peer) -> None:
        while await peer.request():
            arrived.set()
            await go.wait()
            await peer.send(OK)

    async with proxied(slow) as rig, rig.client() as client:
        await client.send(rig.request(GET, b"Connection: close"))
        await arrived.wait()
        await client.send(rig.request(GET))
        go.set()
        reply = await client.reply()
        assert (reply.status, reply.one("Connection")) == (200, b"close")
        await client.rest()
        assert b"".join(rig.provider.arrived).count(b"GET ") == 1


async def test_an_http_1_0_client_is_answered_and_the_connection_closed() -> None:
    async with proxied() as rig, rig.client() as client:
        reply = await client.ask(GET_1_0 + b"\r\n\r\n")
        assert (reply.status, reply.body, reply.one("Connection")) == (200, b"ok", b"close")
        assert await client.rest() == b""
        lines = rig.provider.arrived[0].split(b"\r\n")
        assert lines[:2] == [GET, b"Host: " + rig.host]


async def test_an_http_1_0_client_may_keep_its_connection() -> None:
    async with proxied() as rig, rig.client() as client:
        for _ in range(2):
            reply = await client.ask(GET_1_0 + b"\r\nConnection: keep-alive\r\n\r\n")
            assert (reply.status, reply.one("Connection")) == (200, b"keep-alive")


@pytest.mark.parametrize("size", [5, 600_000])
async def test_an_http_1_0_client_gets_no_chunks(size: int) -> None:
    body = b"x" * size
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    async with proxied(answer) as rig, rig.client() as client:
        reply = await client.ask(GET_1_0 + b"\r\nConnection: keep-alive\r\n\r\n")
        assert reply.all("Transfer-Encoding") == []
        assert reply.body == body
        assert reply.one("Connection") == (b"keep-alive" if reply.all("Content-Length") else b"close")


@pytest.mark.parametrize("body", [None, b"", b"{}", b"x" * 2_000_000], ids=["none", "empty", "small", "streamed"])
async def test_a_half_closing_client_is_answered(body: bytes | None) -> None:
    lines = () if body is None else (b"Content-Length: %d" % len(body),)
    async with proxied() as rig, rig.client() as client:
        await client.send(rig.request(b"POST /api/payment HTTP/1.1", *lines, body=body or b""))
        client.half_close()
        reply = await client.reply()
        assert (reply.status, reply.body, reply.one("Connection")) == (200, b"ok", b"close")
        assert await client.rest() == b""


async def test_a_half_closing_client_waits_for_every_retry() -> None:
    async with proxied(b"HTTP/1.1 503 no\r\nContent-Length: 0\r\n\r\n") as rig, rig.client() as client:
        await client.send(rig.request())
        client.half_close()
        assert (await client.reply()).one("X-Proxy-Attempts") == b"4"
        assert await client.rest() == b""


async def test_a_client_that_half_closes_within_the_answer_gets_the_rest_and_then_the_end() -> None:
    go = asyncio.Event()

    async def slow(peer: Peer) -> None:
        while await peer.request():
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + b"x" * 300_000)
            await go.wait()
            await peer.send(b"x" * 300_000)

    async with proxied(slow) as rig, rig.client() as client:
        await client.send(rig.request())
        assert b"200 OK" in await client.head()
        client.half_close()
        await client.reader.readexactly(200_000)
        go.set()
        assert len(await client.rest()) == 400_000


@pytest.mark.parametrize("sent", [b"", b"GET /api", GET + b"\r\nHost: a\r\n"])
async def test_a_client_that_half_closes_before_its_request_is_whole_is_let_go(sent: bytes) -> None:
    async with proxied() as rig, rig.client() as client:
        await client.send(sent)
        client.half_close()
        assert await client.rest() == b""
        assert rig.provider.peers == []


@pytest.mark.parametrize(
    "lines", [(b"Content-Length: 5", b"", b"1234"), (b"Transfer-Encoding: chunked", b"", b"5\r\n12")]
)
async def test_a_half_close_within_the_body_is_not_its_end(lines: tuple[bytes, ...]) -> None:
    async with proxied() as rig, rig.client() as client:
        await client.send(b"\r\n".join([b"POST /api/payment HTTP/1.1", b"Host: shop", *lines]))
        client.half_close()
        reply = await client.reply()
        assert (reply.status, reply.problem()["outcome"]) == (400, "not_sent")
        assert await client.rest() == b""
        assert rig.provider.peers == []


async def test_a_half_close_within_a_streamed_body_is_not_its_end() -> None:
    async def keep(peer: Peer) -> None:
        await peer.gone()

    async with proxied(keep, retry_body=10) as rig, rig.client() as client:
        await client.send(rig.request(b"POST /api/payment HTTP/1.1", b"Content-Length: 100", body=b"x" * 99))
        await until(lambda: bool(rig.provider.peers) and rig.provider.arrived[0].endswith(b"x" * 99))
        client.half_close()
        reply = await client.reply()
        assert (reply.status, reply.problem()["outcome"]) == (400, "unknown")
        await rig.provider.done()
        assert rig.provider.arrived[0].count(b"x" * 100) == 0


@pytest.mark.parametrize("leave", ["reset", "close"])
async def test_a_write_is_completed_and_recorded_though_its_client_left(leave: str) -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await go.wait()
        await peer.send(b"HTTP/1.1 503 later\r\nContent-Length: 0\r\n\r\n")
        while await peer.request():
            await peer.send(OK)

    async with proxied(slow) as rig:
        async with rig.client() as client:
            await client.send(rig.request(b"POST /api/payment HTTP/1.1", b"Content-Length: 2", body=b"{}"))
            await arrived.wait()
            if leave == "reset":
                client.reset()
        go.set()
        (finished,) = await rig.finished()
        assert (finished.status, finished.outcome, finished.attempts) == (200, "final", 2)
        assert b"".join(rig.provider.arrived).count(b"\r\n\r\n{}") == 2
        assert [attempt.status for attempt in rig.recorder.of(AttemptFinished)] == [503, 200]


async def test_a_read_whose_client_left_is_not_retried() -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slow(peer: Peer) -> None:
        while await peer.request():
            arrived.set()
            await go.wait()
            await peer.send(b"HTTP/1.1 503 later\r\nContent-Length: 0\r\n\r\n")

    async with proxied(slow) as rig, rig.client() as client:
        await client.send(rig.request(GET))
        await arrived.wait()
        (connection,) = rig.server_connections()
        client.reset()
        await until(lambda: connection.transport is None)
        go.set()
        (finished,) = await rig.finished()
        assert (finished.status, finished.attempts) == (503, 1)
        assert [denied.reason for denied in rig.recorder.of(RetryDenied)] == ["client_gone"]
        assert b"".join(rig.provider.arrived).count(b"GET ") == 1
