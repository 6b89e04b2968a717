"""What happened, as the clients tell it: one payment is a reference, its story is every single answer they got."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID, uuid5

MARK = "X-Prove"
"""Request header `REFERENCE/TRY`: tells the provider's witness which request of which payment an arrival belongs to."""

REPEATED_WITH_A_KEY = frozenset({403, 409, 429, *range(500, 600)})
"""Statuses after which a request comes again with its key: from an SDK, or when an operator has mended something."""
REPEATED_BY_LIBRARIES = range(500, 600)
NEVER_SENT_STATUSES = frozenset({502, 503})


class Custom(StrEnum):
    """How a client treats its idempotency key."""

    OWN_KEY = "own key"
    NO_KEY = "no key"
    TOLD_KEY = "told key"  # sends none at first, and repeats with the one the proxy told it
    NEW_KEY = "new key"  # starts over under another key, once it is told that nothing was sent
    TWINS = "twins"  # sends the same twice at once, to two replicas or to one
    LEAVER = "leaver"  # never asks again what became of an unknown payment
    LIBRARY = "library"  # sends no key, and its HTTP library repeats after any 5xx


class Trouble(StrEnum):
    """Why there was no answer."""

    REFUSED = "refused"  # no connection, so nothing was sent
    LOST = "lost"  # sent, and the connection ended
    LATE = "late"  # sent, and the client's own patience ended


class Word(StrEnum):
    """What is known of a payment or of a request; the first three are the proxy's words."""

    FINAL = "final"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Try:
    """One request of a client and its answer, if there was one. Times are seconds since 1970."""

    mark: str
    replica: int
    key: str | None
    started: float
    ended: float
    status: int = 0
    outcome: str | None = None
    attempts: int | None = None
    told_key: str | None = None
    charge: str | None = None
    retry_after: float = 0.0
    trouble: Trouble | None = None
    ours: bool = False
    """Made by the proxy itself (RFC 9209), not the provider's answer."""
    degraded: str = ""

    @property
    def identity(self) -> str:
        """What the provider knows the request by: its key, whoever made it, else itself."""
        return self.key or self.told_key or self.mark

    @property
    def unknown(self) -> bool:
        """Whether the client is left without knowing what this request did."""
        return self.trouble in {Trouble.LOST, Trouble.LATE} or self.outcome == Word.UNKNOWN

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004

    def __str__(self) -> str:
        told = self.trouble or f"{self.status} {self.outcome} attempts={self.attempts} charge={self.charge}"
        return f"{self.mark} key={self.key} replica={self.replica} {self.started:.3f}-{self.ended:.3f}: {told}"


@dataclass(slots=True)
class Payment:
    """One payment and the requests its client made for it."""

    reference: str
    custom: Custom
    key: str | None
    declined: bool = False
    tries: list[Try] = field(default_factory=list)
    place: str = "generic"
    stranded: bool = False
    """Its upstream was moved to another provider meanwhile: a careful client looks it up instead of asking again."""

    @property
    def next_mark(self) -> str:
        return f"{self.reference}/{len(self.tries) + 1}"

    def add(self, one: Try) -> None:
        """Take in a try; a client of that custom also takes the key it was told."""
        self.tries.append(one)
        if self.custom is Custom.TOLD_KEY and self.key is None:
            self.key = one.told_key
        if self.custom is Custom.NEW_KEY and one.outcome == Word.NOT_SENT and self.key is not None:
            self.key = str(uuid5(UUID(self.key), "again"))

    def may_repeat(self) -> bool:
        """Whether such a client sends this payment again: with a key as SDKs do, without one only if unsent."""
        last = self.tries[-1]
        if self.stranded or (self.custom is Custom.LEAVER and last.unknown):
            return False
        if self.custom is Custom.LIBRARY and last.status in REPEATED_BY_LIBRARIES:
            return True
        if self.key is not None:
            return last.trouble is not None or last.status in REPEATED_WITH_A_KEY
        unsent = last.outcome == Word.NOT_SENT and last.status in NEVER_SENT_STATUSES
        return unsent or last.trouble is Trouble.REFUSED

    def word(self) -> Word:
        """What the client knows of the payment after all it was told."""
        word = Word.NOT_SENT
        for one in sorted(self.tries, key=lambda one: one.ended):
            word = _after(word, one)
        return word

    def asks_again(self) -> bool:
        """Whether its client holds its key and still does not know."""
        over = self.stranded or self.custom is Custom.LEAVER
        return self.key is not None and not over and self.word() is Word.UNKNOWN

    def was_ever_unknown(self) -> bool:
        return any(one.unknown for one in self.tries)

    def succeeded(self) -> bool:
        """Whether the client was told that the payment was made."""
        return any(one.succeeded for one in self.tries)


def _after(word: Word, one: Try) -> Word:
    if one.trouble is Trouble.REFUSED or one.outcome == Word.NOT_SENT:
        return word
    if one.outcome != Word.FINAL:
        return Word.UNKNOWN
    # A 429 is the last word on that request; of an earlier one whose outcome is open it says nothing.
    settles = one.succeeded or one.status == 402  # noqa: PLR2004
    return Word.FINAL if settles or word is not Word.UNKNOWN else word


@dataclass(frozen=True, slots=True)
class Kill:
    """A replica was killed with SIGKILL, and was ready again (or never was, if `until` is infinite).

    `gentle`: with SIGTERM, which owes everybody an answer. `end`: after this nothing of it may arrive anywhere.
    """

    replica: int
    at: float
    until: float
    gentle: bool = False
    end: float = 0.0


@dataclass(frozen=True, slots=True)
class StoreTrouble:
    """The store did not answer from `at` to `until`. `lost`: what it held is gone."""

    at: float
    until: float
    lost: bool = False


@dataclass(slots=True)
class Move:
    """When SIGHUP began to send some upstreams to the second provider, and when every replica had done so."""

    at: float = float("inf")
    done: float = float("inf")


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as it reached a provider. `left`: when it was answered, or the asker went away.

    `settles`: its answer said what became of the payment. `clear`: that this request did nothing. Both only where the
    whole of it was put on a connection that still stood.
    """

    key: str | None
    at: float
    n: str = ""
    place: str = "generic"
    provider: int = 1
    left: float = float("inf")
    status: int = 0
    fault: str = ""
    coding: str = "plain"
    settles: bool = False
    clear: bool = False

    @property
    def doubtful(self) -> bool:
        """Whether whoever sent it cannot know what it did."""
        return not (self.settles or self.clear)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the provider's side tells: its ledger, and its witness of every arrival."""

    charges: tuple[Mapping[str, object], ...]
    arrivals: Mapping[str, tuple[Arrival, ...]]
    """By mark."""
    charged_by: Mapping[str, str]
    """By charge id: the mark of the request that made it."""

    def of(self, mark: str) -> str:
        """What the provider did for one request, for a person."""
        made = [name for name, by in self.charged_by.items() if by == mark]
        came = "; ".join(
            f"{one.at:.3f}-{one.left:.3f} at {one.provider} key={one.key}: {one.fault} {one.status} {one.coding}"
            for one in self.arrivals.get(mark, ())
        )
        return f"charged {', '.join(made) or 'nothing'}, arrived [{came}]"
