"""Every way an upstream can fail: what is known afterwards, and what had arrived."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.core.model import Certainty, WireError
from tests.edges.hostile import (
    OK,
    answering,
    answering_then_eof,
    answering_then_hanging,
    answering_then_reset,
    blackhole,
    closing_on_second_request,
    eof_after_reading,
    hang,
    refused_port,
    reset_after_reading,
    reset_unread,
    serving,
    until,
)
from tests.edges.upstream_kit import PAYMENT, answered, connected, failed, on_both_loops, payment, told, whole

if TYPE_CHECKING:
    from tests.edges.hostile import Peer, Script


# Nothing was sent


@on_both_loops
async def test_refused() -> None:
    async with connected(refused_port()) as upstream:
        failure = await upstream.send(payment(), timeout=5)
    assert told(failure) == (Certainty.NOT_SENT, WireError.REFUSED)
    assert failed(failure).detail == "ECONNREFUSED"


@on_both_loops
async def test_refused_on_every_address_of_a_name() -> None:
    async with connected(refused_port(), host="localhost") as upstream:
        failure = await upstream.send(payment(), timeout=5)
    assert told(failure) == (Certainty.NOT_SENT, WireError.REFUSED)


@pytest.mark.parametrize(("connect_timeout", "timeout"), [(0.05, 5), (5, 0.05)])
@on_both_loops
async def test_a_blackhole_costs_the_shorter_of_the_two_timeouts(connect_timeout: float, timeout: float) -> None:
    loop = asyncio.get_running_loop()
    with blackhole() as port:
        async with connected(port, connect_timeout=connect_timeout) as upstream:
            started = loop.time()
            failure = await upstream.send(payment(), timeout=timeout)
    assert told(failure) == (Certainty.NOT_SENT, WireError.CONNECT_TIMEOUT)
    assert 0.04 < loop.time() - started < 2


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 300])
@on_both_loops
async def test_names_that_do_not_resolve(host: str) -> None:
    async with connected(1, host=host) as upstream:
        failure = await upstream.send(payment(), timeout=5)
    assert told(failure) == (Certainty.NOT_SENT, WireError.DNS)


# Sent, and no answer


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("script", [reset_after_reading, eof_after_reading])
@on_both_loops
async def test_closed_after_reading_is_unknown_and_sent_once(script: Script, method: str) -> None:
    async with serving(script) as server, connected(server.port) as upstream:
        failure = await upstream.send(payment(method), timeout=5)
    assert told(failure) == (Certainty.NO_ANSWER, WireError.RESET)
    assert server.arrived == [PAYMENT.replace(b"POST", method.encode())]


@on_both_loops
async def test_reset_before_reading_looks_the_same_and_is_unknown() -> None:
    async with serving(reset_unread) as server, connected(server.port) as upstream:
        failure = await upstream.send(payment(), timeout=5)
    assert told(failure) == (Certainty.NO_ANSWER, WireError.RESET)
    assert len(server.peers) == 1


@pytest.mark.parametrize("script", [hang, answering_then_hanging(b"HTTP/1.1 200 OK\r\nContent-", b"Length: 2\r\n")])
@on_both_loops
async def test_no_head_in_time(script: Script) -> None:
    async with serving(script) as server, connected(server.port) as upstream:
        failure = await upstream.send(payment(), timeout=0.05)
        await server.done()
    assert told(failure) == (Certainty.NO_ANSWER, WireError.TIMEOUT)
    assert server.arrived == [PAYMENT]


@pytest.mark.parametrize(
    "raw", [b"HTT", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n", b"HTTP/1.1 103 E\r\n\r\n"]
)
@on_both_loops
async def test_a_cut_head_is_no_answer(raw: bytes) -> None:
    async with serving(answering_then_eof(raw)) as server, connected(server.port) as upstream:
        failure = await upstream.send(payment(), timeout=5)
    assert told(failure) == (Certainty.NO_ANSWER, WireError.RESET)
    assert failed(failure).status is None
    assert server.arrived == [PAYMENT]


# Sent, and an answer that is not whole

CUT_BODIES = [
    b"HTTP/1.1 201 Created\r\nX-Id: 7\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 201 Created\r\nX-Id: 7\r\nContent-Length: 5\r\n\r\nabcd",
    b"HTTP/1.1 201 Created\r\nX-Id: 7\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 201 Created\r\nX-Id: 7\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
    b"HTTP/1.1 201 Created\r\nX-Id: 7\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n",
]


@pytest.mark.parametrize("raw", CUT_BODIES)
@on_both_loops
async def test_a_cut_body_keeps_status_and_headers(raw: bytes) -> None:
    async with serving(answering_then_eof(raw)) as server, connected(server.port) as upstream:
        failure = await upstream.send(payment(), timeout=5)
    assert told(failure) == (Certainty.CUT, WireError.CUT)
    assert failed(failure).status == 201
    assert failed(failure).headers[0] == (b"X-Id", b"7")
    assert server.arrived == [PAYMENT]


@pytest.mark.parametrize("raw", [*CUT_BODIES, b"HTTP/1.1 201 Created\r\nX-Id: 7\r\n\r\nabc"])
@on_both_loops
async def test_a_slow_body_is_cut_at_the_timeout(raw: bytes) -> None:
    async with serving(answering_then_hanging(raw)) as server, connected(server.port) as upstream:
        failure = await upstream.send(payment(), timeout=0.05)
        await server.done()
    assert told(failure) == (Certainty.CUT, WireError.TIMEOUT)
    assert (failed(failure).status, failed(failure).headers[0]) == (201, (b"X-Id", b"7"))
    assert server.arrived == [PAYMENT]


@on_both_loops
async def test_a_body_without_length_is_cut_by_a_reset() -> None:
    seen = asyncio.Event()
    script = answering_then_reset(b"HTTP/1.1 201 Created\r\n\r\nabc", seen)
    async with serving(script) as server, connected(server.port) as upstream:
        sending = asyncio.create_task(upstream.send(payment(), timeout=5))
        await until(lambda: bool(server.peers) and server.peers[0].sent > 0)
        asyncio.get_running_loop().call_later(0.02, seen.set)
        failure = await sending
    assert told(failure) == (Certainty.CUT, WireError.CUT)
    assert server.arrived == [PAYMENT]


# Kept-alive connections that are not


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@on_both_loops
async def test_the_keep_alive_race_is_unknown_and_never_repeated(method: str) -> None:
    async with serving(closing_on_second_request) as server, connected(server.port) as upstream:
        first = await upstream.send(payment(method), timeout=5)
        failure = await upstream.send(payment(method), timeout=5)
    assert answered(first).status == 200
    assert told(failure) == (Certainty.NO_ANSWER, WireError.RESET)
    assert server.arrived == [PAYMENT.replace(b"POST", method.encode()) * 2]


@pytest.mark.parametrize("farewell", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", b"\r\n"])
@on_both_loops
async def test_a_connection_that_ended_or_spoke_while_idle_is_replaced(farewell: bytes) -> None:
    idle = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await idle.wait()
        await peer.send(farewell)
        if not farewell:
            peer.close()
        else:
            await peer.gone()

    async with serving(script) as server, connected(server.port) as upstream:
        await upstream.send(payment(), timeout=5)
        kept = upstream._pool._idle[0]
        idle.set()
        await until(lambda: not kept.usable)
        second = await upstream.send(payment(), timeout=5)
    assert whole(second) == b"ok"
    assert server.arrived == [PAYMENT, PAYMENT]


@on_both_loops
async def test_a_second_answer_to_one_request_is_never_given_to_the_next() -> None:
    async with serving(answering(OK + OK.replace(b"ok", b"no"), OK)) as server, connected(server.port) as upstream:
        answers = [await upstream.send(payment(), timeout=5) for _ in range(2)]
    assert [whole(answer) for answer in answers] == [b"ok", b"ok"]
    assert server.arrived == [PAYMENT, PAYMENT]


# Cancellation


@on_both_loops
async def test_a_cancelled_request_closes_its_connection() -> None:
    async with serving(hang) as server, connected(server.port) as upstream:
        sending = asyncio.create_task(upstream.send(payment(), timeout=5))
        await until(lambda: server.arrived == [PAYMENT])
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await server.done()
        assert len(upstream._pool) == 0


@on_both_loops
async def test_a_request_cancelled_when_its_answer_is_there_pools_nothing_twice() -> None:
    async with serving(answering(OK)) as server, connected(server.port) as upstream:
        sending = asyncio.create_task(upstream.send(payment(), timeout=5))
        await until(lambda: bool(server.peers) and server.peers[0].sent > 0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        answers = await asyncio.gather(*[upstream.send(payment(), timeout=5) for _ in range(3)])
    assert [whole(answer) for answer in answers] == [b"ok"] * 3


@on_both_loops
async def test_cancelling_while_connecting_leaves_nothing() -> None:
    with blackhole() as port:
        async with connected(port) as upstream:
            sending = asyncio.create_task(upstream.send(payment(), timeout=5))
            await asyncio.sleep(0.01)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
