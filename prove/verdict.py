"""The judge: what the clients were told against what the provider did. Pure; every rule is one small function.

The mark that each request carries makes this exact: an arrival, and a charge, is known to belong to one request of one
payment, so nothing here is inferred from times, except whether a lost connection met a kill.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prove.story import Custom, Evidence, Kill, Payment, Trouble, Try, Word

EXPECTED = frozenset({200, 201, 402, 409, 424, 429, 500, 502, 503, 504})
KILL_SLACK_SECONDS = 0.5

DUPLICATE = "duplicates"
INVENTED = "said final success without a charge"
HIDDEN = "said not_sent with a charge made by that request"
ARRIVED = "said not_sent and it had arrived"
MUTE = "answers without X-Payment-Outcome"
CUT = "connections lost though no replica was killed"
DENIED = "said final and no success with a charge"
UNCOUNTED = "more arrivals than attempts told"
TWO_KEYS = "attempts of one payment under different keys"
STRANGE = "answers nobody should get"
STUCK = "unknown with a key, and left so"
NOBODY = "charges of no payment"

RULES = (DUPLICATE, INVENTED, HIDDEN, ARRIVED, MUTE, CUT, DENIED, UNCOUNTED, TWO_KEYS, STRANGE, STUCK, NOBODY)


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken promise."""

    rule: str
    reference: str
    detail: str


@dataclass(frozen=True, slots=True)
class Case:
    """Everything the judge hears."""

    payments: Sequence[Payment]
    evidence: Evidence
    kills: Sequence[Kill] = ()

    def charges_of(self) -> dict[str, list[str]]:
        """Charge ids by reference."""
        found: dict[str, list[str]] = defaultdict(list)
        for charge in self.evidence.charges:
            found[str(charge["reference"])].append(str(charge["id"]))
        return found


def breaches(case: Case) -> list[Breach]:
    """Every broken promise, by rule and then by payment."""
    charges = case.charges_of()
    marks = {mark: name for name, mark in case.evidence.charged_by.items()}
    found = [*_strangers(case, charges)]
    for payment in case.payments:
        found += _of_payment(payment, charges.get(payment.reference, []), case.evidence)
        for one in payment.tries:
            found += _of_answer(payment, one, charges.get(payment.reference, []), marks, case)
    return sorted(found, key=lambda breach: RULES.index(breach.rule))


def _strangers(case: Case, charges: Mapping[str, list[str]]) -> Iterator[Breach]:
    known = {payment.reference for payment in case.payments}
    for reference in charges.keys() - known:
        yield Breach(NOBODY, reference, f"charges {charges[reference]}")


def _of_payment(payment: Payment, charges: list[str], evidence: Evidence) -> Iterator[Breach]:
    for extra in charges[1:]:
        yield Breach(DUPLICATE, payment.reference, f"charged again: {extra}")
    keys = {arrival.key for one in payment.tries for arrival in evidence.arrivals.get(one.mark, ())}
    if len(keys) > 1:
        yield Breach(TWO_KEYS, payment.reference, f"keys {sorted(map(str, keys))}")
    if payment.key is not None and payment.word() is Word.UNKNOWN:
        yield Breach(STUCK, payment.reference, "asked again with its key when all was calm, and still unknown")


def _of_answer(
    payment: Payment, one: Try, charges: list[str], marks: Mapping[str, str], case: Case
) -> Iterator[Breach]:
    if one.trouble is not None:
        yield from _of_silence(payment, one, case.kills)
        return
    arrivals = case.evidence.arrivals.get(one.mark, ())
    in_time = sum(
        arrival.at <= one.ended for arrival in arrivals
    )  # later ones are Holdfast finding out what became of it
    if one.outcome is None:
        yield Breach(MUTE, payment.reference, str(one))
    if one.status not in EXPECTED:
        yield Breach(STRANGE, payment.reference, str(one))
    if one.attempts is not None and in_time > one.attempts:
        yield Breach(UNCOUNTED, payment.reference, f"{in_time} arrivals: {one}")
    if one.outcome == Word.NOT_SENT and arrivals:
        yield Breach(HIDDEN if one.mark in marks else ARRIVED, payment.reference, str(one))
    yield from _of_final(payment, one, charges, marks)


def _of_final(payment: Payment, one: Try, charges: list[str], marks: Mapping[str, str]) -> Iterator[Breach]:
    if one.succeeded and (one.charge is None or one.charge not in charges):
        yield Breach(INVENTED, payment.reference, str(one))
    if one.succeeded and one.outcome not in {Word.FINAL, None}:
        yield Breach(STRANGE, payment.reference, f"a success that is not final: {one}")
    if one.outcome == Word.FINAL and not one.succeeded:
        declined_yet_charged = one.status == 402 and charges  # noqa: PLR2004
        if declined_yet_charged or one.mark in marks:
            yield Breach(DENIED, payment.reference, str(one))


def _of_silence(payment: Payment, one: Try, kills: Iterable[Kill]) -> Iterator[Breach]:
    met = any(
        kill.replica == one.replica and one.ended >= kill.at and one.started <= kill.until + KILL_SLACK_SECONDS
        for kill in kills
    )
    if not met:
        yield Breach(CUT, payment.reference, str(one))


def figures(case: Case) -> dict[str, int]:
    """What is printed beside the verdict: how much there was, and what became of it."""
    payments, tries = case.payments, [one for payment in case.payments for one in payment.tries]
    words = Counter(payment.word() for payment in payments)
    charges = case.charges_of()
    unknown = [payment for payment in payments if payment.word() is Word.UNKNOWN]
    return {
        "payments": len(payments),
        "succeeded": sum(payment.succeeded() for payment in payments),
        "charges": len(case.evidence.charges),
        "charged after the client had its answer": _late(tries, case.evidence),
        "client requests": len(tries),
        "answers": sum(one.trouble is None for one in tries),
        "connections lost": sum(one.trouble is Trouble.LOST for one in tries),
        "connections refused": sum(one.trouble is Trouble.REFUSED for one in tries),
        "attempts told": sum(one.attempts or 0 for one in tries),
        "arrivals": sum(map(len, case.evidence.arrivals.values())),
        "final": words[Word.FINAL],
        "not_sent": words[Word.NOT_SENT],
        "unknown at some time": sum(payment.was_ever_unknown() for payment in payments),
        "unknown resolved": sum(payment.was_ever_unknown() for payment in payments) - len(unknown),
        "unknown left": len(unknown),
        "unknown left, charged": sum(payment.reference in charges for payment in unknown),
        "payments with own key": sum(payment.custom is Custom.OWN_KEY for payment in payments),
    }


def _late(tries: Iterable[Try], evidence: Evidence) -> int:
    """Charges that a request made when its client had already been answered: `unknown`, if no rule is broken."""
    answered = {one.mark: one.ended for one in tries if one.trouble is None}
    made = ((evidence.charged_by.get(str(charge["id"]), ""), charge["at"]) for charge in evidence.charges)
    return sum(mark in answered and isinstance(at, float) and at > answered[mark] for mark, at in made)


def answers_by_status(payments: Iterable[Payment]) -> dict[str, int]:
    """How often each status came with each outcome."""
    told = (f"{one.status} {one.outcome}" for payment in payments for one in payment.tries if one.trouble is None)
    return dict(sorted(Counter(told).items()))
