"""Breaker store and journal in this process: for one replica alone, for a degraded one, as Redis' twin in tests."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from proxy.core.breaker import Counts, Record
from proxy.core.budget import Spent
from proxy.ports import Beat, FleetView, Lease, Shared, Tally


@dataclass(slots=True)
class _Entry:
    record: Record = field(default_factory=Record)
    consecutive: int = 0
    passes: int = 0
    hold_until: float = 0.0
    results: deque[tuple[float, int, int]] = field(default_factory=deque)
    leases: dict[str, float] = field(default_factory=dict)

    def start_epoch(self, record: Record) -> None:
        self.record, self.consecutive, self.passes, self.hold_until = record, 0, 0, 0.0
        self.results.clear()
        self.leases.clear()


class MemoryBreakerStore:
    """BreakerStore in one process; `now` is its clock, in seconds."""

    up: bool = True
    fixed: Literal["closed", "open"] | None = None
    """It never fails, so it never answers with a fixed verdict."""

    def shares(self, _upstream: str) -> bool:
        """There is nobody else whose breaker it could be."""
        return True

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._entries: dict[str, _Entry] = {}

    async def read(self, upstream: str, window: float) -> Shared:
        return self._view(self._entry(upstream), window)

    async def report(self, upstream: str, epoch: int, tally: Tally, window: float) -> Shared:
        entry = self._entry(upstream)
        if entry.record.epoch == epoch:
            entry.consecutive = tally.trailing + (0 if tally.successes else entry.consecutive)
            held = 0.0 if tally.successes else entry.hold_until
            entry.hold_until = max(held, self._now() + tally.retry_after if tally.retry_after else 0.0)
            entry.results.append((self._now(), tally.successes + tally.failures, tally.failures))
        return self._view(entry, window)

    async def install(self, upstream: str, record: Record, *, expected: int | None, window: float) -> Shared:
        entry = self._entry(upstream)
        stored = entry.record.epoch
        if stored == expected if expected is not None else stored < record.epoch:
            entry.start_epoch(record)
        return self._view(entry, window)

    async def lease(
        self, upstream: str, record: Record, *, expected: int, owner: str, limit: int, seconds: float, window: float
    ) -> Lease:
        entry, now = self._entry(upstream), self._now()
        if entry.record.epoch != expected:
            return Lease(granted=False, retry_in=0.0, shared=self._view(entry, window))
        if record.epoch > expected:
            entry.start_epoch(record)
        entry.leases = {name: until for name, until in entry.leases.items() if until > now}
        if len(entry.leases) >= limit:
            return Lease(granted=False, retry_in=min(entry.leases.values()) - now, shared=self._view(entry, window))
        entry.leases[owner] = now + seconds
        return Lease(granted=True, retry_in=0.0, shared=self._view(entry, window))

    async def settle_probe(self, upstream: str, epoch: int, owner: str, *, passed: bool, window: float) -> Shared:
        entry = self._entry(upstream)
        if entry.record.epoch == epoch:
            held = entry.leases.pop(owner, 0.0) > self._now()
            entry.passes += held and passed
        return self._view(entry, window)

    def _entry(self, upstream: str) -> _Entry:
        return self._entries.setdefault(upstream, _Entry())

    def _view(self, entry: _Entry, window: float) -> Shared:
        now = self._now()
        while entry.results and entry.results[0][0] <= now - window:
            entry.results.popleft()
        calls = sum(calls for _, calls, _ in entry.results)
        failures = sum(failed for _, _, failed in entry.results)
        return Shared(entry.record, Counts(entry.consecutive, calls, failures), entry.passes, now, entry.hold_until)


_KEEP_SECONDS = 3600.0
_BUCKET_SECONDS = 1.0


class MemoryJournal:
    """Journal of this replica alone, in buckets of a second, for an hour."""

    def __init__(self, replica: str, now: Callable[[], float]) -> None:
        self._replica = replica
        self._budget_window: Mapping[str, float] = {}
        self._now = now
        self._spent: dict[str, deque[tuple[float, Spent]]] = {}
        self._results: dict[str, deque[tuple[float, Counter[str]]]] = {}

    def budget_windows(self, seconds: Mapping[str, float]) -> None:
        """Tell of spending over these windows, by upstream, from now on."""
        self._budget_window = seconds

    async def sync(self, beat: Beat) -> FleetView:
        now = self._now()
        for upstream, spent in beat.spent.items():
            self._spent.setdefault(upstream, deque()).append((now, spent))
        for upstream, results in beat.results.items():
            self._add_results(upstream, results, now)
        totals = {upstream: self._spending(upstream, now) for upstream in self._budget_window}
        return FleetView(totals, (self._replica,))

    async def history(self, upstream: str, seconds: float) -> Mapping[str, int]:
        since = self._now() - seconds
        total: Counter[str] = Counter()
        for at, results in self._results.get(upstream, ()):
            if at > since:
                total.update(results)
        return total

    async def goodbye(self) -> None:
        """Nobody else knows of us."""

    def _add_results(self, upstream: str, results: Mapping[str, int], now: float) -> None:
        buckets = self._results.setdefault(upstream, deque())
        if not buckets or buckets[-1][0] < now - _BUCKET_SECONDS:
            buckets.append((now, Counter()))
        buckets[-1][1].update(results)
        while buckets[0][0] < now - _KEEP_SECONDS:
            buckets.popleft()

    def _spending(self, upstream: str, now: float) -> Spent:
        entries = self._spent.get(upstream, deque())
        while entries and entries[0][0] <= now - self._budget_window[upstream]:
            entries.popleft()
        return sum((spent for _, spent in entries), Spent())
