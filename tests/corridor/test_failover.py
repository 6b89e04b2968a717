"""The store the gates use, while the shared one refuses, is silent, forgets, or lags behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

import pytest

from proxy.core.breaker import Closed, Counts, HalfOpen, Open, Record
from proxy.core.errors import StoreUnavailable, Unreadable
from proxy.core.events import RecordUnreadable, StoreChanged, StoreFailed
from proxy.core.retry import Signal
from proxy.edges.memory_store import MemoryBreakerStore
from proxy.failover import FailoverStore
from proxy.gate import Gate, Permit, Refusal
from proxy.ports import Shared, Tally
from tests.fakes import FakeClock, RecordingSink, ScriptedStore, new_gate, settled, upstream

WINDOW = 30.0
WINDOWS = {"mock": WINDOW}
SKEW = -4000.0
"""The shared store's clock is far from this replica's."""


class Rig:
    def __init__(self, on_outage: Literal["local", "closed", "open"] = "local") -> None:
        self.clock = FakeClock()
        self.sink = RecordingSink()
        self.shared = ScriptedStore(lambda: self.clock.wall() + SKEW)
        self.store = FailoverStore(
            self.shared, MemoryBreakerStore, clock=self.clock, events=self.sink, on_outage=on_outage
        )
        self.gate = self.new_gate("r1")

    def new_gate(self, replica: str) -> Gate:
        return new_gate(upstream(), self.store, self.clock, self.sink, replica=replica)

    async def fail(self, times: int, gate: Gate | None = None) -> None:
        one = gate or self.gate
        for _ in range(times):
            permit = await one.admit()
            assert isinstance(permit, Permit)
            one.settle(permit, Signal.FAILURE)
            await settled()
            await one.flush()

    async def stored(self) -> Shared:
        return await self.shared.store.read("mock", WINDOW)

    def opened(self, epoch: int) -> Record:
        now = self.clock.wall() + SKEW
        return Record(epoch, Open(now + 10.0, 10.0), now, 1, "because")


@pytest.mark.parametrize("mode", ["refuse", "silent"])
async def test_the_outcome_that_met_the_outage_is_counted_locally(mode: str) -> None:
    rig = Rig()
    await rig.gate.refresh()
    rig.shared.mode = mode
    await rig.fail(5)
    assert isinstance(rig.gate.view.record.state, Open)
    assert isinstance(await rig.gate.admit(), Refusal)
    assert rig.gate.degraded == "breaker"


@pytest.mark.parametrize("mode", ["refuse", "silent"])
async def test_the_change_is_told_once_and_every_failure_is_counted(mode: str) -> None:
    rig = Rig()
    rig.shared.mode = mode
    both = await asyncio.gather(rig.store.read("mock", WINDOW), rig.store.report("mock", 0, Tally(0, 1, 1), WINDOW))
    assert both[1].counts == Counts(1, 1, 1)
    await rig.store.read("mock", WINDOW)
    assert [event.up for event in rig.sink.of(StoreChanged)] == [False]
    assert rig.sink.of(StoreFailed)[0] == StoreFailed("read", "refused" if mode == "refuse" else "timed out")
    assert not await rig.store.recover(WINDOWS)
    rig.shared.mode = "up"
    assert await rig.store.recover(WINDOWS)
    assert [event.up for event in rig.sink.of(StoreChanged)] == [False, True]


async def test_while_it_is_away_the_shared_store_is_not_asked() -> None:
    rig = Rig()
    rig.shared.mode = "refuse"
    await rig.store.read("mock", WINDOW)
    asked = len(rig.shared.calls)
    await rig.fail(3)
    assert len(rig.shared.calls) == asked


async def test_local_goes_on_from_the_last_record() -> None:
    rig = Rig()
    await rig.fail(5)
    rig.shared.mode = "refuse"
    await rig.gate.refresh()
    refusal = await rig.gate.admit()
    assert isinstance(refusal, Refusal)
    assert refusal.retry_after == pytest.approx(10.0)
    rig.clock.advance(10.0)
    permit = await rig.gate.admit()
    assert isinstance(permit, Permit)
    assert permit.probe is not None
    rig.gate.settle(permit, Signal.SUCCESS)
    await settled()
    assert isinstance(rig.gate.view.record.state, Closed)


async def test_an_outage_learnt_alone_reaches_the_fleet_afterwards() -> None:
    rig = Rig()
    await rig.gate.refresh()
    rig.shared.mode = "refuse"
    await rig.fail(5)
    rig.shared.mode = "up"
    assert await rig.store.recover(WINDOWS)
    assert (await rig.stored()).record == rig.gate.view.record
    assert isinstance((await rig.stored()).record.state, Open)
    assert rig.gate.degraded is None


async def test_what_the_fleet_did_meanwhile_wins_by_its_higher_epoch() -> None:
    rig = Rig()
    await rig.gate.refresh()
    rig.shared.mode = "refuse"
    await rig.fail(5)  # epoch 1, here
    theirs = rig.opened(7)
    await rig.shared.store.install("mock", theirs, expected=None, window=WINDOW)
    rig.shared.mode = "up"
    assert await rig.store.recover(WINDOWS)
    await rig.gate.refresh()
    assert rig.gate.view.record == theirs
    assert (await rig.stored()).record == theirs


async def test_recovery_fails_as_a_whole_and_quietly_while_the_store_is_away() -> None:
    rig = Rig()
    rig.shared.mode = "refuse"
    await rig.store.read("mock", WINDOW)
    changed = len(rig.sink.of(StoreChanged))
    for _ in range(3):
        assert not await rig.store.recover(WINDOWS)
    assert len(rig.sink.of(StoreChanged)) == changed
    assert not rig.store.up


@pytest.mark.parametrize("operation", ["read", "report", "settle_probe"])
async def test_a_flushed_store_gets_back_what_this_replica_knows(operation: str) -> None:
    rig = Rig()
    record = rig.opened(4)
    await rig.store.install("mock", record, expected=None, window=WINDOW)
    rig.shared.flush()
    match operation:
        case "read":
            await rig.store.read("mock", WINDOW)
        case "report":
            await rig.store.report("mock", 4, Tally(0, 1, 1), WINDOW)
        case _:
            await rig.store.settle_probe("mock", 4, "r1/1", passed=True, window=WINDOW)
    assert (await rig.stored()).record == record


async def test_a_report_that_met_a_flush_is_counted_once() -> None:
    rig = Rig()
    closed = Record(2, Closed(), 0.0, 1, "a probe passed")
    await rig.store.install("mock", closed, expected=None, window=WINDOW)
    rig.shared.flush()
    view = await rig.store.report("mock", 2, Tally(1, 2, 2), WINDOW)
    assert view.counts == (await rig.stored()).counts == Counts(2, 3, 2)


async def test_a_trip_that_meets_a_flush_is_not_lost() -> None:
    rig = Rig()
    await rig.store.install("mock", Record(2, Closed(), 0.0), expected=None, window=WINDOW)
    await rig.gate.refresh()
    await rig.fail(4)
    rig.shared.flush()
    await rig.fail(5)
    assert isinstance((await rig.stored()).record.state, Open)
    assert (await rig.stored()).record.epoch == 3


async def test_a_copy_that_lags_is_brought_up_to_date() -> None:
    rig = Rig()
    await rig.store.install("mock", rig.opened(6), expected=None, window=WINDOW)
    await rig.gate.refresh()
    await rig.shared.go_back_to("mock", Record(5, Closed(), 0.0))
    await rig.gate.refresh()
    assert (await rig.stored()).record.epoch == rig.gate.view.record.epoch == 6
    assert isinstance(await rig.gate.admit(), Refusal)


async def test_a_lease_of_a_flushed_store_is_no_leave_to_send() -> None:
    rig = Rig()
    await rig.fail(5)
    rig.clock.advance(10.0)
    rig.shared.flush()
    assert isinstance(await rig.gate.admit(), Refusal)
    await rig.gate.refresh()
    assert isinstance(await rig.gate.admit(), Permit)


@pytest.mark.parametrize("mode", ["refuse", "silent"])
async def test_a_probe_asked_for_while_the_store_goes_is_taken_locally(mode: str) -> None:
    rig = Rig()
    await rig.fail(5)
    rig.clock.advance(10.0)
    rig.shared.mode = mode
    permit = await rig.gate.admit()
    assert isinstance(permit, Permit)
    assert permit.probe is not None
    assert isinstance(await rig.gate.admit(), Refusal)
    rig.gate.settle(permit, Signal.SUCCESS)
    await settled()
    assert isinstance(await rig.gate.admit(), Permit)
    rig.shared.mode = "up"
    await rig.store.recover(WINDOWS)
    assert isinstance((await rig.stored()).record.state, Closed)


@pytest.mark.parametrize(("on_outage", "passes"), [("closed", True), ("open", False)])
async def test_a_fixed_verdict_holds_only_during_the_outage(on_outage: Literal["closed", "open"], passes: bool) -> None:
    rig = Rig(on_outage)
    assert isinstance(await rig.gate.admit(), Permit)
    rig.shared.mode = "refuse"
    await rig.gate.refresh()
    for _ in range(20):
        verdict = await rig.gate.admit()
        assert isinstance(verdict, Permit) is passes
        if isinstance(verdict, Permit):
            rig.gate.settle(verdict, Signal.FAILURE)
    await rig.gate.flush()
    rig.shared.mode = "up"
    await rig.store.recover(WINDOWS)
    await rig.gate.refresh()
    assert isinstance(await rig.gate.admit(), Permit)
    assert (await rig.stored()).counts == Counts()


async def test_the_clock_base_does_not_jump_when_the_store_goes_or_comes() -> None:
    rig = Rig()
    await rig.gate.refresh()
    for mode in ("refuse", "up"):
        rig.clock.advance(3.0)
        rig.shared.mode = mode
        if mode == "up":
            await rig.store.recover(WINDOWS)
        view = await rig.store.read("mock", WINDOW)
        assert abs(view.now - (rig.clock.wall() + SKEW)) < 0.001
        assert abs(rig.store.now() - (rig.clock.wall() + SKEW)) < 0.001


async def test_pushed_views_are_kept_and_old_ones_are_not_passed_on() -> None:
    rig = Rig()
    now = rig.clock.wall() + SKEW
    rig.shared.pushes.put_nowait(("mock", Shared(rig.opened(3), Counts(), 0, now)))
    rig.shared.pushes.put_nowait(None)
    rig.shared.pushes.put_nowait(("mock", Shared(rig.opened(2), Counts(), 0, now)))
    rig.shared.pushes.put_nowait(("mock", Shared(Record(4, HalfOpen(10.0), now), Counts(), 0, now)))
    rig.shared.pushes.put_nowait(StoreUnavailable("subscribe", "connection lost"))
    heard = [view.record.epoch async for _, view in rig.store.changes(["mock"])]
    assert heard == [3, 4]
    assert rig.sink.of(StoreFailed) == [StoreFailed("subscribe", "connection lost")]
    rig.shared.mode = "refuse"
    assert (await rig.store.read("mock", WINDOW)).record.epoch == 4


async def test_an_outage_ends_the_listening() -> None:
    rig = Rig()
    rig.shared.mode = "refuse"
    await rig.store.read("mock", WINDOW)
    rig.shared.pushes.put_nowait(None)
    assert [view async for view in rig.store.changes(["mock"])] == []


class Garbled(ScriptedStore):
    """A store that is well but keeps something unreadable for some upstreams."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.unreadable: set[str] = set()

    async def read(self, upstream: str, window: float) -> Shared:
        self._check(upstream)
        return await super().read(upstream, window)

    async def report(self, upstream: str, epoch: int, tally: Tally, window: float) -> Shared:
        self._check(upstream)
        return await super().report(upstream, epoch, tally, window)

    def _check(self, upstream: str) -> None:
        if upstream in self.unreadable:
            raise Unreadable("read", "its record cannot be read")


class GarbledRig(Rig):
    def __init__(self) -> None:
        super().__init__()
        self.shared: Garbled = Garbled(lambda: self.clock.wall() + SKEW)
        self.store = FailoverStore(self.shared, MemoryBreakerStore, clock=self.clock, events=self.sink)
        self.gate = self.new_gate("r1")


async def test_an_unreadable_record_is_away_for_its_upstream_alone() -> None:
    rig = GarbledRig()
    rig.shared.unreadable = {"mock"}
    await rig.fail(5)
    assert isinstance(rig.gate.view.record.state, Open)
    assert isinstance(await rig.gate.admit(), Refusal)
    assert rig.gate.degraded == "breaker"
    assert rig.store.up
    assert rig.store.shares("other")
    assert not rig.store.shares("mock")
    assert dict(rig.store.apart) == {"mock": "its record cannot be read"}
    await rig.store.report("other", 0, Tally(0, 1, 1), WINDOW)
    assert (await rig.shared.store.read("other", WINDOW)).counts == Counts(1, 1, 1)
    assert rig.sink.of(StoreChanged) == []


async def test_it_is_told_once_and_again_when_it_can_be_read() -> None:
    rig = GarbledRig()
    rig.shared.unreadable = {"mock"}
    for _ in range(3):
        await rig.gate.refresh()
        await rig.fail(1)
    rig.shared.unreadable = set()
    await rig.gate.refresh()
    await rig.gate.refresh()
    assert [event.cause for event in rig.sink.of(RecordUnreadable)] == ["its record cannot be read", None]
    assert rig.gate.degraded is None
    assert rig.store.apart == {}


async def test_what_was_learnt_apart_reaches_the_fleet_once_the_record_can_be_read() -> None:
    rig = GarbledRig()
    await rig.gate.refresh()
    rig.shared.unreadable = {"mock"}
    await rig.fail(5)
    rig.shared.unreadable = set()
    await rig.gate.refresh()
    assert isinstance((await rig.stored()).record.state, Open)


async def test_only_a_read_asks_again_for_a_record_that_could_not_be_read() -> None:
    rig = GarbledRig()
    rig.shared.unreadable = {"mock"}
    await rig.gate.refresh()
    asked = len(rig.shared.calls)
    await rig.fail(5)
    assert len(rig.shared.calls) == asked


async def test_a_store_that_goes_while_a_record_is_unreadable_goes_for_all_and_comes_back_for_the_others() -> None:
    rig = GarbledRig()
    rig.shared.unreadable = {"mock"}
    await rig.fail(5)
    rig.shared.mode = "refuse"
    await rig.store.read("other", WINDOW)
    assert not rig.store.up
    assert isinstance(await rig.gate.admit(), Refusal)  # what was learnt apart is kept
    rig.shared.mode = "up"
    assert await rig.store.recover({"mock": WINDOW, "other": WINDOW})
    assert rig.store.shares("other")
    assert not rig.store.shares("mock")
    assert isinstance(await rig.gate.admit(), Refusal)


async def test_pushes_of_an_upstream_apart_wait_for_its_record_to_be_read() -> None:
    rig = GarbledRig()
    rig.shared.unreadable = {"mock"}
    await rig.gate.refresh()
    now = rig.clock.wall() + SKEW
    rig.shared.pushes.put_nowait(("mock", Shared(rig.opened(9), Counts(), 0, now)))
    rig.shared.pushes.put_nowait(("other", Shared(rig.opened(3), Counts(), 0, now)))
    rig.shared.pushes.put_nowait(StoreUnavailable("subscribe", "connection lost"))
    assert [name async for name, _ in rig.store.changes(["mock", "other"])] == ["other"]
