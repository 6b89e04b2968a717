"""The circuit breaker's rules. Every transition lives in this file; nothing else makes a Record.

A Record is the shared truth about one upstream. Its `epoch` grows with every change, and results of calls that were
admitted under an earlier epoch change nothing. All times are seconds on the store's clock, handed in as `now`.

    closed ──trip──▶ open ──cooldown over──▶ half_open ──enough probes passed──▶ closed
                      ▲                          │
                      └───────probe failed───────┘
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from proxy.core.config import Breaker

JITTER = 0.1
"""A repeated cooldown is lengthened by up to this share, so that fleets that failed together do not probe together."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Calls flow and are counted."""


@dataclass(frozen=True, slots=True)
class Open:
    """No call goes out before `until`; `cooldown` is how long this opening was meant to last."""

    until: float
    cooldown: float


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """Only leased probes go out; `cooldown` is the last opening's, to grow from if a probe fails."""

    cooldown: float


State = Closed | Open | HalfOpen
STATE_NAMES: dict[type[State], str] = {Closed: "closed", Open: "open", HalfOpen: "half_open"}


@dataclass(frozen=True, slots=True)
class Override:
    """A person's decision that beats the machine until `until` (None: until it is taken back)."""

    forced: Literal["open", "closed"]
    actor: str
    reason: str
    until: float | None

    def active(self, now: float) -> bool:
        """Whether it still holds."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class Record:
    """One upstream's breaker: the state, since when, why, and how many times it opened in a row."""

    epoch: int = 0
    state: State = Closed()
    since: float = 0.0
    opens: int = 0
    cause: str = ""
    override: Override | None = None

    @property
    def name(self) -> str:
        """closed, open or half_open."""
        return STATE_NAMES[type(self.state)]

    def label(self, now: float) -> str:
        """The state a reader should be told: the override's name while one holds, else the machine's."""
        if self.override is not None and self.override.active(now):
            return f"forced_{self.override.forced}"
        return self.name

    def why(self, now: float) -> str:
        """What led to the state that `label` names: a person's reason, or what the counts or probes showed."""
        if self.override is not None and self.override.active(now):
            return f"{self.override.actor}: {self.override.reason}"
        return self.cause


@dataclass(frozen=True, slots=True)
class Counts:
    """The fleet's pooled results in the current epoch: failures since the last success, and calls in the window."""

    consecutive: int = 0
    calls: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Pass:
    """Go ahead; `counted` is False where the result must not move the machine (an override holds)."""

    counted: bool = True


@dataclass(frozen=True, slots=True)
class Refuse:
    """Do not send; the way may be free in `retry_after` seconds."""

    retry_after: float


@dataclass(frozen=True, slots=True)
class NeedsProbe:
    """Send only with a probe lease that belongs to `record`, which is half-open."""

    record: Record


Admission = Pass | Refuse | NeedsProbe


def admit(record: Record, now: float) -> Admission:
    """What the breaker says to one more call."""
    if record.override is not None and record.override.active(now):
        return _overridden(record.override, now)
    match record.state:
        case Closed():
            return Pass()
        case Open(until=until):
            return Refuse(until - now) if now < until else NeedsProbe(_half_open(record, now))
        case HalfOpen():
            return NeedsProbe(record)
    assert_never(record.state)


def _overridden(override: Override, now: float) -> Admission:
    if override.forced == "closed":
        return Pass(counted=False)
    return Refuse(1.0 if override.until is None else override.until - now)


def _half_open(record: Record, now: float) -> Record:
    cooldown = record.state.cooldown if isinstance(record.state, Open) else 0.0
    return replace(record, epoch=record.epoch + 1, state=HalfOpen(cooldown), since=now)


def trip(
    record: Record, counts: Counts, policy: Breaker, now: float, draw: Callable[[], float], retry_after: float = 0.0
) -> Record | None:
    """The open record that follows from the fleet's counts; None while they are within bounds.

    Closed for less than one cooldown since it last was open, it counts as a repeated opening and waits longer.
    """
    cause = _cause(counts, policy)
    if not isinstance(record.state, Closed) or cause is None:
        return None
    repeated = record.opens > 0 and now - record.since < policy.cooldown
    return _opened(record, record.opens + 1 if repeated else 1, cause, policy, now, draw, retry_after)


def _cause(counts: Counts, policy: Breaker) -> str | None:
    limit, rate = policy.consecutive_failures, policy.failure_rate
    if limit is not None and counts.consecutive >= limit:
        return f"{counts.consecutive} failures in a row"
    if rate is None or counts.calls < rate.min_calls or counts.failures / counts.calls < rate.threshold:
        return None
    return f"{counts.failures} of {counts.calls} calls failed"


def reopen(
    record: Record, policy: Breaker, now: float, draw: Callable[[], float], retry_after: float = 0.0
) -> Record | None:
    """The open record after a failed probe; None if the record is not half-open."""
    if not isinstance(record.state, HalfOpen):
        return None
    return _opened(record, record.opens + 1, "a probe failed", policy, now, draw, retry_after)


def _opened(
    record: Record, opens: int, cause: str, policy: Breaker, now: float, draw: Callable[[], float], retry_after: float
) -> Record:
    cooldown = max(_cooldown(policy, opens, draw), min(retry_after, policy.longest_retry_after))
    state = Open(until=now + cooldown, cooldown=cooldown)
    return replace(record, epoch=record.epoch + 1, state=state, since=now, opens=opens, cause=cause)


def _cooldown(policy: Breaker, opens: int, draw: Callable[[], float]) -> float:
    if opens <= 1:
        return policy.cooldown
    grown = policy.cooldown * float(2 ** min(opens - 1, 30))
    return min(policy.max_cooldown, grown * (1 + JITTER * draw()))


def close(record: Record, passes: int, policy: Breaker, now: float) -> Record | None:
    """The closed record once enough probes have passed; None before that or if the record is not half-open."""
    if not isinstance(record.state, HalfOpen) or passes < policy.probe_successes:
        return None
    cause = f"{passes} probe{'s' if passes > 1 else ''} passed"
    return replace(record, epoch=record.epoch + 1, state=Closed(), since=now, cause=cause)


def overridden(record: Record, override: Override | None) -> Record:
    """The record with a person's decision set, or (None) taken back; the machine's own state is kept."""
    return replace(record, epoch=record.epoch + 1, override=override)


def retry_after(record: Record, now: float) -> float | None:
    """Seconds until calls may flow again, where that is known; None if they may flow now or nobody knows."""
    if record.override is not None and record.override.active(now):
        override = record.override
        return None if override.forced == "closed" or override.until is None else override.until - now
    return max(0.0, record.state.until - now) if isinstance(record.state, Open) else None
