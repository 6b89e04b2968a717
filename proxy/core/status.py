"""The status document: facts in, document out. Its field names are the JSON names of GET /api/status.

Owns the shape of the document and nothing of how it travels; orjson writes these dataclasses as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from proxy.core.breaker import Counts, Override, Record, retry_after
from proxy.core.budget import Spent
from proxy.core.config import Upstream
from proxy.core.durability import Warnings
from proxy.core.model import Outcome

OnOutage = Literal["local", "closed", "open"]
StateLabel = Literal["closed", "open", "half_open", "forced_open", "forced_closed"]


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """The replica that answers. `draining`: it takes no new work and is about to leave."""

    id: str
    version: str
    started: str
    uptime_seconds: float
    draining: bool


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """Where breaker state lives. `on_outage` is what the gates do while a shared store is away (null: not shared).

    `degraded`: some breaker is this replica's own for want of the fleet's. `warnings`: what is unsafe about the store.
    """

    kind: Literal["redis", "memory"]
    up: bool
    shared: bool
    degraded: Literal["breaker"] | None
    on_outage: OnOutage | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OverrideStatus:
    """A person's decision that holds now. `expires_in_seconds` null: until it is taken back."""

    forced: Literal["open", "closed"]
    actor: str
    reason: str
    expires_in_seconds: float | None


@dataclass(frozen=True, slots=True)
class CountsStatus:
    """The fleet's results in this epoch: failures in a row, and calls and failures in the window."""

    consecutive: int
    calls: int
    failures: int
    window_seconds: float


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """One circuit breaker as this replica sees it. `since` is this replica's start where it has never changed.

    `opens` is how often it opened in a row. `retry_after` is in seconds, null where calls may flow or nobody knows.
    """

    state: StateLabel
    since: str
    since_seconds: float
    epoch: int
    cause: str
    opens: int
    retry_after: float | None
    snapshot_age_seconds: float
    mode: Literal["enforce", "shadow"]
    counts: CountsStatus
    override: OverrideStatus | None


@dataclass(frozen=True, slots=True)
class PaymentsStatus:
    """Answered payments by what is known of them."""

    not_sent: int
    unknown: int
    final: int


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """The retry budget: the fleet's requests and retries in its window, and what this replica may still spend."""

    requests: int
    retries: int
    left: int
    window_seconds: float


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """One provider. `attempts` (by result), `payments` and `rejected` are the fleet's in the last `window_seconds`.

    `in_flight` is this replica's. `unknown_outcomes` are the ledger's, however old; null where there is no ledger.
    """

    url: str
    profile: str
    breaker: BreakerStatus
    window_seconds: float
    attempts: dict[str, int]
    payments: PaymentsStatus
    rejected: int
    budget: BudgetStatus
    in_flight: int
    max_concurrency: int
    unknown_outcomes: int | None


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """How often the store came back without unknown outcomes that it held, as far as this replica noticed.

    `restored` of them it wrote back; `last_loss` null: none was noticed.
    """

    losses: int
    restored: int
    last_loss: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """Everything one replica knows about itself and its fleet. `replicas` are those heard of lately."""

    replica: ReplicaStatus
    store: StoreStatus
    shared: bool
    replicas: tuple[str, ...]
    upstreams: dict[str, UpstreamStatus]
    ledger: LedgerStatus | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerFacts:
    """A gate's view. `now` is the store's clock, the time base of the record."""

    record: Record
    counts: Counts
    window_seconds: float
    now: float
    age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamFacts:
    """What is known of one provider. `history` has `attempt:ROW`, `payment:OUTCOME` and `rejected`."""

    config: Upstream
    breaker: BreakerFacts
    history: Mapping[str, int]
    spent: Spent
    retries_left: float
    in_flight: int
    unknown_outcomes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the document is made of. `now` and `started` are wall-clock seconds since 1970 UTC.

    `unsafe` is what may lose the ledger's entries; `apart` are upstreams whose stored record is unreadable, and why.
    """

    replica: str
    version: str
    started: float
    now: float
    draining: bool
    shared: bool
    up: bool
    on_outage: OnOutage
    replicas: tuple[str, ...]
    window_seconds: float
    upstreams: tuple[UpstreamFacts, ...]
    ledger: LedgerStatus | None = None
    unsafe: Warnings = ()
    apart: Mapping[str, str] = field(default_factory=dict)


def build(facts: Facts) -> Status:
    """The status document that follows from the facts."""
    return Status(
        replica=ReplicaStatus(
            id=facts.replica,
            version=facts.version,
            started=iso(facts.started),
            uptime_seconds=_whole_ms(facts.now - facts.started),
            draining=facts.draining,
        ),
        store=_store(facts),
        shared=facts.shared,
        replicas=tuple(sorted({*facts.replicas, facts.replica})),  # before the first beat we know of ourselves
        upstreams={one.config.name: _upstream(one, facts) for one in facts.upstreams},
        ledger=facts.ledger,
    )


def iso(seconds: float) -> str:
    """A wall-clock time as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def breaker_status(config: Upstream, facts: BreakerFacts, started: float) -> BreakerStatus:
    """One breaker as readers are told of it."""
    record, now = facts.record, facts.now
    since = record.since or started
    wait = retry_after(record, now)
    return BreakerStatus(
        state=_label(record, now),
        since=iso(since),
        since_seconds=_whole_ms(now - since),
        epoch=record.epoch,
        cause=record.cause,
        opens=record.opens,
        retry_after=None if wait is None else _whole_ms(wait),
        snapshot_age_seconds=_whole_ms(facts.age_seconds),
        mode=config.breaker.mode,
        counts=_counts(facts),
        override=_override(record.override, now),
    )


def _label(record: Record, now: float) -> StateLabel:
    label: StateLabel = record.label(now)  # type: ignore[assignment]  # a str there; the test walks through all five
    return label


def _counts(facts: BreakerFacts) -> CountsStatus:
    counts = facts.counts
    return CountsStatus(counts.consecutive, counts.calls, counts.failures, facts.window_seconds)


def _override(override: Override | None, now: float) -> OverrideStatus | None:
    if override is None or not override.active(now):
        return None
    left = None if override.until is None else _whole_ms(override.until - now)
    return OverrideStatus(override.forced, override.actor, override.reason, left)


def _store(facts: Facts) -> StoreStatus:
    warnings = tuple(_warnings(facts))
    if not facts.shared:
        return StoreStatus("memory", up=True, shared=False, degraded=None, on_outage=None, warnings=warnings)
    degraded: Literal["breaker"] | None = "breaker" if facts.apart or not facts.up else None
    return StoreStatus("redis", facts.up, shared=True, degraded=degraded, on_outage=facts.on_outage, warnings=warnings)


def _warnings(facts: Facts) -> Iterator[str]:
    for upstream, cause in sorted(facts.apart.items()):
        yield f"{upstream}: {cause}; this replica goes on with a breaker of its own"
    for problem, remedy in facts.unsafe:
        yield f"{problem}; {remedy}"


def _upstream(one: UpstreamFacts, facts: Facts) -> UpstreamStatus:
    policy = one.config.retry.budget
    left = max(0, math.floor(one.retries_left))
    return UpstreamStatus(
        url=one.config.url,
        profile=one.config.profile,
        breaker=breaker_status(one.config, one.breaker, facts.started),
        window_seconds=facts.window_seconds,
        attempts=attempts_of(one.history),
        payments=PaymentsStatus(**{outcome: one.history.get(f"payment:{outcome}", 0) for outcome in Outcome}),
        rejected=one.history.get("rejected", 0),
        budget=BudgetStatus(one.spent.requests, one.spent.retries, left, policy.window),
        in_flight=one.in_flight,
        max_concurrency=one.config.max_concurrency,
        unknown_outcomes=one.unknown_outcomes,
    )


def attempts_of(history: Mapping[str, int]) -> dict[str, int]:
    """Attempts by row, from the journal's counters."""
    prefix = "attempt:"
    return {name.removeprefix(prefix): n for name, n in sorted(history.items()) if name.startswith(prefix)}


def _whole_ms(seconds: float) -> float:
    return max(0.0, round(seconds, 3))
