"""The outcome ledger's rules: what an entry holds, and what may follow what. Every transition lives in this file.

    (none) ──▶ in_flight ──▶ final | unknown | not_sent
                                 ▲        │         │
                                 └────────┘         └──▶ in_flight, when the same key comes again

An entry is identified by an HMAC and holds no key, body, credential or card number. State and ownership are two things:
a call that comes again for an `unknown` or `final` payment owns it for a while and does not change its state.
The memory store calls these functions; the Lua scripts of the Redis store say the same, held to it by one contract.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from proxy.core.model import Outcome


class State(StrEnum):
    """What is known of one payment."""

    IN_FLIGHT = "in_flight"
    FINAL = "final"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"


FOLLOWS: dict[State, frozenset[State]] = {
    State.IN_FLIGHT: frozenset({State.FINAL, State.UNKNOWN, State.NOT_SENT}),
    State.UNKNOWN: frozenset({State.FINAL, State.NOT_SENT}),  # not_sent: only by the owner whose lease ran out
    State.NOT_SENT: frozenset({State.IN_FLIGHT, State.FINAL, State.UNKNOWN}),
    State.FINAL: frozenset(),
}
OF_OUTCOME = {
    Outcome.FINAL: State.FINAL,
    Outcome.UNKNOWN: State.UNKNOWN,
    Outcome.NOT_SENT: State.NOT_SENT,
}


@dataclass(frozen=True, slots=True)
class Write:
    """What the ledger keeps of a write. `id` and `body` are HMACs; `route` is the route's path, never the raw one.

    Only a keyed write can come again, so only those wait for one another.
    """

    id: str
    upstream: str
    method: str
    route: str
    request_id: str
    reference: str | None
    keyed: bool
    body: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of one call. `settles`: the answer also settles earlier calls whose outcome was unknown."""

    write: Write
    owner: str
    state: State
    settles: bool
    attempts: int
    status: int | None = None
    provider_request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One payment in the ledger. Times are seconds since 1970 on the store's clock.

    `lease` is until when `owner` holds it, 0 if nobody does. `lapsed`: it is unknown only because that lease ran out.
    `since`: first sent, as far as we know. `calls` and `attempts` count both sides.
    """

    write: Write
    state: State
    since: float
    changed: float
    owner: str = ""
    lease: float = 0.0
    lapsed: bool = False
    calls: int = 1
    attempts: int = 0
    status: int | None = None
    provider_request_id: str | None = None

    def held(self, now: float) -> bool:
        """Whether a call that still lives is under way."""
        return bool(self.owner) and self.lease > now


def lapse(entry: Entry, now: float) -> Entry:
    """The entry as it is after the lease of a crashed owner: nobody knows any more what became of its call."""
    if entry.state is not State.IN_FLIGHT or entry.held(now):
        return entry
    return replace(entry, state=State.UNKNOWN, lapsed=True, changed=now)


def claimed(entry: Entry | None, write: Write, owner: str, now: float, lease_seconds: float) -> Entry | None:
    """The entry once `owner` has it; None while somebody else does."""
    if entry is None:
        return Entry(write, State.IN_FLIGHT, now, now, owner, now + lease_seconds)
    if entry.held(now):
        return None
    entry = replace(lapse(entry, now), owner=owner, lease=now + lease_seconds, lapsed=False, calls=entry.calls + 1)
    if entry.state is not State.NOT_SENT:
        return entry
    return replace(entry, write=write, state=State.IN_FLIGHT, since=now, changed=now)


def settled(entry: Entry | None, told: Settlement, now: float) -> Entry | None:
    """The entry once a call has ended; one that the store lost is made anew, unless nothing was sent."""
    if entry is None:
        if told.state is State.NOT_SENT:
            return None
        entry = Entry(told.write, State.NOT_SENT, now, now, told.owner)
    state = _state_after(entry, told)
    if entry.owner == told.owner:
        entry = replace(entry, owner="", lease=0.0)
    entry = replace(entry, attempts=entry.attempts + told.attempts)
    if state is not told.state or state is entry.state is State.FINAL:
        return entry
    entry = replace(entry, state=state, lapsed=False, changed=now if state is not entry.state else entry.changed)
    return replace(
        entry,
        status=told.status or entry.status,
        provider_request_id=told.provider_request_id or entry.provider_request_id,
    )


def _state_after(entry: Entry, told: Settlement) -> State:
    mine = entry.owner == told.owner
    if entry.state is State.FINAL:
        return State.FINAL
    if mine and (entry.state is not State.UNKNOWN or entry.lapsed):
        return told.state
    if told.state is State.FINAL and told.settles:
        return State.FINAL
    # What a call without a claim (the store was away) left unknown stays so, whatever was known before.
    return State.UNKNOWN if told.state is State.UNKNOWN else entry.state


@dataclass(frozen=True, slots=True)
class Claim:
    """One call's hold on its entry, and what the ledger knew before.

    `doubt`: an earlier call with this key may have been carried out. `final`: the outcome is known already. `age`:
    seconds since the first call. `degraded`: the ledger was away, so that nobody else knows of this call.
    `write` None: this call is none of the ledger's.
    """

    write: Write | None = None
    owner: str = ""
    doubt: bool = False
    final: bool = False
    same_body: bool = True
    age: float = 0.0
    degraded: bool = False


UNTRACKED = Claim()
"""For reads, and where there is no ledger."""


def doubtful(prior: State | None, status: int | None) -> bool:
    """Whether an earlier call may have been carried out: a final answer that refused it (4xx) says it was not."""
    if prior is State.FINAL:
        return status is None or not 400 <= status < 500  # noqa: PLR2004 - the class of RFC 9110 section 15.5
    return prior is State.UNKNOWN
