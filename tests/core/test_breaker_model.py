"""Random walks of a fleet: replicas with real gates, one store, one clock, and news that comes late or never.

Attempts end within the attempt timeout, as the transport promises; a crash ends a replica and forgets its attempts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.core.breaker import Closed, HalfOpen, Open
from proxy.core.retry import Signal
from proxy.edges.memory_store import MemoryBreakerStore, _Entry
from proxy.gate import Gate, Permit, Refusal
from proxy.ports import Shared
from tests.fakes import FakeClock, new_gate, settled, upstream

T = TypeVar("T")
REPLICAS = 3
ATTEMPT, LEASE = 3.0, 4.0
WHO = st.integers(0, REPLICAS - 1)
SIGNALS = st.sampled_from([Signal.FAILURE, Signal.FAILURE, Signal.SUCCESS, Signal.NEUTRAL])


@dataclass(frozen=True)
class Attempt:
    """One call that is out; `ends` is when its timeout would end it."""

    replica: int
    permit: Permit
    ends: float


class Fleet(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.clock = FakeClock()
        self.store = MemoryBreakerStore(self.clock.wall)
        self.out: list[Attempt] = []
        self.news: list[Shared] = []
        self.crashes = 0
        self.seen = [0] * REPLICAS
        self.stored_epoch = 0

    @initialize(probes=st.integers(1, 2), successes=st.integers(1, 3), failures=st.integers(1, 3))
    def start(self, probes: int, successes: int, failures: int) -> None:
        self.config = upstream(
            timeouts={"attempt": "3s"},
            breaker={
                "consecutive_failures": failures,
                "failure_rate": {"threshold": 0.5, "window": "30s", "min_calls": 6},
                "cooldown": "10s",
                "max_cooldown": "40s",
                "probes": probes,
                "probe_successes": successes,
            },
        )
        self.probes = probes
        self.gates = [self.run(self.new(n)) for n in range(REPLICAS)]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def all_of_it() -> T:
            done = await work
            await settled()
            return done

        done = self.loop.run(all_of_it())
        view = self.view()
        if not self.news or self.news[-1].record != view.record:
            self.news.append(view)
        return done

    async def new(self, n: int) -> Gate:
        self.crashes += 1
        gate = new_gate(self.config, self.store, self.clock, replica=f"r{n}.{self.crashes}", draw=0.5)
        await gate.refresh()
        return gate

    @property
    def entry(self) -> _Entry:
        return self.store._entry("mock")

    def view(self) -> Shared:
        return self.store._view(self.entry, 30.0)

    # what may happen ---------------------------------------------------------------------------------------------

    @rule(who=st.lists(WHO, min_size=1, max_size=5))
    def calls_come(self, who: list[int]) -> None:
        """Several calls at once, on any replicas."""
        before = self.view()
        learnt = [self.gates[n].view.record.epoch == before.record.epoch for n in who]

        async def all_at_once() -> list[Permit | Refusal]:
            return await asyncio.gather(*(self.gates[n].admit() for n in who))

        admitted = self.run(all_at_once())
        for n, knows, verdict in zip(who, learnt, admitted, strict=True):
            if isinstance(verdict, Permit):
                self.out.append(Attempt(n, verdict, self.clock.now() + ATTEMPT))
            if isinstance(before.record.state, Open) and before.now < before.record.state.until and knows:
                assert isinstance(verdict, Refusal), "sent although it knew the breaker to be open"

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 50), signal=SIGNALS)
    def a_call_ends(self, which: int, signal: Signal) -> None:
        attempt = self.out.pop(which % len(self.out))
        self.run(self.settle(attempt, signal))

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 50))
    def a_call_is_cancelled(self, which: int) -> None:
        attempt = self.out.pop(which % len(self.out))
        self.run(self.cancel(attempt))
        if attempt.permit.probe is not None:
            assert attempt.permit.probe not in self.entry.leases, "a cancelled probe kept its place"

    async def cancel(self, attempt: Attempt) -> None:
        self.gates[attempt.replica].release(attempt.permit)

    async def settle(self, attempt: Attempt, signal: Signal) -> None:
        gate = self.gates[attempt.replica]
        stale = attempt.permit.epoch < self.entry.record.epoch
        if not stale:
            gate.settle(attempt.permit, signal)
            return
        await gate.flush()
        before = (self.entry.record, self.entry.consecutive, self.entry.passes, list(self.entry.results))
        leases = dict(self.entry.leases)
        gate.settle(attempt.permit, signal)
        await settled()
        await gate.flush()
        assert before == (self.entry.record, self.entry.consecutive, self.entry.passes, list(self.entry.results))
        assert leases == self.entry.leases, "a result of an earlier epoch changed something"

    @rule(n=WHO)
    def flush(self, n: int) -> None:
        self.run(self.gates[n].flush())

    @rule(n=WHO)
    def poll(self, n: int) -> None:
        self.run(self.gates[n].refresh())

    @precondition(lambda self: self.news)
    @rule(n=WHO, which=st.integers(0, 50))
    def old_news_arrive(self, n: int, which: int) -> None:
        """Any change of the past, late; its time stands as it was then. Others are lost."""
        self.gates[n].learn(self.news[-1 - which % len(self.news)])

    @rule(n=WHO)
    def a_replica_crashes(self, n: int) -> None:
        self.out = [attempt for attempt in self.out if attempt.replica != n]
        self.gates[n] = self.run(self.new(n))
        self.seen[n] = 0

    @rule(seconds=st.sampled_from([0.1, 0.9, 2.5, 4.0, 9.9, 25.0]))
    def time_passes(self, seconds: float) -> None:
        """Attempts that would not end in time are ended by their timeout."""
        until = self.clock.now() + seconds
        while late := sorted((one for one in self.out if one.ends <= until), key=lambda one: one.ends):
            self.clock.advance(max(0.0, late[0].ends - self.clock.now()))
            self.out.remove(late[0])
            self.run(self.settle(late[0], Signal.FAILURE))
        self.clock.advance(until - self.clock.now())

    # what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def no_more_leases_than_places(self) -> None:
        now = self.clock.wall()
        assert sum(until > now for until in self.entry.leases.values()) <= getattr(self, "probes", 0)

    @invariant()
    def no_more_probes_out_than_places(self) -> None:
        assert sum(attempt.permit.probe is not None for attempt in self.out) <= getattr(self, "probes", 0)

    @invariant()
    def epochs_never_go_back(self) -> None:
        for n, gate in enumerate(getattr(self, "gates", [])):
            assert gate.view.record.epoch >= self.seen[n]
            assert gate.view.record.epoch <= self.entry.record.epoch
            self.seen[n] = gate.view.record.epoch
        assert self.entry.record.epoch >= self.stored_epoch
        self.stored_epoch = self.entry.record.epoch

    @invariant()
    def a_half_open_breaker_came_from_an_open_one(self) -> None:
        state = self.entry.record.state
        assert isinstance(state, Closed | Open | HalfOpen)
        assert isinstance(state, Closed) or self.entry.record.opens > 0

    def teardown(self) -> None:
        """Whatever happened, and though every prober crash now: the fleet recovers within cooldown and lease."""
        try:
            if hasattr(self, "gates"):
                self.recovers()
        finally:
            self.loop.close()

    def recovers(self) -> None:
        state = self.entry.record.state
        wait = max(0.0, state.until - self.clock.wall()) if isinstance(state, Open) else 0.0
        self.out = []
        self.clock.advance(wait + LEASE)
        for n in range(REPLICAS):  # each hears of what the ones before it did before it tells its own
            self.run(self.gates[n].refresh())
            self.run(self.gates[n].flush())
        state = self.entry.record.state
        if isinstance(state, Open):
            self.clock.advance(max(0.0, state.until - self.clock.wall()))
        for turn in range(self.config.breaker.probe_successes):
            self.run(self.gates[turn % REPLICAS].refresh())
            permit = self.run(self.gates[turn % REPLICAS].admit())
            assert isinstance(permit, Permit), "recovery is blocked"
            self.run(self.settle(Attempt(turn % REPLICAS, permit, 0.0), Signal.SUCCESS))
        for n in range(REPLICAS):
            self.run(self.gates[n].refresh())
            assert isinstance(self.run(self.gates[n].admit()), Permit), "a replica stays shut"
        assert isinstance(self.entry.record.state, Closed)


Fleet.TestCase.settings = settings(max_examples=250, stateful_step_count=40, deadline=None)
TestFleet = Fleet.TestCase
