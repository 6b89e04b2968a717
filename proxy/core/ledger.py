"""The outcome ledger's rules: what an entry holds, and what may follow what. Every transition lives in this file.

    (none) ──▶ in_flight ──▶ final | unknown | not_sent
                  ▲           │  ▲      │         │
                  │           │  └──────┘         │
                  └───────────┴───────────────────┘   when the same key comes again

Only an answer of the layer that knows the key makes FINAL absorbing. Any other final behaves like NOT_SENT: the next
call with the key starts anew, because that call can still charge (the provider stored nothing under the key).
An entry is identified by an HMAC and holds no key, body, credential or card number. State and ownership are two things:
a call that comes again for a payment that is UNKNOWN or settled owns it for a while and does not change its state.
The memory store calls these functions; the Lua scripts of the Redis store say the same, held to it by one contract.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
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
    State.FINAL: frozenset({State.IN_FLIGHT, State.UNKNOWN}),  # once settled: only past the key's retention
}


class Ground(StrEnum):
    """What made a payment FINAL: the kind of answer."""

    SUCCESS = "success"
    REPLAY = "replay"
    DECLINE = "decline"
    REFUSAL = "refusal"
    """A 4xx from before the key was looked at: nothing was carried out, nothing is stored, the key is still free."""
    OTHER = "other"
    """An answer that settles nothing and may stand for something carried out: a redirect, a key for another body."""


SETTLING = frozenset({Ground.SUCCESS, Ground.REPLAY, Ground.DECLINE})
CARRIED_OUT = frozenset({Ground.SUCCESS, Ground.REPLAY})
_STRENGTH: dict[Ground | None, int] = {Ground.DECLINE: 1, Ground.REPLAY: 2, Ground.SUCCESS: 3}
DOUBTFUL = frozenset({Ground.SUCCESS, Ground.REPLAY, Ground.OTHER})
"""After these a later call that sends nothing must not be told `not_sent`."""
OF_OUTCOME = {
    Outcome.FINAL: State.FINAL,
    Outcome.UNKNOWN: State.UNKNOWN,
    Outcome.NOT_SENT: State.NOT_SENT,
}


@dataclass(frozen=True, slots=True)
class Write:
    """What the ledger keeps of a write. `id` and `body` are HMACs; `route` is the route's path, never the raw one.

    Only a keyed write can come again, so only those wait for one another. `rule` names the profile and the place of the
    key under which it was sent: an answer read by another rule settles nothing.
    """

    id: str
    upstream: str
    method: str
    route: str
    request_id: str
    reference: str | None
    keyed: bool
    body: str
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of one call by itself, whatever earlier calls left; `ground` is set where it is FINAL.

    `age`: seconds since the first call with the key, for a store that has lost it.
    """

    write: Write
    owner: str
    state: State
    ground: Ground | None
    attempts: int
    status: int | None = None
    provider_request_id: str | None = None
    age: float = 0.0

    @property
    def settles(self) -> bool:
        """Whether the answer also settles earlier calls whose outcome was unknown."""
        return self.ground in SETTLING


@dataclass(frozen=True, slots=True)
class Entry:
    """One payment in the ledger. Times are seconds since 1970 on the store's clock.

    `lease` is until when `owner` holds it, 0 if nobody does. `lapsed`: it is unknown only because that lease ran out.
    `since`: first sent, as far as we know. `calls` and `attempts` count both sides. `ground`: what made it final; while
    it is in flight again, what made it final before.
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
    ground: Ground | None = None

    @property
    def settled(self) -> bool:
        """Whether the outcome is known for good."""
        return self.state is State.FINAL and self.ground in SETTLING

    @property
    def doubtful(self) -> bool:
        """Whether a call of it may have been carried out, so that one that sends nothing must not say `not_sent`."""
        return self.state in {State.UNKNOWN, State.IN_FLIGHT} or self.ground in DOUBTFUL

    def held(self, now: float) -> bool:
        """Whether a call that still lives is under way."""
        return bool(self.owner) and self.lease > now


def lapse(entry: Entry, now: float) -> Entry:
    """The entry as it is after the lease of a crashed owner: nobody knows any more what became of its call."""
    if entry.state is not State.IN_FLIGHT or entry.held(now):
        return entry
    return replace(entry, state=State.UNKNOWN, lapsed=True, changed=now)


def claimed(
    entry: Entry | None, write: Write, owner: str, now: float, lease_seconds: float, trusted_seconds: float = math.inf
) -> Entry | None:
    """The entry once `owner` has it; None while somebody else does.

    `trusted_seconds`: how long the provider keeps a key. Beyond it the same key is a new payment there, so that what
    was settled is settled no more. A key's age goes on counting from the first send: the cautious reading.
    """
    if entry is None:
        return Entry(write, State.IN_FLIGHT, now, now, owner, now + lease_seconds)
    if entry.held(now):
        return None
    entry = replace(lapse(entry, now), owner=owner, lease=now + lease_seconds, lapsed=False, calls=entry.calls + 1)
    if entry.state is State.NOT_SENT:
        entry = replace(entry, since=now)
    elif entry.state is State.UNKNOWN or (entry.settled and now - entry.since < trusted_seconds):
        return entry
    return replace(entry, write=write, state=State.IN_FLIGHT, changed=now)


def settled(entry: Entry | None, told: Settlement, now: float) -> Entry | None:
    """The entry once a call has ended; one that the store lost is made anew, unless nothing was sent."""
    if entry is None:
        if told.state is State.NOT_SENT:
            return None
        entry = Entry(told.write, State.IN_FLIGHT, now - told.age, now, told.owner)
    state, ground = _after(entry, told)
    adopted = (state, ground) == (told.state, told.ground) and not (entry.settled and entry.ground is ground)
    mine, again = entry.owner == told.owner, state is entry.state
    after = replace(
        entry,
        state=state,
        ground=ground,
        changed=entry.changed if again else now,
        lapsed=entry.lapsed and not (mine or adopted),
        attempts=entry.attempts + told.attempts,
    )
    if mine:
        after = replace(after, owner="", lease=0.0)
    return _with_answer(after, told, again=again) if adopted else after


def restored(entry: Entry | None, told: Settlement, now: float) -> Entry | None:
    """The entry once a replica has said that it knows `told` to be unknown; None if it was settled since.

    A store that had lost it may have taken another call with the key for the first one meanwhile: whatever that came
    to, if it settled nothing, it is unknown still. A call under way goes on, and owns it.
    """
    if entry is None:
        since = now - told.age
        return Entry(told.write, State.UNKNOWN, since, now, attempts=told.attempts)
    if entry.ground in SETTLING:
        return None
    if entry.state is State.UNKNOWN:
        return entry
    since = min(entry.since, now - told.age)
    return replace(entry, state=State.UNKNOWN, ground=None, lapsed=False, since=since, changed=now)


def _with_answer(entry: Entry, told: Settlement, *, again: bool) -> Entry:
    """The entry with what the provider said; a call that heard nothing leaves what was heard before in this state."""
    if again and told.status is None:
        return entry
    return replace(entry, status=told.status, provider_request_id=told.provider_request_id)


def _after(entry: Entry, told: Settlement) -> tuple[State, Ground | None]:
    """State and ground once `told` is known."""
    if entry.settled or told.settles:
        return (State.FINAL, _stronger(entry.ground, told.ground))
    if entry.owner == told.owner and (entry.state is State.IN_FLIGHT or entry.lapsed):
        return _own_word(entry.ground, told)
    return _late_word(entry, told)


def _stronger(before: Ground | None, now: Ground | None) -> Ground | None:
    """Of two grounds, one of which settles, the one that stays: a success always wins."""
    return max(before, now, key=lambda ground: _STRENGTH.get(ground, 0))


def _own_word(before: Ground | None, told: Settlement) -> tuple[State, Ground | None]:
    """The owner says what became of its call; `before` is what an earlier call came to."""
    if told.state is State.UNKNOWN:
        return (State.UNKNOWN, None)
    if before in CARRIED_OUT or (told.state is State.NOT_SENT and before is not None):
        return (State.FINAL, before)
    if before is Ground.OTHER and told.ground is Ground.REFUSAL:
        return (State.UNKNOWN, None)
    return (told.state, told.ground)


def _late_word(entry: Entry, told: Settlement) -> tuple[State, Ground | None]:
    """A call that holds nothing (the store was away, or its lease is over) takes no doubt away and may add some."""
    if told.state is State.UNKNOWN:
        return (State.UNKNOWN, None)
    free = entry.state is State.NOT_SENT or (entry.state is State.FINAL and entry.ground is Ground.REFUSAL)
    return (told.state, told.ground) if free and told.state is State.FINAL else (entry.state, entry.ground)


@dataclass(frozen=True, slots=True)
class Claim:
    """One call's hold on its entry, and what the ledger knew before.

    `doubt`: an earlier call with this key may have been carried out. `settled`: its outcome is known for good.
    `same_rule`: it was sent by the rule that this call's answers are read by. `age`: seconds since the first call.
    `degraded`: the ledger was away, so that nobody else knows of this call. `write` None: it is none of the ledger's.
    """

    write: Write | None = None
    owner: str = ""
    doubt: bool = False
    settled: bool = False
    same_body: bool = True
    same_rule: bool = True
    age: float = 0.0
    degraded: bool = False


UNTRACKED = Claim()
"""For reads, and where there is no ledger."""


def granted(write: Write, owner: str, prior: Entry | None, now: float) -> Claim:
    """The claim on an entry that was `prior` before; now on the store's clock."""
    if prior is None or prior.state is State.NOT_SENT:
        return Claim(write, owner)
    prior = lapse(prior, now)
    return Claim(
        write,
        owner,
        doubt=prior.doubtful,
        settled=prior.settled,
        same_body=prior.write.body == write.body,
        same_rule=prior.write.rule == write.rule,
        age=max(0.0, now - prior.since),
    )


def aware(claim: Claim, others: Iterable[Entry], rule: str, now: float) -> Claim:
    """The claim with what books under other names say of the same payment: an upstream that was renamed is no other."""
    for entry in others:
        if entry.doubtful:
            age, same = max(claim.age, now - entry.since), claim.same_rule and entry.write.rule == rule
            claim = replace(claim, doubt=True, same_rule=same, age=age)
    return claim
