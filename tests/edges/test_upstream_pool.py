"""When a connection carries another request, and when it must not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.edges.hostile import OK, answering, serving, until
from tests.edges.upstream_kit import PAYMENT, answered, connected, on_both_loops, payment, whole

if TYPE_CHECKING:
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
