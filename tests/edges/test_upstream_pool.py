"""When a connection carries another request, and when it must not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.core.model import Certainty, Response, WireError
from tests.edges.hostile import OK, PATIENCE, answering, closing_on_second_request, hang, serving, turns, until
from tests.edges.upstream_kit import PAYMENT, answered, connected, failed, on_both_loops, payment, streamed, told, whole

if TYPE_CHECKING:
    from proxy.edges.upstream import HttpUpstream
    from tests.edges.hostile import Peer


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.mark.parametrize(
    ("raw", "connections"),
    [
        (OK, 1),
        (b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", 1),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 2),
        (b"HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 0\r\n\r\n", 2),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", 2),
        (OK + b"HTTP/1.1 ", 2),
        (OK + b"junk", 2),
    ],
)
@on_both_loops
async def test_a_connection_is_used_again_only_where_the_answer_allows_it(raw: bytes, connections: int) -> None:
    async with serving(answering(raw)) as server, connected(server.port) as upstream:
        for _ in range(2):
            assert answered(await upstream.send(payment(), timeout=5)).status in {200, 500}
    assert server.arrived == ([PAYMENT * 2] if connections == 1 else [PAYMENT, PAYMENT])


@pytest.mark.parametrize("extra", [b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n"])
@on_both_loops
async def test_a_body_after_head_spoils_the_connection(extra: bytes) -> None:
    length = b"Content-Length: 5" if extra == b"hello" else b"Transfer-Encoding: chunked"
    raw = b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n" + extra
    async with serving(answering(raw, OK)) as server, connected(server.port) as upstream:
        for _ in range(2):
            assert whole(await upstream.send(payment("HEAD", body=None), timeout=5)) == b""
    assert len(server.peers) == 2


@pytest.mark.parametrize(
    ("idle", "max_idle_age", "reused"),
    [
        (0, None, True),
        (14.9, None, True),
        (15, None, False),
        (0, 0, False),
        (0.9, 1, True),
        (1, 1, False),
        (20, 60, False),
    ],
)
@on_both_loops
async def test_idle_age_decides_on_reuse(idle: float, max_idle_age: float | None, reused: bool) -> None:
    clock = Clock()
    async with serving(answering(OK)) as server, connected(server.port, now=clock) as upstream:
        await upstream.send(payment(), timeout=5)
        clock.time += idle
        await upstream.send(payment(), timeout=5, max_idle_age=max_idle_age)
    assert server.arrived == ([PAYMENT * 2] if reused else [PAYMENT, PAYMENT])


@on_both_loops
async def test_the_connection_used_last_is_used_first() -> None:
    clock = Clock()
    both = asyncio.Barrier(2)

    async def script(peer: Peer) -> None:
        await peer.request()
        await both.wait()
        await peer.send(OK)
        while await peer.request():
            await peer.send(OK)

    async with serving(script) as server, connected(server.port, now=clock) as upstream:
        await asyncio.gather(upstream.send(payment(), timeout=5), upstream.send(payment(), timeout=5))
        assert len(upstream._pool) == 2
        for _ in range(3):
            await upstream.send(payment(), timeout=5)
        clock.time += 14
        await upstream.send(payment(), timeout=5)
        clock.time += 1  # one of the two has now been idle for 15 s, and goes when the other comes back
        await upstream.send(payment(), timeout=5)
        assert len(upstream._pool) == 1
    assert sorted(server.arrived, key=len) == [PAYMENT, PAYMENT * 6]


@on_both_loops
async def test_no_more_than_max_idle_connections_are_kept() -> None:
    async with serving(answering(OK)) as server, connected(server.port, max_idle=2) as upstream:
        await asyncio.gather(*[upstream.send(payment(), timeout=5) for _ in range(8)])
        assert len(server.peers) == 8
        assert len(upstream._pool) == 2


@on_both_loops
async def test_closing_ends_idle_connections_at_once_and_busy_ones_after_use() -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        while request := await peer.request():
            if b"wait" in request:
                await go.wait()
            await peer.send(OK)

    async with serving(script) as server, connected(server.port) as upstream:
        busy = asyncio.create_task(upstream.send(payment(body=b"wait"), timeout=5))
        await until(lambda: b"".join(server.arrived).endswith(b"wait"))
        await upstream.send(payment(), timeout=5)
        await upstream.aclose()
        async with asyncio.timeout(5):
            await server.tasks[1]
        assert not server.tasks[0].done()
        go.set()
        assert whole(await busy) == b"ok"
        await server.done()
        assert len(upstream._pool) == 0


@on_both_loops
async def test_a_connection_given_back_after_the_end_is_closed_streamed_ones_too() -> None:
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000
    async with serving(answering(large)) as server, connected(server.port, buffer_limit=1000) as upstream:
        answer = await upstream.send(payment(), timeout=5)
        await upstream.aclose()
        assert sum([len(chunk) async for chunk in streamed(answer)]) == 300_000
        await server.done()
        assert len(upstream._pool) == 0


@on_both_loops
async def test_idle_connections_are_closed_in_time_though_nobody_sends_any_more() -> None:
    async with serving(answering(OK)) as server, connected(server.port, idle_seconds=0.1) as upstream:
        await asyncio.gather(*[upstream.send(payment(), timeout=5) for _ in range(4)])
        assert len(upstream._pool) == 4
        await server.done()
        assert len(upstream._pool) == 0
        await until(lambda: upstream._pool._timer is None)  # nothing to trim, nothing to do
        await upstream.send(payment(), timeout=5)
        assert upstream._pool._timer is not None


@on_both_loops
async def test_the_timer_leaves_what_is_still_good() -> None:
    clock = Clock()
    async with serving(answering(OK)) as server, connected(server.port, idle_seconds=15, now=clock) as upstream:
        await asyncio.gather(*[upstream.send(payment(), timeout=5) for _ in range(2)])
        clock.time += 10
        await upstream.send(payment(), timeout=5)
        clock.time += 5
        upstream._pool._turn()
        assert len(upstream._pool) == 1
        clock.time += 10
        upstream._pool._turn()
        assert len(upstream._pool) == 0
        assert upstream._pool._timer is None
        await server.done()


@pytest.mark.parametrize(("draw", "age"), [(0.0, 54.0), (0.5, 60.0), (0.999, 65.9)])
@on_both_loops
async def test_a_connection_is_retired_at_about_its_maximum_age_while_traffic_goes_on(draw: float, age: float) -> None:
    clock = Clock()
    async with serving(answering(OK)) as server, connected(server.port, now=clock, draw=lambda: draw) as upstream:
        await upstream.send(payment(), timeout=5)
        for _ in range(10):
            clock.time += age / 10 - 0.001
            await upstream.send(payment(), timeout=5)
        assert len(server.peers) == 1
        clock.time += 0.1
        await upstream.send(payment(), timeout=5)
    assert server.arrived == [PAYMENT * 11, PAYMENT]


@on_both_loops
async def test_a_connection_that_grew_too_old_in_use_is_not_kept() -> None:
    clock = Clock()

    async def script(peer: Peer) -> None:
        await peer.request()
        clock.time += 61
        await peer.send(OK)
        await peer.gone()

    async with serving(script) as server, connected(server.port, now=clock, draw=lambda: 0.5) as upstream:
        await upstream.send(payment(), timeout=5)
        assert len(upstream._pool) == 0
        await server.done()


@on_both_loops
async def test_who_says_503_is_used_for_a_few_seconds_more_at_most() -> None:
    busy = b"HTTP/1.1 503 Draining\r\nContent-Length: 0\r\n\r\n"
    clock = Clock()
    async with serving(answering(busy, OK)) as server, connected(server.port, now=clock) as upstream:
        for seconds in (0, 0, 4.9):
            clock.time += seconds
            await upstream.send(payment(), timeout=5)
        assert len(server.peers) == 1
        clock.time += 0.1
        await upstream.send(payment(), timeout=5)
    assert server.arrived == [PAYMENT * 3, PAYMENT]


# Connections that are dead without having been closed


class Silent:
    """A provider whose connections can all be made to go silent, while new ones work."""

    def __init__(self) -> None:
        self.dead: set[Peer] = set()
        self.alive: set[Peer] = set()
        self.together: asyncio.Barrier | None = None

    async def __call__(self, peer: Peer) -> None:
        self.alive.add(peer)
        while await peer.request():
            if peer in self.dead:
                await peer.gone()
                return
            if self.together is not None:
                await self.together.wait()
            await peer.send(OK)

    def go_silent(self) -> None:
        self.dead |= self.alive


@on_both_loops
async def test_after_a_silence_nothing_that_was_idle_before_it_is_used() -> None:
    provider = Silent()
    provider.together = asyncio.Barrier(8)
    async with serving(provider) as server, connected(server.port) as upstream:
        await asyncio.gather(*[upstream.send(payment(), timeout=5) for _ in range(8)])
        assert len(upstream._pool) == 8
        provider.together = None
        provider.go_silent()
        failure = await upstream.send(payment(), timeout=0.05)
        assert told(failure) == (Certainty.NO_ANSWER, WireError.TIMEOUT)
        assert len(upstream._pool) == 0
        assert whole(await upstream.send(payment(), timeout=5)) == b"ok"
        assert len(server.peers) == 9


@on_both_loops
async def test_what_was_given_back_during_a_silence_is_alive_and_kept() -> None:
    clock = Clock()
    provider = Silent()
    provider.together = asyncio.Barrier(2)
    async with serving(provider) as server, connected(server.port, now=clock) as upstream:
        await asyncio.gather(*[upstream.send(payment(), timeout=5) for _ in range(2)])
        provider.together = None
        first, second = server.peers
        dead = first if _port(upstream) == first._sock.getpeername()[1] else second
        provider.dead = {dead}
        silent = asyncio.create_task(upstream.send(payment(), timeout=0.2))
        await until(lambda: dead.received.count(b"POST") == 2)
        clock.time += 1
        assert whole(await upstream.send(payment(), timeout=5)) == b"ok"
        failed(await silent)
        assert len(upstream._pool) == 1
        assert whole(await upstream.send(payment(), timeout=5)) == b"ok"
        assert len(server.peers) == 2


def _port(upstream: HttpUpstream) -> int:
    """Our end of the connection that will be used next."""
    transport = upstream._pool._idle[-1]._transport
    assert transport is not None
    port: int = transport.get_extra_info("sockname")[1]
    return port


@on_both_loops
async def test_a_silence_on_a_fresh_connection_says_nothing_of_the_pooled_ones() -> None:
    provider = answering(OK)

    async def script(peer: Peer) -> None:
        await (provider if peer is server.peers[0] else hang)(peer)

    async with serving(script) as server, connected(server.port) as upstream:
        await upstream.send(payment(), timeout=5)
        failed(await upstream.send(payment(), timeout=0.05, max_idle_age=0))
        assert len(upstream._pool) == 1
        assert whole(await upstream.send(payment(), timeout=5)) == b"ok"
        assert len(server.peers) == 2


# Hosts that close what they let us keep


async def closing_soon(peer: Peer) -> None:
    """Answers, lets the connection be kept, and closes it a moment later."""
    await peer.request()
    await peer.send(OK)
    await turns(3)
    peer.close()


@on_both_loops
async def test_a_host_that_closes_right_after_each_answer_is_learnt() -> None:
    clock = Clock()
    async with serving(closing_soon) as server, connected(server.port, now=clock) as upstream:
        for _ in range(3):
            answered(await upstream.send(payment(), timeout=5))
            await until(lambda: len(upstream._pool) == 0)
            clock.time += 1
        for _ in range(50):  # each of these would race with the close
            answered(await upstream.send(payment(), timeout=5))
    assert server.arrived == [PAYMENT] * 53


@on_both_loops
async def test_a_host_that_closes_when_it_is_asked_again_is_learnt() -> None:
    clock = Clock()
    unknown = 0
    async with serving(closing_on_second_request) as server, connected(server.port, now=clock) as upstream:
        for _ in range(50):
            unknown += not isinstance(await upstream.send(payment(), timeout=5), Response)
            clock.time += 0.01
    assert unknown == 3
    assert len(server.peers) == 47


@on_both_loops
async def test_of_a_host_that_is_not_trusted_a_few_connections_are_watched_and_it_recovers() -> None:
    clock = Clock()
    async with serving(answering(OK)) as server, connected(server.port, now=clock) as upstream:
        for _ in range(3):
            upstream._pool.refused(0.0)
            clock.time += 1
        for number in range(12):
            answered(await upstream.send(payment(), timeout=5))
            assert len(upstream._pool) == min(number + 1, 8)
        assert len(server.peers) == 12
        clock.time += 15
        upstream._pool._turn()  # they were kept for all of the time that anyone would have used them
        assert len(upstream._pool) == 0
        for _ in range(5):
            answered(await upstream.send(payment(), timeout=5))
    assert len(server.peers) == 13


@on_both_loops
async def test_part_of_a_request_still_unsent_spoils_the_connection() -> None:
    """Kept, the rest of the old request would go out before the next one."""

    async def script(peer: Peer) -> None:
        if b"100000000" not in await peer.head():
            await peer.send(OK)
            await peer.gone()
            return
        await peer.send(OK)  # the body stays where it is
        await asyncio.sleep(PATIENCE)

    body = b"x" * 100_000_000
    async with serving(script) as server, connected(server.port) as upstream:
        assert whole(await upstream.send(payment(body=body), timeout=5)) == b"ok"
        assert len(upstream._pool) == 0
        assert whole(await upstream.send(payment(), timeout=5)) == b"ok"
    assert len(server.peers) == 2
