"""The few small protocols the corridor needs from the outside. Each has a real and an in-memory twin."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from proxy.core.breaker import Counts, Record
from proxy.core.budget import Spent
from proxy.core.events import AttemptFinished, Event
from proxy.core.fingerprint import Destination
from proxy.core.idempotency import Keyed
from proxy.core.ledger import Claim, Entry, Settlement, State, Write
from proxy.core.model import Headers, Payment, Result


class Clock(Protocol):
    """Time that only moves forward, wall time for people, and waiting."""

    def now(self) -> float:
        """Monotonic seconds."""

    def wall(self) -> float:
        """Seconds since 1970 UTC."""

    async def sleep(self, seconds: float) -> None: ...


class Transport(Protocol):
    """One provider's sockets."""

    async def send(
        self, payment: Payment, *, timeout: float, extra: Headers = (), max_idle_age: float | None = None
    ) -> Result:
        """One attempt, within `timeout` seconds. Wire trouble is a value; only cancellation is raised.

        `max_idle_age` 0 asks for a fresh connection; otherwise a pooled one idle for less than that many seconds.
        """

    def give_up(self) -> None:
        """End every attempt under way now, as its timeout would."""

    async def aclose(self) -> None:
        """Close what is open."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Outcomes of one epoch, in order: some failures, perhaps successes, then `trailing` failures since the last.

    `retry_after` is the longest wait in seconds that the provider asked for since the last success.
    """

    successes: int = 0
    failures: int = 0
    trailing: int = 0
    retry_after: float = 0.0

    def onto(self, counts: Counts) -> Counts:
        """What `counts` become with these outcomes added."""
        run = self.trailing + (0 if self.successes else counts.consecutive)
        return Counts(run, counts.calls + self.successes + self.failures, counts.failures + self.failures)


@dataclass(frozen=True, slots=True)
class Shared:
    """The store's view of one upstream at `now` (the store's clock, seconds).

    `hold_until`: the provider asked some replica, since the last success of this epoch, not to be called before then; 0
    if none was asked.
    """

    record: Record
    counts: Counts
    passes: int
    now: float
    hold_until: float = 0.0

    @property
    def retry_after(self) -> float:
        """Seconds that the provider still wants to be left alone."""
        return max(0.0, self.hold_until - self.now)


@dataclass(frozen=True, slots=True)
class Lease:
    """The answer to asking for a probe; if refused, a place may be free in `retry_in` seconds."""

    granted: bool
    retry_in: float
    shared: Shared


class BreakerStore(Protocol):
    """Atomic counts, compare-and-set on an epoch, leases, and one clock. No policy.

    Counts in a view are those of the last `window` seconds. Raises StoreUnavailable if it cannot answer in time.
    """

    async def read(self, upstream: str, window: float) -> Shared:
        """The current view."""

    async def report(self, upstream: str, epoch: int, tally: Tally, window: float) -> Shared:
        """Add outcomes, unless the epoch has moved on."""

    async def install(self, upstream: str, record: Record, *, expected: int | None, window: float) -> Shared:
        """Replace the record if the stored epoch is `expected`; None: if the stored epoch is lower than the record's.

        A new epoch starts with no counts and no leases. Returns the view that holds afterwards, won or lost.
        """

    async def lease(
        self, upstream: str, record: Record, *, expected: int, owner: str, limit: int, seconds: float, window: float
    ) -> Lease:
        """One of `limit` probe places under `record`, for `seconds`; the record is installed first if it is newer.

        Refused if the stored epoch is not `expected`.
        """

    async def settle_probe(self, upstream: str, epoch: int, owner: str, *, passed: bool, window: float) -> Shared:
        """Give a place back; a passed probe is counted if its lease still held."""


class PushingStore(BreakerStore, Protocol):
    """A store that other replicas write to and that tells of their changes."""

    def changes(self, upstreams: Iterable[str]) -> AsyncIterator[tuple[str, Shared] | None]:
        """Views as they change, by upstream; None after a while without any.

        Raises StoreUnavailable when the connection is lost.
        """


@dataclass(frozen=True, slots=True)
class Beat:
    """What one replica has to tell the fleet: by upstream, its spending, its results, its attempts."""

    spent: Mapping[str, Spent] = field(default_factory=dict)
    results: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    attempts: tuple[tuple[float, AttemptFinished], ...] = ()


@dataclass(frozen=True, slots=True)
class FleetView:
    """What the fleet knows: spending over the budget window, by upstream, and the replicas heard of lately."""

    spent: Mapping[str, Spent]
    replicas: tuple[str, ...]


class Journal(Protocol):
    """The fleet's memory of what happened. Raises StoreUnavailable if it cannot answer in time."""

    async def sync(self, beat: Beat) -> FleetView:
        """Add a beat and learn the fleet's spending."""

    async def history(self, upstream: str, seconds: float) -> Mapping[str, int]:
        """Results over the last `seconds`: attempts as `attempt:ROW`, payments as `payment:OUTCOME`, `rejected`."""

    async def goodbye(self) -> None:
        """Take this replica off the list of the living."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """How many outcomes of an upstream are unknown, and how many had to be forgotten just now for lack of room.

    `began` marks the beginning of the store's ledger, empty before its first write: another mark is another ledger, and
    the one before it is lost.
    """

    unknown: int
    trimmed: int = 0
    began: str = ""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer to a claim. If `held` by a call under way, ask again; else `prior` is the entry as it was before."""

    held: bool
    now: float
    tracked: Tracked
    prior: Entry | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """What a store did with what it was told to be unknown: ids it had lost and has again, ids it knows to be known."""

    tracked: Tracked
    missing: frozenset[str]
    resolved: frozenset[str]


class LedgerStore(Protocol):
    """The ledger's entries. Raises StoreUnavailable if it cannot answer in time.

    Every operation but `renew` and `restore` first turns entries whose owner died into UNKNOWN.
    """

    async def claim(self, write: Write, owner: str, lease_seconds: float, trusted_seconds: float = math.inf) -> Claimed:
        """Take an entry, making it if it is new. `trusted_seconds`: how long the provider keeps the key."""

    async def settle(self, upstream: str, told: Sequence[Settlement]) -> Tracked:
        """Write down what became of calls, in order."""

    async def renew(self, upstream: str, held: Sequence[tuple[str, str]], lease_seconds: float) -> frozenset[str]:
        """Lengthen leases, given as id and owner; one that is somebody else's by now stays so.

        Returns the ids that are not held by the owner named: lost, never heard of, or somebody else's by now.
        """

    async def restore(self, upstream: str, unknown: Sequence[Settlement]) -> Restored:
        """Make anew what is unknown and is there no more, or there as another call's that settled nothing."""

    async def entries(self, upstream: str, state: State | None, limit: int) -> Sequence[Entry]:
        """UNKNOWN and IN_FLIGHT ones oldest first; for other states, or any, the latest, newest first."""

    async def entry(self, upstream: str, id_: str) -> Entry | None:
        """One entry."""

    async def count(self, upstream: str) -> Tracked:
        """How many are UNKNOWN."""

    async def upstreams(self, known: Iterable[str]) -> frozenset[str]:
        """The upstreams that any replica ever kept books of, now `known` among them."""


class Ledger(Protocol):
    """What the corridor sees of the ledger: it always answers, at most one round trip after it was asked."""

    async def claim(self, keyed: Keyed, destination: Destination, *, patience: Callable[[], float]) -> Claim | None:
        """Take the payment on its way to a destination.

        While a call with the same key is under way, wait for it for at most `patience()` seconds. None: it still is.
        """

    def holds(self, claim: Claim) -> bool:
        """Whether nobody else can have taken the payment since: its lease is not over by this replica's own clock."""

    def settle(self, told: Settlement) -> None:
        """Write down what became of a call, in the background."""


class EventSink(Protocol):
    """A listener; it must not raise and must not wait."""

    def publish(self, event: Event) -> None: ...
