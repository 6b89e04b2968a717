"""The ledger's table of what may follow what is exact: every step in it can happen, and no other one can."""

from __future__ import annotations

import itertools

from proxy.core.ledger import FOLLOWS, Entry, Ground, State, claimed, lapse, settled
from tests.ledger.entries import told, write

NOW = 1000.0
ENDS = [(State.UNKNOWN, None), (State.NOT_SENT, None), *((State.FINAL, ground) for ground in Ground)]
BEFORE = [*ENDS, *((State.IN_FLIGHT, ground) for ground in (None, *Ground))]


def entries() -> list[Entry]:
    """Every entry that there can be, by its state, its ground, its owner and whether that owner died."""
    shapes = itertools.product(BEFORE, ["", "r1/1", "r2/1"], [False, True])
    return [
        Entry(write(), state, NOW, NOW, owner, NOW + 5 if owner else 0.0, lapsed, ground=ground)
        for (state, ground), owner, lapsed in shapes
        if state is State.UNKNOWN or not lapsed
        if owner or state is not State.IN_FLIGHT
    ]


def steps() -> set[tuple[State, State]]:
    found: set[tuple[State, State]] = set()
    for entry in entries():
        found.add((entry.state, lapse(entry, NOW + 6).state))
        for trusted in (0.0, 1e9):
            for now in (NOW, NOW + 6):
                lapsed = lapse(entry, now)
                after = claimed(entry, write(), "r3/1", now, 5.0, trusted)
                if after is not None:
                    found.add((lapsed.state, after.state))
        for state, ground in ENDS:
            after = settled(entry, told(state, ground=ground), NOW)
            assert after is not None
            found.add((entry.state, after.state))
    return {(before, after) for before, after in found if before is not after}


def test_the_table_is_exact() -> None:
    assert steps() == {(before, after) for before, follows in FOLLOWS.items() for after in follows}
