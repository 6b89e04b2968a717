"""A provider that answers before it has read: the connection still holds half a request and carries no other one."""

from __future__ import annotations

import pytest

from tests.edges.hostile import PATIENCE, Peer, serving
from tests.edges.upstream_kit import answered, connected, on_both_loops, payment, whole

FULL = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize("size", [20 << 20])
@on_both_loops
async def test_what_is_not_yet_written_is_never_followed_by_another_request(size: int) -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        heads.append(await peer.head())
        early = len(heads) == 1
        await peer.send(FULL if early else OK)
        if not early:
            await peer.gone()

    async with serving(script) as server, connected(server.port) as upstream:
        first = await upstream.send(payment(body=b"x" * size), timeout=PATIENCE)
        assert (answered(first).status, whole(first)) == (413, b"big")
        assert len(upstream._pool) == 0
        second = await upstream.send(payment(), timeout=PATIENCE)
        assert whole(second) == b"ok"
    assert len(heads) == 2, "each on a connection of its own"
