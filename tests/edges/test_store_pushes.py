"""Who is told of what by push: each change that others must act on at once, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from proxy.core.breaker import Closed, Counts, HalfOpen, Record
from proxy.edges.redis_store import RedisBreakerStore
from proxy.ports import Shared, Tally

WINDOW = 30.0
UP, END = "mock", "end"
WAIT_SECONDS = 10.0
RECORD = Record(1, HalfOpen(10.0), 1e9, 1, "because")


class Listener:
    """Another replica: what it hears of UP. END is written to when a test wants to know that all has arrived."""

    def __init__(self, store: RedisBreakerStore) -> None:
        self.store = store
        self.heard: list[Shared] = []
        self._news = asyncio.Event()
        self._end = self._asked = 0

    async def listen(self) -> None:
        async for change in self.store.changes([UP, END]):
            if change is None:
                continue
            name, view = change
            if name == UP:
                self.heard.append(view)
            else:
                self._end = view.record.epoch
            self._news.set()

    async def all(self) -> list[Shared]:
        """What it has heard since it was asked last."""
        before = self._asked
        async with asyncio.timeout(WAIT_SECONDS):
            while self._end <= before:  # the first may have been told before anybody listened; any of them will do
                self._asked += 1
                await self.store.install(END, Record(self._asked, Closed(), 0.0), expected=None, window=WINDOW)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await self._news.wait()
                self._news.clear()
        heard, self.heard = self.heard, []
        return heard


@pytest.fixture
async def others(redis_client: Redis) -> AsyncIterator[Listener]:
    listener = Listener(RedisBreakerStore(redis_client, prefix="t", timeout_seconds=2.0))
    listening = asyncio.create_task(listener.listen())
    await listener.all()
    yield listener
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def report(others: Listener, tally: Tally, epoch: int = 0) -> list[Counts]:
    await others.store.report(UP, epoch, tally, WINDOW)
    return [view.counts for view in await others.all()]


async def test_the_first_failure_of_a_run_is_told_and_the_others_are_not(others: Listener) -> None:
    assert await report(others, Tally(0, 1, 1)) == [Counts(1, 1, 1)]
    assert await report(others, Tally(0, 1, 1)) == []
    assert await report(others, Tally(2, 0, 0)) == []
    assert await report(others, Tally(0, 2, 2)) == [Counts(2, 6, 4)]
    assert await report(others, Tally(1, 3, 1)) == [Counts(1, 10, 7)], "a success and then the first of a new run"
    assert await report(others, Tally(1, 1, 0)) == []


async def test_a_report_of_another_epoch_or_of_nothing_and_a_read_are_not_told(others: Listener) -> None:
    assert await report(others, Tally(0, 1, 1), epoch=4) == []
    assert await report(others, Tally()) == []
    await others.store.read(UP, WINDOW)
    assert await others.all() == []


@pytest.mark.parametrize(("expected", "told"), [(0, True), (None, True), (3, False)])
async def test_a_new_record_is_told_once_and_a_lost_race_is_not(
    others: Listener, expected: int | None, told: bool
) -> None:
    await others.store.install(UP, RECORD, expected=expected, window=WINDOW)
    assert [view.record for view in await others.all()] == [RECORD] * told


async def test_what_is_stored_already_is_no_news(others: Listener) -> None:
    for told in ([RECORD], []):
        await others.store.install(UP, RECORD, expected=None, window=WINDOW)
        assert [view.record for view in await others.all()] == told


async def lease(others: Listener, record: Record, owner: str, expected: int = 1) -> list[Record]:
    await others.store.lease(UP, record, expected=expected, owner=owner, limit=1, seconds=9.0, window=WINDOW)
    return [view.record for view in await others.all()]


async def test_the_probe_that_makes_the_breaker_half_open_tells_of_it_and_no_other_does(others: Listener) -> None:
    assert await lease(others, RECORD, "a", expected=0) == [RECORD]
    assert await lease(others, RECORD, "a") == []
    assert await lease(others, RECORD, "b") == [], "refused"
    assert await lease(others, replace(RECORD, epoch=3), "c", expected=2) == [], "of an epoch that is not stored"


async def test_a_place_that_is_free_again_is_told(others: Listener) -> None:
    await lease(others, RECORD, "a", expected=0)
    for owner, epoch, told in [("a", 2, []), ("a", 1, [1])]:
        await others.store.settle_probe(UP, epoch, owner, passed=True, window=WINDOW)
        assert [view.passes for view in await others.all()] == told
