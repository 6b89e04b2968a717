"""The proof's provider does with a key what each provider documents, and forgets nothing when it is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from prove import tongues
from prove.market import BY_NAME
from prove.till import Order, Till
from prove.tongues import CHARGE_HEADER, Answer


def order(place: str, number: int = 1, *, key: str | None = "k", body: bytes = b"{}", declined: bool = False) -> Order:
    return Order(str(number), f"p/{number}", BY_NAME[place], key, "me", "p", declined, body)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


@pytest.fixture
def books(journal: Path) -> Iterator[Till]:
    with closing(Till(journal, 1, wall=lambda: 1.0)) as till:
        yield till


def executed(books: Till, one: Order, failed: Answer | None = None, *, charge: bool = True) -> Answer:
    assert books.ask(one) is None
    return books.done(one, failed, charge=charge)


@pytest.mark.parametrize(
    ("place", "again"),
    [("checkout", "anew"), ("stripe", 500), ("adyen", 500), ("generic", 201), ("none", "anew"), ("patient", 201)],
)
def test_the_same_key_after_a_charge_whose_answer_was_500(books: Till, place: str, again: object) -> None:
    executed(books, order(place), tongues.FAILED)
    kept = books.ask(order(place, 2))
    assert (kept.status if kept else "anew") == again


@pytest.mark.parametrize("place", ["checkout", "stripe", "adyen", "generic"])
def test_a_success_is_replayed_and_settles(books: Till, place: str) -> None:
    first = executed(books, order(place))
    again = books.ask(order(place, 2))
    assert again is not None
    assert (again.status, again.body, again.settles) == (first.status, first.body, True)
    assert again.headers[CHARGE_HEADER] == first.headers[CHARGE_HEADER]


@pytest.mark.parametrize(
    ("place", "status", "code"),
    [("checkout", 409, ""), ("stripe", 409, ""), ("adyen", 422, "704"), ("generic", 409, "")],
)
def test_in_flight_settles_nothing_and_clears_nothing(books: Till, place: str, status: int, code: str) -> None:
    assert books.ask(order(place)) is None
    answer = books.ask(order(place, 2))
    assert answer is not None
    assert (answer.status, answer.settles, answer.clear) == (status, False, False)
    assert answer.body.get("errorCode", "") == code


@pytest.mark.parametrize(("place", "status"), [("checkout", 422), ("stripe", 400), ("adyen", 422), ("generic", 422)])
def test_another_body_under_the_key_is_refused(books: Till, place: str, status: int) -> None:
    executed(books, order(place))
    answer = books.ask(order(place, 2, body=b'{"other": 1}'))
    assert answer is not None
    assert answer.status == status


@pytest.mark.parametrize("place", ["stripe", "adyen", "generic", "checkout"])
def test_a_decline_is_kept_and_charges_nothing(books: Till, place: str) -> None:
    answer = executed(books, order(place, declined=True))
    again = books.ask(order(place, 2, declined=True))
    assert answer.settles
    assert CHARGE_HEADER not in answer.headers
    assert again is not None
    assert again.body == answer.body


def test_without_a_key_or_where_none_is_honoured_everything_is_executed(books: Till, journal: Path) -> None:
    for one in (order("generic", 1, key=None), order("generic", 2, key=None), order("none", 3), order("none", 4)):
        executed(books, one)
    lines = (journal).read_text().splitlines()
    assert len([line for line in lines if '"charge": "pay_' in line]) == 4


def test_a_kill_forgets_nothing_but_what_was_in_flight(books: Till, journal: Path) -> None:
    books.enter(order("stripe"), "ok")
    executed(books, order("stripe"))
    assert books.ask(order("stripe", 2, key="other")) is None
    with (journal).open("ab") as file:
        file.write(b'{"e": "done", "cel')  # cut short by the kill, so that nobody was answered

    with closing(Till(journal, 1)) as revived:
        again = revived.ask(order("stripe", 3))
        assert again is not None
        assert again.settles
        assert revived.arrivals["p"] == 1
        assert revived.ask(order("stripe", 4, key="other")) is None
