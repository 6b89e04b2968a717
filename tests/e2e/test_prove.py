"""The proof holds for Holdfast, and fails for each mutant of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from prove import conduct, verdict, words
from prove.__main__ import main
from prove.books import BOOK_RULES, UNLISTED
from prove.contenders import CONTENDERS, VARIANTS, configuration
from prove.run import DURABLE, SPARED, VOLATILE, Options
from prove.unsafe import MUTANTS

SHORT = ["--seconds", "4", "--rate", "80", "--clients", "48", "--seed", "20"]


def run(folder: Path, *arguments: str) -> tuple[int, Any]:
    """The proof's exit code and what it wrote."""
    path = folder / "proof.json"
    code = main([*arguments, "--json", str(path)])
    return code, json.loads(path.read_text())


def told(found: Any) -> str:
    """What was broken, for whoever reads a failure: counts, and the first histories of each rule."""
    counts = Counter(breach["rule"] for breach in found["breaches"])
    first = {breach["rule"]: breach for breach in reversed(found["breaches"])}
    references = {breach["reference"] for breach in first.values()}
    stories = [each for each in found["histories"] if each["reference"] in references]
    marks = {one["mark"]: found["provider"][one["mark"]] for each in stories for one in each["tries"]}
    return json.dumps([counts, list(first.values()), stories, marks], indent=1)


@pytest.mark.parametrize("store", [DURABLE, VOLATILE])
def test_no_payment_is_charged_twice_and_no_outcome_is_lost_or_invented(tmp_path: Path, store: str) -> None:
    code, found = run(tmp_path, *SHORT, "--store", store)

    assert found["breaches"] == [], told(found)
    assert code == 0
    figures, done = found["figures"], found["done"]
    assert figures["charges"] > 50
    assert figures["unknown at some time"] > 0
    assert done["sent to the second provider"] > 0
    assert done["replicas killed"] + done.get("replicas stopped", 0) > 0
    assert sum(done.get(f"store {trouble}", 0) for trouble in ("frozen", "flushed", "killed")) > 0
    assert not found["ledger"]["skipped"]
    assert set(found["providers"]) == {"adyen", "checkout", "generic", "none", "patient", "stripe"}


MANY = {
    "heedless": {conduct.RESENT, verdict.DUPLICATE},
    "keyless": {conduct.KEYLESS_TWICE},
    "crowds": {UNLISTED},
    "settles": {words.HASTY},
    "invites": {words.ABETTED},
    "miscounts": {verdict.UNCOUNTED},
}
"""Mutants that do not hide one another's doing, and what is surely seen of them together in so short a run."""


def test_the_proof_fails_where_safety_rules_are_switched_off(tmp_path: Path) -> None:
    code, found = run(tmp_path, *SHORT, "--store", SPARED, "--unsafe", ",".join(MANY))

    assert code == 1
    assert found["holds"] is False
    broken = {breach["rule"] for breach in found["breaches"]}
    assert set().union(*MANY.values()) <= broken
    stories = {payment["reference"]: payment["tries"] for payment in found["histories"]}
    assert all(stories[each["reference"]] for each in found["breaches"] if each["rule"] == verdict.DUPLICATE)


def test_every_rule_has_a_mutant_that_breaks_it() -> None:
    broken = set().union(*(mutant.breaks for mutant in MUTANTS.values()))
    assert broken == {*verdict.RULES, *BOOK_RULES}
    assert all(mutant.breaks and mutant.change.__doc__ for mutant in MUTANTS.values())


def wants_chaos(request: pytest.FixtureRequest) -> None:
    if "chaos" not in request.config.getoption("markexpr"):
        pytest.skip("minutes; make test ARGS='-m chaos' runs it, make prove any length")


@pytest.mark.chaos
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_breaks_its_rules(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    wants_chaos(request)
    store = DURABLE if words.BLIND in MUTANTS[name].breaks else SPARED
    seconds = ["--seconds", "8"]
    code, found = run(tmp_path, *SHORT, *seconds, "--store", store, "--unsafe", name)
    assert code == 1
    assert MUTANTS[name].breaks <= {breach["rule"] for breach in found["breaches"]}, told(found)


@pytest.mark.chaos
@pytest.mark.timeout(200)
@pytest.mark.parametrize("store", [DURABLE, VOLATILE, SPARED])
def test_a_minute_of_chaos(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    wants_chaos(request)
    code, found = run(tmp_path, "--seconds", "60", "--replicas", "4", "--seed", "60", "--store", store)
    assert (code, found["breaches"]) == (0, []), told(found)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.name)
def test_a_contender_gets_the_ports_of_the_run_and_no_other_variants_lines(contender: Any, variant: str) -> None:
    text = configuration(contender.file, variant, 20001, 20002)
    assert "#: " not in "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert "20002" in text
    assert "4000" not in text


def test_the_usual_run_is_a_minute_of_three_replicas_with_each_store() -> None:
    assert (Options().replicas, Options().seconds) == (3, 60.0)
