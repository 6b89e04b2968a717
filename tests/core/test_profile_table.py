"""payments.md section 6 for every profile: the verdicts of verdicts.yaml, written by hand, against the engine's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.core.answers import Told, answer_for
from proxy.core.model import Certainty, Headers, Kind, Result, WireError
from proxy.core.outcome import Row, hint_of, row_of
from proxy.core.retry import TABLE, may_repeat, outcome_after, shortest_wait, wants_retry
from tests import fakes
from tests.core.providers import NAMES, PROVIDERS, rules
from tests.fakes import response

Case = dict[str, Any]
CASES: list[Case] = yaml.safe_load(Path(__file__).with_name("verdicts.yaml").read_text())
COMMON_ROWS = {2, 3, 4, 5, 6, 16, 20, 21, 22}


def names_of(case: Case) -> list[str]:
    return [name for name in (NAMES if case["of"] == "everyone" else case["of"]) if name not in case.get("but", [])]


def result_of(case: Case) -> Result:
    if "cut" in case:
        return fakes.failure(Certainty.CUT, WireError.CUT, case["cut"])
    if "after" in case:
        failure: Result = getattr(fakes, case["after"])
        return failure
    headers: Headers = tuple((name.encode(), value.encode()) for name, value in case.get("headers", {}).items())
    return response(case["status"], *headers, body=case.get("body", "{}").encode())


def verdict(name: str, result: Result, kind: Kind, rule_at: int = 0) -> str:
    """What the engine decides for a first attempt, in the words of the table."""
    profile = PROVIDERS[name]
    terms = rules(profile)[rule_at] if kind is Kind.KEYED else None
    row, advice = row_of(result, kind, profile, terms), hint_of(result, profile)
    again = wants_retry(row, advice) and may_repeat(row, kind, terms, advice=advice)
    told = Told("req-1", 1, outcome_after(row, kind, doubtful=False), profile=profile)
    answer = answer_for(result, row, kind, 424, told)
    return f"{'again' if again else 'stop'} {answer.outcome} {answer.status} {TABLE[row].signal}"


def cells() -> Iterator[Any]:
    for number, case in enumerate(CASES):
        for name in names_of(case):
            for kind in Kind:
                what = case.get("after") or case.get("status") or f"cut {case['cut']}"
                yield pytest.param(case, name, kind, id=f"{number} row {case['row']} {what} {name} {kind}")


@pytest.mark.parametrize(("case", "name", "kind"), list(cells()))
def test_the_engine_decides_as_the_table_says(case: Case, name: str, kind: Kind) -> None:
    assert verdict(name, result_of(case), kind, case.get("rule", 0)) == case[kind.value]


@pytest.mark.parametrize(
    "case", [case for case in CASES if "is" in case], ids=lambda case: f"{case['is']} {case['of']}"
)
def test_what_it_is_called(case: Case) -> None:
    for name in names_of(case):
        profile = PROVIDERS[name]
        assert row_of(result_of(case), Kind.KEYED, profile, rules(profile)[case.get("rule", 0)]) is Row(case["is"])


@pytest.mark.parametrize("name", NAMES)
def test_the_table_covers_every_row_for_every_profile(name: str) -> None:
    rows = {case["row"] for case in CASES if name in names_of(case)}
    assert rows >= COMMON_ROWS
    assert rows & {14, 15}
    assert rows & {8, 9, 10, 11}, "a received 500"
    assert rows & {10, 11, 12}, "a received 502"
    assert rows & {10, 11, 13}, "a received 503"


def test_every_row_that_a_result_can_have_is_in_the_table() -> None:
    assert {case["row"] for case in CASES} == set(range(2, 23))


def test_the_verdicts_are_no_copy_of_the_engine() -> None:
    assert all(set(case) >= {"row", "of", "read", "keyed", "unkeyed"} for case in CASES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", range(100, 600))
def test_a_write_without_key_is_never_repeated_after_an_answer(name: str, status: int) -> None:
    assert verdict(name, response(status), Kind.UNKEYED).startswith("again") is (status == 421)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", range(200, 300))
def test_a_success_is_never_repeated_and_always_final(name: str, status: int) -> None:
    assert [verdict(name, response(status), kind) for kind in Kind] == [f"stop final {status} success"] * 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("row", list(Row))
def test_only_checkout_com_makes_the_same_key_wait(name: str, row: Row) -> None:
    silent = row.value.startswith("cut") or row in {Row.TIMEOUT, Row.NO_ANSWER, Row.REQUEST_TIMEOUT}
    waits = name == "checkout_com" and (silent or row in {Row.IN_FLIGHT, Row.CONCURRENT})
    assert shortest_wait(row, PROVIDERS[name].terms[0]) == (30.0 if waits else 0.0)
    assert shortest_wait(row, None) == 0.0


@pytest.mark.parametrize("value", [b"false", b"FALSE", b" false "])
def test_a_hint_to_stop_counts_even_if_the_rest_was_cut_off(value: bytes) -> None:
    profile = PROVIDERS["stripe"]
    cut = fakes.failure(Certainty.CUT, WireError.CUT, 500, ((b"Stripe-Should-Retry", value),))
    assert not may_repeat(Row.CUT, Kind.KEYED, profile.terms[0], advice=hint_of(cut, profile))


@pytest.mark.parametrize(("name", "field"), [("stripe", b"Stripe-Should-Retry"), ("adyen", b"transient-error")])
def test_a_hint_to_go_on_is_not_believed_of_an_answer_that_was_cut_off(name: str, field: bytes) -> None:
    cut = fakes.failure(Certainty.CUT, WireError.CUT, 500, ((field, b"true"),))
    assert hint_of(cut, PROVIDERS[name]) is None


@pytest.mark.parametrize("name", ["paypal", "braintree"])
def test_a_duplicate_says_nothing_of_an_earlier_attempt(name: str) -> None:
    """The earlier attempt may be the very payment that this one duplicates."""
    case = next(case for case in CASES if case.get("is") == "rejected" and name in case["of"])
    row = row_of(result_of(case), Kind.KEYED, PROVIDERS[name], PROVIDERS[name].terms[0])
    assert outcome_after(row, Kind.KEYED, doubtful=True) == "unknown"


@pytest.mark.parametrize("name", ["razorpay", "gocardless"])
def test_a_success_is_no_failure_whatever_stands_in_it(name: str) -> None:
    body = b'{"error": {"code": "SERVER_ERROR", "type": "gocardless"}}'
    assert verdict(name, response(200, body=body), Kind.KEYED) == "stop final 200 success"
    assert verdict(name, response(404, body=body), Kind.KEYED) == "again unknown 404 failure"
