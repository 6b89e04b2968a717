"""What a host teaches about its idle connections."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.keepalive import ENOUGH, FORGET_SECONDS, MARGIN, ONE_EVENT_SECONDS, REMEMBERED, KeepAlive


def taught(*idles: float, apart: float = 1.0) -> KeepAlive:
    """One that saw a connection closed after each of these, `apart` seconds from one another, the first at 0."""
    known = KeepAlive()
    for number, idle in enumerate(idles):
        known.closed(idle, number * apart)
    return known


def test_nothing_speaks_against_a_host_that_has_closed_nothing() -> None:
    assert KeepAlive().safe_for(0.0) == math.inf


@pytest.mark.parametrize("count", range(1, ENOUGH))
def test_what_happens_now_and_then_is_chance(count: int) -> None:
    assert taught(*[5.0] * count).safe_for(10.0) == math.inf


def test_a_host_with_a_habit_is_trusted_for_a_little_less_than_its_patience() -> None:
    assert taught(5.0, 5.1, 5.0).safe_for(10.0) == pytest.approx(MARGIN * 5.1)


def test_one_closing_out_of_the_habit_does_not_decide() -> None:
    assert taught(0.01, 5.0, 5.0, 5.0).safe_for(10.0) == pytest.approx(MARGIN * 5.0)


def test_a_host_that_closes_right_after_each_answer_is_never_trusted() -> None:
    assert taught(0.0, 0.004, 0.002).safe_for(10.0) == 0.0


def test_a_restart_closes_many_at_once_and_is_no_habit() -> None:
    assert taught(*[1.0] * 50, apart=ONE_EVENT_SECONDS / 100).safe_for(10.0) == math.inf


def test_closings_that_are_just_far_enough_apart_are_several() -> None:
    assert taught(1.0, 1.0, 1.0, apart=ONE_EVENT_SECONDS).safe_for(1.0) == pytest.approx(MARGIN)


def test_closings_that_follow_one_another_closely_all_the_time_are_a_habit_all_the_same() -> None:
    assert taught(*[0.001] * 20, apart=ONE_EVENT_SECONDS / 2).safe_for(1.0) == 0.0


def test_it_recovers_slowly_by_what_is_kept_for_longer() -> None:
    known = taught(*[1.0] * REMEMBERED)
    for _ in range(REMEMBERED - ENOUGH):
        known.kept(15.0)
        assert known.safe_for(REMEMBERED) == pytest.approx(MARGIN)
    known.kept(15.0)
    assert known.safe_for(REMEMBERED) == math.inf


def test_what_was_kept_for_less_long_says_nothing() -> None:
    known = taught(5.0, 5.0, 5.0)
    for _ in range(100):
        known.kept(4.9)
    assert known.safe_for(10.0) == pytest.approx(MARGIN * 5.0)


def test_what_was_kept_for_just_as_long_counts() -> None:
    known = taught(5.0, 5.0, 5.0)
    known.kept(5.0)
    assert known.safe_for(10.0) == math.inf


def test_it_forgets_with_time() -> None:
    assert taught(1.0, 1.0, 1.0).safe_for(FORGET_SECONDS * 2) == math.inf
    known = taught(1.0, 1.0, 1.0)
    assert known.safe_for(FORGET_SECONDS - 0.1) < math.inf
    assert known.safe_for(FORGET_SECONDS) == math.inf


@given(st.lists(st.floats(0, 60), max_size=40), st.lists(st.floats(0, 60), max_size=40))
def test_it_never_trusts_for_longer_than_most_closings_allow(closings: list[float], kept: list[float]) -> None:
    known = taught(*closings)
    for idle in kept:
        known.kept(idle)
    safe = known.safe_for(len(closings))
    latest = closings[-REMEMBERED:]
    if safe < math.inf:
        assert safe <= MARGIN * max(latest)
    if len(latest) >= ENOUGH and not kept:
        assert sum(0 < idle <= safe for idle in latest) < ENOUGH
