"""The journal's plain commands; a real server would add nothing but waiting for its clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from proxy.core.budget import Spent
from proxy.core.errors import StoreUnavailable
from proxy.core.events import AttemptFinished
from proxy.core.outcome import Row
from proxy.edges.redis_journal import ALIVE_SECONDS, RedisJournal
from proxy.ports import Beat

UP = "mock"
WINDOW = 10.0
ATTEMPT = AttemptFinished(UP, "req-1", 1, Row.TIMEOUT, None, "http_response_timeout", 0.25, probe=False)


class Fleet:
    """Replicas with one store and one clock."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000.5
        self.server = FakeServer()
        self.client = FakeAsyncRedis(server=self.server)

    def journal(self, name: str = "a") -> RedisJournal:
        return RedisJournal(
            self.client,
            name,
            {UP: WINDOW},
            prefix="t",
            timeout_seconds=1.0,
            log_length=3,
            log_ttl_seconds=60.0,
            wall=lambda: self.wall,
        )


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet()
    yield fleet
    await fleet.client.aclose()


async def test_spending_is_the_fleets(fleet: Fleet) -> None:
    await fleet.journal("a").sync(Beat(spent={UP: Spent(7, 2)}))
    view = await fleet.journal("b").sync(Beat(spent={UP: Spent(3, 1)}))
    assert view.spent == {UP: Spent(10, 3)}
    assert view.replicas == ("a", "b")


@pytest.mark.parametrize(("later", "known"), [(0.0, 5), (WINDOW - 1, 5), (WINDOW + 1, 0)])
async def test_spending_leaves_the_window_and_never_early(fleet: Fleet, later: float, known: int) -> None:
    journal = fleet.journal()
    await journal.sync(Beat(spent={UP: Spent(5, 5)}))
    fleet.wall += later
    assert (await journal.sync(Beat())).spent[UP].retries == known


async def test_history_adds_up_what_fell_into_its_time(fleet: Fleet) -> None:
    journal = fleet.journal()
    await journal.sync(Beat(results={UP: {"attempt:timeout": 2, "payment:unknown": 1}}))
    fleet.wall += 60
    await fleet.journal("b").sync(Beat(results={UP: {"attempt:timeout": 1}}))
    assert await journal.history(UP, 600) == {"attempt:timeout": 3, "payment:unknown": 1}
    assert await journal.history(UP, 30) == {"attempt:timeout": 1}
    assert await journal.history("other", 600) == {}


async def test_a_replica_is_forgotten_when_it_falls_silent_or_says_goodbye(fleet: Fleet) -> None:
    silent, leaving, here = (fleet.journal(name) for name in ("silent", "leaving", "here"))
    await silent.sync(Beat())
    fleet.wall += ALIVE_SECONDS + 0.1
    await leaving.sync(Beat())
    assert (await here.sync(Beat())).replicas == ("here", "leaving")
    await leaving.goodbye()
    assert (await here.sync(Beat())).replicas == ("here",)


async def test_attempts_are_told_in_one_entry_a_beat_that_expires(fleet: Fleet) -> None:
    await fleet.journal().sync(Beat(attempts=((fleet.wall, ATTEMPT), (fleet.wall, ATTEMPT))))
    entries: Any = await fleet.client.xrange("t:attempts")
    (told,) = [orjson.loads(fields[b"attempts"]) for _, fields in entries]
    assert [(one["upstream"], one["result"], one["ms"], one["number"]) for one in told] == [
        (UP, "timeout", 250.0, 1)
    ] * 2
    assert 0 < await fleet.client.ttl("t:attempts") <= 60


async def test_what_the_wire_showed_is_told_where_there_is_anything(fleet: Fleet) -> None:
    attempts = ((fleet.wall, ATTEMPT), (fleet.wall, replace(ATTEMPT, detail="bare LF in the head")))
    await fleet.journal().sync(Beat(attempts=attempts))
    entries: Any = await fleet.client.xrange("t:attempts")
    ((_, fields),) = entries
    assert [one.get("detail") for one in orjson.loads(fields[b"attempts"])] == [None, "bare LF in the head"]


async def test_every_key_expires_but_the_list_of_replicas(fleet: Fleet) -> None:
    beat = Beat({UP: Spent(1, 1)}, {UP: {"attempt:success": 1}}, ((fleet.wall, ATTEMPT),))
    await fleet.journal().sync(beat)
    lasting = [key async for key in fleet.client.scan_iter() if await fleet.client.ttl(key) < 0]
    assert lasting == [b"t:replicas"]


async def test_a_store_that_is_gone_is_said_so(fleet: Fleet) -> None:
    fleet.server.connected = False
    with pytest.raises(StoreUnavailable):
        await fleet.journal().sync(Beat())
    with pytest.raises(StoreUnavailable):
        await fleet.journal().history(UP, 600)
