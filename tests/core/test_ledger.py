"""The rules of the ledger that no store adds to: what may follow what."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from proxy.core.ledger import FOLLOWS, Entry, State, claimed, doubtful, lapse, settled
from tests.ledger.entries import told, write

NOW = 1000.0
STATES = list(State)


def entry(state: State, *, owner: str = "", lapsed: bool = False) -> Entry:
    return Entry(write(), state, NOW, NOW, owner, NOW + 5 if owner else 0.0, lapsed)


@pytest.mark.parametrize(
    ("state", "owner", "lapsed", "ended", "settles"),
    list(
        itertools.product(
            STATES,
            ["", "r1/1", "r2/1"],
            [True, False],
            [s for s in STATES if s is not State.IN_FLIGHT],
            [True, False],
        )
    ),
)
def test_a_settlement_never_leaves_the_table(
    state: State, owner: str, lapsed: bool, ended: State, settles: bool
) -> None:
    before = entry(state, owner=owner, lapsed=lapsed and state is State.UNKNOWN)
    after = settled(before, told(ended, settles=settles and ended is State.FINAL), NOW + 1)
    assert after is not None
    assert after.state is state or after.state in FOLLOWS[state]
    assert after.owner == ("" if owner == "r1/1" else owner)


@pytest.mark.parametrize("state", STATES)
def test_a_claim_never_leaves_the_table(state: State) -> None:
    after = claimed(entry(state), write(), "r1/1", NOW, 5)
    assert after is not None
    assert after.state in {state, *FOLLOWS[state]} | ({State.UNKNOWN} if state is State.IN_FLIGHT else set())
    assert after.held(NOW)
    assert claimed(after, write(), "r2/1", NOW, 5) is None
    assert claimed(after, write(), "r2/1", NOW + 6, 5) is not None


def test_only_a_call_in_flight_lapses_and_not_before_its_time() -> None:
    held = entry(State.IN_FLIGHT, owner="r1/1")
    assert lapse(held, NOW + 4) is held
    assert lapse(held, NOW + 6) == replace(held, state=State.UNKNOWN, lapsed=True, changed=NOW + 6)
    assert lapse(entry(State.FINAL, owner="r1/1"), NOW + 6).state is State.FINAL


@pytest.mark.parametrize(
    ("prior", "status", "doubt"),
    [
        (None, None, False),
        (State.NOT_SENT, None, False),
        (State.UNKNOWN, None, True),
        (State.FINAL, 201, True),
        (State.FINAL, 302, True),
        (State.FINAL, 402, False),
        (State.FINAL, 500, True),
        (State.FINAL, None, True),
    ],
)
def test_an_earlier_call_is_in_doubt_unless_it_was_refused(
    prior: State | None, status: int | None, doubt: bool
) -> None:
    assert doubtful(prior, status) is doubt
