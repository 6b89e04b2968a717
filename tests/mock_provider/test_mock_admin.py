"""The control routes: partial changes, refusals that name the field, the books as JSON."""

import json
from typing import Any

import pytest

from tests.mock_provider.provider_harness import ORDER, provider

DEFAULTS: dict[str, Any] = {
    "failure_rate": 0,
    "outage": False,
    "kinds": {
        "http_500": 1,
        "http_503": 1,
        "http_429": 0,
        "hang": 1,
        "slow": 0,
        "reset_before": 1,
        "reset_after": 1,
        "cut_body": 0,
        "junk": 0,
        "http_500_after": 0,
        "hang_after": 0,
    },
    "latency_ms": {"p50": 0, "p99": 0},
    "retry_after_s": 1,
    "slow_s": 2.0,
    "hang_s": 30.0,
    "seed": 7,
    "next": [],
    "schedule": [],
}


async def test_the_whole_setting_can_be_read_and_put_back() -> None:
    async with provider() as shop:
        assert (await shop.ask("GET", "/admin/faults")).json == DEFAULTS
        assert (await shop.put(**DEFAULTS)).json == DEFAULTS


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"failure_rate": 0.5}, {"failure_rate": 0.5}),
        ({"outage": True}, {"outage": True}),
        ({"kinds": {"junk": 2}}, {"kinds": {**DEFAULTS["kinds"], "junk": 2}}),
        ({"latency_ms": {"p50": 20}}, {"latency_ms": {"p50": 20, "p99": 0}}),
        ({"retry_after_s": 0, "slow_s": 1, "hang_s": 0.5}, {"retry_after_s": 0, "slow_s": 1, "hang_s": 0.5}),
        ({"seed": 3, "next": ["ok", "junk"]}, {"seed": 3, "next": ["ok", "junk"]}),
        (
            {"schedule": [{"after_s": 5, "kinds": {"hang": 0}}]},
            {"schedule": [{"after_s": 5, "kinds": {"hang": 0}}]},
        ),
    ],
)
async def test_a_put_changes_what_it_names_and_answers_with_everything(
    change: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    async with provider() as shop:
        reply = await shop.put(**change)
        assert (reply.status, reply.json) == (200, {**DEFAULTS, **expected})
        assert (await shop.ask("GET", "/admin/faults")).json == reply.json


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"failure_rat": 1}, "failure_rat"),
        ({"failure_rate": 1.1}, "failure_rate"),
        ({"failure_rate": -0.1}, "failure_rate"),
        ({"failure_rate": "0.3"}, "failure_rate"),
        ({"failure_rate": True}, "failure_rate"),
        ({"failure_rate": None}, "failure_rate"),
        ({"failure_rate": float("nan")}, "failure_rate"),
        ({"outage": 1}, "outage"),
        ({"kinds": []}, "kinds"),
        ({"kinds": {"http_418": 1}}, "kinds.http_418"),
        ({"kinds": {"ok": 1}}, "kinds.ok"),
        ({"kinds": {"hang": -1}}, "kinds.hang"),
        ({"latency_ms": 5}, "latency_ms"),
        ({"latency_ms": {"p95": 5}}, "latency_ms.p95"),
        ({"latency_ms": {"p99": float("inf")}}, "latency_ms.p99"),
        ({"retry_after_s": 0.5}, "retry_after_s"),
        ({"retry_after_s": -1}, "retry_after_s"),
        ({"slow_s": "2"}, "slow_s"),
        ({"hang_s": -2}, "hang_s"),
        ({"seed": 1.0}, "seed"),
        ({"next": "ok"}, "next"),
        ({"next": ["ok", "later"]}, "next[1]"),
        ({"next": [["ok"]]}, "next[0]"),
        ({"schedule": {}}, "schedule"),
        ({"schedule": [{"outage": True}]}, "schedule[0].after_s"),
        ({"schedule": [{"after_s": 1}, {"after_s": 2, "kinds": {"x": 1}}]}, "schedule[1].kinds.x"),
        ({"schedule": [{"after_s": 1, "schedule": []}]}, "schedule[0].schedule"),
        ({"schedule": [7]}, "schedule[0]"),
        ([], "body"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_changes(document: Any, field: str) -> None:
    async with provider() as shop:
        named = {"retry_after_s": 5, **document} if isinstance(document, dict) else document
        reply = await shop.ask("PUT", "/admin/faults", data=json.dumps(named))
        assert (reply.status, reply.json["error"]["field"]) == (400, field)
        assert reply.json["error"]["message"].startswith(f"{field}: ")
        assert (await shop.ask("GET", "/admin/faults")).json == DEFAULTS


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
async def test_a_put_that_is_no_json_is_400(body: bytes) -> None:
    async with provider() as shop:
        reply = await shop.ask("PUT", "/admin/faults", data=body)
        assert (reply.status, reply.json["error"]["field"]) == (400, "body")


async def test_a_script_is_used_up_one_payment_at_a_time_and_lookups_leave_it_alone() -> None:
    async with provider() as shop:
        await shop.put(next=["http_500", "ok", "http_429"])
        await shop.ask("GET", "/api/payment/none")
        assert [(await shop.pay()).status for _ in range(4)] == [500, 201, 429, 201]


async def test_a_schedule_takes_the_provider_down_and_up_again() -> None:
    async with provider() as shop:
        await shop.put(schedule=[{"after_s": 10, "outage": True}, {"after_s": 20, "outage": False}])
        statuses = []
        for _ in range(3):
            statuses.append((await shop.pay()).status)
            shop.clock.advance(10)
        assert statuses == [201, 503, 201]


async def test_the_books_list_each_charge_in_full() -> None:
    async with provider() as shop:
        await shop.pay(key="k")
        assert await shop.books() == {
            "charges": [{"id": "pay_1", "key": "k", **ORDER, "at": 1000.0}],
            "duplicates": [],
            "arrivals": 1,
            "in_flight": 0,
            "max_in_flight": 1,
            "summary": {"charges": 1, "duplicates": 0},
        }


async def test_the_summary_leaves_the_lists_empty() -> None:
    async with provider() as shop:
        await shop.pay()
        await shop.pay()
        reply = await shop.ask("GET", "/admin/ledger?summary=1")
        assert (reply.json["charges"], reply.json["duplicates"]) == ([], [])
        assert reply.json["summary"] == {"charges": 2, "duplicates": 1}


async def test_deleting_the_books_empties_them() -> None:
    async with provider() as shop:
        await shop.pay(key="k")
        assert (await shop.ask("DELETE", "/admin/ledger")).status == 200
        books = await shop.books()
        assert (books["charges"], books["arrivals"], books["max_in_flight"]) == ([], 0, 0)
        paid = await shop.pay(key="k")
        assert (paid.status, paid.replayed) == (201, False)


async def test_health_is_good_even_in_an_outage() -> None:
    async with provider(outage=True) as shop:
        assert (await shop.ask("GET", "/healthz")).status == 200
