"""What this replica still knows to be unknown, for a store that has lost it: a flush, a restart without its data, a
copy that lagged, an eviction.

Owns what is remembered and when it is told again. It lives in memory: a replica that ends takes it along, which is why
the store must keep its data (docs/ledger.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from proxy.core.events import LedgerLost
from proxy.core.ledger import Claim, Settlement, State
from proxy.ports import Clock, EventSink, LedgerStore, Tracked

EVERY_SECONDS = 30.0
"""How often what is remembered is compared with the store, though nothing seems lost: an eviction tells nobody."""
MOST_REMEMBERED = 10_000
"""Per upstream; beyond it the oldest is left to the store alone."""
MOST_AT_ONCE = 500


@dataclass(slots=True)
class Losses:
    """How often the store came back without its ledger, how many entries were written back, and when (since 1970)."""

    times: int = 0
    restored: int = 0
    last: float | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """One write that ended unknown, when it was first sent (monotonic seconds), and whether the store was told."""

    told: Settlement
    first: float
    written: bool = False


class Recovery:
    """Remembers, per upstream, what was written down as unknown and is not known to be resolved."""

    def __init__(self, store: LedgerStore, *, clock: Clock, events: EventSink) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self._unknown: dict[str, dict[str, Known]] = {}
        self._began: dict[str, str] = {}
        self._lost: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self.losses: dict[str, Losses] = {}

    def note(self, told: Settlement) -> None:
        """Take in what is to be written down."""
        first = self._clock.now() - told.age
        unknown = self._unknown.setdefault(told.write.upstream, {})
        if told.settles:
            unknown.pop(told.write.id, None)
        elif told.state is State.UNKNOWN:
            unknown[told.write.id] = Known(told, first)
            if len(unknown) > MOST_REMEMBERED:
                del unknown[next(iter(unknown))]

    def written(self, told: Settlement) -> None:
        """Note that the store has it now, so that it is lost if it is not there."""
        unknown = self._unknown.get(told.write.upstream, {})
        if (known := unknown.get(told.write.id)) is not None and known.told is told:
            unknown[told.write.id] = replace(known, written=True)

    def recall(self, claim: Claim) -> Claim:
        """The claim with what this replica still knows of the payment, should the store have lost that."""
        write = claim.write
        known = None if write is None else self._unknown.get(write.upstream, {}).get(write.id)
        if write is None or known is None or claim.doubt or claim.settled:
            return claim
        self.at_once(write.upstream)
        same_rule = known.told.write.rule == write.rule
        return replace(claim, doubt=True, same_rule=same_rule, age=max(claim.age, self._clock.now() - known.first))

    def heard(self, upstream: str, tracked: Tracked, known: int) -> None:
        """Notice a ledger that began anew; `known` is how many outcomes were unknown in the one before it."""
        before = self._began.get(upstream)
        if before and tracked.began != before:
            self._lost[upstream] = max(known, self._lost.get(upstream, 0))
            self.at_once(upstream)
        self._began[upstream] = tracked.began or before or ""

    def at_once(self, upstream: str) -> None:
        """Compare as soon as the store can be asked: it was away, or it began anew."""
        self._due[upstream] = 0.0

    async def compare(self, upstream: str) -> Tracked | None:
        """Write back what the store has lost, where it is time to look; StoreUnavailable if it cannot answer."""
        now, unknown = self._clock.now(), self._unknown.get(upstream, {})
        if now < self._due.get(upstream, 0.0):
            return None
        left = [replace(known.told, age=now - known.first) for known in unknown.values() if known.written]
        if not (left or upstream in self._lost):
            return None
        restored, tracked = 0, None
        while left:
            batch, left = left[:MOST_AT_ONCE], left[MOST_AT_ONCE:]
            answer = await self._store.restore(upstream, batch)
            restored, tracked = restored + len(answer.missing), answer.tracked
            for id_ in answer.resolved:
                unknown.pop(id_, None)
        self._due[upstream] = self._clock.now() + EVERY_SECONDS
        self._tell(upstream, restored)
        return tracked

    def _tell(self, upstream: str, restored: int) -> None:
        known = self._lost.pop(upstream, None)
        if not restored and known is None:
            return
        losses = self.losses.setdefault(upstream, Losses())
        losses.times, losses.restored, losses.last = losses.times + 1, losses.restored + restored, self._clock.wall()
        self._events.publish(LedgerLost(upstream, max(known or 0, restored), restored))
