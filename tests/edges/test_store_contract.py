"""What every breaker store must uphold, whichever it is."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from proxy.core.breaker import Closed, Counts, HalfOpen, Open, Override, Record
from proxy.edges.memory_store import MemoryBreakerStore
from proxy.edges.redis_store import RedisBreakerStore
from proxy.ports import BreakerStore, Shared, Tally

WINDOW = 30.0
UP = "mock"


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, redis_client: Redis) -> BreakerStore:
    if request.param == "memory":
        return MemoryBreakerStore(time.time)
    return RedisBreakerStore(redis_client, prefix="t", timeout_seconds=2.0)


def opened(epoch: int, now: float, seconds: float = 10.0) -> Record:
    return Record(epoch, Open(now + seconds, seconds), now, 1, "because")


async def half_open(store: BreakerStore) -> Record:
    now = (await store.read(UP, WINDOW)).now
    record = Record(1, HalfOpen(10.0), now, 1, "because")
    await store.install(UP, record, expected=0, window=WINDOW)
    return record


async def lease(store: BreakerStore, record: Record, owner: str, limit: int = 1, seconds: float = 10.0) -> bool:
    place = await store.lease(
        UP, record, expected=record.epoch, owner=owner, limit=limit, seconds=seconds, window=WINDOW
    )
    return place.granted


async def test_unknown_upstream_is_closed_at_epoch_zero(store: BreakerStore) -> None:
    view = await store.read(UP, WINDOW)
    assert view.record == Record()
    assert view.counts == Counts(0, 0, 0)
    assert abs(view.now - time.time()) < 5


@pytest.mark.parametrize(
    ("tallies", "counts"),
    [
        ([Tally(0, 1, 1)], Counts(1, 1, 1)),
        ([Tally(0, 2, 2), Tally(0, 3, 3)], Counts(5, 5, 5)),
        ([Tally(0, 4, 4), Tally(1, 0, 0)], Counts(0, 5, 4)),
        ([Tally(0, 4, 4), Tally(2, 3, 1)], Counts(1, 9, 7)),
        ([Tally(7, 0, 0), Tally(0, 1, 1)], Counts(1, 8, 1)),
    ],
)
async def test_counts_are_pooled_and_a_success_ends_the_run(
    store: BreakerStore, tallies: list[Tally], counts: Counts
) -> None:
    view: Shared | None = None
    for tally in tallies:
        view = await store.report(UP, 0, tally, WINDOW)
    assert view is not None
    assert view.counts == counts
    assert (await store.read(UP, WINDOW)).counts == counts


async def test_upstreams_do_not_mix(store: BreakerStore) -> None:
    await store.report("other", 0, Tally(0, 4, 4), WINDOW)
    assert (await store.read(UP, WINDOW)).counts == Counts()


async def test_report_of_an_earlier_epoch_changes_nothing(store: BreakerStore) -> None:
    now = (await store.read(UP, WINDOW)).now
    await store.install(UP, opened(1, now), expected=0, window=WINDOW)
    view = await store.report(UP, 0, Tally(3, 5, 5), WINDOW)
    assert view.counts == Counts()
    assert view.record.epoch == 1


async def test_counts_leave_the_window(store: BreakerStore) -> None:
    await store.report(UP, 0, Tally(0, 2, 2), 0.2)
    deadline = time.monotonic() + 5
    while (view := await store.read(UP, 0.2)).counts.calls and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    assert view.counts == Counts(consecutive=2)


async def test_record_survives_the_round_trip(store: BreakerStore) -> None:
    record = Record(3, Open(1e9 + 0.25, 12.5), 1e9, 4, "5 failures in a row", Override("closed", "a", "b", None))
    await store.install(UP, record, expected=0, window=WINDOW)
    assert (await store.read(UP, WINDOW)).record == record


async def test_install_is_compare_and_set(store: BreakerStore) -> None:
    now = (await store.read(UP, WINDOW)).now
    first, second = opened(1, now, 10), opened(1, now, 99)
    assert (await store.install(UP, first, expected=0, window=WINDOW)).record == first
    assert (await store.install(UP, second, expected=0, window=WINDOW)).record == first


async def test_of_many_at_once_one_wins_and_all_learn_it(store: BreakerStore) -> None:
    now = (await store.read(UP, WINDOW)).now
    rivals = [opened(1, now, seconds) for seconds in range(1, 21)]
    views = await asyncio.gather(*(store.install(UP, rival, expected=0, window=WINDOW) for rival in rivals))
    assert len({view.record for view in views}) == 1


async def test_a_new_epoch_starts_with_no_counts(store: BreakerStore) -> None:
    await store.report(UP, 0, Tally(2, 5, 5), WINDOW)
    now = (await store.read(UP, WINDOW)).now
    view = await store.install(UP, opened(1, now), expected=0, window=WINDOW)
    assert view.counts == Counts()


@pytest.mark.parametrize(("stored", "offered", "wins"), [(0, 7, True), (6, 7, True), (7, 7, False), (8, 7, False)])
async def test_restoring_never_goes_back(store: BreakerStore, stored: int, offered: int, wins: bool) -> None:
    now = (await store.read(UP, WINDOW)).now
    if stored:
        await store.install(UP, opened(stored, now, 1), expected=0, window=WINDOW)
    mine = opened(offered, now, 50)
    view = await store.install(UP, mine, expected=None, window=WINDOW)
    assert (view.record == mine) is wins


async def test_no_more_leases_than_places(store: BreakerStore) -> None:
    record = await half_open(store)
    granted = await asyncio.gather(*(lease(store, record, f"r{n}", limit=3) for n in range(20)))
    assert sum(granted) == 3


async def test_a_refused_lease_says_when_to_ask_again(store: BreakerStore) -> None:
    record = await half_open(store)
    await lease(store, record, "a", seconds=4.0)
    refused = await store.lease(UP, record, expected=1, owner="b", limit=1, seconds=4.0, window=WINDOW)
    assert not refused.granted
    assert 3.0 < refused.retry_in <= 4.0


async def test_the_first_lease_installs_the_half_open_record(store: BreakerStore) -> None:
    now = (await store.read(UP, WINDOW)).now
    await store.install(UP, opened(1, now, 0.0), expected=0, window=WINDOW)
    record = Record(2, HalfOpen(0.0), now, 1, "because")
    place = await store.lease(UP, record, expected=1, owner="a", limit=1, seconds=5, window=WINDOW)
    assert place.granted
    assert place.shared.record == record


async def test_a_lease_under_an_epoch_that_has_moved_on_is_refused(store: BreakerStore) -> None:
    record = await half_open(store)
    await store.install(UP, replace(record, epoch=2, state=Closed()), expected=1, window=WINDOW)
    assert not await lease(store, record, "a")


async def test_a_place_given_back_is_free(store: BreakerStore) -> None:
    record = await half_open(store)
    assert await lease(store, record, "a")
    assert not await lease(store, record, "b")
    view = await store.settle_probe(UP, 1, "a", passed=False, window=WINDOW)
    assert view.passes == 0
    assert await lease(store, record, "b")


async def test_a_crashed_probers_place_is_free_when_its_lease_ends(store: BreakerStore) -> None:
    record = await half_open(store)
    assert await lease(store, record, "crashed", seconds=0.15)
    deadline = time.monotonic() + 5
    while not (granted := await lease(store, record, "b")) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    assert granted


async def test_passed_probes_are_counted_once_and_only_under_a_live_lease(store: BreakerStore) -> None:
    record = await half_open(store)
    await lease(store, record, "a")
    assert (await store.settle_probe(UP, 1, "a", passed=True, window=WINDOW)).passes == 1
    assert (await store.settle_probe(UP, 1, "a", passed=True, window=WINDOW)).passes == 1
    assert (await store.settle_probe(UP, 1, "stranger", passed=True, window=WINDOW)).passes == 1


async def test_a_probe_of_an_earlier_epoch_counts_for_nothing(store: BreakerStore) -> None:
    record = await half_open(store)
    await lease(store, record, "a")
    await store.install(UP, replace(record, epoch=2), expected=1, window=WINDOW)
    assert (await store.settle_probe(UP, 1, "a", passed=True, window=WINDOW)).passes == 0
