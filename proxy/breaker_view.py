"""What one replica knows of one upstream's shared breaker, and what it has yet to tell the fleet.

What calls found out is reported in the background: a failure at once, successes gathered (but at once too while the
fleet counts failures in a row), everything that waits in one command. A replica whose own failures are enough to open
the breaker holds its calls back at once (`tripping`) and asks the store in the background whether that stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, Protocol

from proxy.core import breaker
from proxy.core.breaker import Counts, Override, Record
from proxy.core.config import Upstream
from proxy.core.events import BreakerChanged
from proxy.core.retry import Signal
from proxy.ports import BreakerStore, Clock, EventSink, Shared, Tally

LATE_SECONDS = 10.0
"""A view that is behind by less than this was overtaken on its way; by more, the store's clock was set back."""
WINDOW_WITHOUT_RATE_SECONDS = 1.0
OVERRIDE_TRIES = 8


class GateStore(BreakerStore, Protocol):
    """The BreakerStore a gate sees: one that always answers and knows when it is not the shared one."""

    @property
    def up(self) -> bool: ...

    @property
    def fixed(self) -> Literal["closed", "open"] | None: ...

    def shares(self, upstream: str) -> bool:
        """Whether the upstream's breaker is the fleet's now, and not this replica's own for want of it."""


class BreakerView:
    """One upstream's breaker as this replica sees it. Every change goes to the store first and is learnt from it."""

    def __init__(
        self,
        upstream: Upstream,
        store: GateStore,
        *,
        clock: Clock,
        draw: Callable[[], float],
        events: EventSink,
    ) -> None:
        self.name = upstream.name
        self.policy = upstream.breaker
        self.window = self.policy.failure_rate.window if self.policy.failure_rate else WINDOW_WITHOUT_RATE_SECONDS
        self.tripping = False
        self.wake = asyncio.Event()
        self._store = store
        self._clock = clock
        self._draw = draw
        self._events = events
        self._view = Shared(Record(), Counts(), 0, clock.wall())
        self._offset = clock.wall() - clock.now()
        self._heard_at = clock.now()
        self._label = "closed"
        self._pending = Tally()
        self._in_transit = Tally()

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
        return None if self._store.shares(self.name) else "breaker"

    def now(self) -> float:
        """The store's clock as this gate reckons it."""
        return self._clock.now() + self._offset

    def count(self, signal: Signal, retry_after: float) -> None:
        """Take in what a call of the current epoch found out; `retry_after` is the wait the provider asked for."""
        waiting = self._pending
        if signal is Signal.SUCCESS:
            self._pending = Tally(waiting.successes + 1, waiting.failures)  # it answers: no earlier wait holds
            if self._view.counts.consecutive:
                self.wake.set()  # the fleet is counting failures in a row, and this one ends the row
            return
        longest = max(waiting.retry_after, retry_after)
        self._pending = Tally(waiting.successes, waiting.failures + 1, waiting.trailing + 1, longest)
        self.tripping = self.tripping or self._projected() is not None
        self.wake.set()

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
            self.tripping = self._projected() is not None

    async def refresh(self) -> None:
        """Fetch the current view: the backstop where a push got lost."""
        self._take(await self._store.read(self.name, self.window))

    async def override(self, override: Override | None) -> Shared:
        """Set or (None) take back a person's override for the whole fleet."""
        for _ in range(OVERRIDE_TRIES):  # another replica may change the record between our read and our write
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

    def inherit(self, old: BreakerView) -> None:
        """Go on from what another configuration's view knew; nothing has changed, so nothing is told."""
        self._view, self._label = old._view, old._label
        self._offset, self._heard_at = old._offset, old._heard_at

    def announce(self) -> None:
        """Tell of a change of state, once; an override that ran out is one that no view brings."""
        label = self._view.record.label(self.now())
        if label == self._label:
            return
        record, old, self._label = self._view.record, self._label, label
        wait = breaker.retry_after(record, self.now())
        self._events.publish(BreakerChanged(self.name, old, label, record.epoch, record.why(self.now()), wait))

    def _take(self, view: Shared) -> None:
        old = self._view
        if view.record.epoch < old.record.epoch:
            return
        self._view = view
        self._offset = view.now - self._clock.now()
        self._heard_at = self._clock.now()
        if view.record.epoch > old.record.epoch:
            self._pending, self.tripping = Tally(), False
        self.announce()

    async def _move(self, record: Record | None) -> None:
        """Compare-and-set the record our rules arrived at; whoever was first, we learn what holds."""
        if record is not None:
            expected = record.epoch - 1
            self._take(await self._store.install(self.name, record, expected=expected, window=self.window))

    def _projected(self) -> Record | None:
        """The record the fleet would arrive at if the last view and what is to be told to it were all there is."""
        counts = self._pending.onto(self._in_transit.onto(self._view.counts))
        return breaker.trip(self._view.record, counts, self.policy, self.now(), self._draw)
