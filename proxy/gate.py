"""The gate in front of one provider: breaker and concurrency limit, asked before every attempt.

Asking costs no round trip while the breaker is closed or open: the gate decides on the last view it has of the shared
record. What the calls found out is reported in the background: a failure at once, successes gathered (but at once too
while the fleet counts failures in a row), everything that waits in one command. Only a probe asks the store first, for
its place among the fleet's probes. A replica whose own failures are enough to open the breaker stops at once and asks
the store in the background whether that holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Literal, Protocol

from proxy.core import breaker
from proxy.core.breaker import Counts, NeedsProbe, Override, Record, Refuse
from proxy.core.config import Upstream
from proxy.core.events import BreakerChanged, CallRejected
from proxy.core.retry import Signal
from proxy.ports import BreakerStore, Clock, EventSink, Shared, Tally

LEASE_MARGIN_SECONDS = 1.0
"""A lease outlives the longest attempt by this much, so that no second probe starts beside a slow first one."""
UNKNOWN_WAIT_SECONDS = 1.0
LATE_SECONDS = 10.0
"""A view that is behind by less than this was overtaken on its way; by more, the store's clock was set back."""
SECOND_LOOKS = 2
"""How often a call that found the record changed while it asked for a probe looks at the new one."""


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave for one attempt, bound to the epoch it was given in. `probe` is the lease's owner if it is a probe."""

    epoch: int
    counted: bool = True
    probe: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """No attempt now; there may be a way in `retry_after` seconds."""

    reason: Literal["breaker", "concurrency"]
    retry_after: float


class GateStore(BreakerStore, Protocol):
    """The BreakerStore a gate sees: one that always answers and knows when it is not the shared one."""

    @property
    def up(self) -> bool: ...

    @property
    def fixed(self) -> Literal["closed", "open"] | None: ...


class Gate:
    """One upstream's gate on this replica."""

    def __init__(
        self,
        upstream: Upstream,
        store: GateStore,
        *,
        replica: str,
        clock: Clock,
        draw: Callable[[], float],
        events: EventSink,
    ) -> None:
        self.name = upstream.name
        self.policy = upstream.breaker
        self.window = self.policy.failure_rate.window if self.policy.failure_rate else UNKNOWN_WAIT_SECONDS
        self._limit = upstream.max_concurrency
        self._lease_seconds = upstream.timeouts.attempt + LEASE_MARGIN_SECONDS
        self._store = store
        self._replica = replica
        self._clock = clock
        self._draw = draw
        self._events = events
        self._view = Shared(Record(), Counts(), 0, clock.wall())
        self._offset = clock.wall() - clock.now()
        self._heard_at = clock.now()
        self._pending = Tally()
        self._in_transit = Tally()
        self._tripping = False
        self._asking = 0
        self._full_until = 0.0
        self._leases = 0
        self._label = "closed"
        self._settling: set[asyncio.Task[None]] = set()
        self.in_flight = 0
        self.wake = asyncio.Event()

    @property
    def view(self) -> Shared:
        """The last view of the shared record."""
        return self._view

    @property
    def age(self) -> float:
        """Seconds since that view was confirmed by the store."""
        return self._clock.now() - self._heard_at

    @property
    def degraded(self) -> str | None:
        """`breaker` while this replica has to do without the fleet's, else None."""
        return None if self._store.up else "breaker"

    def now(self) -> float:
        """The store's clock as this gate reckons it."""
        return self._clock.now() + self._offset

    async def admit(self) -> Permit | Refusal:
        """Leave for one attempt, or the reason why not. Every Permit must be settled or released."""
        if self.in_flight >= self._limit:
            return self._refuse("concurrency", UNKNOWN_WAIT_SECONDS)
        verdict = await self._breaker_says()
        if isinstance(verdict, Permit):
            self.in_flight += 1
            return verdict
        if self.policy.mode == "enforce":
            return self._refuse("breaker", verdict.retry_after)
        self._events.publish(CallRejected(self.name, "breaker", shadow=True))
        self.in_flight += 1
        return Permit(self._view.record.epoch, counted=False)

    def settle(self, permit: Permit, signal: Signal, retry_after: float | None = None) -> None:
        """Say what the attempt found out about the provider; `retry_after` is what the provider asked for."""
        self.in_flight -= 1
        if permit.probe is not None:
            self._in_background(self._settle_probe(permit, permit.probe, signal, retry_after or 0.0))
        elif permit.counted and permit.epoch == self._view.record.epoch and signal is not Signal.NEUTRAL:
            self._count(signal, retry_after or 0.0)

    def release(self, permit: Permit) -> None:
        """Give back a Permit whose attempt was cancelled: it counts for nothing and frees its probe."""
        self.settle(permit, Signal.NEUTRAL)

    async def flush(self) -> None:
        """Report what waits, and open the breaker if the fleet's counts now call for it."""
        tally, self._pending = self._pending, Tally()
        if tally == Tally():
            return
        self._in_transit = tally
        try:
            reply = await self._store.report(self.name, self._view.record.epoch, tally, self.window)
            self._in_transit = Tally()
            self._take(reply)
            view = self._view
            await self._move(
                breaker.trip(view.record, view.counts, self.policy, view.now, self._draw, view.retry_after)
            )
        finally:
            self._in_transit = Tally()
            # The store has the last word: the fleet's other calls may have gone well. Failures since may not have.
            self._tripping = self._projected() is not None

    async def refresh(self) -> None:
        """Fetch the current view: the backstop where a push got lost."""
        self._take(await self._store.read(self.name, self.window))

    async def override(self, override: Override | None) -> Shared:
        """Set or (None) take back a person's override for the whole fleet."""
        for _ in range(8):  # another replica may change the record between our read and our write
            await self.refresh()
            epoch = self._view.record.epoch
            await self._move(breaker.overridden(self._view.record, override))
            if self._view.record.override == override and self._view.record.epoch > epoch:
                break
        return self._view

    def learn(self, view: Shared) -> None:
        """Take over a pushed view, unless it was overtaken on its way."""
        late = 0 < self._view.now - view.now < LATE_SECONDS
        if view.record.epoch > self._view.record.epoch or not late:
            self._take(view)

    def inherit(self, old: Gate) -> None:
        """Go on from what another gate of the same upstream knows; nothing has changed, so nothing is told."""
        self._view, self._label = old._view, old._label
        self._offset, self._heard_at = old._offset, old._heard_at

    async def drain(self) -> None:
        """Report everything that is left, give-backs of probes included."""
        await self.flush()
        while self._settling:
            await asyncio.wait(self._settling)

    def _take(self, view: Shared) -> None:
        old = self._view
        if view.record.epoch < old.record.epoch:
            return
        self._view = view
        self._offset = view.now - self._clock.now()
        self._heard_at = self._clock.now()
        self._full_until = 0.0
        if view.record.epoch > old.record.epoch:
            self._pending, self._tripping = Tally(), False
        self.announce()

    async def _breaker_says(self) -> Permit | Refuse:
        if self._tripping:
            return Refuse(self.policy.cooldown)
        if (fixed := self._store.fixed) is not None:
            return Permit(-1, counted=False) if fixed == "closed" else Refuse(UNKNOWN_WAIT_SECONDS)
        for _ in range(1 + SECOND_LOOKS):
            match breaker.admit(self._view.record, self.now()):
                case Refuse() as refuse:
                    return refuse
                case NeedsProbe(record=record):
                    if (verdict := await self._ask_for_probe(record)) is not None:
                        return verdict
                case admitted:
                    return Permit(self._view.record.epoch, counted=admitted.counted)
        return Refuse(UNKNOWN_WAIT_SECONDS)

    async def _ask_for_probe(self, record: Record) -> Permit | Refuse | None:
        """A probe's permit, or when to ask again; None if the record moved on meanwhile and deserves another look."""
        wait = self._full_until - self._clock.now()
        if wait > 0 or self._asking >= self.policy.probes:
            return Refuse(max(wait, UNKNOWN_WAIT_SECONDS))
        self._asking += 1
        asking = asyncio.ensure_future(self._lease(record, self._view.record.epoch))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(self._give_back)
            raise
        finally:
            self._asking -= 1

    def _give_back(self, asking: asyncio.Task[Permit | Refuse | None]) -> None:
        if not asking.cancelled() and asking.exception() is None and isinstance(permit := asking.result(), Permit):
            self.in_flight += 1
            self.release(permit)

    async def _lease(self, record: Record, expected: int) -> Permit | Refuse | None:
        self._leases += 1
        owner = f"{self._replica}/{self._leases}"
        lease = await self._store.lease(
            self.name,
            record,
            expected=expected,
            owner=owner,
            limit=self.policy.probes,
            seconds=self._lease_seconds,
            window=self.window,
        )
        self._take(lease.shared)
        if self._view.record.epoch != record.epoch:
            return None  # a place taken under an epoch that is over went with it
        if lease.granted:
            return Permit(record.epoch, probe=owner)
        self._full_until = self._clock.now() + lease.retry_in
        return Refuse(max(lease.retry_in, UNKNOWN_WAIT_SECONDS))

    async def _settle_probe(self, permit: Permit, owner: str, signal: Signal, retry_after: float) -> None:
        record = self._view.record
        if signal is Signal.FAILURE and record.epoch == permit.epoch:
            await self._move(breaker.reopen(record, self.policy, self.now(), self._draw, retry_after))
            return
        passed = signal is Signal.SUCCESS
        self._take(await self._store.settle_probe(self.name, permit.epoch, owner, passed=passed, window=self.window))
        view = self._view
        if view.record.epoch == permit.epoch:
            await self._move(breaker.close(view.record, view.passes, self.policy, view.now))

    async def _move(self, record: Record | None) -> None:
        """Compare-and-set the record our rules arrived at; whoever was first, we learn what holds."""
        if record is not None:
            expected = record.epoch - 1
            self._take(await self._store.install(self.name, record, expected=expected, window=self.window))

    def _count(self, signal: Signal, retry_after: float) -> None:
        waiting = self._pending
        if signal is Signal.SUCCESS:
            self._pending = Tally(waiting.successes + 1, waiting.failures, 0, waiting.retry_after)
            if self._view.counts.consecutive:
                self.wake.set()  # the fleet is counting failures in a row, and this one ends the row
            return
        longest = max(waiting.retry_after, retry_after)
        self._pending = Tally(waiting.successes, waiting.failures + 1, waiting.trailing + 1, longest)
        self._tripping = self._tripping or self._projected() is not None
        self.wake.set()

    def _projected(self) -> Record | None:
        """The record the fleet would arrive at if the last view and what is to be told to it were all there is."""
        counts = self._pending.onto(self._in_transit.onto(self._view.counts))
        return breaker.trip(self._view.record, counts, self.policy, self.now(), self._draw)

    def announce(self) -> None:
        """Tell of a change of state, once; an override that ran out is one that no view brings."""
        label = self._view.record.label(self.now())
        if label == self._label:
            return
        record, old, self._label = self._view.record, self._label, label
        wait = breaker.retry_after(record, self.now())
        self._events.publish(BreakerChanged(self.name, old, label, record.epoch, record.cause, wait))

    def _refuse(self, reason: Literal["breaker", "concurrency"], retry_after: float) -> Refusal:
        self._events.publish(CallRejected(self.name, reason, shadow=False))
        return Refusal(reason, retry_after)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
