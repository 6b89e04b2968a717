"""Events folded into Prometheus series on an injected registry; what they are called is metrics_series.py's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from proxy.core.events import (
    AttemptFinished,
    BreakerChanged,
    CallRejected,
    ClientDropped,
    Event,
    FollowedUp,
    LedgerLost,
    LedgerTrimmed,
    PaymentFinished,
    RetryDenied,
    RetryScheduled,
    StoreChanged,
    StoreFailed,
    StoreInspected,
)
from proxy.core.outcome import Row
from proxy.core.retry import TABLE, Denied
from proxy.edges.metrics_series import DROPS, FOLLOWUPS, METHODS, MOVES, STATES, STORE_OPERATIONS, USUAL_ANSWERS, Series


class Metrics:
    """An EventSink that counts.

    Label children are kept in dicts here: the library's own look-up builds a tuple of texts under a lock each time.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        version: str,
        snapshot_age: Callable[[str], float],
        in_flight: Callable[[str], float],
        unknown: Callable[[str], float] = lambda _: 0,
        redis_up: bool = False,
    ) -> None:
        """`snapshot_age`, `in_flight` and `unknown` are asked, by upstream, whenever somebody reads the metrics."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which section 9 does not have
        self._registry = registry
        self._series = Series(registry)
        self._snapshot_age, self._in_flight, self._unknown = snapshot_age, in_flight, unknown
        self._requests: dict[tuple[str, str, str, int, str], Counter] = {}
        self._request_seconds: dict[tuple[str, str], Histogram] = {}
        self._attempts: dict[tuple[str, Row], Counter] = {}
        self._attempt_seconds: dict[str, Histogram] = {}
        self._rejections: dict[tuple[str, str, bool], Counter] = {}
        self._known: set[str] = set()
        self._states: set[str] = set()
        self._series.build_info.labels(version).set(1)
        self._series.redis_up.set(redis_up)
        for reason in DROPS:
            self._series.clients_dropped.labels(reason)
        for operation in STORE_OPERATIONS:
            self._series.redis_errors.labels(operation)
        self._folds: dict[type, Callable[[Any], None]] = {
            PaymentFinished: self._payment,
            ClientDropped: lambda e: self._series.clients_dropped.labels(e.reason).inc(),
            AttemptFinished: self._attempt,
            RetryScheduled: lambda e: self._series.retries.labels(e.upstream, e.reason.value).inc(),
            RetryDenied: lambda e: self._series.retries_denied.labels(e.upstream, e.reason.value).inc(),
            CallRejected: self._rejected,
            BreakerChanged: self._breaker,
            StoreChanged: lambda e: self._series.redis_up.set(e.up),
            StoreInspected: lambda e: self._series.store_warnings.set(len(e.warnings)),
            LedgerTrimmed: lambda e: self._series.trimmed.labels(e.upstream).inc(e.count),
            LedgerLost: self._ledger_lost,
            FollowedUp: lambda e: self._series.followups.labels(e.upstream, e.result).inc(),
            StoreFailed: lambda e: self._series.redis_errors.labels(e.operation).inc(),
        }

    def publish(self, event: Event) -> None:
        """Count the event; one that has no series is none of ours."""
        fold = self._folds.get(type(event))
        if fold is not None:
            fold(event)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """All series and their content type: OpenMetrics if `accept` asks for it, else Prometheus text."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def know(self, upstreams: Iterable[str], routes: Iterable[tuple[str, str]]) -> None:
        """Start every series of these upstreams and (route, upstream) pairs at 0; other upstreams' gauges end.

        Called again after a reload, it keeps what was counted.
        """
        named = set(upstreams)
        for gone in self._known - named:
            self._forget(gone)
        for upstream in named:
            self._know_upstream(upstream)
        self._known = named
        for route, upstream in routes:
            self._request_child(route, upstream)
            for status, outcome in USUAL_ANSWERS:
                self._answer_child(route, upstream, "POST", status, outcome.value)

    def _ledger_lost(self, event: LedgerLost) -> None:
        self._series.ledger_losses.labels(event.upstream).inc()
        self._series.ledger_restored.labels(event.upstream).inc(event.restored)

    def _forget(self, upstream: str) -> None:
        """End the gauges: there is nobody left to ask, and a state nobody updates would be a lie. Counters stay."""
        self._series.snapshot_age.remove(upstream)
        self._series.in_flight.remove(upstream)
        self._series.unknown.remove(upstream)
        for state in STATES:
            self._series.breaker_state.remove(upstream, state)
        self._states.discard(upstream)

    def _know_upstream(self, upstream: str) -> None:
        series = self._series
        series.snapshot_age.labels(upstream).set_function(lambda: self._snapshot_age(upstream))
        series.in_flight.labels(upstream).set_function(lambda: self._in_flight(upstream))
        series.unknown.labels(upstream).set_function(lambda: self._unknown(upstream))
        series.trimmed.labels(upstream)
        series.ledger_losses.labels(upstream)
        series.ledger_restored.labels(upstream)
        for result in FOLLOWUPS:
            series.followups.labels(upstream, result)
        for rejections in (series.breaker_rejections, series.shadow_rejections, series.concurrency_rejections):
            rejections.labels(upstream)
        for row, rule in TABLE.items():
            self._attempt_child(upstream, row)
            if rule.again:
                series.retries.labels(upstream, row.value)
        for denied in Denied:
            series.retries_denied.labels(upstream, denied.value)
        for old, new in MOVES:
            series.transitions.labels(upstream, old, new)
        if upstream not in self._states:
            self._set_state(upstream, "closed")

    def _payment(self, event: PaymentFinished) -> None:
        method = event.method if event.method in METHODS else "OTHER"
        key = (event.route, event.upstream, method, event.status, event.outcome.value)
        (self._requests.get(key) or self._answer_child(*key)).inc()
        seconds = self._request_seconds.get(key[:2]) or self._request_child(event.route, event.upstream)
        seconds.observe(event.seconds)

    def _answer_child(self, route: str, upstream: str, method: str, status: int, outcome: str) -> Counter:
        child = self._series.requests.labels(route, upstream, method, str(status), outcome)
        self._requests[route, upstream, method, status, outcome] = child
        return child

    def _request_child(self, route: str, upstream: str) -> Histogram:
        child = self._series.request_seconds.labels(route, upstream)
        self._request_seconds[route, upstream] = child
        return child

    def _attempt(self, event: AttemptFinished) -> None:
        (self._attempts.get((event.upstream, event.row)) or self._attempt_child(event.upstream, event.row)).inc()
        self._attempt_seconds[event.upstream].observe(event.seconds)

    def _attempt_child(self, upstream: str, row: Row) -> Counter:
        child = self._series.attempts.labels(upstream, row.value)
        self._attempts[upstream, row] = child
        self._attempt_seconds[upstream] = self._series.attempt_seconds.labels(upstream)
        return child

    def _rejected(self, event: CallRejected) -> None:
        key = (event.upstream, event.reason, event.shadow)
        (self._rejections.get(key) or self._rejection_child(*key)).inc()

    def _rejection_child(self, upstream: str, reason: str, shadow: bool) -> Counter:
        refused = self._series.shadow_rejections if shadow else self._series.breaker_rejections
        counter = self._series.concurrency_rejections if reason == "concurrency" else refused
        child = counter.labels(upstream)
        self._rejections[upstream, reason, shadow] = child
        return child

    def _breaker(self, event: BreakerChanged) -> None:
        if event.old != event.new:
            self._series.transitions.labels(event.upstream, event.old, event.new).inc()
        self._set_state(event.upstream, event.new)

    def _set_state(self, upstream: str, state: str) -> None:
        self._states.add(upstream)
        for name in STATES:
            self._series.breaker_state.labels(upstream, name).set(name == state)
