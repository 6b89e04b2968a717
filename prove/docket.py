"""What could be known of each key at each moment, from the providers' journals. Pure; the judge asks it.

An arrival is in doubt if whoever sent it cannot know what it did; a settling answer under its key ends the doubt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prove.market import BY_NAME
from prove.story import Arrival, Evidence, Kill, Payment, StoreTrouble, Try

LEARNING_SECONDS = 3.0
"""How long after the store is back every replica has told it what it did not hear."""
REST_SECONDS = 1.3
"""For so long after it is back a replica that had no answer may leave it alone."""
STATED_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Seen:
    """An arrival and the request of a client that it belongs to."""

    arrival: Arrival
    mark: str


@dataclass(slots=True)
class Docket:
    """All arrivals by what the provider knows them by, and the store's troubles.

    A replica to which the store is too slow says so (`X-Proxy-Degraded`), which counts as trouble of its own.
    """

    payments: Iterable[Payment]
    evidence: Evidence
    kills: Iterable[Kill] = ()
    troubles: Iterable[StoreTrouble] = ()
    tries: Mapping[str, Try] = field(init=False)
    seen: dict[str, list[Seen]] = field(init=False)
    _blind: dict[int, list[StoreTrouble]] = field(init=False)

    def __post_init__(self) -> None:
        self.tries = {one.mark: one for payment in self.payments for one in payment.tries}
        self._blind = defaultdict(list)
        for one in self.tries.values():
            if "ledger" in one.degraded:
                self._blind[one.replica].append(StoreTrouble(one.started, one.ended))
        self.seen = defaultdict(list)
        for mark, arrivals in self.evidence.arrivals.items():
            for arrival in arrivals:
                self.seen[identity_of(arrival, mark)].append(Seen(arrival, mark))
        for those in self.seen.values():
            those.sort(key=lambda one: one.arrival.at)

    def identity(self, payment: Payment, one: Try) -> str:
        """What the provider knows a client's request by."""
        arrivals = self.evidence.arrivals.get(one.mark)
        if arrivals:
            return identity_of(arrivals[0], one.mark)
        key = one.key or one.told_key
        names = (identity_of(Arrival(key, 0.0, place=payment.place, provider=each), one.mark) for each in (1, 2))
        known = [name for name in names if name in self.seen]
        return known[0] if known else one.mark

    def doubts(self, identity: str, moment: float) -> Iterator[Seen]:
        """What came in before `moment` under this key and may have charged, with nothing to settle it until then."""
        came = [one for one in self.seen.get(identity, ()) if one.arrival.at < moment]
        if any(one.arrival.settles and one.arrival.left <= moment for one in came):
            return
        # What was still being worked on at that moment is in doubt, whatever it was to be answered.
        yield from (one for one in came if one.arrival.doubtful or one.arrival.left > moment + STATED_SECONDS)

    def could_know(self, doubt: Seen, moment: float) -> bool:
        """Whether the ledger can have known of it by then: it was not lost, and nobody died before telling it."""
        call = self.tries.get(doubt.mark)
        started = min(doubt.arrival.at, call.started if call else doubt.arrival.at)
        ended = max(call.ended if call else 0.0, min(doubt.arrival.left, doubt.arrival.at + LEARNING_SECONDS))
        for trouble in (*self.troubles, *(self._blind[call.replica] if call else ())):
            if trouble.lost and started <= trouble.until and trouble.at <= moment:
                return False
            if trouble.at <= ended and trouble.until >= started - REST_SECONDS:
                told = trouble.until + LEARNING_SECONDS
                if moment <= told or self._died(call, started, told):
                    return False
        return True

    def _died(self, call: Try | None, since: float, until: float) -> bool:
        return call is not None and any(
            kill.replica == call.replica and since <= kill.at <= until and not kill.gentle for kill in self.kills
        )

    def known_doubts(self, identity: str, moment: float) -> list[Seen]:
        """Doubts that the ledger can have known of."""
        return [doubt for doubt in self.doubts(identity, moment) if self.could_know(doubt, moment)]

    def could_not_ask(self, seen: Seen, since: float, until: float) -> bool:
        """Whether between these times the store was in trouble, or a request's replica said that it had no answer."""
        one = self.tries.get(seen.mark)
        told = self._blind[one.replica] if one else ()
        return any(
            trouble.at <= until and trouble.until + LEARNING_SECONDS >= since for trouble in (*self.troubles, *told)
        )


def identity_of(arrival: Arrival, mark: str) -> str:
    """The key where one is honoured, else the request itself."""
    place = BY_NAME.get(arrival.place)
    honoured = arrival.key is not None and (place is None or place.honours)
    return f"{arrival.place}@{arrival.provider} {arrival.key}" if honoured else mark
