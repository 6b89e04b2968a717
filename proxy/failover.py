"""The breaker store the gates use: the shared one while it answers, this replica's own while it does not.

Nothing that a gate reports is lost at the change: the operation that failed is done again on the local store, which
starts from the last view the shared one gave. When the shared store is back, the higher epoch wins; so an outage that
a replica learnt of alone reaches the fleet, and a flushed store gets back what the fleet still knows.

A store that is well but keeps something unreadable for one upstream is away for that upstream alone (`apart`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Literal

from proxy.core.breaker import Record
from proxy.core.errors import StoreUnavailable, Unreadable
from proxy.core.events import RecordUnreadable, StoreChanged, StoreFailed
from proxy.ports import BreakerStore, Clock, EventSink, Lease, PushingStore, Shared, Tally

OnOutage = Literal["local", "closed", "open"]


class FailoverStore:
    """A BreakerStore that always answers. `up` says whether the shared store does."""

    def __init__(
        self,
        shared: PushingStore,
        local: Callable[[Callable[[], float]], BreakerStore],
        *,
        clock: Clock,
        events: EventSink,
        on_outage: OnOutage = "local",
        where: str = "",
    ) -> None:
        self._shared = shared
        self._make_local = local
        self._clock = clock
        self._events = events
        self._on_outage = on_outage
        self._where = where
        self._offset = clock.wall() - clock.now()
        self._last: dict[str, Shared] = {}
        self._local = local(self.now)
        self._apart: dict[str, str] = {}
        self.up = True

    @property
    def fixed(self) -> Literal["closed", "open"] | None:
        """What every call is told while the shared store is away, if the configuration fixes it."""
        return None if self.up or self._on_outage == "local" else self._on_outage

    @property
    def apart(self) -> Mapping[str, str]:
        """Upstreams whose breaker is this replica's own since what the store keeps for them is unreadable, and why."""
        return self._apart

    def shares(self, upstream: str) -> bool:
        """Whether this upstream's breaker is the fleet's now."""
        return self.up and upstream not in self._apart

    def now(self) -> float:
        """The store's clock as this replica reckons it, in seconds."""
        return self._clock.now() + self._offset

    async def read(self, upstream: str, window: float) -> Shared:
        if self.up and upstream in self._apart:
            await self._try_again(upstream, window)
        return await self._do(upstream, window, lambda store: store.read(upstream, window))

    async def report(self, upstream: str, epoch: int, tally: Tally, window: float) -> Shared:
        return await self._do(upstream, window, lambda store: store.report(upstream, epoch, tally, window))

    async def install(self, upstream: str, record: Record, *, expected: int | None, window: float) -> Shared:
        return await self._do(
            upstream, window, lambda store: store.install(upstream, record, expected=expected, window=window)
        )

    async def settle_probe(self, upstream: str, epoch: int, owner: str, *, passed: bool, window: float) -> Shared:
        return await self._do(
            upstream, window, lambda store: store.settle_probe(upstream, epoch, owner, passed=passed, window=window)
        )

    async def lease(
        self, upstream: str, record: Record, *, expected: int, owner: str, limit: int, seconds: float, window: float
    ) -> Lease:
        def ask(store: BreakerStore) -> Awaitable[Lease]:
            return store.lease(
                upstream, record, expected=expected, owner=owner, limit=limit, seconds=seconds, window=window
            )

        if self.shares(upstream):
            try:
                lease = await ask(self._shared)
            except StoreUnavailable as trouble:
                await self._do_without(trouble, upstream)
            else:
                if lease.shared.record.epoch >= self._known_epoch(upstream):
                    self._keep(upstream, lease.shared)
                return lease
        lease = await ask(self._local)
        self._last[upstream] = lease.shared
        return lease

    async def recover(self, windows: dict[str, float]) -> bool:
        """Try the shared store again and agree with it, upstream by upstream; False if it still does not answer."""
        try:
            for upstream, window in windows.items():
                await self._agree(upstream, window)
        except StoreUnavailable as trouble:
            self._events.publish(StoreFailed(trouble.operation, trouble.cause))
            return False
        self.up = True
        self._events.publish(StoreChanged(up=True, cause="it answers again", where=self._where))
        return True

    async def changes(self, upstreams: Iterable[str]) -> AsyncIterator[tuple[str, Shared]]:
        """Pushed views of the shared store, as they come; ends when it is lost or silently gone."""
        try:
            async for change in self._shared.changes(upstreams):
                if not self.up:
                    return
                if change is None or change[0] in self._apart:
                    continue
                if change[1].record.epoch >= self._known_epoch(change[0]):
                    self._keep(*change)
                    yield change
        except StoreUnavailable as trouble:
            self._events.publish(StoreFailed(trouble.operation, trouble.cause))

    async def _do(self, upstream: str, window: float, operation: Callable[[BreakerStore], Awaitable[Shared]]) -> Shared:
        if self.shares(upstream):
            try:
                view = await operation(self._shared)
                if view.record.epoch < self._known_epoch(upstream):
                    await self._heard(upstream, view, window)
                    view = await operation(self._shared)  # an epoch that has moved on ignores it
            except StoreUnavailable as trouble:
                await self._do_without(trouble, upstream)
            else:
                self._keep(upstream, view)
                return view
        view = await operation(self._local)
        self._last[upstream] = view
        return view

    async def _agree(self, upstream: str, window: float) -> None:
        """Learn what the shared store has of an upstream, or that nobody here can read it."""
        try:
            await self._heard(upstream, await self._shared.read(upstream, window), window)
        except Unreadable as trouble:
            await self._set_apart(trouble, upstream)
        else:
            self._join(upstream)

    async def _try_again(self, upstream: str, window: float) -> None:
        try:
            await self._agree(upstream, window)
        except StoreUnavailable as trouble:
            await self._go_local(trouble)

    async def _heard(self, upstream: str, view: Shared, window: float) -> None:
        """Keep a view; one that is behind (flushed, failed over to a copy that lags) gets our record back first."""
        if view.record.epoch < self._known_epoch(upstream):
            view = await self._shared.install(upstream, self._last[upstream].record, expected=None, window=window)
        self._keep(upstream, view)

    def _keep(self, upstream: str, view: Shared) -> None:
        self._last[upstream] = view
        self._offset = view.now - self._clock.now()

    def _known_epoch(self, upstream: str) -> int:
        return self._last[upstream].record.epoch if upstream in self._last else 0

    async def _do_without(self, trouble: StoreUnavailable, upstream: str) -> None:
        if isinstance(trouble, Unreadable):
            await self._set_apart(trouble, upstream)
        else:
            await self._go_local(trouble)

    async def _set_apart(self, trouble: Unreadable, upstream: str) -> None:
        self._events.publish(StoreFailed(trouble.operation, trouble.cause))
        if upstream in self._apart:
            return
        self._apart[upstream] = trouble.cause
        self._events.publish(RecordUnreadable(upstream, trouble.cause))
        await self._go_on_from(upstream)

    def _join(self, upstream: str) -> None:
        if self._apart.pop(upstream, None) is not None:
            self._events.publish(RecordUnreadable(upstream, None))

    async def _go_local(self, trouble: StoreUnavailable) -> None:
        if self.up:  # else another task was faster
            self.up = False
            self._events.publish(StoreChanged(up=False, cause=str(trouble), where=self._where))
            await self._start_local()
        self._events.publish(StoreFailed(trouble.operation, trouble.cause))

    async def _start_local(self) -> None:
        self._local = self._make_local(self.now)
        for upstream in list(self._last):
            await self._go_on_from(upstream)

    async def _go_on_from(self, upstream: str) -> None:
        """Start the local store where the last view left an upstream."""
        if upstream in self._last:
            await self._local.install(upstream, self._last[upstream].record, expected=None, window=0)
