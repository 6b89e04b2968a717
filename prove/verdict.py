"""The judge: what the clients were told against what the providers did. Pure; every rule is one small function.

The mark that each request carries makes this exact: an arrival, and a charge, is known to belong to one request of one
payment. Times tell what was known when, whether a lost connection met a kill, and what was under way at once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prove.conduct import CONDUCT_RULES, of_conduct
from prove.docket import Docket
from prove.market import BY_NAME
from prove.story import Arrival, Custom, Evidence, Kill, Move, Payment, StoreTrouble, Trouble, Try, Word
from prove.tongues import FAILED
from prove.words import NOT_SENT_RULES, WORD_RULES, of_words

OURS = frozenset({408, 409, 424, 502, 503, 504})
"""408: a request that waited for another one with its key when its replica came to its end."""
KILL_SLACK_SECONDS = 0.5

DUPLICATE = "charged twice"
INVENTED = "said final success without a charge"
MUTE = "answers without X-Payment-Outcome"
CUT = "connections lost though no replica was killed"
UNCOUNTED = "more arrivals than attempts told"
STRANGE = "answers nobody should get"
STUCK = "unknown with a key, and left so"
NOBODY = "charges of no payment"

RULES = (DUPLICATE, *CONDUCT_RULES, INVENTED, *WORD_RULES, MUTE, CUT, UNCOUNTED, STRANGE, STUCK, NOBODY)


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
    troubles: Sequence[StoreTrouble] = ()
    move: Move = field(default_factory=Move)

    def charges_of(self) -> dict[str, list[str]]:
        """Charge ids by reference, in the order of time."""
        found: dict[str, list[str]] = defaultdict(list)
        for charge in self.evidence.charges:
            found[str(charge["reference"])].append(str(charge["id"]))
        return found

    def docket(self) -> Docket:
        return Docket(self.payments, self.evidence, self.kills, self.troubles)


def breaches(case: Case) -> list[Breach]:
    """Every broken promise, by rule and then by payment."""
    charges, docket = case.charges_of(), case.docket()
    found = [*_strangers(case, charges)]
    for payment in case.payments:
        made = charges.get(payment.reference, [])
        found += _of_payment(payment, made, case, docket)
        told = (*of_conduct(payment, docket, case.move), *of_words(payment, made, docket))
        found += [Breach(rule, payment.reference, detail) for rule, detail in told]
        for one in payment.tries:
            found += _of_answer(payment, one, made, case)
    return sorted(found, key=lambda breach: RULES.index(breach.rule))


def _strangers(case: Case, charges: Mapping[str, list[str]]) -> Iterator[Breach]:
    known = {payment.reference for payment in case.payments}
    for reference in charges.keys() - known:
        yield Breach(NOBODY, reference, f"charges {charges[reference]}")


def _of_payment(payment: Payment, charges: list[str], case: Case, docket: Docket) -> Iterator[Breach]:
    for extra in charges[1:]:
        if not _own_doing(payment, extra, docket):
            yield Breach(DUPLICATE, payment.reference, f"charged again: {extra}")
    if payment.asks_again() and not _kept(payment, case.evidence):
        yield Breach(STUCK, payment.reference, "asked again with its key when all was calm, and still unknown")


def _own_doing(payment: Payment, charge: str, docket: Docket) -> bool:
    """Whether a further charge is what the client asked for: its own repeat, where nothing protects that.

    That is the same key at a provider which executes it again after anything but a 2xx, or no key after the provider's
    own 5xx, another key where nobody was left who could know of the first, or one that came again just as its
    upstream was moved to another provider. What Holdfast sent again by itself, or
    caused by an answer of its own, is never the client's doing.
    """
    evidence = docket.evidence
    made = {str(each["id"]): each for each in evidence.charges if each["reference"] == payment.reference}
    mark, tries = evidence.charged_by[charge], {one.mark: one for one in payment.tries}
    earlier = [each for each in made.values() if float(str(each["at"])) < float(str(made[charge]["at"]))]
    marks = {evidence.charged_by[str(each["id"])] for each in earlier}
    if mark not in tries:
        return False
    if made[charge].get("provider") not in {each.get("provider") for each in earlier}:
        return mark not in marks  # its first charge there, of another request: however often that one was sent there
    if any(arrival.doubtful for arrival in _before(made[charge], evidence.arrivals.get(mark, ()))):
        return False
    if payment.custom is Custom.LIBRARY:
        return mark not in marks and all(_own_words(tries[one]) for one in marks if one in tries)
    keys = {each.get("key") for each in earlier}
    if payment.custom is Custom.NEW_KEY and made[charge].get("key") not in keys:
        return not any(rule in NOT_SENT_RULES for rule, _ in of_words(payment, [*made], docket))
    place = BY_NAME.get(payment.place)
    return place is not None and place.reexecutes and keys == {made[charge].get("key")}


def _before(charge: Mapping[str, object], arrivals: Sequence[Arrival]) -> Sequence[Arrival]:
    """What came of the same request before the arrival that made a charge."""
    names = [arrival.n for arrival in arrivals]
    return arrivals[: names.index(str(charge.get("n")))] if charge.get("n") in names else arrivals


def _own_words(one: Try) -> bool:
    """Whether the client heard the provider itself."""
    return not one.ours and one.trouble is None


def _kept(payment: Payment, evidence: Evidence) -> bool:
    """Whether the provider says what settles nothing whenever it is asked, so that nobody can find out by asking.

    That is the failure that it keeps as the first result; and a decline, where no word of its own says that the key
    layer gave it (the IETF draft knows no 402).
    """
    place, last = BY_NAME.get(payment.place), payment.tries[-1]
    if place is None or last.ours or not evidence.arrivals.get(last.mark):
        return False
    kept = {"stripe": {FAILED.status}, "adyen": {FAILED.status}, "generic": {402}}.get(place.profile, set())
    return last.status in kept


def _of_answer(payment: Payment, one: Try, charges: list[str], case: Case) -> Iterator[Breach]:
    if one.trouble is not None:
        yield from _of_silence(payment, one, case)
        return
    arrivals = case.evidence.arrivals.get(one.mark, ())
    in_time = sum(
        arrival.at <= one.ended for arrival in arrivals
    )  # later ones are Holdfast finding out what became of it
    if one.outcome is None:
        yield Breach(MUTE, payment.reference, str(one))
    if one.status not in OURS | {200, 201, 402, 429, 500} | {arrival.status for arrival in arrivals}:
        yield Breach(STRANGE, payment.reference, str(one))
    if one.attempts is not None and in_time > one.attempts:
        yield Breach(UNCOUNTED, payment.reference, f"{in_time} arrivals: {one}")
    yield from _of_success(payment, one, charges, case)


def _of_success(payment: Payment, one: Try, charges: list[str], case: Case) -> Iterator[Breach]:
    if not one.succeeded:
        return
    if one.charge not in charges and not (payment.declined and one.charge is None):
        yield Breach(INVENTED, payment.reference, str(one))
    plain = all(arrival.coding == "plain" for arrival in case.evidence.arrivals.get(one.mark, ()))
    if plain and one.outcome not in {Word.FINAL, None}:
        yield Breach(STRANGE, payment.reference, f"a success that is not final: {one}")


def _of_silence(payment: Payment, one: Try, case: Case) -> Iterator[Breach]:
    met = [
        kill
        for kill in case.kills
        if kill.replica == one.replica and one.ended >= kill.at and one.started <= kill.until + KILL_SLACK_SECONDS
    ]
    # With SIGTERM, what was read is answered; a connection may still close just as a request is being written to it.
    owed = case.evidence.arrivals.get(one.mark) and all(kill.gentle for kill in met)
    if owed or not met:
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
        "charged again by their client's own repeat": _own_repeats(case, charges),
        "charged after the client had its answer": _late(tries, case.evidence),
        "client requests": len(tries),
        "answers": sum(one.trouble is None for one in tries),
        "connections lost": sum(one.trouble is Trouble.LOST for one in tries),
        "connections refused": sum(one.trouble is Trouble.REFUSED for one in tries),
        "attempts told": sum(one.attempts or 0 for one in tries),
        "arrivals": sum(map(len, case.evidence.arrivals.values())),
        "arrivals at the second provider": sum(
            arrival.provider > 1 for those in case.evidence.arrivals.values() for arrival in those
        ),
        "final": words[Word.FINAL],
        "not_sent": words[Word.NOT_SENT],
        "unknown at some time": sum(payment.was_ever_unknown() for payment in payments),
        "unknown resolved": sum(payment.was_ever_unknown() for payment in payments) - len(unknown),
        "unknown left": len(unknown),
        "unknown left, charged": sum(payment.reference in charges for payment in unknown),
        "payments with own key": sum(payment.tries[0].key is not None for payment in payments),
    }


def by_place(case: Case) -> dict[str, dict[str, int]]:
    """Payments, charges, arrivals and second charges of each provider."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    charges, docket = case.charges_of(), case.docket()
    for payment in case.payments:
        made = charges.get(payment.reference, [])
        found[payment.place].update(payments=1, charges=len(made))
        own = sum(_own_doing(payment, extra, docket) for extra in made[1:])
        found[payment.place].update({"charged twice": len(made[1:]) - own, "by the client's own repeat": own})
    return {name: dict(counts) for name, counts in sorted(found.items())}


def _own_repeats(case: Case, charges: Mapping[str, list[str]]) -> int:
    extras = ((payment, extra) for payment in case.payments for extra in charges.get(payment.reference, [])[1:])
    docket = case.docket()
    return sum(_own_doing(payment, extra, docket) for payment, extra in extras)


def _late(tries: Iterable[Try], evidence: Evidence) -> int:
    """Charges that a request made when its client had already been answered: `unknown`, if no rule is broken."""
    answered = {one.mark: one.ended for one in tries if one.trouble is None}
    made = ((evidence.charged_by.get(str(charge["id"]), ""), charge["at"]) for charge in evidence.charges)
    return sum(mark in answered and isinstance(at, float) and at > answered[mark] for mark, at in made)


def answers_by_status(payments: Iterable[Payment]) -> dict[str, int]:
    """How often each status came with each outcome."""
    told = (f"{one.status} {one.outcome}" for payment in payments for one in payment.tries if one.trouble is None)
    return dict(sorted(Counter(told).items()))
