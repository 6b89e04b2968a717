"""Holdfasts in a row pay as one does; a loop of them ends, with nothing sent."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from tests.dataplane.rig import OK, Rig, proxied, replica
from tests.edges.hostile import Peer, Server, serving, until

POST = b"POST /api/payment HTTP/1.1"
KEYED = {"profile": "generic"}


@contextlib.asynccontextmanager
async def relay(port: Callable[[], int]) -> AsyncIterator[Server]:
    """A load balancer of the plainest kind: each connection goes to the next of its ports."""
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port())
        writers.extend((writer, back))
        for ends in ((reader, back), (there, writer)):
            tasks.add(asyncio.create_task(pipe(*ends)))

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    async with server:
        yield Server(server.sockets[0].getsockname()[1])
        for task in tasks:
            task.cancel()
        for writer in writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def nothing_listens() -> Server:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return Server(sock.getsockname()[1])


@pytest.mark.parametrize("given", [[], [b"X-Request-Id: r"], [b"X-Request-Id: not a plain one"], [b"Via: 1.1 edge"]])
async def test_a_replica_that_is_its_own_upstream_says_508_and_nothing_was_sent(given: list[bytes]) -> None:
    port = 0
    async with relay(lambda: port) as itself, replica(itself, **KEYED) as rig:
        port = rig.port
        reply = await rig.ask(b"\r\n".join([POST, b"Host: shop", b"Idempotency-Key: k", *given, b"", b""]))
        assert (reply.status, reply.one("X-Payment-Outcome")) == (508, b"not_sent")
        assert reply.one("X-Proxy-Attempts") == b"1"
        assert b"proxy_loop_detected" in reply.body
        assert reply.all("X-Proxy-Loop") == []
        inner, outer = await rig.finished(2)
        assert (inner.malformed, inner.error, inner.status) == ("loop", "proxy_loop_detected", 508)
        assert (outer.status, outer.outcome, outer.attempts) == (508, "not_sent", 1)


async def test_connection_cannot_hide_a_loop() -> None:
    port = 0
    async with relay(lambda: port) as itself, replica(itself, **KEYED) as rig:
        port = rig.port
        reply = await rig.ask(rig.request(POST, b"Connection: Via, X-Request-Id"))
        assert (reply.status, reply.one("X-Payment-Outcome")) == (508, b"not_sent")


async def test_a_loop_over_several_replicas_ends_as_well() -> None:
    ports: list[int] = []
    turn = itertools.count()
    balanced = lambda: ports[next(turn) % len(ports)]  # noqa: E731
    once = {"retry": {"max_retries": 0, "backoff_ms": [0]}}
    async with relay(balanced) as balancer, contextlib.AsyncExitStack() as stack:
        rigs = [await stack.enter_async_context(replica(balancer, **once, **KEYED)) for _ in range(3)]
        ports += [rig.port for rig in (*rigs[1:], rigs[0])]
        reply = await rigs[0].ask(rigs[0].request(POST))
        assert reply.status == 508
        assert [len(await rig.finished()) for rig in rigs] == [2, 1, 1]


@contextlib.asynccontextmanager
async def two(
    provider: Server, *, trusted: bool, inner: Mapping[str, object] | None = None
) -> AsyncIterator[tuple[Rig, Rig]]:
    """An outer replica, an inner one behind it, and a provider."""
    async with (
        replica(provider, **KEYED, **(inner or {})) as within,
        replica(Server(within.port), trust_outcome=trusted, **KEYED) as outer,
    ):
        yield outer, within


@pytest.mark.parametrize("trusted", [False, True])
async def test_two_in_a_row_pay_as_one_does(trusted: bool) -> None:
    async with proxied() as far, two(far.provider, trusted=trusted) as (outer, within):
        reply = await outer.ask(outer.request(POST))
        assert (reply.status, reply.one("X-Payment-Outcome")) == (200, b"final")
        (arrived,) = far.provider.arrived
        assert b"Via: " + outer.via + b"\r\n" in arrived
        assert b"Via: " + within.via + b"\r\n" in arrived


@pytest.mark.parametrize(("trusted", "outcome"), [(True, b"not_sent"), (False, b"unknown")])
async def test_what_the_inner_one_did_not_send_was_not_sent_where_it_is_trusted(trusted: bool, outcome: bytes) -> None:
    once = {"retry": {"max_retries": 0, "backoff_ms": [0]}}
    async with two(await nothing_listens(), trusted=trusted, inner=once) as (outer, _):
        reply = await outer.ask(outer.request(POST))
        assert (reply.status, reply.one("X-Payment-Outcome"), reply.one("X-Proxy-Attempts")) == (502, outcome, b"4")


async def test_an_unkeyed_payment_is_sent_again_when_the_inner_one_sent_nothing() -> None:
    """The provider comes up between two attempts: refused first, then paid, and once."""
    there = await nothing_listens()
    once = {"retry": {"max_retries": 0, "backoff_ms": [0]}, "inject_key": False}
    slowly = {"retry": {"max_retries": 10, "backoff_ms": [50], "jitter": "none"}, "inject_key": False}
    async with (
        replica(there, **KEYED, **once) as within,
        replica(Server(within.port), trust_outcome=True, **KEYED, **slowly) as outer,
    ):
        asking = asyncio.create_task(outer.ask(POST + b"\r\nHost: shop\r\n\r\n"))
        await within.finished()
        arrived: list[bytes] = []

        async def provider(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            arrived.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(OK)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(provider, "127.0.0.1", there.port)
        async with server:
            reply = await asking
            assert (reply.status, reply.one("X-Payment-Outcome")) == (200, b"final")
            assert len(arrived) == 1


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("keyed", [False, True])
async def test_what_is_unknown_to_the_inner_one_stays_unknown(trusted: bool, keyed: bool) -> None:
    """Its 424 for an unkeyed write would be a mere refusal from anybody else, and final."""

    async def silent(peer: Peer) -> None:
        await peer.request()
        peer.close()

    inner = {"retry": {"max_retries": 0, "backoff_ms": [0]}, "inject_key": False}
    async with serving(silent) as provider, replica(provider, **KEYED, **inner) as within:
        outer_upstream = {"trust_outcome": trusted, "inject_key": False}
        async with replica(Server(within.port), **KEYED, **outer_upstream) as outer:
            request = outer.request(POST) if keyed else POST + b"\r\nHost: shop\r\n\r\n"
            reply = await outer.ask(request)
            assert reply.one("X-Payment-Outcome") == b"unknown"
            await until(lambda: bool(provider.peers))
            assert keyed or len(provider.peers) == 1


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_provider_cannot_say_not_sent_in_our_name(trusted: bool) -> None:
    """Trust is for what a Holdfast made itself: the provider's own 500 that passed through one is not."""
    lie = b"HTTP/1.1 500 no\r\nX-Payment-Outcome: not_sent\r\nContent-Length: 0\r\n\r\n"
    async with proxied(lie, trust_outcome=trusted, **KEYED) as rig:
        assert (await rig.ask(rig.request(POST))).one("X-Payment-Outcome") == b"unknown"
