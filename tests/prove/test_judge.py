"""The judge, one broken promise at a time; and the clients, who keep the contract."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from prove import books, conduct, verdict, words
from prove.books import BOOK_RULES
from prove.market import BY_NAME
from prove.misfortune import Fault
from prove.story import Arrival, Custom, Evidence, Kill, Move, Payment, StoreTrouble, Trouble, Try, Word
from prove.verdict import Case

PAID = Try("p/1", 0, "k", 10.0, 11.0, status=201, outcome="final", attempts=1, charge="pay_1")
LOST = Try("p/1", 0, "k", 10.0, 11.0, trouble=Trouble.LOST)
ANSWERED = replace(PAID, charge=None)
NOT_SENT = replace(ANSWERED, status=503, outcome="not_sent")
REFUSED = replace(ANSWERED, status=403)
UNKNOWN = replace(ANSWERED, status=504, outcome="unknown", ours=True)
PAID_AT_LAST = replace(PAID, attempts=2)
LONE = replace(UNKNOWN, key=None, attempts=2)

CHARGED = Arrival("k", 10.5, "1", left=10.6, status=201, settles=True)
DOUBT = Arrival("k", 10.5, "1", left=10.6, fault=Fault.RESET_AFTER)
CLEAR = Arrival("k", 10.5, "1", left=10.6, status=403, fault=Fault.FORBIDDEN, clear=True)
FAILED = Arrival("k", 10.5, "1", left=10.6, status=500, fault=Fault.CUT_FAILED)


def later(one: Arrival, seconds: float = 0.3, **changes: object) -> Arrival:
    return replace(one, at=one.at + seconds, left=one.left + seconds, n="2", **changes)  # type: ignore[arg-type]


def second(one: Try, **changes: object) -> Try:
    """The same client's next request, which is `p/2`."""
    usual = {"mark": "p/2", "replica": 1, "started": 12.0, "ended": 13.0}
    return replace(one, **{**usual, **changes})  # type: ignore[arg-type]


def case(
    *tries: Try,
    made: tuple[str, ...] = (),
    arrived: tuple[Arrival, ...] = (),
    then: tuple[Arrival, ...] = (),
    by: str = "p/1",
    place: str = "generic",
    custom: Custom = Custom.OWN_KEY,
    kills: tuple[Kill, ...] = (),
    troubles: tuple[StoreTrouble, ...] = (),
    move: Move | None = None,
) -> Case:
    """One payment `p`, the charges made for it, and what arrived of its first and its second request."""
    payment = Payment("p", custom, tries[0].key, tries=list(tries), place=place)
    charges = tuple(
        {"id": name, "reference": "p", "at": 10.6 + number, "n": str(number + 1), "key": "k"}
        for number, name in enumerate(made)
    )
    marks = {"p/1": arrived, "p/2": then}
    arrivals = {mark: tuple(replace(one, place=place) for one in those) for mark, those in marks.items() if those}
    evidence = Evidence(charges, arrivals, dict.fromkeys(made, by))
    return Case([payment], evidence, kills, troubles, move or Move())


KILLED = (Kill(0, 10.5, math.inf, end=10.5),)
STOPPED = (Kill(0, 10.2, 13.0, gentle=True, end=12.0),)


def rules(judged: Case) -> list[str]:
    return [breach.rule for breach in verdict.breaches(judged)]


def test_a_payment_as_it_should_be_breaks_nothing() -> None:
    assert rules(case(PAID, made=("pay_1",), arrived=(CHARGED,))) == []


def test_a_connection_lost_to_a_kill_and_a_key_that_found_out_break_nothing() -> None:
    assert rules(case(LOST, second(PAID), made=("pay_1",), arrived=(CHARGED,), kills=KILLED)) == []


def test_what_holdfast_sends_to_find_out_an_unknown_outcome_is_no_uncounted_attempt() -> None:
    arrived = (DOUBT, later(CHARGED, 1.0))
    assert rules(case(UNKNOWN, second(PAID), made=("pay_1",), arrived=arrived)) == []


def test_a_charge_made_after_its_client_was_answered_is_counted() -> None:
    judged = case(UNKNOWN, made=("pay_1",), arrived=(DOUBT,))
    charge = {**judged.evidence.charges[0], "at": 11.6}
    judged = replace(judged, evidence=replace(judged.evidence, charges=(charge,)))
    assert verdict.figures(judged)["charged after the client had its answer"] == 1


def test_a_refusal_after_nothing_but_refusals_and_after_a_settling_answer_is_final() -> None:
    assert rules(case(REFUSED, second(REFUSED), arrived=(CLEAR,), then=(later(CLEAR, 2),))) == []
    assert rules(case(PAID, second(REFUSED), made=("pay_1",), arrived=(CHARGED,), then=(later(CLEAR, 2),))) == []


@pytest.mark.parametrize(
    ("rule", "judged"),
    [
        (verdict.DUPLICATE, case(PAID, made=("pay_1", "pay_2"), arrived=(CHARGED, later(CHARGED))[:1])),
        (conduct.RESENT, case(PAID_AT_LAST, made=("pay_1",), arrived=(FAILED, later(CHARGED)), place="adyen")),
        (conduct.KEYLESS_TWICE, case(LONE, arrived=(replace(DOUBT, key=None), later(DOUBT, key=None)), place="none")),
        (conduct.TWO_KEYS, case(replace(PAID, attempts=2), made=("pay_1",), arrived=(CHARGED, later(DOUBT, key="x")))),
        (
            conduct.TOGETHER,
            case(UNKNOWN, second(PAID), made=("pay_1",), arrived=(replace(DOUBT, left=14),), then=(later(CHARGED, 2),)),
        ),
        (
            conduct.MOVED_ON,
            case(PAID, made=("pay_1",), arrived=(replace(CHARGED, provider=2),), move=Move(12.0, 13.0)),
        ),
        (
            conduct.MOVED_ON,
            case(UNKNOWN, second(PAID), made=("pay_1",), arrived=(DOUBT, later(CHARGED, 1, provider=2))),
        ),
        (
            conduct.AFTER_END,
            case(LOST, second(PAID), made=("pay_1",), arrived=(later(CHARGED, 2),), kills=KILLED),
        ),
        (verdict.INVENTED, case(PAID, arrived=(CHARGED,))),
        (verdict.INVENTED, case(PAID, made=("pay_of_another_day",), arrived=(CHARGED,))),
        (words.HIDDEN, case(NOT_SENT, made=("pay_1",), arrived=(DOUBT,))),
        (words.ARRIVED, case(NOT_SENT, arrived=(DOUBT,))),
        (words.FORGOT, case(UNKNOWN, second(NOT_SENT), second(PAID, mark="p/3", started=14, ended=15),
                            made=("pay_1",), arrived=(DOUBT,))),
        (words.BLIND, case(UNKNOWN, second(NOT_SENT, degraded="breaker, ledger"),
                           second(PAID, mark="p/3", started=14, ended=15), made=("pay_1",), arrived=(DOUBT,))),
        (words.BLIND, case(UNKNOWN, second(REFUSED, degraded="ledger"),
                           second(PAID, mark="p/3", started=14, ended=15), made=("pay_1",), arrived=(DOUBT,),
                           then=(later(CLEAR, 2),))),
        (words.DENIED, case(replace(ANSWERED, status=402), made=("pay_1",), by="p/2", arrived=(CHARGED,))),
        (words.DENIED, case(replace(ANSWERED, status=429), made=("pay_1",), arrived=(DOUBT,))),
        (words.HASTY, case(replace(REFUSED, attempts=2), arrived=(DOUBT, later(CLEAR)))),
        (words.HASTY, case(UNKNOWN, second(REFUSED), second(PAID, mark="p/3", started=14, ended=15),
                           made=("pay_1",), arrived=(DOUBT,), then=(later(CLEAR, 2),))),
        (words.ABETTED, case(replace(UNKNOWN, key=None, told_key="k"), arrived=(DOUBT,))),
        (verdict.MUTE, case(replace(PAID, outcome=None), PAID, made=("pay_1",), arrived=(CHARGED,))),
        (verdict.CUT, case(LOST, PAID, made=("pay_1",), arrived=(CHARGED,))),
        (verdict.CUT, case(replace(LOST, replica=1), PAID, made=("pay_1",), kills=KILLED)),
        (verdict.CUT, case(LOST, second(PAID), made=("pay_1",), arrived=(CHARGED,), kills=STOPPED)),
        (verdict.UNCOUNTED, case(PAID, made=("pay_1",), arrived=(DOUBT, later(CHARGED)))),
        (verdict.STRANGE, case(replace(ANSWERED, status=418), arrived=(replace(CLEAR, clear=True),))),
        (verdict.STRANGE, case(replace(PAID, outcome="unknown"), second(PAID), made=("pay_1",), arrived=(CHARGED,))),
        (verdict.STUCK, case(UNKNOWN, arrived=(DOUBT,))),
        (verdict.NOBODY, Case([], Evidence(({"id": "pay_1", "reference": "stranger"},), {}, {}))),
    ],
)  # fmt: skip
def test_the_judge_sees(rule: str, judged: Case) -> None:
    assert set(rules(judged)) == {rule}


def entry(**facts: object) -> dict[str, object]:
    usual = {"request_id": "p/1", "reference": "p", "upstream": "generic", "state": "unknown", "status": None}
    return {**usual, **facts}


WAITING = case(UNKNOWN, arrived=(DOUBT,))


@pytest.mark.parametrize(
    ("rule", "judged", "entries"),
    [
        (books.FINAL_UNCHARGED, case(PAID, arrived=(CHARGED,)), [entry(state="final", status=201)]),
        (books.NOT_SENT_ARRIVED, case(PAID, made=("pay_1",), arrived=(CHARGED,)), [entry(state="not_sent")]),
        (books.REFUSED_YET_OPEN, WAITING, [entry(state="final", status=403), entry()]),
        (books.UNLISTED, WAITING, []),
        (books.UNLISTED, WAITING, [entry(state="final", status=201, request_id="q/1")]),
        (books.STILL_IN_FLIGHT, case(PAID, made=("pay_1",), arrived=(CHARGED,)), [entry(state="in_flight")]),
    ],
)
def test_the_judge_of_the_ledger_sees(rule: str, judged: Case, entries: list[dict[str, object]]) -> None:
    found = {breach.rule for breach in books.judged([*entries], judged, complete=True)}
    assert rule in found
    assert found - {books.FINAL_UNCHARGED} <= {rule}


def test_a_ledger_as_it_should_be_breaks_nothing() -> None:
    assert books.judged([entry()], WAITING, complete=True) == []
    assert books.judged([], WAITING, complete=False) == []
    paid = case(UNKNOWN, second(PAID), made=("pay_1",), arrived=(DOUBT,), then=(later(CHARGED, 2),))
    assert books.judged([entry(state="final", status=201)], paid, complete=True) == []


def test_every_rule_has_its_test() -> None:
    def tested(test: object, place: int) -> set[str]:
        marks = [mark for mark in test.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
        return {row[place] for mark in marks for row in mark.args[1]}

    assert tested(test_the_judge_sees, 0) == set(verdict.RULES)
    assert tested(test_the_judge_of_the_ledger_sees, 0) == set(BOOK_RULES)


# What excuses: what could not have been known, and what a client brought upon itself.

FORGOTTEN = (UNKNOWN, second(NOT_SENT), second(PAID, mark="p/3", started=20, ended=21))


@pytest.mark.parametrize(
    ("troubles", "kills", "found"),
    [
        ((), (), [words.FORGOT]),
        ((StoreTrouble(11.5, 11.6, lost=True),), (), []),  # what the store held is gone
        ((StoreTrouble(5.0, 5.5, lost=True),), (), [words.FORGOT]),  # but not what came afterwards
        ((StoreTrouble(10.4, 11.2),), (), []),  # it was away during the call, and is hardly back
        ((StoreTrouble(1.0, 2.0),), (), [words.FORGOT]),
        ((), (Kill(0, 10.9, 20.0, end=10.9),), [words.FORGOT]),  # a death alone loses nothing: there is the lease
    ],
)
def test_the_ledger_is_asked_for_what_it_can_know(
    troubles: tuple[StoreTrouble, ...], kills: tuple[Kill, ...], found: list[str]
) -> None:
    judged = case(*FORGOTTEN, made=("pay_1",), arrived=(DOUBT,), troubles=troubles, kills=kills)
    assert rules(judged) == found


def test_what_its_replica_took_to_the_grave_while_the_store_was_away_cannot_be_known() -> None:
    tries = (UNKNOWN, second(NOT_SENT, started=18, ended=19), second(PAID, mark="p/3", started=20, ended=21))
    away, dead = (StoreTrouble(10.4, 11.2),), (Kill(0, 11.1, 12.0, end=11.1),)
    judged = {
        kills: rules(case(*tries, made=("pay_1",), arrived=(DOUBT,), troubles=away, kills=kills))
        for kills in ((), dead)
    }
    assert judged == {(): [words.FORGOT], dead: []}


def repeated(place: str, custom: Custom, first: Try, *, again: tuple[Arrival, ...]) -> list[str]:
    """A second charge, made by the client's own second request."""
    judged = case(first, second(PAID, charge="pay_2"), made=("pay_1", "pay_2"), arrived=(FAILED,), then=again,
                  place=place, custom=custom)  # fmt: skip
    by = {"pay_1": "p/1", "pay_2": "p/2"}
    return rules(replace(judged, evidence=replace(judged.evidence, charged_by=by)))


OWN_500 = replace(ANSWERED, status=500, outcome="unknown")
SECOND = (later(CHARGED, 2),)


@pytest.mark.parametrize(
    ("place", "custom", "first", "again", "found"),
    [
        ("checkout", Custom.OWN_KEY, OWN_500, SECOND, []),  # the provider executes it again, as it says
        ("generic", Custom.OWN_KEY, OWN_500, SECOND, [verdict.DUPLICATE]),
        (
            "checkout",
            Custom.OWN_KEY,
            OWN_500,
            (later(FAILED, 1.8), later(CHARGED, 2)),
            [verdict.DUPLICATE, conduct.RESENT],
        ),
        ("generic", Custom.LIBRARY, OWN_500, SECOND, []),  # it heard the provider's own 500, and paid anew
        ("generic", Custom.LIBRARY, UNKNOWN, SECOND, [verdict.DUPLICATE]),  # it heard ours
    ],
)
def test_a_second_charge_is_its_clients_doing_only_where_nothing_protects_its_own_repeat(
    place: str, custom: Custom, first: Try, again: tuple[Arrival, ...], found: list[str]
) -> None:
    if len(again) > 1:
        again = (again[0], replace(again[1], n="2"))
        again = (replace(again[0], n="0"), again[1])
    got = [rule for rule in repeated(place, custom, first, again=again) if rule != verdict.UNCOUNTED]
    assert got == found


@pytest.mark.parametrize(
    ("troubles", "found"),
    [((StoreTrouble(11.5, 11.6, lost=True),), []), ((), [verdict.DUPLICATE, words.FORGOT])],
)
def test_who_starts_over_was_told_wrongly_or_by_one_who_could_not_know(
    troubles: tuple[StoreTrouble, ...], found: list[str]
) -> None:
    told = second(NOT_SENT, key="k")
    anew = second(PAID, mark="p/3", key="x", charge="pay_2", started=14, ended=15)
    judged = case(UNKNOWN, told, anew, made=("pay_1", "pay_2"), arrived=(DOUBT,), custom=Custom.NEW_KEY)
    first, again = judged.evidence.charges
    evidence = Evidence(
        (first, {**again, "key": "x", "at": 14.5}),
        {**judged.evidence.arrivals, "p/3": (replace(CHARGED, key="x", at=14.5, left=14.6, n="2"),)},
        {"pay_1": "p/1", "pay_2": "p/3"},
    )
    assert rules(replace(judged, evidence=evidence, troubles=troubles)) == found


@pytest.mark.parametrize("resent", [False, True])
@pytest.mark.parametrize(
    ("by", "found"), [("p/2", []), ("p/1", [verdict.DUPLICATE, conduct.MOVED_ON, verdict.UNCOUNTED])]
)
def test_one_key_that_came_again_just_as_its_upstream_was_moved(by: str, found: list[str], *, resent: bool) -> None:
    there = later(CHARGED, 0.3, provider=2)
    doubtful = (later(FAILED, 0.2, provider=2),) if resent and by == "p/2" else ()
    arrived, then = ((CHARGED,), (*doubtful, there)) if by == "p/2" else ((CHARGED, there), ())
    paid = second(PAID, attempts=1 + len(doubtful))
    judged = case(PAID, paid, made=("pay_1", "pay_2"), arrived=arrived, then=then, move=Move(11.0, 12.5))
    first, again = judged.evidence.charges
    charges = ({**first, "provider": 1}, {**again, "provider": 2})
    evidence = replace(judged.evidence, charges=charges, charged_by={"pay_1": "p/1", "pay_2": by})
    early = Move(10.2, 10.4)  # so that p/1 is old only by having been at the first one
    assert rules(replace(judged, evidence=evidence, move=early)) == found


@pytest.mark.parametrize(
    ("place", "status", "found"),
    [
        ("stripe", 500, []),
        ("adyen", 500, []),
        ("generic", 402, []),
        ("generic", 500, [verdict.STUCK]),
        ("checkout", 500, [verdict.STUCK]),
        ("stripe", 503, [verdict.STUCK]),
    ],
)
def test_what_a_provider_keeps_and_what_tells_nothing_is_nobodys_fault(
    place: str, status: int, found: list[str]
) -> None:
    told = replace(ANSWERED, status=status, outcome="unknown")
    assert rules(case(told, arrived=(replace(DOUBT, status=status),), place=place)) == found
    assert rules(case(replace(told, ours=True), arrived=(DOUBT,), place=place)) == [verdict.STUCK]


@pytest.mark.parametrize(
    ("place", "before", "forbidden"),
    [
        ("checkout", FAILED, True),
        ("checkout", replace(FAILED, status=503), True),
        ("checkout", DOUBT, True),  # nobody saw what it was
        ("checkout", CLEAR, False),
        ("adyen", FAILED, True),
        ("adyen", replace(FAILED, status=503, fault=Fault.UNAVAILABLE), True),
        ("adyen", replace(FAILED, status=503, fault=Fault.UNAVAILABLE_HINT), False),
        ("adyen", DOUBT, False),
        ("stripe", FAILED, True),
        ("stripe", replace(FAILED, status=503, fault=Fault.UNAVAILABLE), False),
        ("stripe", DOUBT, False),
        ("generic", FAILED, False),
    ],
)
def test_what_forbids_the_same_key(place: str, before: Arrival, forbidden: bool) -> None:
    assert conduct.forbids(BY_NAME[place], before, 1.0) is forbidden
    assert not conduct.forbids(BY_NAME["checkout"], DOUBT, 31.0)


# The clients keep the contract: a payment without a key is repeated only where nothing was sent.


@pytest.mark.parametrize(
    ("told", "keyed", "keyless"),
    [
        (PAID, False, False),
        (replace(ANSWERED, status=402), False, False),
        (replace(ANSWERED, status=424, outcome="unknown"), False, False),
        (replace(ANSWERED, status=403), True, False),
        (replace(ANSWERED, status=429), True, False),
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


def test_a_client_starts_over_under_another_key_only_when_it_was_told_that_nothing_was_sent() -> None:
    key = "2a6f1d3e-5f43-4d8e-9a01-3b7c2f10aa55"
    payment = Payment("p", Custom.NEW_KEY, key)
    for told in (UNKNOWN, OWN_500, REFUSED, LOST):
        payment.add(told)
        assert payment.key == key
    payment.add(NOT_SENT)
    assert payment.key != key


def test_a_library_repeats_any_5xx_and_a_leaver_nothing_unknown() -> None:
    assert Payment("p", Custom.LIBRARY, None, tries=[UNKNOWN]).may_repeat()
    assert not Payment("p", Custom.LIBRARY, None, tries=[replace(UNKNOWN, status=424)]).may_repeat()
    assert not Payment("p", Custom.LEAVER, "k", tries=[UNKNOWN]).may_repeat()
    assert Payment("p", Custom.LEAVER, "k", tries=[REFUSED]).may_repeat()


def test_nobody_asks_a_provider_for_what_another_one_did() -> None:
    assert not Payment("p", Custom.OWN_KEY, "k", tries=[UNKNOWN], stranded=True).may_repeat()
    assert not Payment("p", Custom.OWN_KEY, "k", tries=[UNKNOWN], stranded=True).asks_again()
