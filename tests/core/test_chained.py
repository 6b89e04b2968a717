"""Holdfasts in a row: loops end, and an inner one's word counts where it may."""

from __future__ import annotations

import itertools

import pytest

from proxy.core.chained import MOST_HOPS, Chain, chain_of, inner_row
from proxy.core.model import Certainty, Headers, Outcome, Payment, Response, TransportFailure, WireError
from proxy.core.outcome import Row
from proxy.core.retry import TABLE

HERE = chain_of("here:3000-abcd", b"secret")
THERE = chain_of("there:3000-abcd", b"other")
ID = ((b"X-Request-Id", b"r"),)
PAYMENT = Payment("r", "/", "POST", b"/", ID, b"", None)


def told(status: int, outcome: str | None, *, own: bool = True, more: Headers = ()) -> Response:
    lines = [] if outcome is None else [(b"x-payment-outcome", outcome.encode())]
    lines += [(b"Proxy-Status", b"holdfast; error=connection_refused")] if own else []
    return Response(status, b"", (*lines, *more), b"")


def row(response: Response, usual: Row, *, trusted: bool) -> Row:
    return inner_row(response, PAYMENT, HERE, trusted=trusted, usual=usual)


def test_a_hop_has_a_name_of_its_own_that_gives_no_host_away() -> None:
    assert HERE.name != THERE.name
    assert HERE.name.startswith("holdfast-")
    assert "here" not in HERE.name
    assert HERE.via == b"1.1 " + HERE.name.encode()


@pytest.mark.parametrize(
    ("via", "looped"),
    [
        ([], False),
        (["1.1 holdfast"], False),
        (["1.0 fred, 1.1 p.example.net"], False),
        ([THERE.via.decode()], False),
        ([HERE.via.decode()], True),
        (["1.0 fred", f"1.1 {THERE.name} (comment) , HTTP/1.1  {HERE.name.upper()} (Holdfast)"], True),
        ([", ".join(f"1.1 holdfast-{n}" for n in range(MOST_HOPS - 1))], False),
        ([f"1.1 holdfast-{n}" for n in range(MOST_HOPS)], True),
        (["holdfast", "", ",,", "1.1"], False),
    ],
)
def test_a_loop_is_our_own_name_or_too_many_of_us(via: list[str], looped: bool) -> None:
    assert HERE.has_looped(via) is looped


@pytest.mark.parametrize("trusted", [False, True])
def test_our_own_refusal_of_a_loop_is_known_again_and_nobody_elses_is(trusted: bool) -> None:
    ours = told(508, "not_sent", more=HERE.mark(ID))
    assert row(ours, Row.SERVER_ERROR, trusted=trusted) is Row.INNER_REFUSED
    forged = [
        told(508, "not_sent", more=THERE.mark(ID)),
        told(508, "not_sent", more=HERE.mark(((b"X-Request-Id", b"another"),))),
        told(508, "not_sent"),
    ]
    for one in forged:
        assert row(one, Row.SERVER_ERROR, trusted=False) is Row.SERVER_ERROR
    assert row(told(500, "unknown", more=HERE.mark(ID)), Row.SERVER_ERROR, trusted=False) is Row.SERVER_ERROR


TOLD = ["not_sent", "unknown", "final", "maybe", None]


@pytest.mark.parametrize(("outcome", "trusted", "own"), [*itertools.product(TOLD, [False, True], [False, True])])
def test_the_outcome_is_the_inner_ones_where_it_may_be_believed(outcome: str | None, trusted: bool, own: bool) -> None:
    """Never less careful than without it, save for a `not_sent` that a trusted Holdfast said of its own answer."""
    for usual, status in [(Row.UNAVAILABLE, 503), (Row.REJECTED, 424), (Row.SUCCESS, 200), (Row.RATE_LIMITED, 429)]:
        got = row(told(status, outcome, own=own), usual, trusted=trusted)
        if outcome == "not_sent" and trusted and own:
            assert TABLE[got].outcome is Outcome.NOT_SENT
            assert bool(TABLE[got].again) == (status >= 500)
        elif outcome == "unknown" and (trusted or own):
            assert got is (usual if TABLE[usual].outcome is Outcome.UNKNOWN else Row.NO_ANSWER)
            assert not TABLE[got].settles
        else:
            assert got is usual


def test_two_outcomes_tell_nothing() -> None:
    twice = told(503, "not_sent", more=((b"X-Payment-Outcome", b"not_sent"),))
    assert row(twice, Row.UNAVAILABLE, trusted=True) is Row.UNAVAILABLE


@pytest.mark.parametrize("status", [b"other; error=x", b"holdfast", b"x-holdfast; error=y", b""])
def test_what_no_holdfast_made_itself_is_not_believed(status: bytes) -> None:
    lines = ((b"X-Payment-Outcome", b"not_sent"), (b"Proxy-Status", status))
    assert row(Response(503, b"", lines, b""), Row.UNAVAILABLE, trusted=True) is Row.UNAVAILABLE


def test_a_failure_of_the_wire_is_what_it_is() -> None:
    cut = TransportFailure(Certainty.CUT, WireError.CUT, "", 503, told(503, "not_sent").headers)
    assert inner_row(cut, PAYMENT, Chain("holdfast-x", b""), trusted=True, usual=Row.CUT) is Row.CUT
