"""The series: names and labels as section 9 has them, and what each event does to them."""

import shutil
import subprocess

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from proxy.core.events import (
    AttemptFinished,
    BreakerChanged,
    CallRejected,
    ClientDropped,
    Event,
    PaymentFinished,
    RetryDenied,
    RetryScheduled,
    StoreChanged,
    StoreFailed,
)
from proxy.core.model import Kind, Outcome
from proxy.core.outcome import Row
from proxy.core.retry import Denied
from proxy.edges.metrics import Metrics
from proxy.edges.metrics_series import STATES

SERIES = {
    "holdfast_requests_total": {"route", "upstream", "method", "status", "outcome"},
    "holdfast_clients_dropped_total": {"reason"},
    "holdfast_request_duration_seconds": {"route", "upstream"},
    "holdfast_attempts_total": {"upstream", "result"},
    "holdfast_attempt_duration_seconds": {"upstream"},
    "holdfast_retries_total": {"upstream", "reason"},
    "holdfast_retries_denied_total": {"upstream", "reason"},
    "holdfast_breaker_state": {"upstream", "state"},
    "holdfast_breaker_transitions_total": {"upstream", "from", "to"},
    "holdfast_breaker_rejections_total": {"upstream"},
    "holdfast_breaker_shadow_rejections_total": {"upstream"},
    "holdfast_concurrency_rejections_total": {"upstream"},
    "holdfast_breaker_snapshot_age_seconds": {"upstream"},
    "holdfast_inflight_requests": {"upstream"},
    "holdfast_unknown_outcomes": {"upstream"},
    "holdfast_unknown_outcomes_trimmed_total": {"upstream"},
    "holdfast_ledger_losses_total": {"upstream"},
    "holdfast_ledger_restored_total": {"upstream"},
    "holdfast_followups_total": {"upstream", "result"},
    "holdfast_redis_up": set(),
    "holdfast_store_warnings": set(),
    "holdfast_redis_errors_total": {"operation"},
    "holdfast_build_info": {"version"},
}


class Bench:
    """Metrics of one upstream, `mock`, with gauges a test can turn."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.age = 0.25
        self.busy = 3
        self.metrics = Metrics(
            self.registry, version="1.2.3", snapshot_age=lambda _: self.age, in_flight=lambda _: self.busy
        )
        self.metrics.know(["mock"], [("/api/payment", "mock")])

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"holdfast_{name}", labels)

    def series(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for family in self.registry.collect():
            for sample in family.samples:
                name = sample.name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
                found.setdefault(name, set()).update(set(sample.labels) - {"le"})
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


def payment(**change: object) -> PaymentFinished:
    facts: dict[str, object] = {
        "route": "/api/payment",
        "upstream": "mock",
        "request_id": "r",
        "trace_id": None,
        "method": "POST",
        "kind": Kind.KEYED,
        "status": 201,
        "outcome": Outcome.FINAL,
        "attempts": 1,
        "seconds": 0.02,
        "error": None,
    }
    return PaymentFinished(**{**facts, **change})  # type: ignore[arg-type]


ANSWER = {"route": "/api/payment", "upstream": "mock", "method": "POST", "status": "201", "outcome": "final"}
CASES: list[tuple[Event, str, dict[str, str]]] = [
    (payment(), "requests_total", ANSWER),
    (payment(status=599), "requests_total", {**ANSWER, "status": "599"}),
    (payment(method="PROPFIND"), "requests_total", {**ANSWER, "method": "OTHER"}),
    (ClientDropped("not_reading"), "clients_dropped_total", {"reason": "not_reading"}),
    (payment(), "request_duration_seconds_count", {"route": "/api/payment", "upstream": "mock"}),
    (
        AttemptFinished("mock", "r", 1, Row.TIMEOUT, None, None, 3, probe=False),
        "attempts_total",
        {"upstream": "mock", "result": "timeout"},
    ),
    (
        AttemptFinished("mock", "r", 1, Row.TIMEOUT, None, None, 3, probe=False),
        "attempt_duration_seconds_count",
        {"upstream": "mock"},
    ),
    (RetryScheduled("mock", "r", Row.TIMEOUT, 1), "retries_total", {"upstream": "mock", "reason": "timeout"}),
    (RetryDenied("mock", "r", Denied.BUDGET), "retries_denied_total", {"upstream": "mock", "reason": "budget"}),
    (CallRejected("mock", "breaker", shadow=False), "breaker_rejections_total", {"upstream": "mock"}),
    (CallRejected("mock", "breaker", shadow=True), "breaker_shadow_rejections_total", {"upstream": "mock"}),
    (CallRejected("mock", "concurrency", shadow=False), "concurrency_rejections_total", {"upstream": "mock"}),
    (
        BreakerChanged("mock", "closed", "open", 1, "", None),
        "breaker_transitions_total",
        {"upstream": "mock", "from": "closed", "to": "open"},
    ),
    (StoreFailed("read"), "redis_errors_total", {"operation": "read"}),
]


@pytest.mark.parametrize(("event", "name", "labels"), CASES, ids=lambda case: case if isinstance(case, str) else "")
def test_each_event_counts_in_its_series_and_only_there(
    bench: Bench, event: Event, name: str, labels: dict[str, str]
) -> None:
    for times in (1, 2):
        bench.metrics.publish(event)
        assert bench.value(name, **labels) == times
    assert moved(bench) == TOGETHER.get(type(event), {f"holdfast_{name.removesuffix('_total')}"})


TOGETHER: dict[type, set[str]] = {
    PaymentFinished: {"holdfast_requests", "holdfast_request_duration_seconds"},
    AttemptFinished: {"holdfast_attempts", "holdfast_attempt_duration_seconds"},
}


def moved(bench: Bench) -> set[str]:
    """Families that have counted something."""
    return {
        family.name
        for family in bench.registry.collect()
        if family.type in {"counter", "histogram"} and any(sample.value for sample in family.samples)
    }


def test_names_and_labels_are_the_specifications(bench: Bench) -> None:
    assert bench.series() == SERIES


def test_everything_of_a_known_upstream_starts_at_zero(bench: Bench) -> None:
    assert moved(bench) == set()
    for event, name, labels in CASES:
        if labels.get("status") != "599" and labels.get("method") != "OTHER":
            assert bench.value(name, **labels) == 0, (event, name)


def test_knowing_again_after_a_reload_keeps_what_was_counted(bench: Bench) -> None:
    bench.metrics.publish(payment())
    bench.metrics.publish(BreakerChanged("mock", "closed", "open", 1, "", None))
    bench.metrics.know(["mock", "new"], [("/api/payment", "mock"), ("/new", "new")])
    assert bench.value("requests_total", **ANSWER) == 1
    assert bench.value("breaker_state", upstream="mock", state="open") == 1
    assert bench.value("breaker_state", upstream="new", state="closed") == 1


def test_an_upstream_that_a_reload_took_away_is_no_longer_asked_about(bench: Bench) -> None:
    bench.metrics.publish(payment())
    bench.metrics.know(["new"], [("/new", "new")])
    assert bench.value("inflight_requests", upstream="mock") is None
    assert bench.value("breaker_snapshot_age_seconds", upstream="mock") is None
    assert bench.value("breaker_state", upstream="mock", state="closed") is None
    assert bench.value("requests_total", **ANSWER) == 1


@pytest.mark.parametrize("state", STATES)
def test_exactly_one_state_is_one(bench: Bench, state: str) -> None:
    for new in (*STATES, state):
        bench.metrics.publish(BreakerChanged("mock", "closed", new, 1, "", None))
    assert {name: bench.value("breaker_state", upstream="mock", state=name) for name in STATES} == {
        name: float(name == state) for name in STATES
    }


def test_a_change_of_override_details_is_no_transition(bench: Bench) -> None:
    bench.metrics.publish(BreakerChanged("mock", "open", "open", 2, "", None))
    assert moved(bench) == set()


def test_gauges_are_read_when_somebody_looks(bench: Bench) -> None:
    for age, busy in ((0.25, 3), (7, 0)):
        bench.age, bench.busy = age, busy
        assert bench.value("breaker_snapshot_age_seconds", upstream="mock") == age
        assert bench.value("inflight_requests", upstream="mock") == busy


def test_the_store_is_up_or_down(bench: Bench) -> None:
    seen = []
    for up in (True, False):
        bench.metrics.publish(StoreChanged(up=up, cause=""))
        seen.append(bench.value("redis_up"))
    assert seen == [1, 0]
    assert bench.value("build_info", version="1.2.3") == 1


def test_strange_methods_do_not_make_series(bench: Bench) -> None:
    for number in range(50):
        bench.metrics.publish(payment(method=f"M{number}"))
    assert bench.value("requests_total", **{**ANSWER, "method": "OTHER"}) == 50
    assert len(bench.metrics._requests) < 10


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain"),
        ("text/html, */*", "text/plain"),
        ("application/openmetrics-text; version=1.0.0, text/plain;q=0.5", "application/openmetrics-text"),
    ],
)
def test_accept_chooses_the_format(bench: Bench, accept: str, kind: str) -> None:
    body, content_type = bench.metrics.render(accept)
    assert content_type.startswith(kind)
    assert body.endswith(b"# EOF\n") == (kind == "application/openmetrics-text")


def test_openmetrics_is_what_its_parser_takes(bench: Bench) -> None:
    for event, _, _ in CASES:
        bench.metrics.publish(event)
    body, _ = bench.metrics.render("application/openmetrics-text; version=1.0.0")
    families = list(text_string_to_metric_families(body.decode()))  # type: ignore[no-untyped-call]
    assert len(families) == len(SERIES)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_text(bench: Bench) -> None:
    for event, _, _ in CASES:
        bench.metrics.publish(event)
    body, _ = bench.metrics.render()
    done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
