"""Every address of a name is tried; a dead one among them costs a stagger, and nothing is sent to the losers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from proxy.core.model import Certainty, WireError
from proxy.edges.resolver import AddressInfo, Resolver
from tests.edges.hostile import OK, answering, blackhole, hang, reading, refused_port, reset_at_once, serving, until
from tests.edges.upstream_kit import PAYMENT, connected, failed, on_both_loops, payment, told, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from proxy.edges.upstream import HttpUpstream

CONNECT_SECONDS = 4.0


def at(port: int, *, host: str = "127.0.0.1") -> AddressInfo:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    address = (host, port, 0, 0) if family == socket.AF_INET6 else (host, port)
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address


class Name:
    """A name whose addresses are set; says how often it was looked up."""

    def __init__(self, *ports: int) -> None:
        self.addresses: Sequence[AddressInfo] = [at(port) for port in ports]
        self.asked = 0

    def __call__(self, host: str, port: int) -> Sequence[AddressInfo]:
        self.asked += 1
        return self.addresses


@contextlib.asynccontextmanager
async def named(name: Name, **options: object) -> AsyncIterator[HttpUpstream]:
    resolver = Resolver("psp.example", 1, look_up=name)
    options = {"connect_timeout": CONNECT_SECONDS, **options}
    async with connected(1, host="psp.example", resolver=resolver, **options) as upstream:
        yield upstream


@contextlib.contextmanager
def blackholes(count: int) -> Iterator[list[int]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(blackhole()) for _ in range(count)]


@pytest.mark.parametrize("dead", [1, 2, 3])
@on_both_loops
async def test_black_holes_before_a_living_address_cost_a_stagger_each(dead: int) -> None:
    loop = asyncio.get_running_loop()
    with blackholes(dead) as holes:
        async with serving(answering(OK)) as server, named(Name(*holes, server.port)) as upstream:
            started = loop.time()
            answer = await upstream.send(payment(), timeout=10)
            took = loop.time() - started
    assert whole(answer) == b"ok"
    assert took < CONNECT_SECONDS / 2
    assert server.arrived == [PAYMENT]


@on_both_loops
async def test_what_worked_is_tried_first_from_then_on() -> None:
    with blackholes(1) as holes:
        async with serving(answering(OK)) as server, named(Name(*holes, server.port)) as upstream:
            await upstream.send(payment(), timeout=10)
            started = asyncio.get_running_loop().time()
            for _ in range(20):  # at a stagger each this would be five seconds
                await upstream.send(payment(), timeout=10, max_idle_age=0)
            assert asyncio.get_running_loop().time() - started < 2.5


@on_both_loops
async def test_addresses_that_refuse_are_passed_over_at_once() -> None:
    async with (
        serving(answering(OK)) as server,
        named(Name(refused_port(), refused_port(), refused_port(), server.port)) as upstream,
    ):
        assert whole(await upstream.send(payment(), timeout=10)) == b"ok"
    assert server.arrived == [PAYMENT]


@on_both_loops
async def test_a_family_without_a_route_does_not_hold_up_the_other() -> None:
    async with serving(answering(OK)) as server:
        name = Name()
        name.addresses = [at(server.port, host="2001:db8::1"), at(server.port, host="2001:db8::2"), at(server.port)]
        async with named(name) as upstream:
            assert whole(await upstream.send(payment(), timeout=10)) == b"ok"
    assert server.arrived == [PAYMENT]


@on_both_loops
async def test_the_losers_of_the_race_carry_no_byte_and_are_closed() -> None:
    """Both accept; the second would win only if the first hung for a stagger, which the kernel's backlog never does."""
    async with (
        serving(answering(OK)) as first,
        serving(answering(OK)) as second,
        named(Name(first.port, second.port)) as upstream,
    ):
        await asyncio.gather(*[upstream.send(payment(), timeout=10) for _ in range(10)])
        assert b"".join(first.arrived) == PAYMENT * 10
        assert b"".join(second.arrived) == b""


@pytest.mark.parametrize("ports", [1, 3])
@on_both_loops
async def test_where_all_refuse_nothing_was_sent(ports: int) -> None:
    async with named(Name(*[refused_port() for _ in range(ports)])) as upstream:
        failure = await upstream.send(payment(), timeout=10)
    assert told(failure) == (Certainty.NOT_SENT, WireError.REFUSED)
    assert failed(failure).detail == "ECONNREFUSED"


@on_both_loops
async def test_where_all_are_black_holes_the_connect_timeout_is_the_bound_for_all_together() -> None:
    with blackholes(3) as holes:
        async with named(Name(*holes), connect_timeout=0.2) as upstream:
            started = asyncio.get_running_loop().time()
            failure = await upstream.send(payment(), timeout=10)
            assert asyncio.get_running_loop().time() - started < 2
    assert told(failure) == (Certainty.NOT_SENT, WireError.CONNECT_TIMEOUT)
    assert failed(failure).detail == "TCP: not in time"


@on_both_loops
async def test_each_address_gets_a_try_within_a_short_connect_timeout() -> None:
    with blackholes(3) as holes:
        async with serving(answering(OK)) as server, named(Name(*holes, server.port), connect_timeout=0.4) as upstream:
            assert whole(await upstream.send(payment(), timeout=10)) == b"ok"


@on_both_loops
async def test_a_name_that_hangs_is_told_as_such() -> None:
    free = threading.Event()

    def look_up(host: str, port: int) -> Sequence[AddressInfo]:
        free.wait(10)
        return []

    resolver = Resolver("psp.example", 1, look_up=look_up)
    async with connected(1, host="psp.example", resolver=resolver, connect_timeout=0.05) as upstream:
        failure = await upstream.send(payment(), timeout=10)
        free.set()
    assert told(failure) == (Certainty.NOT_SENT, WireError.DNS_TIMEOUT)
    assert failed(failure).detail == "name resolution: not in time"


@pytest.mark.parametrize("script", [reset_at_once, reading], ids=["reset", "silent"])
@on_both_loops
async def test_an_address_whose_handshake_fails_is_tried_last_the_next_time(script: object) -> None:
    context = ssl.create_default_context()
    async with (
        serving(script) as first,  # type: ignore[arg-type]
        serving(reset_at_once) as second,
        named(Name(first.port, second.port), ssl=context, server_hostname="localhost", connect_timeout=0.3) as upstream,
    ):
        failure = await upstream.send(payment(), timeout=10)
        assert failed(failure).certainty is Certainty.NOT_SENT
        assert not any(second.arrived)
        failure = await upstream.send(payment(), timeout=10)
        assert told(failure) == (Certainty.NOT_SENT, WireError.TLS)
        assert len(first.peers) == 1
        assert b"payment" not in b"".join(first.arrived + second.arrived)


@on_both_loops
async def test_an_address_that_takes_requests_and_never_answers_is_tried_last_the_next_time() -> None:
    async with (
        serving(hang) as first,
        serving(answering(OK)) as second,
        named(Name(first.port, second.port)) as upstream,
    ):
        failure = await upstream.send(payment(), timeout=0.05)
        assert failed(failure).certainty is Certainty.NO_ANSWER
        assert whole(await upstream.send(payment(), timeout=10)) == b"ok"
    assert (first.arrived, second.arrived) == ([PAYMENT], [PAYMENT])


@on_both_loops
async def test_a_name_whose_addresses_fail_is_looked_up_again_soon() -> None:
    clock = [100.0]
    name = Name(refused_port())
    resolver = Resolver("psp.example", 1, look_up=name, now=lambda: clock[0])
    async with (
        serving(answering(OK)) as server,
        connected(1, host="psp.example", resolver=resolver, now=lambda: clock[0]) as upstream,
    ):
        failed(await upstream.send(payment(), timeout=10))
        name.addresses = [at(server.port)]
        clock[0] += 5
        assert whole(await upstream.send(payment(), timeout=10)) == b"ok"
    assert name.asked == 2


@on_both_loops
async def test_a_move_is_followed_under_traffic() -> None:
    """The old address keeps answering on the connection that we have: it is given up all the same."""
    clock = [100.0]
    async with serving(answering(OK)) as old, serving(answering(OK)) as new:
        name = Name(old.port)
        resolver = Resolver("psp.example", 1, look_up=name, now=lambda: clock[0])
        async with connected(1, host="psp.example", resolver=resolver, now=lambda: clock[0]) as upstream:
            for _ in range(3):
                await upstream.send(payment(), timeout=10)
            name.addresses = [at(new.port)]
            clock[0] += 30
            await upstream.send(payment(), timeout=10, max_idle_age=60)
            await until(lambda: name.asked == 2)
            async with asyncio.timeout(5):
                while not new.arrived:
                    await upstream.send(payment(), timeout=10)
            for _ in range(3):
                await upstream.send(payment(), timeout=10)
        assert b"".join(new.arrived) == PAYMENT * 4
        await old.done()
