"""The rules of the ledger that no store adds to: what may follow what."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest

from proxy.core.ledger import FOLLOWS, SETTLING, Entry, Ground, State, claimed, granted, lapse, settled
from tests.ledger.entries import told, write

NOW = 1000.0
STATES = list(State)
ENDS = [(State.UNKNOWN, None), (State.NOT_SENT, None), *((State.FINAL, ground) for ground in Ground)]
"""What a call can come to."""
BEFORE = [*ENDS, *((State.IN_FLIGHT, ground) for ground in (None, *Ground))]
"""What an entry can be: in flight, it may remember what an earlier call made final."""
CARRIED_OUT = {Ground.SUCCESS, Ground.REPLAY}


def entry(state: State, ground: Ground | None = None, *, owner: str = "", lapsed: bool = False) -> Entry:
    return Entry(
        write(), state, NOW, NOW, owner, NOW + 5 if owner else 0.0, lapsed, status=302, ground=ground, attempts=3
    )


def named(case: tuple[State, Ground | None]) -> str:
    return "/".join(str(part) for part in case if part is not None)


@pytest.mark.parametrize("before", BEFORE, ids=named)
@pytest.mark.parametrize("ended", ENDS, ids=named)
@pytest.mark.parametrize("owner", ["", "r1/1", "r2/1"])
@pytest.mark.parametrize("lapsed", [False, True])
def test_a_settlement_against_the_rules_in_words(
    before: tuple[State, Ground | None], ended: tuple[State, Ground | None], owner: str, lapsed: bool
) -> None:
    was = entry(*before, owner=owner, lapsed=lapsed and before[0] is State.UNKNOWN)
    after = settled(was, told(ended[0], ground=ended[1]), NOW + 1)
    assert after is not None
    assert after.state is was.state or after.state in FOLLOWS[was.state]
    assert after.owner == ("" if owner == "r1/1" else owner), "only the owner gives it back"
    assert after.attempts == 4
    mine = owner == "r1/1" and (was.state is State.IN_FLIGHT or was.lapsed)
    if ended[1] in SETTLING:
        assert after.settled, "an answer of the layer that knows the key always settles"
    if was.settled:
        assert after.settled, "nothing unsettles"
        assert (after.ground is Ground.SUCCESS) == (Ground.SUCCESS in {ended[1], was.ground}), "a success always wins"
    elif ended[0] is State.UNKNOWN:
        assert after.state is State.UNKNOWN, "a lost answer is never hidden by what does not settle"
    elif was.state is State.UNKNOWN and not mine and ended[1] not in SETTLING:
        assert after.state is State.UNKNOWN, "a doubt is taken away by an answer that settles, or by its own call"
    elif mine and was.state is State.IN_FLIGHT and was.ground is None:
        assert (after.state, after.ground) == ended, "the owner's word counts"
    if was.ground is Ground.OTHER and was.state is State.FINAL:
        assert after.ground is not Ground.REFUSAL, "a refusal says nothing of what may have been carried out before"
    if was.ground in CARRIED_OUT and was.state is State.IN_FLIGHT and mine and ended[0] is not State.UNKNOWN:
        assert after.ground in CARRIED_OUT, "what was carried out under a key is not forgotten"


def test_a_settlement_told_twice_changes_nothing_but_the_count() -> None:
    for before, ended, owner in itertools.product(BEFORE, ENDS, ["", "r1/1"]):
        once = settled(entry(*before, owner=owner), told(ended[0], ground=ended[1]), NOW + 1)
        assert once is not None
        twice = settled(once, told(ended[0], ground=ended[1]), NOW + 2)
        assert twice is not None
        assert (twice.state, twice.ground) == (once.state, once.ground), (before, ended, owner)


@pytest.mark.parametrize("before", BEFORE, ids=named)
@pytest.mark.parametrize("age", [0.0, 99.0, 100.0])
def test_a_claim_begins_anew_where_the_key_may_be_charged(before: tuple[State, Ground | None], age: float) -> None:
    was = entry(*before)
    after = claimed(was, write(body="b2"), "r1/1", NOW + age, 5, 100.0)
    assert after is not None
    assert after.held(NOW + age)
    assert claimed(after, write(), "r2/1", NOW + age, 5) is None
    assert claimed(after, write(), "r2/1", NOW + age + 6, 5) is not None
    if was.state in {State.UNKNOWN, State.IN_FLIGHT}:
        assert after.state is State.UNKNOWN, "a try under way does not hide a doubt"
    elif was.settled and age < 100:
        assert (after.state, after.write.body) == (State.FINAL, "b1"), "settled, as long as the provider keeps the key"
    else:
        assert (after.state, after.write.body) == (State.IN_FLIGHT, "b2")
    assert after.since == (NOW + age if was.state is State.NOT_SENT else NOW), "a key's age counts from its first send"


def test_without_a_retention_what_is_settled_stays_so() -> None:
    after = claimed(entry(State.FINAL, Ground.SUCCESS), write(), "r1/1", NOW + 1e9, 5, math.inf)
    assert after is not None
    assert after.settled


def test_only_a_call_in_flight_lapses_and_not_before_its_time() -> None:
    held = entry(State.IN_FLIGHT, owner="r1/1")
    assert lapse(held, NOW + 4) is held
    assert lapse(held, NOW + 6) == replace(held, state=State.UNKNOWN, lapsed=True, changed=NOW + 6)
    assert lapse(entry(State.FINAL, Ground.SUCCESS, owner="r1/1"), NOW + 6).state is State.FINAL


def test_a_lapsed_owner_s_own_word_still_counts_and_ends_the_lapse() -> None:
    for ended in ENDS:
        after = settled(entry(State.UNKNOWN, owner="r1/1", lapsed=True), told(ended[0], ground=ended[1]), NOW)
        assert after is not None
        assert (after.state, after.ground, after.lapsed) == (*ended, False)


def test_an_entry_that_the_store_lost_is_made_anew_unless_nothing_was_sent() -> None:
    assert settled(None, told(State.NOT_SENT), NOW) is None
    for ended in ENDS:
        if ended[0] is not State.NOT_SENT:
            after = settled(None, told(ended[0], ground=ended[1]), NOW)
            assert after is not None
            assert (after.state, after.ground, after.owner, after.since) == (*ended, "", NOW)


def test_what_a_lost_answer_makes_unknown_no_longer_shows_the_answer_before_it() -> None:
    unknown = settled(entry(State.IN_FLIGHT, Ground.REFUSAL, owner="r1/1"), told(State.UNKNOWN), NOW)
    assert unknown is not None
    assert (unknown.state, unknown.status) == (State.UNKNOWN, None)
    heard = settled(replace(unknown, status=500), told(State.UNKNOWN), NOW)
    assert heard is not None
    assert heard.status == 500, "what was heard while it was unknown stays"


@pytest.mark.parametrize(
    ("state", "ground", "doubt", "is_settled"),
    [
        (State.UNKNOWN, None, True, False),
        (State.IN_FLIGHT, None, True, False),
        (State.FINAL, Ground.SUCCESS, True, True),
        (State.FINAL, Ground.REPLAY, True, True),
        (State.FINAL, Ground.DECLINE, False, True),
        (State.FINAL, Ground.REFUSAL, False, False),
        (State.FINAL, Ground.OTHER, True, False),
    ],
)
def test_what_a_claim_is_told_of_earlier_calls(
    state: State, ground: Ground | None, doubt: bool, is_settled: bool
) -> None:
    claim = granted(write(body="b2", rule="stripe:Idempotency-Key"), "r1/1", entry(state, ground), NOW + 7)
    assert (claim.doubt, claim.settled, claim.age) == (doubt, is_settled, 7)
    assert (claim.same_body, claim.same_rule) == (False, False)
    same = granted(write(), "r1/1", entry(state, ground), NOW)
    assert (same.same_body, same.same_rule) == (True, True)


@pytest.mark.parametrize("prior", [None, entry(State.NOT_SENT)])
def test_where_nothing_was_sent_a_claim_is_the_first(prior: Entry | None) -> None:
    claim = granted(write(body="b2", rule="x"), "r1/1", prior, NOW + 7)
    assert (claim.doubt, claim.settled, claim.age, claim.same_body, claim.same_rule) == (False, False, 0, True, True)
