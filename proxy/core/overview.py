"""The basic overview of GET /api/metrics: counters since this replica's start beside the fleet's last minutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.core.status import ReplicaStatus, StateLabel, Status, UpstreamStatus, attempts_of
from proxy.core.traffic import Traffic, traffic


@dataclass(frozen=True, slots=True)
class ReplicaTotals:
    """One upstream on this replica since it started. `requests` are answered payments."""

    requests: int
    attempts: Traffic
    retries: int
    retries_denied: int
    rejected: int


@dataclass(frozen=True, slots=True)
class FleetTotals:
    """One upstream in the whole fleet over the window; retries over the retry budget's own, shorter one."""

    requests: int
    attempts: Traffic
    retries: int
    retries_window_seconds: float
    rejected: int


@dataclass(frozen=True, slots=True)
class UpstreamOverview:
    """One upstream's breaker and its numbers."""

    breaker: StateLabel
    since_start: ReplicaTotals
    fleet: FleetTotals


@dataclass(frozen=True, slots=True)
class Overview:
    """The basic numbers, for a person or a small script; /metrics has them all."""

    replica: ReplicaStatus
    window_seconds: float
    upstreams: dict[str, UpstreamOverview]


def overview(status: Status, totals: Mapping[str, Mapping[str, int]], window_seconds: float) -> Overview:
    """Put the status and this replica's totals side by side."""
    upstreams = {
        name: UpstreamOverview(one.breaker.state, _since_start(totals[name]), _fleet(one))
        for name, one in status.upstreams.items()
    }
    return Overview(status.replica, window_seconds, upstreams)


def _since_start(counts: Mapping[str, int]) -> ReplicaTotals:
    return ReplicaTotals(
        requests=sum(n for name, n in counts.items() if name.startswith("payment:")),
        attempts=traffic(attempts_of(counts)),
        retries=counts.get("retries", 0),
        retries_denied=counts.get("retries_denied", 0),
        rejected=counts.get("rejected", 0),
    )


def _fleet(one: UpstreamStatus) -> FleetTotals:
    paid = one.payments
    return FleetTotals(
        requests=paid.not_sent + paid.unknown + paid.final,
        attempts=traffic(one.attempts),
        retries=one.budget.retries,
        retries_window_seconds=one.budget.window_seconds,
        rejected=one.rejected,
    )
