"""What happened, as the clients tell it: one payment is a reference, its story is every single answer they got."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

MARK = "X-Prove"
"""Request header `REFERENCE/TRY`: tells the provider's witness which request of which payment an arrival belongs to."""

REPEATED_WITH_A_KEY = frozenset({409, *range(500, 600)})
"""Statuses after which an SDK sends the same request with the same key again."""
NEVER_SENT_STATUSES = frozenset({502, 503})


class Custom(StrEnum):
    """How a client treats its idempotency key."""

    OWN_KEY = "own key"
    NO_KEY = "no key"
    TOLD_KEY = "told key"  # sends none at first, and repeats with the one the proxy told it


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

    @property
    def next_mark(self) -> str:
        return f"{self.reference}/{len(self.tries) + 1}"

    def add(self, one: Try) -> None:
        """Take in a try; a client of that custom also takes the key it was told."""
        self.tries.append(one)
        if self.custom is Custom.TOLD_KEY and self.key is None:
            self.key = one.told_key

    def may_repeat(self) -> bool:
        """Whether a correct client may send this payment again: with a key as SDKs do, without one only if unsent."""
        last = self.tries[-1]
        if self.key is not None:
            return last.trouble is not None or last.status in REPEATED_WITH_A_KEY
        unsent = last.outcome == Word.NOT_SENT and last.status in NEVER_SENT_STATUSES
        return unsent or last.trouble is Trouble.REFUSED

    def word(self) -> Word:
        """What the client knows of the payment after all it was told."""
        word = Word.NOT_SENT
        for one in self.tries:
            word = _after(word, one)
        return word

    def was_ever_unknown(self) -> bool:
        return any(one.trouble in {Trouble.LOST, Trouble.LATE} or one.outcome == Word.UNKNOWN for one in self.tries)

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
    """A replica was killed with SIGKILL, and was ready again (or never was, if `until` is infinite)."""

    replica: int
    at: float
    until: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as it reached the provider: under which key, and when."""

    key: str | None
    at: float


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
        return f"arrived {len(self.arrivals.get(mark, ()))} times, charged {', '.join(made) or 'nothing'}"
