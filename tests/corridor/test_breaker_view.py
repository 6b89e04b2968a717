"""One replica's view of a breaker: when it tells, what it takes over, and whose override stands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.breaker import Closed, Counts, Open, Override, Record
from proxy.core.events import BreakerChanged
from proxy.core.retry import Signal
from proxy.edges.memory_store import MemoryBreakerStore
from proxy.gate import Permit
from proxy.ports import Shared, Tally
from tests.fakes import FakeClock, RecordingSink, new_gate, settled, upstream

WINDOW = 30.0
MINE, THEIRS = Override("open", "maintenance", "me", None), Override("closed", "no", "them", None)


class Racing(MemoryBreakerStore):
    """Another replica is faster than the next `losses` installs of ours."""

    def __init__(self, clock: FakeClock, losses: int = 0) -> None:
        super().__init__(clock.wall)
        self.losses = losses
        self.installs = 0

    async def install(self, upstream: str, record: Record, *, expected: int | None, window: float) -> Shared:
        self.installs += 1
        if self.losses:
            self.losses -= 1
            theirs = replace(record, override=THEIRS)
            await super().install(upstream, theirs, expected=expected, window=window)
        return await super().install(upstream, record, expected=expected, window=window)


class Rig:
    def __init__(self, losses: int = 0, **settings: object) -> None:
        self.clock = FakeClock()
        self.sink = RecordingSink()
        self.store = Racing(self.clock, losses)
        self.gate = new_gate(upstream(**settings), self.store, self.clock, self.sink)

    async def end(self, signal: Signal, retry_after: float | None = None) -> None:
        permit = await self.gate.admit()
        assert isinstance(permit, Permit)
        self.gate.settle(permit, signal, retry_after)

    def view(self, record: Record | None = None, *, later: float = 0.0, consecutive: int = 0) -> Shared:
        counts = Counts(consecutive, consecutive, consecutive)
        return Shared(record or self.gate.view.record, counts, 0, self.clock.wall() + later)


@pytest.mark.parametrize(("losses", "installs"), [(0, 1), (1, 2), (3, 4), (7, 8)])
async def test_an_override_that_lost_its_race_is_set_again_until_it_stands(losses: int, installs: int) -> None:
    rig = Rig(losses)
    view = await rig.gate.override(MINE)
    assert view.record.override == MINE
    assert (await rig.store.read("mock", WINDOW)).record.override == MINE
    assert rig.store.installs == installs


async def test_an_override_that_always_loses_gives_up_and_says_what_holds() -> None:
    rig = Rig(100)
    assert (await rig.gate.override(MINE)).record.override == THEIRS
    assert rig.store.installs == 8


async def test_the_same_override_again_is_set_again() -> None:
    rig = Rig()
    first = (await rig.gate.override(MINE)).record.epoch
    assert (await rig.gate.override(MINE)).record.epoch == first + 1
    assert (await rig.gate.override(None)).record.override is None


@pytest.mark.parametrize(("consecutive", "at_once"), [(0, False), (1, True), (4, True)])
async def test_a_success_is_told_at_once_while_the_fleet_counts_failures_in_a_row(
    consecutive: int, at_once: bool
) -> None:
    rig = Rig()
    rig.gate.learn(rig.view(consecutive=consecutive))
    await rig.end(Signal.SUCCESS)
    assert rig.gate.wake.is_set() is at_once


@pytest.mark.parametrize(
    ("signals", "tally"),
    [
        ([(Signal.FAILURE, 5.0), (Signal.FAILURE, None)], Tally(0, 2, 2, 5.0)),
        ([(Signal.FAILURE, 5.0), (Signal.FAILURE, 9.0)], Tally(0, 2, 2, 9.0)),
        ([(Signal.FAILURE, 5.0), (Signal.SUCCESS, None)], Tally(1, 1, 0, 0.0)),
        ([(Signal.SUCCESS, None), (Signal.FAILURE, None)], Tally(1, 1, 1, 0.0)),
        ([(Signal.NEUTRAL, 5.0)], None),
    ],
)
async def test_what_waits_is_one_report(signals: list[tuple[Signal, float | None]], tally: Tally | None) -> None:
    rig = Rig()
    for signal, wait in signals:
        await rig.end(signal, wait)
    assert rig.gate._pending == (tally or Tally())
    await rig.gate.flush()
    view = await rig.store.read("mock", WINDOW)
    expected = tally or Tally()
    assert view.counts == expected.onto(Counts())
    assert view.retry_after == pytest.approx(expected.retry_after)


async def test_enough_failures_of_its_own_hold_its_calls_back_before_the_store_has_answered() -> None:
    rig = Rig()
    for _ in range(4):
        await rig.end(Signal.FAILURE)
    held_back = [rig.gate.tripping]
    await rig.end(Signal.FAILURE)
    held_back.append(rig.gate.tripping)
    await rig.gate.flush()
    held_back.append(rig.gate.tripping)
    assert held_back == [False, True, False], "in the end it is the record that does"
    assert isinstance(rig.gate.view.record.state, Open)


async def test_the_window_is_the_failure_rate_s() -> None:
    assert Rig(breaker={"failure_rate": {"window": "40s"}}).gate.window == 40.0


async def test_without_a_failure_rate_only_the_row_counts() -> None:
    rig = Rig(breaker={"failure_rate": None})
    assert rig.gate.window == 1.0
    for _ in range(4):
        for _ in range(4):
            await rig.end(Signal.FAILURE)
        await rig.end(Signal.SUCCESS)
    await rig.gate.flush()
    assert isinstance(rig.gate.view.record.state, Closed)


@pytest.mark.parametrize(
    ("epoch", "later", "taken"),
    [
        (0, 0.0, True),
        (0, 1.0, True),
        (0, -0.001, False),
        (0, -9.9, False),
        (0, -10.1, True),
        (1, -9.9, True),
        (1, 0.0, True),
    ],
)
async def test_a_view_that_was_overtaken_is_not_taken_over_unless_the_clock_was_set_back(
    epoch: int, later: float, taken: bool
) -> None:
    rig = Rig()
    await rig.gate.refresh()
    record = replace(rig.gate.view.record, epoch=epoch)
    rig.gate.learn(rig.view(record, later=later, consecutive=3))
    assert (rig.gate.view.counts.consecutive == 3) is taken
    if taken:
        assert rig.gate.now() == pytest.approx(rig.clock.wall() + later)
        assert rig.gate.age == 0.0


async def test_a_record_of_an_earlier_epoch_is_never_taken_over() -> None:
    rig = Rig()
    rig.gate.learn(rig.view(Record(5, Closed(), 0.0)))
    for later in (-100.0, 0.0, 100.0):
        rig.gate.learn(rig.view(Record(4, Closed(), 0.0), later=later))
    assert rig.gate.view.record.epoch == 5


async def test_a_new_epoch_drops_what_waits_and_the_same_one_does_not() -> None:
    rig = Rig()
    for _ in range(5):
        await rig.end(Signal.FAILURE)
    rig.gate.learn(rig.view())
    assert (rig.gate.tripping, rig.gate._pending.failures) == (True, 5)
    rig.gate.learn(rig.view(Record(1, Closed(), 0.0)))
    assert (rig.gate.tripping, rig.gate._pending) == (False, Tally())


async def test_how_old_a_view_is_counts_from_when_it_was_heard() -> None:
    rig = Rig()
    rig.clock.advance(3.0)
    assert rig.gate.age == 3.0
    await rig.gate.refresh()
    rig.clock.advance(1.0)
    assert rig.gate.age == 1.0


async def test_another_configuration_s_view_goes_on_from_this_one_and_tells_nothing() -> None:
    rig = Rig()
    opened = Record(3, Open(rig.clock.wall() + 90.0, 10.0), rig.clock.wall(), 1, "because")
    rig.gate.learn(rig.view(opened, later=50.0))
    rig.clock.advance(2.0)
    told = len(rig.sink.of(BreakerChanged))
    heir = new_gate(upstream(), rig.store, rig.clock, rig.sink)
    heir.inherit(rig.gate)
    heir.announce()
    assert (heir.view, heir.now(), heir.age) == (rig.gate.view, rig.gate.now(), 2.0)
    assert len(rig.sink.of(BreakerChanged)) == told == 1


async def test_a_change_is_told_once_with_its_cause_and_wait_also_when_an_override_runs_out() -> None:
    rig = Rig()
    forced = Record(1, Closed(), 0.0, 0, "", Override("open", "maintenance", "me", rig.clock.wall() + 5.0))
    rig.gate.learn(rig.view(forced))
    rig.gate.announce()
    rig.clock.advance(5.0)
    await settled()
    rig.gate.announce()
    told = [(event.old, event.new, event.epoch) for event in rig.sink.of(BreakerChanged)]
    assert told == [("closed", "forced_open", 1), ("forced_open", "closed", 1)]
