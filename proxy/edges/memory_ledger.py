"""The ledger's entries in this process: for one replica alone, and as Redis' twin in tests."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from proxy.core.ledger import Entry, Settlement, State, Write, claimed, lapse, restored, settled
from proxy.ports import Claimed, Restored, Tracked

Place = tuple[str, str]
"""An upstream's name and an entry's id."""
_PASSING = frozenset({State.FINAL, State.NOT_SENT})


class MemoryLedger:
    """LedgerStore in one process; `now` is its clock, in seconds since 1970."""

    def __init__(self, now: Callable[[], float], *, retention_seconds: float, most_unknown: int) -> None:
        self._now = now
        self._retention = retention_seconds
        self._most = most_unknown
        self._entries: dict[Place, Entry] = {}
        self._leased: set[Place] = set()
        self._unknown: dict[str, dict[Place, None]] = {}
        self._upstreams: set[str] = set()
        self._began = str(now())
        self._expires: dict[Place, float] = {}
        self._ageing: deque[tuple[float, Place]] = deque()

    async def claim(self, write: Write, owner: str, lease_seconds: float, trusted_seconds: float = math.inf) -> Claimed:
        now, place = self._now(), (write.upstream, write.id)
        tracked = self._tidied(write.upstream)
        prior = self._entries.get(place)
        entry = claimed(prior, write, owner, now, lease_seconds, trusted_seconds)
        if entry is None:
            return Claimed(held=True, now=now, tracked=tracked)
        self._put(place, entry)
        return Claimed(held=False, now=now, tracked=tracked, prior=prior)

    async def settle(self, upstream: str, told: Sequence[Settlement]) -> Tracked:
        before = self._tidied(upstream)
        for one in told:
            place = (upstream, one.write.id)
            if (entry := settled(self._entries.get(place), one, self._now())) is not None:
                self._put(place, entry)
        after = self._tidied(upstream)
        return replace(after, trimmed=before.trimmed + after.trimmed)

    async def renew(self, upstream: str, held: Sequence[tuple[str, str]], lease_seconds: float) -> frozenset[str]:
        now, lost = self._now(), set()
        for id_, owner in held:
            entry = self._entries.get((upstream, id_))
            if entry is not None and entry.owner == owner:
                self._put((upstream, id_), replace(entry, lease=now + lease_seconds))
            else:
                lost.add(id_)
        return frozenset(lost)

    async def restore(self, upstream: str, unknown: Sequence[Settlement]) -> Restored:
        now, missing, resolved = self._now(), set(), set()
        for one in unknown:
            place = (upstream, one.write.id)
            before = self._entries.get(place)
            if before is None and len(self._unknown.get(upstream, {})) >= self._most:
                continue  # it was forgotten for want of room
            entry = restored(before, one, now)
            if entry is None:
                resolved.add(one.write.id)
            elif entry is not before:
                self._put(place, entry)
                missing.add(one.write.id)
        return Restored(self._tidied(upstream), frozenset(missing), frozenset(resolved))

    async def entries(self, upstream: str, state: State | None, limit: int) -> Sequence[Entry]:
        self._tidied(upstream)
        found = [e for (name, _), e in self._entries.items() if name == upstream and state in {None, e.state}]
        oldest_first = state in {State.UNKNOWN, State.IN_FLIGHT}
        return sorted(found, key=lambda entry: entry.changed, reverse=not oldest_first)[:limit]

    async def entry(self, upstream: str, id_: str) -> Entry | None:
        self._tidied(upstream)
        return self._entries.get((upstream, id_))

    async def count(self, upstream: str) -> Tracked:
        return self._tidied(upstream)

    async def upstreams(self, known: Iterable[str]) -> frozenset[str]:
        self._upstreams |= set(known)
        return frozenset(self._upstreams)

    def _put(self, place: Place, entry: Entry) -> None:
        """Keep an entry, and the indexes in step with it."""
        self._entries[place] = entry
        (self._leased.add if entry.owner else self._leased.discard)(place)
        unknown = self._unknown.setdefault(place[0], {})
        if entry.state is State.UNKNOWN:
            unknown.setdefault(place)
        else:
            unknown.pop(place, None)
        self._expires.pop(place, None)
        if entry.state in _PASSING and not entry.held(self._now()):
            self._expires[place] = self._now() + self._retention
            self._ageing.append((self._expires[place], place))

    def _tidied(self, upstream: str) -> Tracked:
        """Let leases lapse, forget what is too old, and the oldest unknown ones beyond the bound."""
        now = self._now()
        for place in [place for place in self._leased if not self._entries[place].held(now)]:
            self._put(place, lapse(self._entries[place], now))
            self._leased.discard(place)
        while self._ageing and self._ageing[0][0] <= now:
            when, place = self._ageing.popleft()
            if self._expires.get(place) == when:
                self._forget(place)
        unknown = self._unknown.setdefault(upstream, {})
        surplus = list(unknown)[: max(0, len(unknown) - self._most)]
        for place in surplus:
            self._forget(place)
        return Tracked(len(unknown), len(surplus), self._began)

    def _forget(self, place: Place) -> None:
        del self._entries[place]
        self._leased.discard(place)
        self._expires.pop(place, None)
        self._unknown.get(place[0], {}).pop(place, None)
