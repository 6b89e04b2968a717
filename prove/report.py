"""The verdict, printed for a person and written for a machine."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from prove.books import BOOK_RULES
from prove.run import Proof
from prove.verdict import RULES, Breach, Case, answers_by_status, by_place

SHOWN = 5
WIDTH = 58


def say(text: str = "") -> None:
    """One line for the person who waits."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def tell(proof: Proof) -> None:
    """Print figures, rules and, where one is broken, the first histories."""
    options = proof.options
    build = f"UNSAFE test build ({options.unsafe})" if options.unsafe else "Holdfast"
    say(f"\n{build}: {options.replicas} replicas, {options.seconds:g} s, store {options.store}, seed {options.seed}")
    _section("What happened", {**proof.figures, **dict(sorted(proof.done.items()))})
    for name, counts in by_place(proof.case).items():
        say(f"  at {name}: " + ", ".join(f"{number:,} {what}" for what, number in counts.items()))
    _section("Answers by status and outcome", answers_by_status(proof.case.payments))
    counts = Counter(breach.rule for breach in proof.breaches)
    _section("Must be 0", {rule: counts[rule] for rule in RULES})
    if proof.books.skipped:
        say(f"\nHoldfast's ledger: SKIPPED, {proof.books.skipped}")
    else:
        told = Counter(breach.rule for breach in proof.books.breaches)
        _section("Holdfast's ledger", {**proof.books.figures, **{rule: told[rule] for rule in BOOK_RULES}})
    _histories([*proof.breaches, *proof.books.breaches], proof.case)
    say(f"\n{_sentence(proof)}")


def _section(title: str, figures: dict[str, int]) -> None:
    say(f"\n{title}")
    for name, number in figures.items():
        say(f"  {name:{WIDTH}}{number:>8,}")


def _histories(breaches: list[Breach], case: Case) -> None:
    by_reference = {payment.reference: payment for payment in case.payments}
    for breach in breaches[:SHOWN]:
        say(f"\nBROKEN: {breach.rule}: {breach.reference}: {breach.detail}")
        payment = by_reference.get(breach.reference)
        for one in payment.tries if payment else ():
            say(f"    {one}; {case.evidence.of(one.mark)}")
    if len(breaches) > SHOWN:
        say(f"\n... and {len(breaches) - SHOWN} more (--json FILE has them all)")


def _sentence(proof: Proof) -> str:
    if proof.holds:
        return (
            f"The proof holds: {proof.figures['payments']:,} payments, none charged twice, no outcome lost or invented."
        )
    count = len(proof.breaches) + len(proof.books.breaches)
    return f"THE PROOF FAILS: {count} broken promises. Again with: --seed {proof.options.seed}"


def write_json(proof: Proof, path: Path) -> None:
    """Everything: figures, breaches, and the whole story of every payment that broke a promise."""
    broken = {breach.reference for breach in [*proof.breaches, *proof.books.breaches]}
    histories = [payment for payment in proof.case.payments if payment.reference in broken]
    of = proof.case.evidence.of
    provider = {one.mark: of(one.mark) for payment in histories for one in payment.tries}
    document = {
        "holds": proof.holds,
        "options": asdict(proof.options),
        "figures": proof.figures,
        "done": dict(proof.done),
        "providers": by_place(proof.case),
        "answers": answers_by_status(proof.case.payments),
        "ledger": {"skipped": proof.books.skipped, **proof.books.figures},
        "breaches": [asdict(breach) for breach in [*proof.breaches, *proof.books.breaches]],
        "kills": [asdict(kill) for kill in proof.case.kills],
        "store troubles": [asdict(trouble) for trouble in proof.case.troubles],
        "move": asdict(proof.case.move),
        "histories": [asdict(payment) for payment in histories],
        "provider": provider,
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
