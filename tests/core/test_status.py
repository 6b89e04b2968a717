"""The status document: which facts become which words."""

from __future__ import annotations

from dataclasses import asdict

import orjson
import pytest

from proxy.core.breaker import Closed, HalfOpen, Open, Override, Record
from proxy.core.budget import Spent
from proxy.core.outcome import Row
from proxy.core.retry import TABLE
from proxy.core.status import BreakerStatus, build, iso
from proxy.core.traffic import Traffic, traffic
from tests.core.facts import NOW, facts, upstream

OPEN = Record(epoch=3, state=Open(NOW + 7.6004, 10.0), since=NOW - 2.4, opens=2, cause="a probe failed")


def breaker_of(record: Record) -> BreakerStatus:
    return build(facts(upstream(record=record))).upstreams["mock"].breaker


def forced(state: str, until: float | None) -> Record:
    return Record(epoch=1, override=Override(state, "alice", "why", until))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("record", "state", "retry_after"),
    [
        (Record(), "closed", None),
        (OPEN, "open", 7.6),
        (Record(state=Open(NOW - 1, 10.0)), "open", 0.0),
        (Record(state=HalfOpen(10.0)), "half_open", None),
        (forced("open", NOW + 30), "forced_open", 30.0),
        (forced("open", None), "forced_open", None),
        (forced("closed", NOW + 30), "forced_closed", None),
        (forced("open", NOW), "closed", None),
    ],
)
def test_state_and_retry_after(record: Record, state: str, retry_after: float | None) -> None:
    breaker = breaker_of(record)
    assert (breaker.state, breaker.retry_after) == (state, retry_after)


def test_a_breaker_in_full() -> None:
    assert asdict(breaker_of(OPEN)) == {
        "state": "open",
        "since": "2023-11-14T22:13:17.600Z",
        "since_seconds": 2.4,
        "epoch": 3,
        "cause": "a probe failed",
        "opens": 2,
        "retry_after": 7.6,
        "snapshot_age_seconds": 0.25,
        "mode": "enforce",
        "counts": {"consecutive": 2, "calls": 20, "failures": 7, "window_seconds": 30.0},
        "override": None,
    }


def test_a_breaker_that_never_changed_is_as_old_as_the_replica() -> None:
    breaker = breaker_of(Record(state=Closed()))
    assert (breaker.since, breaker.since_seconds) == (iso(NOW - 60), 60.0)


@pytest.mark.parametrize(("until", "left"), [(None, None), (NOW + 900, 900.0)])
def test_an_override_in_full(until: float | None, left: float | None) -> None:
    override = breaker_of(forced("open", until)).override
    assert override is not None
    assert asdict(override) == {"forced": "open", "actor": "alice", "reason": "why", "expires_in_seconds": left}


def test_an_expired_override_is_gone() -> None:
    assert breaker_of(forced("open", NOW - 1)).override is None


@pytest.mark.parametrize(
    ("shared", "up", "kind", "is_up", "degraded"),
    [(False, False, "memory", True, None), (True, True, "redis", True, None), (True, False, "redis", False, "breaker")],
)
def test_the_store(shared: bool, up: bool, kind: str, is_up: bool, degraded: str | None) -> None:
    status = build(facts(shared=shared, up=up))
    store = status.store
    assert (store.kind, store.up, store.shared, store.degraded) == (kind, is_up, shared, degraded)
    assert status.shared is shared


def test_results_are_sorted_out() -> None:
    history = {"payment:final": 4, "attempt:timeout": 2, "attempt:success": 4, "payment:unknown": 1, "rejected": 9}
    one = build(facts(upstream(history=history))).upstreams["mock"]
    assert one.attempts == {"success": 4, "timeout": 2}
    assert asdict(one.payments) == {"not_sent": 0, "unknown": 1, "final": 4}
    assert one.rejected == 9


@pytest.mark.parametrize(("left", "shown"), [(3.9, 3), (0.4, 0), (-2.5, 0)])
def test_the_budget_counts_whole_retries(left: float, shown: int) -> None:
    budget = build(facts(upstream(spent=Spent(50, 7), retries_left=left))).upstreams["mock"].budget
    assert asdict(budget) == {"requests": 50, "retries": 7, "left": shown, "window_seconds": 10.0}


@pytest.mark.parametrize(("heard_of", "told"), [((), ("r1",)), (("r2", "r1"), ("r1", "r2")), (("r2",), ("r1", "r2"))])
def test_a_replica_knows_at_least_itself(heard_of: tuple[str, ...], told: tuple[str, ...]) -> None:
    assert build(facts(replicas=heard_of)).replicas == told


def test_the_document_is_json_as_it_is() -> None:
    document = orjson.loads(orjson.dumps(build(facts(upstream("a"), upstream("b"), draining=True))))
    assert list(document) == ["replica", "store", "shared", "replicas", "upstreams", "ledger"]
    assert document["replica"] == {
        "id": "r1",
        "version": "1.2.3",
        "started": "2023-11-14T22:12:20.000Z",
        "uptime_seconds": 60.0,
        "draining": True,
    }
    assert list(document["upstreams"]) == ["a", "b"]
    assert (document["upstreams"]["a"]["in_flight"], document["upstreams"]["a"]["max_concurrency"]) == (3, 512)


def test_traffic_follows_the_decision_table() -> None:
    seen = traffic(dict.fromkeys(TABLE, 1))
    failed = [row for row, rule in TABLE.items() if rule.signal == "failure"]
    succeeded = [row for row, rule in TABLE.items() if rule.signal == "success"]
    assert (seen.attempts, seen.failed, seen.succeeded, seen.declined) == (
        len(TABLE),
        len(failed),
        len(succeeded),
        2,
    )
    assert Row.DECLINE in succeeded


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ({}, Traffic(0, 0, 0, 0, None, None)),
        ({"success": 2, "timeout": 1}, Traffic(3, 2, 1, 0, 0.6667, 0.3333)),
        ({"a_row_of_tomorrow": 4}, Traffic(4, 0, 0, 0, 0.0, 0.0)),
    ],
)
def test_traffic(attempts: dict[str, int], expected: Traffic) -> None:
    assert traffic(attempts) == expected
