"""When the next attempt goes out: backoff, jitter, the provider's Retry-After and the deadline."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.config import Retry
from proxy.core.model import Kind
from proxy.core.outcome import Advice, Row, hint_of
from proxy.core.retry import FRESH_CONNECTION, Again, Denied, leaves_doubt, may_repeat, next_attempt, wants_retry
from tests.fakes import GENERIC, constant, profile, response

ALMOST_ONE = 1 - 2**-53


def ask(
    done: int = 0,
    *,
    policy: Retry | None = None,
    retry_after: float | None = None,
    remaining: float = 10.0,
    draw: float = 0.5,
) -> Again | Denied:
    return next_attempt(
        policy or Retry(),
        done,
        retry_after=retry_after,
        remaining=remaining,
        attempt_timeout=3.0,
        draw=constant(draw),
    )


STEADY = Retry(max_retries=10, jitter="none")


@pytest.mark.parametrize(("done", "delay"), [(0, 0.1), (1, 0.3), (2, 0.9), (3, 0.9), (9, 0.9)])
def test_backoff_follows_the_list_and_its_last_entry_repeats(done: int, delay: float) -> None:
    assert ask(done, policy=STEADY) == Again(delay)


@pytest.mark.parametrize(("done", "step"), [(0, 0.1), (1, 0.3), (2, 0.9)])
@pytest.mark.parametrize("draw", [0.0, 0.25, ALMOST_ONE])
def test_full_jitter_is_a_share_of_the_step(done: int, step: float, draw: float) -> None:
    again = ask(done, draw=draw)
    assert isinstance(again, Again)
    assert again.delay == pytest.approx(step * draw)
    assert again.delay <= step


@pytest.mark.parametrize("draw", [0.0, ALMOST_ONE])
def test_without_jitter_the_draw_does_not_matter(draw: float) -> None:
    assert ask(policy=STEADY, draw=draw) == Again(0.1)


@pytest.mark.parametrize("done", [3, 4])
def test_after_max_retries_there_is_no_more(done: int) -> None:
    assert ask(done) is Denied.MAX_RETRIES


def test_max_retries_zero_means_one_attempt() -> None:
    assert ask(policy=Retry(max_retries=0)) is Denied.MAX_RETRIES


@pytest.mark.parametrize(("retry_after", "delay"), [(2.0, 2.0), (0.01, 0.05), (0.0, 0.05), (None, 0.05)])
def test_retry_after_lengthens_the_wait_and_never_shortens_it(retry_after: float | None, delay: float) -> None:
    assert ask(retry_after=retry_after) == Again(delay)


@pytest.mark.parametrize("retry_after", [8.6, 60.0, 1e9, float("inf")])
def test_a_retry_after_that_does_not_fit_ends_the_attempts_at_once(retry_after: float) -> None:
    assert ask(retry_after=retry_after) is Denied.DEADLINE


@pytest.mark.parametrize(("remaining", "fits"), [(1.6, True), (1.599, False), (0.0, False), (-1.0, False)])
def test_half_an_attempt_must_fit_after_the_wait(remaining: float, fits: bool) -> None:
    assert isinstance(ask(policy=STEADY, remaining=remaining), Again) is fits


@given(
    done=st.integers(0, 12),
    retry_after=st.none() | st.floats(0, 1e6),
    remaining=st.floats(-5, 60),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_a_granted_retry_keeps_every_promise(
    done: int, retry_after: float | None, remaining: float, draw: float
) -> None:
    match ask(done, retry_after=retry_after, remaining=remaining, draw=draw):
        case Again(delay):
            assert done < 3
            assert (retry_after or 0.0) <= delay < remaining
            assert delay <= max(0.9, retry_after or 0.0)
        case Denied.MAX_RETRIES:
            assert done >= 3
        case denied:
            assert denied is Denied.DEADLINE


@pytest.mark.parametrize(
    "row", [Row.SUCCESS, Row.DECLINE, Row.REJECTED, Row.REDIRECT, Row.KEY_MISMATCH, Row.CERTIFICATE]
)
def test_nothing_to_mend_asks_for_no_retry(row: Row) -> None:
    assert not wants_retry(row)


@pytest.mark.parametrize(
    ("row", "doubt"),
    [
        (Row.CONNECT_FAILED, False),
        (Row.CERTIFICATE, False),
        (Row.MISDIRECTED, False),
        (Row.RATE_LIMITED, False),
        (Row.TIMEOUT, True),
        (Row.NO_ANSWER, True),
        (Row.CUT, True),
        (Row.SERVER_ERROR, True),
        (Row.BAD_GATEWAY, True),
        (Row.UNAVAILABLE, True),
        (Row.REQUEST_TIMEOUT, True),
        (Row.IN_FLIGHT, True),
    ],
)
def test_which_attempts_may_have_been_carried_out(row: Row, doubt: bool) -> None:
    assert leaves_doubt(row) is doubt


CLOSED = {
    Row.SUCCESS,
    Row.DECLINE,
    Row.UNSETTLED_DECLINE,
    Row.REPLAY,
    Row.KEY_MISMATCH,
    Row.REDIRECT,
    Row.UNREADABLE,
    Row.UNPROVEN,
}


@pytest.mark.parametrize("row", list(Row))
@pytest.mark.parametrize("advice", [Advice.SAME_KEY, Advice.NOTHING_DONE])
@pytest.mark.parametrize("kind", list(Kind))
def test_no_hint_reopens_what_is_over(row: Row, advice: Advice, kind: Kind) -> None:
    obeyed = row not in CLOSED and (kind is not Kind.UNKEYED or advice is Advice.NOTHING_DONE)
    assert may_repeat(row, kind, GENERIC.terms[0], advice=advice) is obeyed
    assert wants_retry(row, advice) is (row not in CLOSED)


@pytest.mark.parametrize("row", list(Row))
@pytest.mark.parametrize("kind", list(Kind))
def test_a_hint_to_stop_is_obeyed_everywhere(row: Row, kind: Kind) -> None:
    assert not may_repeat(row, kind, GENERIC.terms[0], advice=Advice.STOP)


@pytest.mark.parametrize("row", list(Row))
def test_after_what_broke_off_a_new_connection_is_taken(row: Row) -> None:
    broke_off = row.value.startswith("cut") or row in {Row.NO_ANSWER, Row.TIMEOUT, Row.REQUEST_TIMEOUT}
    assert (row in FRESH_CONNECTION) is (broke_off or row is Row.MISDIRECTED)


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ([b"true"], Advice.SAME_KEY),
        ([b" TRUE "], Advice.SAME_KEY),
        ([b"true", b"true"], Advice.SAME_KEY),
        ([b"true", b"false"], Advice.STOP),
        ([b"false", b"true"], Advice.STOP),
        ([b"true", b"maybe"], None),
        ([b"true, false"], None),
        ([], None),
    ],
)
def test_a_hint_said_twice_is_taken_for_the_careful_one(values: list[bytes], advice: Advice | None) -> None:
    facts = profile(hint={"header": "X-Hint"})
    assert hint_of(response(500, *((b"x-hint", value) for value in values)), facts) is advice
