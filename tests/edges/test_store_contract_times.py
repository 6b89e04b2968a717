"""What every breaker store must uphold as time passes: windows, leases, holds, and what a new epoch leaves behind.

Each waits on the store's own clock, as the views tell it, and not longer than it has to.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from proxy.core.breaker import Counts, HalfOpen, Record
from proxy.edges.memory_store import MemoryBreakerStore
from proxy.edges.redis_store import RedisBreakerStore
from proxy.ports import BreakerStore, Lease, Shared, Tally

WINDOW = 0.5
LONG = 30.0
UP = "mock"


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, redis_client: Redis) -> BreakerStore:
    if request.param == "memory":
        return MemoryBreakerStore(time.time)
    return RedisBreakerStore(redis_client, prefix="t", timeout_seconds=2.0)


async def half_open(store: BreakerStore, epoch: int = 1) -> Record:
    now = (await store.read(UP, LONG)).now
    record = Record(epoch, HalfOpen(10.0), now, 1, "because")
    await store.install(UP, record, expected=epoch - 1, window=LONG)
    return record


async def lease(store: BreakerStore, record: Record, owner: str, *, limit: int = 1, seconds: float = 10.0) -> Lease:
    return await store.lease(UP, record, expected=record.epoch, owner=owner, limit=limit, seconds=seconds, window=LONG)


async def passed(store: BreakerStore, owner: str, epoch: int = 1) -> int:
    return (await store.settle_probe(UP, epoch, owner, passed=True, window=LONG)).passes


async def until(store: BreakerStore, moment: float) -> None:
    """Wait for a moment on the store's clock."""
    while (now := (await store.read(UP, LONG)).now) <= moment:
        await asyncio.sleep(moment - now + 0.002)


def check(view: Shared, reported: list[float]) -> None:
    """Whatever is younger than nine tenths of the window counts, and nothing that is older than the window."""
    ages = [view.now - at for at in reported]
    surely, perhaps = (sum(age < most for age in ages) for most in (0.9 * WINDOW, WINDOW))
    assert surely <= view.counts.calls <= perhaps, (view.counts, ages)
    assert view.counts.failures == view.counts.calls


async def test_a_failure_counts_for_a_window_and_no_longer_however_many_come_after_it(store: BreakerStore) -> None:
    reported: list[float] = []
    start = (await store.read(UP, WINDOW)).now
    while not reported or reported[-1] < start + 1.6 * WINDOW:
        view = await store.report(UP, 0, Tally(0, 1, 1), WINDOW)
        reported.append(view.now)
        check(view, reported)
        await asyncio.sleep(0.007)
    assert view.counts.consecutive == len(reported)


async def test_a_failure_counts_for_a_window_where_nothing_comes_after_it(store: BreakerStore) -> None:
    reported = [(await store.report(UP, 0, Tally(0, 1, 1), WINDOW)).now]
    while (view := await store.read(UP, WINDOW)).now < reported[0] + 1.2 * WINDOW:
        check(view, reported)
        await asyncio.sleep(0.005)
    assert view.counts == Counts(consecutive=1)


async def test_calls_and_failures_leave_together(store: BreakerStore) -> None:
    first = await store.report(UP, 0, Tally(3, 2, 1), WINDOW)
    await until(store, first.now + WINDOW)
    view = await store.report(UP, 0, Tally(1, 1, 1), WINDOW)
    assert view.counts == Counts(1, 2, 1)


@pytest.mark.parametrize("by", ["install", "lease"])
async def test_a_new_epoch_starts_from_nothing(store: BreakerStore, by: str) -> None:
    record = await half_open(store)
    for owner in "ab":
        assert (await lease(store, record, owner, limit=2)).granted
    assert await passed(store, "a") == 1
    view = await store.report(UP, 1, Tally(1, 4, 3, retry_after=60.0), LONG)
    assert (view.counts, view.passes) == (Counts(3, 5, 4), 1)
    assert view.retry_after == pytest.approx(60.0, abs=1.0)
    later = replace(record, epoch=2)
    if by == "install":
        view = await store.install(UP, later, expected=1, window=LONG)
    else:
        place = await store.lease(UP, later, expected=1, owner="c", limit=1, seconds=9.0, window=LONG)
        assert place.granted, "the places of the epoch before are nobody's"
        view = place.shared
    assert (view.record, view.counts, view.passes, view.retry_after) == (later, Counts(), 0, 0.0)
    assert view.hold_until == 0.0
    assert (await lease(store, later, "d", limit=1)).granted is (by == "install")


async def test_a_place_is_free_as_soon_as_its_lease_ends_whoever_else_holds_one(store: BreakerStore) -> None:
    record = await half_open(store)
    short = await lease(store, record, "short", limit=2, seconds=0.1)
    assert (await lease(store, record, "long", limit=2)).granted
    refused = await lease(store, record, "next", limit=2)
    assert not refused.granted
    assert 0 < refused.retry_in <= 0.1
    await until(store, short.shared.now + 0.1)
    assert (await lease(store, record, "next", limit=2)).granted
    assert not (await lease(store, record, "more", limit=2)).granted


async def test_a_refused_lease_waits_for_the_first_that_ends(store: BreakerStore) -> None:
    record = await half_open(store)
    for owner, seconds in [("a", 8.0), ("b", 3.0), ("c", 6.0)]:
        assert (await lease(store, record, owner, limit=3, seconds=seconds)).granted
    assert (await lease(store, record, "d", limit=3)).retry_in == pytest.approx(3.0, abs=0.5)


async def test_a_lease_holds_as_long_as_it_says(store: BreakerStore) -> None:
    record = await half_open(store)
    held = await lease(store, record, "a", seconds=0.3)
    await until(store, held.shared.now + 0.2)
    refused = await lease(store, record, "b")
    assert refused.granted is (refused.shared.now >= held.shared.now + 0.3)


async def test_a_probe_that_passed_after_its_lease_had_ended_counts_for_nothing(store: BreakerStore) -> None:
    record = await half_open(store)
    held = await lease(store, record, "late", seconds=0.05)
    await until(store, held.shared.now + 0.05)
    assert await passed(store, "late") == 0
    assert (await lease(store, record, "next")).granted
    assert await passed(store, "next") == 1


async def test_a_probe_that_failed_gives_its_place_back_and_counts_for_nothing(store: BreakerStore) -> None:
    record = await half_open(store)
    await lease(store, record, "a", limit=2)
    await lease(store, record, "b", limit=2)
    assert (await store.settle_probe(UP, 1, "a", passed=False, window=LONG)).passes == 0
    assert (await lease(store, record, "c", limit=2)).granted
    assert [await passed(store, owner) for owner in "bc"] == [1, 2]


@pytest.mark.parametrize("waits", [(60.0, 5.0), (5.0, 60.0), (60.0, 0.0), (0.0, 60.0)])
async def test_the_longest_wait_that_the_provider_asked_for_stands(
    store: BreakerStore, waits: tuple[float, float]
) -> None:
    for wait in waits:
        view = await store.report(UP, 0, Tally(0, 1, 1, retry_after=wait), LONG)
    assert view.retry_after == pytest.approx(60.0, abs=1.0)


async def test_a_report_without_a_wait_asks_for_none(store: BreakerStore) -> None:
    view = await store.report(UP, 0, Tally(0, 1, 1), LONG)
    assert (view.retry_after, view.hold_until) == (0.0, 0.0)


@pytest.mark.parametrize(("after", "left"), [(Tally(1), 0.0), (Tally(1, 1, 1), 0.0), (Tally(1, 1, 1, 5.0), 5.0)])
async def test_a_success_ends_the_wait_that_was_asked_for_before_it(
    store: BreakerStore, after: Tally, left: float
) -> None:
    await store.report(UP, 0, Tally(0, 1, 1, retry_after=60.0), LONG)
    view = await store.report(UP, 0, after, LONG)
    assert view.retry_after == pytest.approx(left, abs=1.0)
    assert (view.hold_until == 0.0) is (left == 0.0)


async def test_a_place_that_is_granted_or_refused_for_its_epoch_names_no_wait(store: BreakerStore) -> None:
    record = await half_open(store)
    place = await lease(store, record, "a")
    assert (place.granted, place.retry_in) == (True, 0.0)
    late = await store.lease(UP, record, expected=7, owner="b", limit=1, seconds=9.0, window=LONG)
    assert (late.granted, late.retry_in) == (False, 0.0)


async def test_a_report_of_another_epoch_asks_for_no_wait(store: BreakerStore) -> None:
    assert (await store.report(UP, 3, Tally(0, 1, 1, retry_after=60.0), LONG)).retry_after == 0.0
