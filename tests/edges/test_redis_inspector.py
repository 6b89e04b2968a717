"""What a real store says of itself, to a user who may ask and to one who may not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis

from demo.store import StoreServer
from proxy.core.durability import StoreFacts, warnings_of
from proxy.core.errors import StoreUnavailable
from proxy.core.events import StoreChanged, StoreFailed, StoreInspected
from proxy.edges.redis_client import connect
from proxy.edges.redis_inspector import RedisInspector
from proxy.inspection import TRIES, Inspection
from tests.fakes import FakeClock, RecordingSink, settled


@pytest.fixture
async def client(own_store: StoreServer) -> AsyncIterator[Redis]:
    client = connect(own_store.url, 2.0)
    yield client
    await client.aclose()


async def problems(client: Redis) -> list[str]:
    return [problem for problem, _ in warnings_of(await RedisInspector(client, 2.0).facts())]


async def test_a_store_without_persistence_is_seen(client: Redis) -> None:
    (problem,) = await problems(client)
    assert "keeps nothing" in problem
    await client.config_set("save", "3600 1")
    (problem,) = await problems(client)
    assert "only snapshots" in problem
    await client.config_set("appendonly", "yes")
    assert await problems(client) == []
    await client.config_set("appendfsync", "no")
    (problem,) = await problems(client)
    assert "appendfsync no" in problem


async def test_a_store_that_evicts_is_seen(client: Redis) -> None:
    await client.config_set("appendonly", "yes")
    await client.config_set("maxmemory-policy", "allkeys-lru")
    assert await problems(client) == []
    await client.config_set("maxmemory", str(64 << 20))
    (problem,) = await problems(client)
    assert "maxmemory-policy allkeys-lru" in problem


@pytest.mark.parametrize(
    ("rights", "says"), [("+@all -config", "no append-only file"), ("+@all -config -info", "could not be checked")]
)
async def test_a_user_who_may_not_ask_learns_less_and_is_told(
    client: Redis, own_store: StoreServer, rights: str, says: str
) -> None:
    everything = ("app", "on", ">pw", "~*", "&*", *rights.split())
    await client.execute_command("ACL", "SETUSER", *everything)  # type: ignore[no-untyped-call]
    limited = connect(own_store.url.replace("redis://", "redis://app:pw@"), 2.0)
    (problem,) = await problems(limited)
    assert says in problem
    await limited.aclose()


class Asked:
    """Answers what it is told to, in order; the last one again and again."""

    def __init__(self, *answers: StoreFacts | StoreUnavailable) -> None:
        self._answers = list(answers)
        self.times = 0

    async def __call__(self) -> StoreFacts:
        self.times += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, StoreUnavailable):
            raise answer
        return answer


BAD = StoreFacts(append_only=False, snapshots=False)
GOOD = StoreFacts(append_only=True)
AWAY = StoreUnavailable("inspect", "refused")


def inspection(ask: Callable[[], Awaitable[StoreFacts | None]]) -> tuple[Inspection, RecordingSink]:
    sink = RecordingSink()
    return Inspection(ask, clock=FakeClock(), events=sink), sink


async def test_it_looks_at_the_start_and_whenever_the_store_is_back_and_tells_of_changes_only() -> None:
    one, sink = inspection(Asked(BAD, BAD, GOOD, BAD))
    for _ in range(4):
        one.publish(StoreChanged(up=True, cause=""))
        await settled()
    assert [len(event.warnings) for event in sink.of(StoreInspected)] == [1, 0, 1]
    assert len(one.warnings) == 1


async def test_a_store_that_goes_away_is_not_asked() -> None:
    ask = Asked(BAD)
    one, _ = inspection(ask)
    one.publish(StoreChanged(up=False, cause=""))
    await settled()
    assert ask.times == 0


async def test_one_that_does_not_answer_is_asked_again_for_a_while() -> None:
    one, sink = inspection(Asked(AWAY, AWAY, BAD))
    one.look()
    await settled()
    assert len(sink.of(StoreFailed)) == 2
    assert len(one.warnings) == 1
    ask = Asked(AWAY)
    one, _ = inspection(ask)
    one.look()
    for _ in range(3):
        await settled()
    assert ask.times == TRIES


async def test_what_an_earlier_look_would_have_said_no_longer_counts() -> None:
    first: asyncio.Future[StoreFacts] = asyncio.get_running_loop().create_future()
    answers = [first]

    async def ask() -> StoreFacts:
        return await answers.pop() if answers else GOOD

    one, _ = inspection(ask)
    one.look()
    await settled()
    one.look()
    await settled()
    assert first.cancelled()
    assert one.warnings == ()
