"""The Prometheus series: names, labels, buckets. Every label has a bounded set of values, never a path or a key."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from proxy.core.model import Outcome

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""From a provider in the same rack to the longest deadline a payment is usually given."""
DROPS = ("not_reading", "too_many_connections")
FOLLOWUPS = ("resolved", "unknown", "stopped", "expired", "no_room")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
STATES = ("closed", "open", "half_open", "forced_open", "forced_closed")
MOVES = (("closed", "open"), ("open", "half_open"), ("half_open", "open"), ("half_open", "closed"))
USUAL_ANSWERS = (
    (200, Outcome.FINAL),
    (201, Outcome.FINAL),
    (424, Outcome.UNKNOWN),
    (502, Outcome.NOT_SENT),
    (503, Outcome.NOT_SENT),
    (504, Outcome.UNKNOWN),
)
"""Answers to a POST whose series exist before the first of them, so that rate() sees the first one."""
STORE_OPERATIONS = (
    *("read", "report", "install", "lease", "settle_probe", "sync", "history", "goodbye"),
    *("claim", "settle", "renew", "restore", "entries", "count", "upstreams", "subscribe", "inspect"),
)
"""The operations of proxy/ports.py, as StoreUnavailable names them."""


class Series:
    """All series on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.requests = self._counter("requests", "Payments answered.", "route upstream method status outcome")
        self.clients_dropped = self._counter(
            "clients_dropped", "Client connections cut off or turned away, by reason.", "reason"
        )
        self.request_seconds = self._histogram(
            "request_duration_seconds", "From the request's arrival to its answer.", "route upstream"
        )
        self.attempts = self._counter("attempts", "Requests sent to the provider, by result.", "upstream result")
        self.attempt_seconds = self._histogram(
            "attempt_duration_seconds", "One request to the provider and its answer.", "upstream"
        )
        self.retries = self._counter("retries", "Attempts made again, by the result before.", "upstream reason")
        self.retries_denied = self._counter(
            "retries_denied", "Retries that might have helped and were not made.", "upstream reason"
        )
        self.breaker_state = self._gauge("breaker_state", "1 for the state the breaker is in.", "upstream state")
        self.transitions = self._counter("breaker_transitions", "State changes learnt of.", "upstream from to")
        self.breaker_rejections = self._counter("breaker_rejections", "Calls the breaker refused.", "upstream")
        self.shadow_rejections = self._counter(
            "breaker_shadow_rejections", "Calls a breaker in shadow mode would have refused.", "upstream"
        )
        self.concurrency_rejections = self._counter(
            "concurrency_rejections", "Calls refused by max_concurrency.", "upstream"
        )
        self.snapshot_age = self._gauge(
            "breaker_snapshot_age_seconds", "Age of the breaker state this replica decides on.", "upstream"
        )
        self.in_flight = self._gauge("inflight_requests", "Payments under way in this replica.", "upstream")
        self.unknown = self._gauge("unknown_outcomes", "Writes in the ledger whose outcome is unknown.", "upstream")
        self.trimmed = self._counter(
            "unknown_outcomes_trimmed", "Unknown outcomes the ledger forgot for lack of room.", "upstream"
        )
        self.ledger_losses = self._counter(
            "ledger_losses", "Times the store came back without unknown outcomes it had held.", "upstream"
        )
        self.ledger_restored = self._counter(
            "ledger_restored", "Unknown outcomes this replica wrote back to a store that had lost them.", "upstream"
        )
        self.followups = self._counter(
            "followups", "Resends of writes that ended unknown, and what came of them.", "upstream result"
        )
        self.redis_up = self._gauge("redis_up", "1 while the shared store answers; 0 also if none is configured.", "")
        self.store_warnings = self._gauge(
            "store_warnings", "What is unsafe about the store for the ledger, as /api/status lists it.", ""
        )
        self.redis_errors = self._counter("redis_errors", "Failed store operations.", "operation")
        self.build_info = self._gauge("build_info", "1, with the version that runs.", "version")

    def _counter(self, name: str, text: str, labels: str) -> Counter:
        return Counter(f"holdfast_{name}", text, labels.split(), registry=self._registry)

    def _gauge(self, name: str, text: str, labels: str) -> Gauge:
        return Gauge(f"holdfast_{name}", text, labels.split(), registry=self._registry)

    def _histogram(self, name: str, text: str, labels: str) -> Histogram:
        return Histogram(f"holdfast_{name}", text, labels.split(), registry=self._registry, buckets=SECONDS)
