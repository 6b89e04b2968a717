"""The gate in front of one provider, with a store in memory."""

from __future__ import annotations

import asyncio

import pytest

from proxy.breaker_view import GateStore
from proxy.core.breaker import Closed, Counts, HalfOpen, Open, Override, Record
from proxy.core.config import Upstream
from proxy.core.events import BreakerChanged, CallRejected
from proxy.core.retry import Signal
from proxy.edges.memory_store import MemoryBreakerStore
from proxy.gate import Gate, Permit, Refusal
from proxy.ports import Shared, Tally
from tests.fakes import FakeClock, GatedStore, RecordingSink, new_gate, settled, upstream


class Rig:
    """One store, one clock, some replicas' gates."""

    def __init__(self, config: Upstream | None = None, store: GateStore | None = None, replicas: int = 1) -> None:
        self.clock = FakeClock()
        self.store = store or MemoryBreakerStore(self.clock.wall)
        self.sink = RecordingSink()
        self.config = config or upstream()
        self.gates = [
            new_gate(self.config, self.store, self.clock, self.sink, replica=f"r{n}") for n in range(replicas)
        ]
        self.gate = self.gates[0]

    async def permit(self, gate: Gate | None = None) -> Permit:
        permit = await (gate or self.gate).admit()
        assert isinstance(permit, Permit)
        return permit

    async def refusal(self, gate: Gate | None = None) -> Refusal:
        refusal = await (gate or self.gate).admit()
        assert isinstance(refusal, Refusal)
        return refusal

    async def end(self, signal: Signal, gate: Gate | None = None, retry_after: float | None = None) -> None:
        """One call that ends in `signal`, told to the store."""
        one = gate or self.gate
        one.settle(await self.permit(one), signal, retry_after)
        await settled()
        await one.flush()

    async def open(self, gate: Gate | None = None) -> None:
        for _ in range(5):
            await self.end(Signal.FAILURE, gate)

    async def view(self) -> Shared:
        return await self.store.read("mock", 30.0)


class CountingStore(MemoryBreakerStore):
    """A memory store that counts the reports it gets."""

    reports = 0

    async def report(self, upstream: str, epoch: int, tally: Tally, window: float) -> Shared:
        self.reports += 1
        return await super().report(upstream, epoch, tally, window)


async def test_many_outcomes_are_told_in_one_command_and_none_on_the_way() -> None:
    store = CountingStore(FakeClock().wall)
    rig = Rig(store=store)
    for _ in range(10):
        rig.gate.settle(await rig.permit(), Signal.SUCCESS)
    assert store.reports == 0
    await rig.gate.flush()
    await rig.gate.flush()
    assert store.reports == 1
    assert (await rig.view()).counts == Counts(0, 10, 0)


async def test_five_failures_over_any_replicas_open_the_breaker_for_all_who_learn() -> None:
    rig = Rig(replicas=5)
    for gate in rig.gates:
        await rig.end(Signal.FAILURE, gate)
    record = (await rig.view()).record
    assert record.state == Open(rig.clock.wall() + 10.0, 10.0)
    for gate in rig.gates:
        await gate.refresh()
        assert (await rig.refusal(gate)).retry_after == pytest.approx(10.0)
    rig.clock.advance(4.0)
    assert (await rig.refusal()).retry_after == pytest.approx(6.0)


async def test_a_failure_asks_to_be_told_at_once_and_a_success_waits() -> None:
    rig = Rig()
    rig.gate.settle(await rig.permit(), Signal.SUCCESS)
    assert not rig.gate.wake.is_set()
    rig.gate.settle(await rig.permit(), Signal.NEUTRAL)
    assert not rig.gate.wake.is_set()
    rig.gate.settle(await rig.permit(), Signal.FAILURE)
    assert rig.gate.wake.is_set()


async def test_neutral_results_are_not_counted() -> None:
    rig = Rig()
    for _ in range(50):
        await rig.end(Signal.NEUTRAL)
    assert (await rig.view()).counts == Counts()


@pytest.mark.parametrize("signal", list(Signal))
async def test_results_of_an_earlier_epoch_change_nothing(signal: Signal) -> None:
    rig = Rig()
    old = await rig.permit()
    await rig.open()
    rig.clock.advance(10.0)
    await rig.end(Signal.SUCCESS)  # the probe
    before = await rig.view()
    assert isinstance(before.record.state, Closed)
    rig.gate.settle(old, signal)
    await rig.gate.drain()
    after = await rig.view()
    assert (after.record, after.counts) == (before.record, before.counts)
    assert rig.gate.in_flight == 0


async def test_results_that_wait_are_dropped_with_their_epoch() -> None:
    rig = Rig(replicas=2)
    a, b = rig.gates
    for _ in range(3):
        a.settle(await rig.permit(a), Signal.FAILURE)
    await rig.open(b)
    await a.refresh()
    await a.flush()
    assert (await rig.view()).counts == Counts()


async def test_one_probe_closes_and_everyone_flows_again() -> None:
    rig = Rig()
    await rig.open()
    rig.clock.advance(10.0)
    probe = await rig.permit()
    assert probe.probe is not None
    assert isinstance((await rig.view()).record.state, HalfOpen)
    assert (await rig.refusal()).retry_after >= 1.0
    rig.gate.settle(probe, Signal.SUCCESS)
    await settled()
    assert isinstance((await rig.view()).record.state, Closed)
    assert (await rig.permit()).probe is None


async def test_a_failed_probe_reopens_for_longer() -> None:
    rig = Rig()
    await rig.open()
    rig.clock.advance(10.0)
    await rig.end(Signal.FAILURE)
    assert (await rig.view()).record.state == Open(rig.clock.wall() + 20.0, 20.0)


async def test_a_failed_probe_respects_retry_after() -> None:
    rig = Rig()
    await rig.open()
    rig.clock.advance(10.0)
    await rig.end(Signal.FAILURE, retry_after=90.0)
    assert (await rig.view()).record.state == Open(rig.clock.wall() + 90.0, 90.0)


@pytest.mark.parametrize("how", ["release", "neutral"])
async def test_a_probe_that_learnt_nothing_gives_its_place_back(how: str) -> None:
    rig = Rig(replicas=2)
    await rig.open()
    rig.clock.advance(10.0)
    probe = await rig.permit()
    if how == "release":
        rig.gate.release(probe)
    else:
        rig.gate.settle(probe, Signal.NEUTRAL)
    await settled()
    assert isinstance((await rig.view()).record.state, HalfOpen)
    await rig.gates[1].refresh()
    assert (await rig.permit(rig.gates[1])).probe is not None


async def test_a_crashed_prober_blocks_no_longer_than_its_lease() -> None:
    rig = Rig(replicas=2)
    await rig.open()
    rig.clock.advance(10.0)
    await rig.permit()
    other = rig.gates[1]
    await other.refresh()
    refusal = await rig.refusal(other)
    assert refusal.retry_after == pytest.approx(4.0)  # attempt timeout and margin
    rig.clock.advance(4.1)
    assert (await rig.permit(other)).probe is not None


async def test_only_so_many_probes_fleet_wide_however_many_ask_at_once() -> None:
    rig = Rig(upstream(breaker={"probes": 2}), replicas=4)
    await rig.open()
    for gate in rig.gates:
        await gate.refresh()
    rig.clock.advance(10.0)
    await rig.permit()
    for gate in rig.gates:
        await gate.refresh()
    asked = await asyncio.gather(*(gate.admit() for gate in rig.gates for _ in range(5)))
    assert sum(isinstance(one, Permit) for one in asked) == 1


async def test_a_call_cancelled_while_it_asks_for_a_probe_gives_the_place_back() -> None:
    rig, store = gated()
    await rig.open()
    rig.clock.advance(10.0)
    asking = asyncio.create_task(rig.gate.admit())
    await store.asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    store.door.set()
    await settled()
    assert rig.gate.in_flight == 0
    assert (await rig.permit()).probe is not None


async def test_a_call_that_learns_while_it_asks_that_the_breaker_opened_is_not_sent() -> None:
    """The lease's answer and a push may cross."""
    rig, store = gated()
    await rig.open()
    rig.clock.advance(10.0)
    asking = asyncio.create_task(rig.gate.admit())
    await store.asked.wait()
    record = Record(3, Open(rig.clock.wall() + 20.0, 20.0), rig.clock.wall(), 2, "a probe failed")
    rig.gate.learn(await store.install("mock", record, expected=None, window=30.0))
    store.door.set()
    assert isinstance(await asking, Refusal)


async def test_a_push_between_asking_and_the_request_for_a_place_is_heeded() -> None:
    rig = Rig()
    await rig.open()
    rig.clock.advance(10.0)
    asking = asyncio.create_task(rig.gate.admit())
    await asyncio.sleep(0)  # the call has made up its mind to ask; its request has not gone out yet
    record = Record(3, Open(rig.clock.wall() + 20.0, 20.0), rig.clock.wall(), 2, "a probe failed")
    rig.gate.learn(await rig.store.install("mock", record, expected=None, window=30.0))
    assert isinstance(await asking, Refusal)


async def test_a_call_that_finds_the_breaker_closed_by_others_goes_through() -> None:
    rig = Rig(replicas=2)
    await rig.open()
    late = rig.gates[1]
    await late.refresh()
    rig.clock.advance(10.0)
    await rig.end(Signal.SUCCESS)
    assert isinstance((await rig.view()).record.state, Closed)
    assert isinstance(await late.admit(), Permit)


async def test_a_replica_that_was_about_to_trip_recovers_with_the_fleet() -> None:
    rig = Rig(replicas=2)
    a, b = rig.gates
    for _ in range(5):
        a.settle(await rig.permit(a), Signal.FAILURE)
    await rig.open(b)
    await a.refresh()  # the push that b's trip sends comes before a's own flush
    await a.flush()
    rig.clock.advance(10.0)
    await rig.end(Signal.SUCCESS, b)
    await a.refresh()
    assert isinstance(a.view.record.state, Closed)
    assert isinstance(await a.admit(), Permit)


async def test_failures_that_would_trip_hold_calls_back_until_the_store_has_spoken() -> None:
    rig = Rig(replicas=2)
    a, b = rig.gates
    for _ in range(5):
        a.settle(await rig.permit(a), Signal.FAILURE)
    assert isinstance(await a.admit(), Refusal)
    await rig.end(Signal.SUCCESS, b)
    await rig.gate.flush()
    assert isinstance(await a.admit(), Refusal)  # five in a row all the same
    assert isinstance((await rig.view()).record.state, Open)


async def test_the_retry_after_of_any_failure_that_led_to_the_trip_is_respected() -> None:
    rig = Rig()
    await rig.end(Signal.FAILURE, retry_after=60.0)
    for _ in range(4):
        await rig.end(Signal.FAILURE)
    state = (await rig.view()).record.state
    assert isinstance(state, Open)
    assert state.until >= rig.clock.wall() + 60.0


async def test_a_late_view_does_not_turn_the_clock_back() -> None:
    rig = Rig()
    late = await rig.view()
    rig.clock.advance(5.0)
    await rig.gate.refresh()
    rig.gate.learn(late)
    assert abs(rig.gate.now() - rig.clock.wall()) < 0.001


async def test_an_older_epoch_is_not_learnt() -> None:
    rig = Rig()
    early = await rig.view()
    await rig.open()
    rig.gate.learn(early)
    assert rig.gate.view.record.epoch == 1


async def test_times_are_the_stores_whatever_the_replicas_own_clock_says() -> None:
    rig = Rig()
    skewed = MemoryBreakerStore(lambda: rig.clock.wall() - 5000.0)
    gate = new_gate(rig.config, skewed, rig.clock, rig.sink)
    for _ in range(5):
        gate.settle(await rig.permit(gate), Signal.FAILURE)
    await gate.flush()
    assert (await rig.refusal(gate)).retry_after == pytest.approx(10.0)
    rig.clock.advance(10.0)
    assert (await rig.permit(gate)).probe is not None


async def test_the_age_of_the_view_grows_until_it_is_confirmed() -> None:
    rig = Rig()
    rig.clock.advance(7.0)
    assert rig.gate.age == 7.0
    await rig.gate.refresh()
    assert rig.gate.age == 0.0


async def test_the_concurrency_limit_refuses_and_frees() -> None:
    rig = Rig(upstream(max_concurrency=2))
    first = await rig.permit()
    await rig.permit()
    assert (await rig.refusal()).reason == "concurrency"
    assert rig.sink.of(CallRejected) == [CallRejected("mock", "concurrency", shadow=False)]
    rig.gate.release(first)
    await rig.permit()
    assert rig.gate.in_flight == 2


async def test_shadow_mode_reports_and_blocks_nothing() -> None:
    rig = Rig(upstream(breaker={"mode": "shadow"}))
    await rig.open()
    permit = await rig.permit()
    assert not permit.counted
    assert rig.sink.of(CallRejected) == [CallRejected("mock", "breaker", shadow=True)]
    rig.gate.settle(permit, Signal.FAILURE)
    assert rig.gate.in_flight == 0
    rig.clock.advance(10.0)
    await rig.end(Signal.SUCCESS)
    assert isinstance((await rig.view()).record.state, Closed)


async def test_an_override_holds_for_the_fleet_until_it_expires() -> None:
    rig = Rig(replicas=2)
    until = rig.clock.wall() + 60.0
    view = await rig.gate.override(Override("open", "ann", "maintenance", until))
    assert view.record.override is not None
    await rig.gates[1].refresh()
    for gate in rig.gates:
        assert (await rig.refusal(gate)).retry_after == pytest.approx(60.0)
    rig.clock.advance(60.0)
    for gate in rig.gates:
        assert (await rig.permit(gate)).counted


async def test_forced_closed_beats_an_open_breaker_and_counts_nothing() -> None:
    rig = Rig()
    await rig.open()
    await rig.gate.override(Override("closed", "ann", "we know better", None))
    for _ in range(50):
        await rig.end(Signal.FAILURE)
    assert (await rig.view()).counts == Counts()
    await rig.gate.override(None)
    assert isinstance((await rig.view()).record.state, Open)
    assert isinstance(await rig.gate.admit(), Refusal)


async def test_a_change_is_announced_once() -> None:
    rig = Rig()
    await rig.open()
    await rig.gate.refresh()
    await rig.gate.refresh()
    changes = rig.sink.of(BreakerChanged)
    assert changes == [BreakerChanged("mock", "closed", "open", 1, "5 failures in a row", 10.0)]


def gated() -> tuple[Rig, GatedStore]:
    """A rig whose leases wait for the test."""
    clock = FakeClock()
    store = GatedStore(clock.wall)
    rig = Rig(store=store)
    store._now = rig.clock.wall
    return rig, store


class SetBackStore(MemoryBreakerStore):
    """A store that failed over to a host whose clock is behind."""

    behind = 0.0

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(lambda: clock.wall() - self.behind)


async def test_a_store_whose_clock_was_set_back_still_trips() -> None:
    rig = Rig()
    store = SetBackStore(rig.clock)
    gate = new_gate(rig.config, store, rig.clock, rig.sink)
    await gate.refresh()
    store.behind = 5.0
    for _ in range(5):
        await rig.end(Signal.FAILURE, gate)
    assert isinstance((await store.read("mock", 30.0)).record.state, Open)


async def test_a_store_whose_clock_was_set_back_still_closes() -> None:
    rig = Rig()
    store = SetBackStore(rig.clock)
    gate = new_gate(rig.config, store, rig.clock, rig.sink)
    for _ in range(5):
        await rig.end(Signal.FAILURE, gate)
    rig.clock.advance(10.0)
    probe = await rig.permit(gate)
    store.behind = 3.0
    gate.settle(probe, Signal.SUCCESS)
    await settled()
    assert isinstance((await store.read("mock", 30.0)).record.state, Closed)
