"""One look-up at a time, in threads of its own; the last good answer kept; a hung look-up held up by nobody."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from proxy.edges import resolver as subject
from proxy.edges.resolver import AddressInfo, Resolver, Resolvers
from tests.edges.hostile import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def info(ip: str, port: int = 443) -> AddressInfo:
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


class Names:
    """A resolver of the system's whose answers are set, and which hangs while it is told to."""

    def __init__(self) -> None:
        self.answer: Sequence[AddressInfo] | Exception = [info("192.0.2.1")]
        self.asked: list[tuple[str, int]] = []
        self.hung = 0
        self._free = threading.Event()
        self._free.set()

    def __call__(self, host: str, port: int) -> Sequence[AddressInfo]:
        self.asked.append((host, port))
        answer = self.answer
        self.hung += 1
        assert self._free.wait(PATIENCE * 4)
        self.hung -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    def hang(self) -> None:
        self._free.clear()

    def let_go(self) -> None:
        self._free.set()


@pytest.fixture
def names() -> Iterator[Names]:
    names = Names()
    yield names
    names.let_go()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def resolver(names: Names, clock: Clock) -> Resolver:
    return Resolver("psp.example", 443, look_up=names, now=clock)


async def known(resolver: Resolver) -> list[str]:
    async with asyncio.timeout(PATIENCE):
        return [address[4][0] for address in await resolver.addresses()]


async def asked(names: Names, count: int) -> None:
    await until(lambda: len(names.asked) == count)


@pytest.mark.parametrize(("host", "family"), [("192.0.2.7", socket.AF_INET), ("2001:db8::7", socket.AF_INET6)])
async def test_an_address_needs_no_look_up(host: str, family: int, names: Names) -> None:
    resolver = Resolver(host, 443, look_up=names)
    resolver.doubt()
    (address,) = await resolver.addresses()
    assert (address[0], address[4][:2]) == (family, (host, 443))
    assert resolver.holds((host, 443))
    assert names.asked == []


async def test_whoever_asks_at_once_shares_one_look_up(resolver: Resolver, names: Names) -> None:
    names.hang()
    asking = [asyncio.create_task(known(resolver)) for _ in range(20)]
    await asked(names, 1)
    names.let_go()
    assert await asyncio.gather(*asking) == [["192.0.2.1"]] * 20
    assert names.asked == [("psp.example", 443)]


async def test_an_answer_is_used_until_it_is_stale(resolver: Resolver, names: Names, clock: Clock) -> None:
    await known(resolver)
    names.answer = [info("192.0.2.2")]
    clock.time += subject.FRESH_SECONDS - 0.1
    assert await known(resolver) == ["192.0.2.1"]
    clock.time += 0.1
    assert await known(resolver) == ["192.0.2.2"]
    assert len(names.asked) == 2


@pytest.mark.parametrize("error", [socket.gaierror(socket.EAI_NONAME, "no"), OSError(5, "io"), UnicodeError("label")])
async def test_without_an_answer_the_error_is_told_and_the_next_one_asks_again(
    resolver: Resolver, names: Names, error: Exception
) -> None:
    names.answer = error
    for count in (1, 2):
        with pytest.raises(type(error)):
            await known(resolver)
        assert len(names.asked) == count
    names.answer = [info("192.0.2.1")]
    assert await known(resolver) == ["192.0.2.1"]


async def test_an_answer_without_addresses_is_none(resolver: Resolver, names: Names) -> None:
    names.answer = []
    with pytest.raises(OSError, match="not looked up"):
        await known(resolver)


async def test_the_last_good_answer_serves_while_look_ups_fail(resolver: Resolver, names: Names, clock: Clock) -> None:
    await known(resolver)
    names.answer = socket.gaierror(socket.EAI_AGAIN, "later")
    clock.time += subject.FRESH_SECONDS
    for _ in range(5):
        assert await known(resolver) == ["192.0.2.1"]
    assert len(names.asked) == 2  # no oftener than the recheck time allows
    clock.time += subject.RECHECK_SECONDS
    assert await known(resolver) == ["192.0.2.1"]
    assert len(names.asked) == 3
    clock.time += subject.STALE_SECONDS
    with pytest.raises(socket.gaierror):
        await known(resolver)


async def test_the_last_good_answer_serves_while_a_look_up_hangs(
    resolver: Resolver, names: Names, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "STALE_WAIT_SECONDS", 0.05)
    await known(resolver)
    names.hang()
    clock.time += subject.FRESH_SECONDS
    assert await known(resolver) == ["192.0.2.1"]
    assert len(names.asked) == 2


async def test_a_hung_look_up_is_left_to_itself_and_at_most_two_hang(
    resolver: Resolver, names: Names, clock: Clock
) -> None:
    names.hang()
    asking = asyncio.create_task(known(resolver))
    await asked(names, 1)
    clock.time += subject.HUNG_SECONDS
    more = [asyncio.create_task(known(resolver)) for _ in range(5)]
    await asked(names, 2)
    clock.time += subject.HUNG_SECONDS
    more.append(asyncio.create_task(known(resolver)))
    await until(lambda: names.hung == 2)
    assert len(names.asked) == 2
    names.let_go()
    assert await asyncio.gather(asking, *more) == [["192.0.2.1"]] * 7


async def test_a_hung_look_up_that_comes_back_late_replaces_no_newer_answer(names: Names, clock: Clock) -> None:
    late = threading.Event()
    answers = iter([(late, "192.0.2.1"), (None, "192.0.2.2")])

    def look_up(host: str, port: int) -> Sequence[AddressInfo]:
        wait, ip = next(answers)
        names.asked.append((host, port))
        assert wait is None or wait.wait(PATIENCE)
        return [info(ip)]

    resolver = Resolver("psp.example", 443, look_up=look_up, now=clock)
    first = asyncio.create_task(known(resolver))
    await asked(names, 1)
    clock.time += subject.HUNG_SECONDS
    assert await known(resolver) == ["192.0.2.2"]
    late.set()
    assert await first == ["192.0.2.2"]


async def test_one_who_is_cancelled_takes_the_look_up_from_nobody(resolver: Resolver, names: Names) -> None:
    names.hang()
    first, second = (asyncio.create_task(known(resolver)) for _ in range(2))
    await asked(names, 1)
    first.cancel()
    await asyncio.wait({first})
    names.let_go()
    assert await second == ["192.0.2.1"]
    assert len(names.asked) == 1


async def test_moves_are_noticed_by_whoever_only_looks(resolver: Resolver, names: Names, clock: Clock) -> None:
    await known(resolver)
    assert resolver.holds(("192.0.2.1", 443))
    assert not resolver.holds(("192.0.2.2", 443))
    names.answer = [info("192.0.2.2"), info("192.0.2.3")]
    clock.time += subject.FRESH_SECONDS
    assert resolver.holds(("192.0.2.1", 443))  # never waits: the new answer is for the next one
    await until(lambda: resolver.holds(("192.0.2.3", 443)))
    assert not resolver.holds(("192.0.2.1", 443))


async def test_doubt_has_the_name_looked_up_again_soon_but_not_at_once(
    resolver: Resolver, names: Names, clock: Clock
) -> None:
    await known(resolver)
    names.answer = [info("192.0.2.2")]
    resolver.doubt()
    clock.time += subject.RECHECK_SECONDS - 0.1
    assert await known(resolver) == ["192.0.2.1"]
    clock.time += 0.1
    assert await known(resolver) == ["192.0.2.2"]


async def test_no_thread_to_be_had_is_a_look_up_that_failed(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(OSError, match="new thread"):
        await known(resolver)


def test_the_loop_may_end_while_a_look_up_hangs(names: Names) -> None:
    resolver = Resolver("psp.example", 443, look_up=names)
    names.hang()

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await resolver.addresses()

    asyncio.run(ask())
    (hanging,) = [thread for thread in threading.enumerate() if thread.name == "dns psp.example"]
    assert hanging.daemon
    names.let_go()
    hanging.join(PATIENCE)
    assert not hanging.is_alive()


async def test_each_upstream_has_a_resolver_of_its_own_that_outlives_a_reload(names: Names) -> None:
    resolvers = Resolvers(look_up=names)
    one = resolvers.of("a", "psp.example", 443)
    assert resolvers.of("a", "psp.example", 443) is one
    assert resolvers.of("b", "psp.example", 443) is not one
    assert resolvers.of("a", "other.example", 443) is not one
    assert await known(one) == ["192.0.2.1"]
