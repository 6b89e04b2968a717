"""Bodies too large to keep, in both directions: backpressure, flat memory, and how they end early."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from proxy.core.model import Certainty, WireError
from proxy.edges.wire import RequestCut, ResponseCut
from tests.edges.hostile import (
    OK,
    PATIENCE,
    answering,
    answering_then_eof,
    answering_then_hanging,
    eof_after_reading,
    hang,
    reading,
    serving,
    turns,
    until,
)
from tests.edges.upstream_kit import PAYMENT, answered, connected, on_both_loops, payment, streamed, told, whole

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Any

    from proxy.core.model import Result
    from tests.edges.hostile import Peer, Script

MEBIBYTE = 1024 * 1024
LIMIT = 64 * 1024
BODY = bytes(range(256)) * 1024  # 256 KiB
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


async def read_into(chunks: list[bytes], result: Result) -> None:
    async for chunk in streamed(result):
        chunks.append(chunk)  # noqa: PERF401 - what came before an exception must not be lost


async def read_all(result: Result) -> bytes:
    return b"".join([chunk async for chunk in streamed(result)])


# Answers


@pytest.mark.parametrize(("size", "buffered"), [(LIMIT, True), (LIMIT + 1, False)])
@pytest.mark.parametrize("chunked", [True, False])
@on_both_loops
async def test_only_what_exceeds_the_limit_is_streamed(size: int, buffered: bool, chunked: bool) -> None:
    body = BODY[:size]
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body
    if chunked:
        raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    async with serving(answering(raw)) as server, connected(server.port, buffer_limit=LIMIT) as upstream:
        answer = await upstream.send(payment(), timeout=5)
        received = whole(answer) if buffered else await read_all(answer)
        again = await upstream.send(payment(), timeout=5)
        assert len(upstream._pool) == (1 if buffered else 0)
    assert received == body
    assert answered(again).status == 200
    assert server.arrived == [PAYMENT * 2]


@on_both_loops
async def test_fifty_megabytes_keep_memory_flat_and_the_server_waiting() -> None:
    piece = BODY * 4
    total = 50 * MEBIBYTE

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        for _ in range(50):
            await peer.send(piece)
        await peer.gone()

    async with serving(script) as server, connected(server.port) as upstream:
        tracemalloc.start()
        try:
            answer = await upstream.send(payment(), timeout=PATIENCE)
            await turns(2000)  # nobody reads; the rest is in the sockets' buffers or still with the server
            assert server.peers[0].sent < total / 2
            received = 0
            async for chunk in streamed(answer):
                assert len(chunk) <= MEBIBYTE
                received += len(chunk)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(upstream._pool) == 1
    assert received == total
    assert peak < 4 * MEBIBYTE


@on_both_loops
async def test_events_are_passed_on_as_they_come() -> None:
    told = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\r\n")
        await peer.send(b"data: 1\n\n")
        await told.wait()
        await peer.send(b"data: 2\n\n")
        peer.close()

    async with serving(script) as server, connected(server.port) as upstream:
        answer = await upstream.send(payment("GET", body=None), timeout=5)
        events = aiter(streamed(answer))
        first = await anext(events)
        told.set()
        assert (first, await anext(events)) == (b"data: 1\n\n", b"data: 2\n\n")
        with pytest.raises(StopAsyncIteration):
            await anext(events)


@on_both_loops
async def test_a_large_body_without_length_ends_with_the_connection() -> None:
    script = answering_then_eof(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)
    async with serving(script) as server, connected(server.port, buffer_limit=LIMIT) as upstream:
        assert await read_all(await upstream.send(payment(), timeout=5)) == BODY


@pytest.mark.parametrize("script", [answering_then_eof(LARGE[:-1]), answering_then_hanging(LARGE[:-1])])
@on_both_loops
async def test_a_streamed_body_that_is_cut_or_falls_silent_raises_after_what_arrived(script: Script) -> None:
    async with serving(script) as server, connected(server.port, buffer_limit=LIMIT) as upstream:
        answer = await upstream.send(payment(), timeout=0.1)
        received: list[bytes] = []
        with pytest.raises(ResponseCut):
            await read_into(received, answer)
        assert b"".join(received) == BODY[:-1]
        with pytest.raises(StopAsyncIteration):
            await anext(aiter(streamed(answer)))
        await server.done()
        assert len(upstream._pool) == 0
    assert server.arrived == [PAYMENT]


@on_both_loops
async def test_junk_within_a_streamed_body_raises() -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY + b"\r\nzz\r\n"
    script = answering_then_hanging(raw)
    async with serving(script) as server, connected(server.port, buffer_limit=LIMIT) as upstream:
        answer = await upstream.send(payment(), timeout=5)
        with pytest.raises(ResponseCut, match="chunk size"):
            await read_all(answer)
        await server.done()


@on_both_loops
async def test_closing_a_stream_early_closes_the_connection() -> None:
    async with serving(answering(LARGE)) as server, connected(server.port, buffer_limit=LIMIT) as upstream:
        answer = await upstream.send(payment(), timeout=5)
        await anext(aiter(streamed(answer)))
        await streamed(answer).aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(aiter(streamed(answer)))
        await server.done()
        assert len(upstream._pool) == 0


@on_both_loops
async def test_cancelling_a_reader_closes_the_connection() -> None:
    script = answering_then_hanging(LARGE[:-1])
    async with serving(script) as server, connected(server.port, buffer_limit=LIMIT) as upstream:
        answer = await upstream.send(payment(), timeout=5)
        reading = asyncio.create_task(read_all(answer))
        await turns()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await server.done()


# Requests


class Failure(Exception):
    pass


async def pieces(*chunks: bytes, then: Exception | None = None, forever: bool = False) -> AsyncGenerator[bytes]:
    for chunk in chunks:
        yield chunk
    if then:
        raise then
    if forever:
        await asyncio.Event().wait()


@on_both_loops
async def test_a_streamed_request_arrives_whole_and_its_connection_is_kept() -> None:
    async with serving(answering(OK)) as server, connected(server.port) as upstream:
        for _ in range(2):
            streamed = payment(body=pieces(BODY, b"", BODY[:7]), length=len(BODY) + 7)
            assert whole(await upstream.send(streamed, timeout=5)) == b"ok"
    head = b"POST /api/payment HTTP/1.1\r\nHost: upstream\r\nContent-Length: %d\r\n\r\n" % (len(BODY) + 7)
    assert server.arrived == [(head + BODY + BODY[:7]) * 2]


@on_both_loops
async def test_a_slow_server_sets_the_pace_of_a_streamed_request() -> None:
    given = 0

    async def produce() -> AsyncGenerator[bytes]:
        nonlocal given
        for _ in range(128):
            given += len(BODY)
            yield BODY

    async def script(peer: Peer) -> None:
        await peer.readable()
        await turns(2000)  # far more than it takes to hand over everything, were nobody to wait
        stalled.append(given)
        received = 0
        while received < total:
            received += len(await peer.read())
            peer.received = b""
        await peer.send(OK)
        await peer.gone()

    total = 128 * len(BODY)
    stalled: list[int] = []
    async with serving(script) as server, connected(server.port) as upstream:
        answer = await upstream.send(payment(headers=(), body=produce(), length=total), timeout=PATIENCE)
    assert whole(answer) == b"ok"
    assert stalled[0] < total / 2


@on_both_loops
async def test_an_early_answer_ends_a_streamed_request_and_its_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await peer.gone()

    async with serving(script) as server, connected(server.port) as upstream:
        answer = await upstream.send(payment(body=pieces(b"abc", forever=True), length=10), timeout=5)
        await server.done()
        assert len(upstream._pool) == 0
    assert (answered(answer).status, whole(answer)) == (413, b"big")
    assert server.arrived == [PAYMENT.replace(b"Length: 2", b"Length: 10")[:-2] + b"abc"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (lambda: pieces(b"abc", then=Failure()), Failure),
        (lambda: pieces(b"abc"), RequestCut),
        (lambda: pieces(b"abc", b"defghijk"), RequestCut),
    ],
    ids=["raises", "short", "long"],
)
@on_both_loops
async def test_a_request_stream_that_fails_closes_the_connection_and_raises(body: Any, error: Any) -> None:
    async with serving(reading) as server, connected(server.port) as upstream:
        with pytest.raises(error):
            await upstream.send(payment(body=body(), length=10), timeout=5)
        await server.done()
        assert len(upstream._pool) == 0
    assert server.arrived == [PAYMENT.replace(b"Length: 2", b"Length: 10")[:-2] + b"abc"]


@pytest.mark.parametrize(
    ("script", "error"), [(hang, WireError.TIMEOUT), (eof_after_reading, WireError.RESET)], ids=["hang", "eof"]
)
@on_both_loops
async def test_a_streamed_request_without_answer_is_unknown(script: Script, error: Any) -> None:
    async with serving(script) as server, connected(server.port) as upstream:
        failure = await upstream.send(payment(body=pieces(b"{}"), length=2), timeout=0.1)
        await server.done()
    assert told(failure) == (Certainty.NO_ANSWER, error)
    assert server.arrived == [PAYMENT]


@on_both_loops
async def test_a_cancelled_streamed_request_closes_its_connection_and_its_stream() -> None:
    closed = asyncio.Event()

    async def produce() -> AsyncGenerator[bytes]:
        try:
            yield b"abc"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with serving(reading) as server, connected(server.port) as upstream:
        sending = asyncio.create_task(upstream.send(payment(body=produce(), length=10), timeout=5))
        await until(lambda: b"".join(server.arrived).endswith(b"abc"))
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert closed.is_set()
        await server.done()
