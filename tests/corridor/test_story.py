"""What is known of one payment, from what happened to it: no loop, no clock, no provider."""

from __future__ import annotations

import pytest

from proxy.core.errors import RequestRefused
from proxy.core.ledger import Claim, Ground, State
from proxy.core.model import Outcome, Result
from proxy.core.outcome import Row
from proxy.story import Story
from tests.fakes import CUT, GENERIC, REFUSED, RESET, TIMEOUT, response
from tests.ledger.entries import write

OK, DECLINED, BUSY, BROKEN = response(201), response(402), response(429), response(500)
FINAL, UNKNOWN, NOT_SENT = Outcome.FINAL, Outcome.UNKNOWN, Outcome.NOT_SENT

Step = tuple[Result, Row, bool]
SENT_OK: Step = (OK, Row.SUCCESS, True)
NOTHING: Step = (REFUSED, Row.CONNECT_FAILED, False)
LOST: Step = (RESET, Row.NO_ANSWER, False)
LIMITED: Step = (BUSY, Row.RATE_LIMITED, False)
MISMATCH: Step = (response(422), Row.KEY_MISMATCH, False)


def story(*steps: Step, claim: Claim | None = None, holds: bool = True, is_write: bool = True) -> Story:
    one = Story(is_write, claim or Claim(write(), "r1/1"), holds=lambda: holds)
    for result, row, settles in steps:
        one.begin()
        one.add(result, row, settles=settles)
    return one


DOUBT = Claim(write(), "r1/1", doubt=True)
SETTLED = Claim(write(), "r1/1", doubt=True, settled=True)
OTHER_BODY = Claim(write(), "r1/1", doubt=True, settled=True, same_body=False)


@pytest.mark.parametrize(
    ("steps", "outcome"),
    [
        ([], NOT_SENT),
        ([SENT_OK], FINAL),
        ([NOTHING], NOT_SENT),
        ([NOTHING, NOTHING], NOT_SENT),
        ([LOST], UNKNOWN),
        ([LOST, NOTHING], UNKNOWN),
        ([LOST, SENT_OK], FINAL),
        ([LOST, LIMITED], UNKNOWN),
        ([LIMITED], FINAL),
        ([LIMITED, NOTHING], UNKNOWN),
        ([LOST, MISMATCH], UNKNOWN),
        ([MISMATCH], FINAL),
        ([NOTHING, SENT_OK], FINAL),
        ([NOTHING, LIMITED], FINAL),
    ],
)
def test_what_its_own_attempts_say(steps: list[Step], outcome: Outcome) -> None:
    assert story(*steps).outcome is outcome


@pytest.mark.parametrize(
    ("claim", "steps", "outcome"),
    [
        (DOUBT, [], UNKNOWN),
        (DOUBT, [NOTHING], UNKNOWN),
        (DOUBT, [LIMITED], UNKNOWN),
        (DOUBT, [SENT_OK], FINAL),
        (DOUBT, [MISMATCH], UNKNOWN),
        (SETTLED, [], UNKNOWN),
        (SETTLED, [(OK, Row.SUCCESS, False)], FINAL),
        (SETTLED, [MISMATCH], UNKNOWN),
        (OTHER_BODY, [MISMATCH], FINAL),
        (OTHER_BODY, [LIMITED], UNKNOWN),
        (Claim(write(), "r1/1", doubt=True, same_body=False), [MISMATCH], UNKNOWN),
        (Claim(write(), "r1/1"), [MISMATCH], FINAL),
    ],
)
def test_what_an_earlier_call_adds(claim: Claim, steps: list[Step], outcome: Outcome) -> None:
    assert story(*steps, claim=claim).outcome is outcome
    if not claim.doubt:
        return
    own = story(*steps).outcome
    assert story(*steps, claim=claim).settlement(write(), "r1/1", GENERIC).state == own.value, (
        "the ledger adds the rest"
    )


@pytest.mark.parametrize(
    ("steps", "outcome"), [([], UNKNOWN), ([NOTHING], UNKNOWN), ([LIMITED], UNKNOWN), ([SENT_OK], FINAL)]
)
def test_a_claim_that_holds_no_more_speaks_for_nobody_else(steps: list[Step], outcome: Outcome) -> None:
    assert story(*steps, holds=False).outcome is outcome


def test_a_read_leaves_no_doubt() -> None:
    assert story(LOST, LIMITED, is_write=False).outcome is FINAL
    assert story(LOST, LIMITED).outcome is UNKNOWN


@pytest.mark.parametrize(
    ("error", "outcome", "attempts"),
    [
        (ValueError("a bug"), UNKNOWN, 1),
        (RequestRefused(413, "too large", outcome=NOT_SENT), NOT_SENT, 1),
        (RequestRefused(400, "cut", outcome=UNKNOWN), UNKNOWN, 1),
    ],
)
def test_an_attempt_that_was_cut_off_is_unknown_unless_it_says_more(
    error: BaseException, outcome: Outcome, attempts: int
) -> None:
    one = story()
    one.begin()
    assert one.outcome is UNKNOWN, "from before its first byte"
    one.break_off(error)
    assert one.outcome is outcome
    told = one.settlement(write(), "r1/1", GENERIC)
    assert (told.state.value, told.attempts, told.status, told.ground) == (outcome.value, attempts, None, None)


def test_nothing_is_cut_off_before_it_has_begun() -> None:
    one = story()
    one.break_off(RequestRefused(400, "cut", outcome=UNKNOWN))
    assert (one.outcome, one.broken) == (NOT_SENT, None)


def test_what_is_cut_off_after_an_answer_takes_the_answer_back() -> None:
    one = story(SENT_OK)
    one.begin()
    one.break_off(ValueError("a bug"))
    told = one.settlement(write(), "r1/1", GENERIC)
    assert (one.outcome, told.state, told.attempts, told.status) == (UNKNOWN, State.UNKNOWN, 2, None)


def test_an_answer_that_broke_off_while_it_was_read_is_unknown() -> None:
    one = story(SENT_OK)
    one.answer_cut(CUT, Row.CUT)
    told = one.settlement(write(), "r1/1", GENERIC)
    assert (one.outcome, told.state, told.attempts, told.settles) == (UNKNOWN, State.UNKNOWN, 1, False)


@pytest.mark.parametrize(
    ("step", "ground"),
    [
        (SENT_OK, Ground.SUCCESS),
        ((response(409), Row.REPLAY, True), Ground.REPLAY),
        ((DECLINED, Row.DECLINE, True), Ground.DECLINE),
        ((DECLINED, Row.DECLINE, False), Ground.REFUSAL),
        (LIMITED, Ground.REFUSAL),
        (MISMATCH, Ground.OTHER),
        ((response(302), Row.REDIRECT, False), Ground.OTHER),
        ((response(399), Row.REJECTED, False), Ground.OTHER),
        ((response(400), Row.REJECTED, False), Ground.REFUSAL),
        ((response(499), Row.REJECTED, False), Ground.REFUSAL),
        ((response(500), Row.REJECTED, False), Ground.OTHER),
    ],
)
def test_what_made_it_final(step: Step, ground: Ground) -> None:
    told = story(step).settlement(write(), "r1/1", GENERIC)
    assert (told.state, told.ground, told.status) == (State.FINAL, ground, step[0].status)


@pytest.mark.parametrize("steps", [[NOTHING], [LOST], [(TIMEOUT, Row.TIMEOUT, False)]])
def test_what_is_not_final_has_no_ground(steps: list[Step]) -> None:
    assert story(*steps).settlement(write(), "r1/1", GENERIC).ground is None


def test_the_ledger_is_told_every_attempt_and_the_provider_s_name_for_the_last() -> None:
    named = (response(500, (b"X-Request-Id", b"p-1")), Row.SERVER_ERROR, False)
    told = story(LOST, NOTHING, named).settlement(write("z"), "r7/3", GENERIC)
    assert (told.write, told.owner, told.attempts) == (write("z"), "r7/3", 3)
    assert (told.state, told.status, told.provider_request_id) == (State.UNKNOWN, 500, "p-1")
    assert story(named, LOST).settlement(write(), "r1/1", GENERIC).provider_request_id is None


def test_an_answer_that_broke_off_is_no_answer_to_the_ledger() -> None:
    told = story((CUT, Row.CUT, False)).settlement(write(), "r1/1", GENERIC)
    assert (told.state, told.status, told.provider_request_id) == (State.UNKNOWN, None, None)
