"""The books: what a key answers, what counts as a second charge, what the disk keeps."""

import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mock_provider.journal import Journal
from mock_provider.ledger import Ledger, Refusal, fingerprint
from mock_provider.order import Order

MARK = fingerprint(b"body")
OTHER = fingerprint(b"other")


def order(reference: str | None = "r", *, declined: bool = False) -> Order:
    return Order(5, "EUR", reference, declined)


def ledger(journal: Journal | None = None, prefix: str = "pay") -> Ledger:
    ids = itertools.count(1)
    return Ledger(now=lambda: 12.5, new_id=lambda: f"{prefix}_{next(ids)}", journal=journal)


def duplicates(books: Ledger) -> list[str]:
    return [charge["id"] for charge in books.document()["duplicates"]]


def test_a_key_is_free_then_in_flight_then_answered_for_good() -> None:
    books = ledger()
    assert books.claim("k", MARK) is None
    assert books.claim("k", MARK) is Refusal.IN_FLIGHT
    entry = books.settle(order(), "k", MARK)
    books.release("k")
    assert books.claim("k", MARK) == entry


def test_another_body_is_told_apart_in_flight_and_after() -> None:
    books = ledger()
    books.claim("k", MARK)
    assert books.claim("k", OTHER) is Refusal.OTHER_BODY
    books.settle(order(), "k", MARK)
    books.release("k")
    assert books.claim("k", OTHER) is Refusal.OTHER_BODY


def test_a_key_released_unsettled_is_free_again() -> None:
    books = ledger()
    books.claim("k", MARK)
    books.release("k")
    assert books.claim("k", OTHER) is None


@pytest.mark.parametrize("second", ["K", "k ", '"k"', "\u212a"])
def test_keys_are_compared_byte_for_byte(second: str) -> None:
    books = ledger()
    books.settle(order(), "k", MARK)
    assert books.claim(second, MARK) is None


@pytest.mark.parametrize(
    ("charges", "second"),
    [
        ([("k", None), ("k", None)], ["pay_2"]),
        ([("k", "r"), ("l", "r")], []),
        ([(None, "r"), (None, "r"), (None, "r")], ["pay_2", "pay_3"]),
        ([(None, "r"), (None, "s")], []),
        ([(None, None), (None, None)], []),
        ([("k", "r"), (None, "r")], ["pay_2"]),
    ],
)
def test_a_duplicate_is_a_second_charge_for_one_key_or_without_key_one_reference(
    charges: list[tuple[str | None, str | None]],
    second: list[str],
) -> None:
    books = ledger()
    for key, reference in charges:
        books.settle(order(reference), key, MARK if key else None)
    assert duplicates(books) == second


def test_a_decline_is_answered_again_but_charges_nothing() -> None:
    books = ledger()
    entry = books.settle(order(declined=True), "k", MARK)
    assert entry.charge is None
    assert books.claim("k", MARK) == entry
    assert books.document()["summary"] == {"charges": 0, "duplicates": 0}


def test_clearing_forgets_everything_but_the_keys_in_flight() -> None:
    books = ledger()
    books.enter()
    books.settle(order(), "done", MARK)
    books.claim("running", MARK)
    books.clear()
    assert books.claim("done", MARK) is None
    assert books.claim("running", MARK) is Refusal.IN_FLIGHT
    document = books.document()
    assert (document["charges"], document["arrivals"]) == ([], 0)
    assert (document["in_flight"], document["max_in_flight"]) == (1, 1)


def test_a_summary_counts_without_listing() -> None:
    books = ledger()
    for _ in range(3):
        books.settle(order("same"))
    document = books.document(summary=True)
    assert (document["charges"], document["duplicates"]) == ([], [])
    assert document["summary"] == {"charges": 3, "duplicates": 2}


@contextmanager
def reopened(path: Path, prefix: str) -> Iterator[Ledger]:
    with closing(Journal(path)) as journal:
        yield ledger(journal, prefix)


def test_the_journal_keeps_charges_declines_and_odd_text(tmp_path: Path) -> None:
    key = b"caf\xe9".decode("utf-8", "surrogateescape")
    with reopened(tmp_path / "l.db", "a") as books:
        charged = books.settle(order("\ud800 half a pair"), key, MARK)
        declined = books.settle(order(declined=True), "d", MARK)
        books.settle(order("again"))
        before = books.document()
    with reopened(tmp_path / "l.db", "b") as books:
        assert books.document()["charges"] == before["charges"]
        assert books.claim(key, MARK) == charged
        assert books.claim("d", MARK) == declined
        books.settle(order("again"))
        assert duplicates(books) == ["b_1"]


def test_clearing_empties_the_journal_too(tmp_path: Path) -> None:
    with reopened(tmp_path / "l.db", "a") as books:
        books.settle(order(), "k", MARK)
        books.clear()
    with reopened(tmp_path / "l.db", "b") as books:
        assert books.claim("k", MARK) is None


def test_a_charge_the_journal_refuses_was_never_made(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "l.db")
    books = ledger(journal)
    journal.close()
    with pytest.raises(Exception, match="closed"):
        books.settle(order(), "k", MARK)
    assert books.claim("k", MARK) is None
    assert books.document()["charges"] == []
