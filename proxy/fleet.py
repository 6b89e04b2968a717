"""This replica's part in the fleet: it reports what its gates found out, and learns what the others did.

Four loops, none of them on a request's path: failures go out at once, everything else on a short beat; pushes come in
as they happen, and a slow poll is the backstop for a push that got lost and the way back after an outage.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial

from proxy.core.budget import Budget, Spent
from proxy.core.errors import StoreUnavailable
from proxy.core.events import AttemptFinished, CallRejected, Event, PaymentFinished, StoreFailed, TurnFailed
from proxy.core.model import Kind
from proxy.failover import FailoverStore
from proxy.gate import Gate
from proxy.ports import Beat, Clock, EventSink, FleetView, Journal

BEAT_SECONDS = 0.1
MOST_ATTEMPTS_A_BEAT = 500
"""Attempts told one by one per beat; beyond it they are only counted, so that a storm cannot fill the log."""


class Chronicle:
    """An EventSink that gathers what this replica has to tell until the next beat."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._results: dict[str, Counter[str]] = {}
        self._attempts: list[tuple[float, AttemptFinished]] = []

    def publish(self, event: Event) -> None:
        match event:
            case AttemptFinished():
                self._count(event.upstream, f"attempt:{event.row}")
                if len(self._attempts) < MOST_ATTEMPTS_A_BEAT:
                    self._attempts.append((self._clock.wall(), event))
            case PaymentFinished() if event.kind is not Kind.READ:  # a read that got no answer charges nobody
                self._count(event.upstream, f"payment:{event.outcome}")
            case CallRejected(shadow=False):
                self._count(event.upstream, "rejected")
            case _:
                pass

    def take(self) -> tuple[dict[str, Counter[str]], tuple[tuple[float, AttemptFinished], ...]]:
        """What was gathered, once."""
        results, attempts = self._results, tuple(self._attempts)
        self._results, self._attempts = {}, []
        return results, attempts

    def _count(self, upstream: str, name: str) -> None:
        self._results.setdefault(upstream, Counter())[name] += 1


class Fleet:
    """The loops that keep this replica's gates and budgets in step with the other replicas'."""

    def __init__(
        self,
        gates: Mapping[str, Gate],
        budgets: Mapping[str, Budget],
        *,
        store: FailoverStore | None,
        journal: Journal,
        local_journal: Journal,
        chronicle: Chronicle,
        clock: Clock,
        events: EventSink,
        poll_seconds: float,
    ) -> None:
        self.gates = gates
        self.budgets = budgets
        self.replicas: tuple[str, ...] = ()
        self._store = store
        self._journal = journal
        self._local_journal = local_journal
        self._chronicle = chronicle
        self._clock = clock
        self._events = events
        self._poll_seconds = poll_seconds

    @property
    def shared(self) -> bool:
        """Whether breaker state is shared with other replicas at all."""
        return self._store is not None

    @property
    def up(self) -> bool:
        """Whether the shared store answers."""
        return self._store is not None and self._store.up

    @property
    def apart(self) -> Mapping[str, str]:
        """Upstreams whose breaker is this replica's own although the store answers, and why."""
        return {} if self._store is None else self._store.apart

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for gate in self.gates.values():
                tasks.create_task(self._forever(partial(self._report, gate)))
            tasks.create_task(self._forever(self._beat))
            if self._store is not None:
                tasks.create_task(self._forever(partial(self._poll, self._store)))
                tasks.create_task(self._forever(partial(self._listen, self._store)))

    async def leave(self) -> None:
        """Tell the fleet what is left to tell, and that this replica is going."""
        await asyncio.gather(*(gate.drain() for gate in self.gates.values()))
        await self.beat()
        if self.up:
            with suppress(StoreUnavailable):
                await self._journal.goodbye()

    async def history(self, upstream: str, seconds: float) -> Mapping[str, int]:
        """The fleet's results; this replica's alone while the shared store is away."""
        if self.up:
            try:
                return await self._journal.history(upstream, seconds)
            except StoreUnavailable as trouble:
                self._events.publish(StoreFailed(trouble.operation, trouble.cause))
        return await self._local_journal.history(upstream, seconds)

    async def beat(self) -> None:
        """One exchange with the journal: our spending and results for the fleet's totals."""
        results, attempts = self._chronicle.take()
        spent = {name: budget.report() for name, budget in self.budgets.items()}
        beat = Beat(spent, results, attempts)
        local = await self._local_journal.sync(beat)
        shared = await self._shared_view(beat)
        self.replicas = (shared or local).replicas if shared or not self.shared else self.replicas
        totals = (shared or local).spent
        for name, budget in self.budgets.items():
            budget.learn(totals.get(name, Spent()), len(self.replicas))

    async def _shared_view(self, beat: Beat) -> FleetView | None:
        if not self.up:
            return None
        try:
            return await self._journal.sync(beat)
        except StoreUnavailable as trouble:
            self._events.publish(StoreFailed(trouble.operation, trouble.cause))
            return None

    async def _forever(self, turn: Callable[[], Awaitable[None]]) -> None:
        """Take turns until cancelled: a bug in one turn is told and costs that turn, not the replica's place.

        The count of cancellations is asked too: asyncio.wait_for, which redis-py uses, may swallow one on Python 3.11.
        """
        task = asyncio.current_task()
        while task is None or not task.cancelling():
            try:
                await turn()
            except Exception as bug:  # noqa: BLE001
                self._events.publish(TurnFailed(getattr(turn, "__name__", repr(turn)), repr(bug)))
                await self._clock.sleep(self._poll_seconds)

    async def _beat(self) -> None:
        await self._clock.sleep(BEAT_SECONDS)
        for gate in self.gates.values():
            gate.announce()
            gate.wake.set()
        await self.beat()

    async def _report(self, gate: Gate) -> None:
        await gate.wake.wait()
        gate.wake.clear()
        await gate.flush()

    async def _poll(self, store: FailoverStore) -> None:
        await self._clock.sleep(self._poll_seconds if store.up else self._poll_seconds / 2)
        if store.up or await store.recover({name: gate.window for name, gate in self.gates.items()}):
            for gate in self.gates.values():
                await gate.refresh()

    async def _listen(self, store: FailoverStore) -> None:
        async for name, view in store.changes(self.gates):
            if name in self.gates:
                self.gates[name].learn(view)
        await self._clock.sleep(self._poll_seconds / 4)
