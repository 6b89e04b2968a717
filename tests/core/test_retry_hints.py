"""A provider's own word on trying again: what it opens, what it shuts, and what no word reopens."""

from __future__ import annotations

import pytest

from proxy.core.model import Kind
from proxy.core.outcome import Advice
from proxy.core.retry import SETTLED, TABLE, may_repeat, wants_retry
from proxy.core.rows import Row

NOTHING_TO_MEND = [
    *(Row.SUCCESS, Row.DECLINE, Row.UNSETTLED_DECLINE, Row.REPLAY, Row.KEY_MISMATCH, Row.REDIRECT),
    *(Row.UNREADABLE, Row.UNPROVEN),
]
OBEYED = {
    Advice.STOP: set(),
    Advice.SAME_KEY: {Kind.READ, Kind.KEYED},
    Advice.NOTHING_DONE: {Kind.READ, Kind.KEYED, Kind.UNKEYED},
}


@pytest.mark.parametrize("row", NOTHING_TO_MEND)
@pytest.mark.parametrize("advice", Advice)
@pytest.mark.parametrize("kind", Kind)
def test_no_word_reopens_what_is_settled(row: Row, advice: Advice, kind: Kind) -> None:
    assert not may_repeat(row, kind, None, advice=advice)
    assert not wants_retry(row, advice)


@pytest.mark.parametrize("row", [row for row in Row if row not in NOTHING_TO_MEND])
@pytest.mark.parametrize("advice", Advice)
@pytest.mark.parametrize("kind", Kind)
def test_everywhere_else_it_is_obeyed(row: Row, advice: Advice, kind: Kind) -> None:
    assert may_repeat(row, kind, None, advice=advice) is (kind in OBEYED[advice])
    assert wants_retry(row, advice) is (bool(TABLE[row].again) or advice is not Advice.STOP)


def test_the_settled_rows_are_these() -> None:
    assert set(NOTHING_TO_MEND) == SETTLED
