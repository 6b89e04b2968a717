"""The proof holds for Holdfast, fails for a build without its safety rules; its judge knows every broken promise."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prove import verdict
from prove.__main__ import main
from prove.contenders import CONTENDERS, VARIANTS, configuration
from prove.run import Options
from prove.story import Arrival, Custom, Evidence, Kill, Payment, Trouble, Try, Word
from prove.verdict import Case

SHORT = ["--seconds", "7", "--rate", "80", "--clients", "48", "--seed", "20"]


def run(folder: Path, *arguments: str) -> tuple[int, Any]:
    """The proof's exit code and what it wrote."""
    path = folder / "proof.json"
    code = main([*arguments, "--json", str(path)])
    return code, json.loads(path.read_text())


def test_no_payment_is_charged_twice_and_no_outcome_is_lost_or_invented(tmp_path: Path) -> None:
    code, found = run(tmp_path, *SHORT)

    assert found["breaches"] == [], json.dumps([found["breaches"], found["histories"], found["provider"]], indent=1)
    assert code == 0
    assert found["figures"]["charges"] > 50
    assert found["figures"]["unknown at some time"] > 0
    assert found["done"]["replicas killed"] > 0
    assert sum(found["done"].get(f"store {trouble}", 0) for trouble in ("frozen", "flushed", "killed")) > 1


def test_the_proof_fails_where_the_safety_rules_are_switched_off(tmp_path: Path) -> None:
    code, found = run(tmp_path, *SHORT, "--unsafe")

    assert code == 1
    assert found["holds"] is False
    twice = [breach["reference"] for breach in found["breaches"] if breach["rule"] == verdict.DUPLICATE]
    assert twice
    told = {payment["reference"]: payment["tries"] for payment in found["histories"]}
    assert all(told[reference] for reference in twice)


def test_with_a_store_that_is_well_the_ledger_lists_every_payment_that_is_unknown_to_its_client(tmp_path: Path) -> None:
    code, found = run(tmp_path, *SHORT, "--seconds", "5", "--spare-store")

    if found["ledger"]["skipped"]:
        pytest.skip(found["ledger"]["skipped"])
    assert (code, found["breaches"]) == (0, [])
    assert found["ledger"]["entries final"] > 0


@pytest.mark.chaos
@pytest.mark.timeout(150)
def test_a_minute_of_chaos(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if "chaos" not in request.config.getoption("markexpr"):
        pytest.skip("a whole minute; make test ARGS='-m chaos' runs it, make prove any length")
    code, found = run(tmp_path, "--seconds", "60", "--replicas", "4", "--seed", "60")
    assert (code, found["breaches"]) == (0, [])


# The judge, one broken promise at a time.

PAID = Try("p/1", 0, "k", 10.0, 11.0, status=201, outcome="final", attempts=1, charge="pay_1")
LOST = Try("p/1", 0, "k", 10.0, 11.0, trouble=Trouble.LOST)


def case(
    *tries: Try, made: tuple[str, ...] = (), arrived: tuple[Arrival, ...] = (), by: str = "p/1", kills: bool = False
) -> Case:
    """One payment `p`, the charges made for it, and what arrived of its first request."""
    payment = Payment("p", Custom.OWN_KEY, "k", tries=list(tries))
    charges = tuple({"id": name, "reference": "p", "at": 11.6} for name in made)
    evidence = Evidence(charges, {"p/1": arrived} if arrived else {}, dict.fromkeys(made, by))
    return Case([payment], evidence, [Kill(0, 10.5, math.inf)] if kills else [])


ONE = (Arrival("k", 10.5),)
ANSWERED = replace(PAID, charge=None)
NOT_SENT = replace(ANSWERED, status=503, outcome="not_sent")


def rules(judged: Case) -> list[str]:
    return [breach.rule for breach in verdict.breaches(judged)]


def test_a_payment_as_it_should_be_breaks_nothing() -> None:
    assert rules(case(PAID, made=("pay_1",), arrived=ONE)) == []


def test_a_connection_lost_to_a_kill_and_a_key_that_found_out_break_nothing() -> None:
    again = replace(PAID, mark="p/2", replica=1, started=12, ended=13)
    assert rules(case(LOST, again, made=("pay_1",), arrived=ONE, kills=True)) == []


def test_what_holdfast_sends_to_find_out_an_unknown_outcome_is_no_uncounted_attempt() -> None:
    unknown = replace(ANSWERED, status=504, outcome="unknown")
    later = (*ONE, Arrival("k", 11.5))
    again = replace(PAID, mark="p/2", started=12, ended=13)
    assert rules(case(unknown, again, made=("pay_1",), arrived=later)) == []


def test_a_charge_made_after_its_client_was_answered_is_counted() -> None:
    judged = case(replace(ANSWERED, status=504, outcome="unknown"), made=("pay_1",), arrived=(Arrival("k", 11.5),))
    assert verdict.figures(judged)["charged after the client had its answer"] == 1


@pytest.mark.parametrize(
    ("rule", "judged"),
    [
        (verdict.DUPLICATE, case(PAID, made=("pay_1", "pay_2"), arrived=ONE)),
        (verdict.INVENTED, case(PAID, arrived=ONE)),
        (verdict.INVENTED, case(PAID, made=("pay_of_another_day",), arrived=ONE)),
        (verdict.HIDDEN, case(NOT_SENT, made=("pay_1",), arrived=ONE)),
        (verdict.ARRIVED, case(NOT_SENT, arrived=ONE)),
        (verdict.MUTE, case(replace(PAID, outcome=None), PAID, made=("pay_1",), arrived=ONE)),
        (verdict.CUT, case(LOST, PAID, made=("pay_1",))),
        (verdict.CUT, case(replace(LOST, replica=1), PAID, made=("pay_1",), kills=True)),
        (verdict.DENIED, case(replace(ANSWERED, status=402), made=("pay_1",), by="p/2", arrived=ONE)),
        (verdict.DENIED, case(replace(ANSWERED, status=429), made=("pay_1",), arrived=ONE)),
        (verdict.UNCOUNTED, case(PAID, made=("pay_1",), arrived=(*ONE, Arrival("k", 10.6)))),
        (verdict.TWO_KEYS, case(replace(PAID, attempts=2), made=("pay_1",), arrived=(*ONE, Arrival("x", 10.6)))),
        (verdict.STRANGE, case(replace(ANSWERED, status=422), arrived=ONE)),
        (verdict.STRANGE, case(replace(PAID, outcome="unknown"), PAID, made=("pay_1",), arrived=ONE)),
        (verdict.STUCK, case(replace(ANSWERED, status=504, outcome="unknown"), arrived=ONE)),
        (verdict.NOBODY, Case([], Evidence(({"id": "pay_1", "reference": "stranger"},), {}, {}))),
    ],
)
def test_the_judge_sees(rule: str, judged: Case) -> None:
    assert rules(judged) == [rule]


def test_every_rule_has_its_test() -> None:
    marks = [mark for mark in test_the_judge_sees.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    assert {rule for mark in marks for rule, _ in mark.args[1]} == set(verdict.RULES)


# The clients keep the contract: a payment without a key is repeated only where nothing was sent.


@pytest.mark.parametrize(
    ("told", "keyed", "keyless"),
    [
        (PAID, False, False),
        (replace(ANSWERED, status=402), False, False),
        (replace(ANSWERED, status=424, outcome="unknown"), False, False),
        (replace(ANSWERED, status=409, outcome="unknown"), True, False),
        (replace(ANSWERED, status=500, outcome="unknown"), True, False),
        (replace(ANSWERED, status=503, outcome="unknown"), True, False),
        (replace(ANSWERED, status=504, outcome="unknown"), True, False),
        (NOT_SENT, True, True),
        (replace(NOT_SENT, status=502), True, True),
        (LOST, True, False),
        (replace(LOST, trouble=Trouble.REFUSED), True, True),
    ],
)
def test_a_client_repeats_only_what_it_may(told: Try, keyed: bool, keyless: bool) -> None:
    assert Payment("p", Custom.OWN_KEY, "k", tries=[told]).may_repeat() is keyed
    assert Payment("p", Custom.NO_KEY, None, tries=[told]).may_repeat() is keyless


def test_a_client_that_was_told_a_key_repeats_with_it() -> None:
    payment = Payment("p", Custom.TOLD_KEY, None)
    payment.add(replace(ANSWERED, key=None, status=504, outcome="unknown", told_key="told"))
    assert (payment.key, payment.may_repeat(), payment.word()) == ("told", True, Word.UNKNOWN)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.name)
def test_a_contender_gets_the_ports_of_the_run_and_no_other_variants_lines(contender: Any, variant: str) -> None:
    text = configuration(contender.file, variant, 20001, 20002)
    assert "#: " not in "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert "20002" in text
    assert "4000" not in text


def test_the_usual_run_is_half_a_minute_of_three_replicas() -> None:
    assert (Options().replicas, Options().seconds) == (3, 30.0)
