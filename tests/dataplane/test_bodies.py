"""Request bodies: the same bytes arrive, once or on every attempt, and never a part of them as a whole."""

from __future__ import annotations

import asyncio
import gzip
import os

import pytest

from tests.dataplane.rig import Rig, proxied
from tests.edges.hostile import Peer, until

POST = b"POST /api/payment HTTP/1.1"
FIXED = (b"X-Request-Id: r", b"Idempotency-Key: k")
CHUNKED = b"Transfer-Encoding: chunked"
NO = b"HTTP/1.1 503 no\r\nContent-Length: 0\r\n\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([POST, b"Host: shop", *FIXED, *lines, b"", body])


def sized(body: bytes) -> bytes:
    return post(b"Content-Length: %d" % len(body), body=body)


def arriving(rig: Rig, body: bytes) -> bytes:
    return rig.arriving(POST, *FIXED, b"Content-Length: %d" % len(body), body=body)


async def test_no_body_is_not_an_empty_body() -> None:
    async with proxied() as rig:
        await rig.ask(post())
        assert rig.provider.arrived == [rig.arriving(POST, *FIXED)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        bytes(range(256)),
        b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        gzip.compress(b"{}" * 500),
        os.urandom(300_000),
        os.urandom(1 << 20),
        os.urandom((1 << 20) + 1),
        os.urandom(3_000_000),
    ],
    ids=len,
)
@pytest.mark.parametrize("coding", [b"gzip", b"identity", b"br"])
async def test_a_body_arrives_byte_for_byte_whatever_it_says_it_is(body: bytes, coding: bytes) -> None:
    async with proxied() as rig:
        lines = (b"Content-Encoding: " + coding, b"Content-Length: %d" % len(body))
        reply = await rig.ask(post(*lines, body=body))
        assert reply.status == 200
        assert rig.provider.arrived == [rig.arriving(POST, *FIXED, *lines, body=body)]


@pytest.mark.parametrize("pause", [False, True])
@pytest.mark.parametrize("size", [0, 1, 70_000, (1 << 20) + 5])
async def test_chunks_arrive_as_one_body_without_extensions_and_trailers(size: int, pause: bool) -> None:
    body = os.urandom(size)
    step = max(1, size // 7)
    parts = [body[at : at + step] for at in range(0, size, step)]
    async with proxied() as rig, rig.client() as client:
        await client.send(post(CHUNKED))
        for number, part in enumerate(parts):
            extension = b';name="v;1"' if number % 2 else b""
            await client.send(b"%X%b\r\n%b\r\n" % (len(part), extension, part))
            if pause:
                await asyncio.sleep(0)
        await client.send(b"0\r\nX-Trailer: 1\r\nIdempotency-Key: other\r\n\r\n")
        assert (await client.reply()).status == 200
        assert rig.provider.arrived == [arriving(rig, body)]


async def test_chunks_one_byte_at_a_time_in_packets_of_one_byte() -> None:
    wire = post(CHUNKED) + b"".join(b"1\r\n%c\r\n" % byte for byte in b"hello") + b"0\r\n\r\n"
    async with proxied() as rig, rig.client() as client:
        for byte in wire:
            await client.send(bytes([byte]))
        assert (await client.reply()).status == 200
        assert rig.provider.arrived[0].endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("trailer", [b"X-Evil: 1", b"Content-Length: 7", b"Authorization: evil", b"Host: evil"])
async def test_a_trailer_never_becomes_a_field_of_the_next_request(trailer: bytes) -> None:
    """The parser hands the last trailer on to what follows on the connection: so nothing may follow."""
    first = post(CHUNKED) + b"2\r\n{}\r\n0\r\nX-First: 1\r\n" + trailer + b"\r\n\r\n"
    second = post(body=b"")
    async with proxied() as rig, rig.client() as client:
        reply = await client.ask(first + second)
        assert reply.one("Connection") == b"close"
        assert await client.rest() == b""
        if reply.status != 200:  # a trailer that frames or addresses a message is not valid at all
            assert (reply.status, reply.problem()["outcome"]) == (400, "not_sent")
            assert rig.provider.peers == []
        assert (await rig.ask(second)).status == 200
        arrived = b"".join(rig.provider.arrived)
        assert arrived.endswith(rig.arriving(POST, *FIXED))
        assert arrived.count(b"POST ") == (2 if reply.status == 200 else 1)
        assert trailer not in arrived


@pytest.mark.parametrize("body", [b"{}", os.urandom(1 << 20)], ids=len)
async def test_every_attempt_sends_the_same_bytes(body: bytes) -> None:
    async with proxied(NO) as rig:
        reply = await rig.ask(sized(body))
        assert (reply.status, reply.one("X-Proxy-Attempts")) == (503, b"4")
        assert b"".join(rig.provider.arrived) == 4 * arriving(rig, body)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_above_retry_body_has_one_attempt(chunked: bool) -> None:
    body = os.urandom(5000)
    wire = post(CHUNKED, body=b"1388\r\n" + body + b"\r\n0\r\n\r\n") if chunked else sized(body)
    async with proxied(NO, retry_body=4999) as rig:
        reply = await rig.ask(wire)
        assert (reply.status, reply.one("X-Proxy-Attempts")) == (503, b"1")
        assert b"".join(rig.provider.arrived).count(body) == 1


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
async def test_a_length_above_max_body_is_refused_before_any_byte_of_it(expect: bytes) -> None:
    async with proxied(max_body=100, retry_body=10) as rig, rig.client() as client:
        reply = await client.ask(post()[:-2] + expect + b"Content-Length: 101\r\n\r\n")
        assert (reply.status, reply.problem()["outcome"]) == (413, "not_sent")
        assert reply.one("Connection") == b"close"
        assert rig.provider.peers == []


async def test_chunks_above_max_body_are_refused_as_soon_as_they_are() -> None:
    async with proxied(max_body=100, retry_body=10) as rig, rig.client() as client:
        reply = await client.ask(post(CHUNKED, body=b"64\r\n" + b"x" * 100 + b"\r\n1\r\nx"))
        assert (reply.status, reply.problem()["outcome"]) == (413, "not_sent")
        assert rig.provider.peers == []


@pytest.mark.parametrize("size", [100, 10, 11])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_of_exactly_the_limit_passes(size: int, chunked: bool) -> None:
    body = b"x" * size
    wire = post(CHUNKED, body=b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)) if chunked else sized(body)
    async with proxied(max_body=100, retry_body=10) as rig:
        assert (await rig.ask(wire)).status == 200
        assert rig.provider.arrived[0].endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize("retry_body", [1 << 20, 1])
@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue"])
async def test_a_client_that_asks_is_told_once_to_go_on(retry_body: int, value: bytes) -> None:
    async with proxied(retry_body=retry_body) as rig, rig.client() as client:
        await client.send(post(b"Expect: " + value, b"Content-Length: 2"))
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        reply = await client.ask(b"{}")
        assert (reply.status, reply.body) == (200, b"ok")
        assert rig.provider.arrived == [arriving(rig, b"{}")]
        assert (await client.ask(sized(b"[]"))).status == 200


async def test_an_http_1_0_client_cannot_ask_to_go_on() -> None:
    async with proxied() as rig:
        reply = await rig.ask(
            sized(b"{}").replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"X-Req", b"Expect: 100-continue\r\nX-Req")
        )
        assert reply.status == 200


async def test_a_body_that_comes_too_slowly_is_refused_408_and_nothing_is_sent() -> None:
    slow = {"connect": "50ms", "attempt": "100ms", "total": "200ms"}
    async with proxied(timeouts=slow) as rig, rig.client() as client:
        reply = await client.ask(post(b"Content-Length: 5", body=b"123"))
        assert (reply.status, reply.problem()["outcome"]) == (408, "not_sent")
        assert reply.one("Connection") == b"close"
        assert rig.provider.peers == []


async def test_a_client_that_leaves_within_its_body_causes_nothing() -> None:
    async with proxied() as rig, rig.client() as client:
        await client.send(post(b"Content-Length: 5", body=b"1234"))
        client.reset()
        (finished,) = await rig.finished()
        assert (finished.status, finished.outcome, finished.attempts) == (400, "not_sent", 0)
        assert rig.provider.peers == []


async def test_a_streamed_body_that_breaks_off_never_arrives_whole() -> None:
    body = os.urandom(300_000)

    async def keep(peer: Peer) -> None:
        await peer.gone()
        peer.close()

    async with proxied(keep, retry_body=10) as rig, rig.client() as client:
        await client.send(post(b"Content-Length: 300001", body=body))
        await until(lambda: bool(rig.provider.peers) and len(rig.provider.arrived[0]) > 100_000)
        client.reset()
        (finished,) = await rig.finished()
        assert (finished.status, finished.outcome, finished.attempts) == (400, "unknown", 1)
        await rig.provider.done()
        assert len(rig.provider.arrived) == 1
        assert len(rig.provider.arrived[0].partition(b"\r\n\r\n")[2]) <= len(body)


async def test_a_client_that_pauses_within_a_streamed_body_is_not_held_against_the_provider() -> None:
    """The provider has not even got the request: its silence says nothing of its health."""
    quick = {"connect": "50ms", "attempt": "100ms", "total": "300ms"}
    async with proxied(retry_body=10, timeouts=quick, breaker={"consecutive_failures": 1}) as rig:
        async with rig.client() as client:
            reply = await client.ask(post(b"Content-Length: 100", body=b"1"))
            assert reply.status == 408
            assert (reply.problem()["outcome"], reply.problem()["attempts"]) == ("unknown", 1)
        await rig.runtime.forwarders["mock"].gate.flush()
        assert (await rig.ask(sized(b"{}"))).status == 200


async def test_the_provider_may_answer_before_it_has_read_a_streamed_body() -> None:
    async def impatient(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 too much\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")
        await peer.gone()

    async with proxied(impatient, retry_body=10) as rig, rig.client() as client:
        await client.send(post(b"Content-Length: 3000", body=b"x" * 1000))
        reply = await client.reply()
        assert (reply.line, reply.body) == (b"HTTP/1.1 413 too much", b"x")
        await client.send(b"x" * 2000)
        assert (await client.ask(sized(b"abc"))).status == 413
