"""Facts, published once and folded by dumb listeners (log, metrics, journal). Nothing here holds payment data."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.core.model import Kind, Outcome
from proxy.core.outcome import Row
from proxy.core.retry import Denied


@dataclass(frozen=True, slots=True)
class AttemptFinished:
    """One request went to the provider and came back, or not. `seconds` is the attempt's own time."""

    upstream: str
    request_id: str
    number: int
    row: Row
    status: int | None
    error: str | None
    seconds: float
    probe: bool
    detail: str | None = None
    """What the wire showed, beside `error`; words of ours, never of the payment."""


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """The same request goes out again after `delay` seconds, because of `reason`."""

    upstream: str
    request_id: str
    reason: Row
    delay: float


@dataclass(frozen=True, slots=True)
class RetryDenied:
    """A retry that might have helped was not made, because of `reason`."""

    upstream: str
    request_id: str
    reason: Denied


@dataclass(frozen=True, slots=True)
class PaymentFinished:
    """A payment was answered (or its client had gone). `error` is set where the answer is ours.

    `malformed` is a word for what was wrong with the request itself, where it was refused for that.
    """

    route: str
    upstream: str
    request_id: str
    trace_id: str | None
    method: str
    kind: Kind
    status: int
    outcome: Outcome
    attempts: int
    seconds: float
    error: str | None
    detail: str | None = None
    malformed: str | None = None


@dataclass(frozen=True, slots=True)
class ClientDropped:
    """A client connection was ended or turned away: `reason` is not_reading or too_many_connections."""

    reason: str


@dataclass(frozen=True, slots=True)
class CallRejected:
    """The gate did not let a call out: `reason` is breaker or concurrency. In shadow mode it went out all the same."""

    upstream: str
    reason: str
    shadow: bool


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """This replica learnt of a new breaker state; `open_seconds` is how long it will stay open at least."""

    upstream: str
    old: str
    new: str
    epoch: int
    cause: str
    open_seconds: float | None


@dataclass(frozen=True, slots=True)
class StoreChanged:
    """The shared store, at `where`, went away (with its cause) or came back."""

    up: bool
    cause: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """One store operation failed; `cause` is the kind of trouble, of which there are few."""

    operation: str
    cause: str = ""


@dataclass(frozen=True, slots=True)
class RecordUnreadable:
    """What the store keeps of an upstream's breaker cannot be read, so it is this replica's own.

    `cause` None: it can be read again.
    """

    upstream: str
    cause: str | None


@dataclass(frozen=True, slots=True)
class StoreInspected:
    """What was found out about the store's own promises: what is unsafe about it and what mends that, in pairs."""

    warnings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class LedgerTrimmed:
    """The ledger had no room for so many unknown outcomes, the oldest, and forgot them."""

    upstream: str
    count: int


@dataclass(frozen=True, slots=True)
class LedgerLost:
    """The store came back without entries that were unknown: at least `known`; `restored` we wrote back."""

    upstream: str
    known: int
    restored: int


@dataclass(frozen=True, slots=True)
class FollowedUp:
    """A write that ended unknown was looked after: `result` is resolved, unknown, stopped, expired or no_room.

    Only `resolved`, `stopped`, `expired` and `no_room` are the last word on it.
    """

    upstream: str
    request_id: str
    result: str


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """A background loop met a bug and goes on with its next turn."""

    loop: str
    cause: str


Event = (
    AttemptFinished
    | RetryScheduled
    | RetryDenied
    | PaymentFinished
    | ClientDropped
    | CallRejected
    | BreakerChanged
    | StoreChanged
    | StoreFailed
    | RecordUnreadable
    | StoreInspected
    | LedgerTrimmed
    | LedgerLost
    | FollowedUp
    | TurnFailed
)
