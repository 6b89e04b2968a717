"""The breaker's rules: every state with every event."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import breaker
from proxy.core.breaker import (
    JITTER,
    Admission,
    Closed,
    Counts,
    HalfOpen,
    NeedsProbe,
    Open,
    Override,
    Pass,
    Record,
    Refuse,
    State,
)
from proxy.core.config import Breaker
from tests.fakes import constant

NOW = 100.0
CLOSED = Record(epoch=4, state=Closed(), since=50.0, opens=0)
OPEN = Record(epoch=5, state=Open(until=110.0, cooldown=10.0), since=100.0, opens=1, cause="c")
HALF_OPEN = Record(epoch=6, state=HalfOpen(cooldown=10.0), since=110.0, opens=1, cause="c")
TRIPPING = Counts(consecutive=5, calls=5, failures=5)


def policy(**settings: object) -> Breaker:
    return Breaker.model_validate(settings)


DEFAULT = policy()
NEVER = constant(0.0)


# admit -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "now", "expected"),
    [
        (CLOSED, NOW, Pass()),
        (OPEN, 100.0, Refuse(10.0)),
        (OPEN, 109.5, Refuse(0.5)),
        (OPEN, 110.0, NeedsProbe(replace(OPEN, epoch=6, state=HalfOpen(10.0), since=110.0))),
        (HALF_OPEN, 111.0, NeedsProbe(HALF_OPEN)),
        (HALF_OPEN, 1e6, NeedsProbe(HALF_OPEN)),
    ],
)
def test_admission_by_state(record: Record, now: float, expected: Admission) -> None:
    assert breaker.admit(record, now) == expected


@pytest.mark.parametrize("record", [CLOSED, OPEN, HALF_OPEN], ids=lambda record: record.name)
class TestOverride:
    def test_forced_closed_lets_everything_pass_uncounted(self, record: Record) -> None:
        forced = breaker.overridden(record, Override("closed", "ann", "why", None))
        assert breaker.admit(forced, NOW) == Pass(counted=False)
        assert breaker.retry_after(forced, NOW) is None
        assert forced.label(NOW) == "forced_closed"

    def test_forced_open_refuses_until_it_ends(self, record: Record) -> None:
        forced = breaker.overridden(record, Override("open", "ann", "why", 130.0))
        assert breaker.admit(forced, NOW) == Refuse(30.0)
        assert breaker.retry_after(forced, NOW) == 30.0
        assert forced.label(NOW) == "forced_open"

    def test_forced_open_without_end_refuses_and_promises_nothing(self, record: Record) -> None:
        forced = breaker.overridden(record, Override("open", "ann", "why", None))
        assert isinstance(breaker.admit(forced, 1e9), Refuse)
        assert breaker.retry_after(forced, NOW) is None

    def test_an_expired_override_changes_nothing(self, record: Record) -> None:
        for forced in ("open", "closed"):
            expired = breaker.overridden(record, Override(forced, "ann", "why", NOW))
            assert expired.label(NOW) == record.name
            assert type(breaker.admit(expired, NOW)) is type(breaker.admit(record, NOW))
            assert breaker.retry_after(expired, NOW) == breaker.retry_after(record, NOW)

    def test_setting_and_taking_back_starts_new_epochs_and_keeps_the_machine(self, record: Record) -> None:
        override = Override("open", "ann", "why", None)
        forced = breaker.overridden(record, override)
        back = breaker.overridden(forced, None)
        assert (forced.epoch, back.epoch) == (record.epoch + 1, record.epoch + 2)
        assert forced.override == override
        assert back == replace(record, epoch=record.epoch + 2)


# trip ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "settings", "trips"),
    [
        (Counts(4, 4, 4), {}, False),
        (Counts(5, 5, 5), {}, True),
        (Counts(6, 6, 6), {}, True),
        (Counts(1, 1, 1), {"consecutive_failures": 1}, True),
        (Counts(99, 19, 19), {"consecutive_failures": None}, False),
        (Counts(99, 20, 10), {"consecutive_failures": None}, True),
        (Counts(0, 20, 10), {}, True),
        (Counts(0, 20, 9), {}, False),
        (Counts(0, 19, 19), {}, False),
        (Counts(0, 1000, 499), {}, False),
        (Counts(0, 3, 3), {"failure_rate": {"threshold": 1.0, "min_calls": 3}}, True),
        (Counts(0, 1000, 1000), {"failure_rate": None}, False),
        (Counts(0, 0, 0), {"failure_rate": {"min_calls": 1}}, False),
        (Counts(9999, 9999, 9999), {"failure_rate": None, "consecutive_failures": None}, False),
    ],
)
def test_what_trips_a_closed_breaker(counts: Counts, settings: dict[str, object], trips: bool) -> None:
    opened = breaker.trip(CLOSED, counts, policy(**settings), NOW, NEVER)
    assert (opened is not None) is trips


@pytest.mark.parametrize(
    ("failures", "calls", "threshold"),
    [
        (5, 10, 0.5),
        (55, 100, 0.55),  # 0.55 * 100 is 55.00000000000001
    ],
)
def test_the_rate_trips_when_it_reaches_the_threshold(failures: int, calls: int, threshold: float) -> None:
    rate = policy(failure_rate={"threshold": threshold, "min_calls": 1})
    assert failures / calls >= threshold
    assert breaker.trip(CLOSED, Counts(0, calls, failures), rate, NOW, NEVER) is not None


@pytest.mark.parametrize("record", [OPEN, HALF_OPEN], ids=lambda record: record.name)
def test_counts_trip_nothing_but_a_closed_breaker(record: Record) -> None:
    assert breaker.trip(record, TRIPPING, DEFAULT, NOW, NEVER) is None


@pytest.mark.parametrize("record", [CLOSED, OPEN], ids=lambda record: record.name)
def test_only_a_half_open_breaker_closes_or_reopens(record: Record) -> None:
    assert breaker.reopen(record, DEFAULT, NOW, NEVER) is None
    assert breaker.close(record, 99, DEFAULT, NOW) is None


def test_the_first_opening_lasts_the_cooldown() -> None:
    opened = breaker.trip(CLOSED, TRIPPING, DEFAULT, NOW, constant(0.99))
    assert opened == Record(5, Open(110.0, 10.0), NOW, 1, "5 failures in a row")


@pytest.mark.parametrize(("closed_for", "opens", "cooldown"), [(9.9, 3, 40.0), (10.0, 1, 10.0), (1e6, 1, 10.0)])
def test_an_opening_soon_after_the_last_one_waits_longer(closed_for: float, opens: int, cooldown: float) -> None:
    record = Record(9, Closed(), NOW - closed_for, opens=2)
    opened = breaker.trip(record, TRIPPING, DEFAULT, NOW, NEVER)
    assert opened is not None
    assert (opened.opens, opened.state) == (opens, Open(NOW + cooldown, cooldown))


def test_a_first_opening_soon_after_the_start_is_no_repetition() -> None:
    opened = breaker.trip(Record(0, Closed(), NOW, 0), TRIPPING, DEFAULT, NOW, NEVER)
    assert opened is not None
    assert opened.opens == 1


@pytest.mark.parametrize(
    ("opens", "draw", "cooldown"),
    [
        (1, 0.0, 20.0),
        (1, 1.0, 22.0),
        (2, 0.0, 40.0),
        (2, 0.5, 42.0),
        (3, 0.0, 80.0),
        (4, 0.0, 120.0),
        (5000, 1.0, 120.0),
    ],
)
def test_a_failed_probe_doubles_the_cooldown_with_jitter_up_to_the_cap(
    opens: int, draw: float, cooldown: float
) -> None:
    opened = breaker.reopen(replace(HALF_OPEN, opens=opens), DEFAULT, NOW, constant(draw))
    assert opened is not None
    assert isinstance(opened.state, Open)
    assert opened.state.cooldown == pytest.approx(cooldown)
    assert opened.state.until == NOW + opened.state.cooldown
    assert (opened.epoch, opened.opens, opened.since) == (7, opens + 1, NOW)


@pytest.mark.parametrize(("max_retry_after", "cooldown"), [(None, 300.0), (20.0, 20.0), (600.0, 600.0), (5.0, 10.0)])
def test_a_provider_that_asks_for_hours_gets_what_is_believed_at_most(
    max_retry_after: float | None, cooldown: float
) -> None:
    policy = DEFAULT.model_copy(update={"max_retry_after": max_retry_after})
    opened = breaker.trip(CLOSED, TRIPPING, policy, NOW, NEVER, 7200.0)
    assert opened is not None
    assert opened.state == Open(NOW + cooldown, cooldown)


def test_what_is_believed_at_most_is_never_less_than_the_longest_cooldown() -> None:
    policy = DEFAULT.model_copy(update={"max_cooldown": 900.0})
    opened = breaker.trip(CLOSED, TRIPPING, policy, NOW, NEVER, 7200.0)
    assert opened is not None
    assert opened.state == Open(NOW + 900.0, 900.0)


@pytest.mark.parametrize(("retry_after", "cooldown"), [(3.0, 10.0), (45.0, 45.0), (300.0, 300.0)])
def test_the_providers_retry_after_is_never_undercut(retry_after: float, cooldown: float) -> None:
    tripped = breaker.trip(CLOSED, TRIPPING, DEFAULT, NOW, NEVER, retry_after)
    reopened = breaker.reopen(replace(HALF_OPEN, opens=0), DEFAULT, NOW, NEVER, retry_after)
    for opened in (tripped, reopened):
        assert opened is not None
        assert opened.state == Open(NOW + cooldown, cooldown)


@pytest.mark.parametrize(
    ("passes", "needed", "closes"), [(0, 1, False), (1, 1, True), (1, 2, False), (2, 2, True), (3, 2, True)]
)
def test_enough_passed_probes_close(passes: int, needed: int, closes: bool) -> None:
    closed = breaker.close(HALF_OPEN, passes, policy(probe_successes=needed), NOW)
    assert (closed is not None) is closes
    if closed is not None:
        assert (closed.epoch, closed.state, closed.since, closed.opens) == (7, Closed(), NOW, 1)


@pytest.mark.parametrize(
    ("record", "now", "wait"), [(CLOSED, NOW, None), (OPEN, 104.0, 6.0), (OPEN, 200.0, 0.0), (HALF_OPEN, 1e6, None)]
)
def test_how_long_to_wait(record: Record, now: float, wait: float | None) -> None:
    assert breaker.retry_after(record, now) == wait


STATES: list[State] = [Closed(), Open(110.0, 10.0), HalfOpen(10.0)]


@given(
    state=st.sampled_from(STATES),
    counts=st.builds(Counts, st.integers(0, 50), st.integers(0, 50), st.integers(0, 50)),
    opens=st.integers(0, 40),
    passes=st.integers(0, 3),
    now=st.floats(100, 1000),
    draw=st.floats(0, 1, exclude_max=True),
    retry_after=st.floats(0, 300),
)
def test_every_transition_is_one_epoch_on_and_every_opening_long_enough(
    state: State, counts: Counts, opens: int, passes: int, now: float, draw: float, retry_after: float
) -> None:
    record = Record(7, state, 100.0, opens)
    moved = [
        breaker.trip(record, counts, DEFAULT, now, constant(draw), retry_after),
        breaker.reopen(record, DEFAULT, now, constant(draw), retry_after),
        breaker.close(record, passes, DEFAULT, now),
    ]
    for after in moved:
        if after is None:
            continue
        assert (after.epoch, after.since) == (8, now)
        assert type(after.state) is not type(record.state)
        if isinstance(after.state, Open):
            assert max(10.0, retry_after) <= after.state.cooldown <= max(120.0, retry_after)
            assert after.state.until == now + after.state.cooldown


def test_jitter_only_lengthens() -> None:
    assert 0 < JITTER < 1


def test_an_override_is_told_with_who_and_why_and_only_while_it_holds() -> None:
    record = breaker.overridden(replace(Record(), cause="5 failures in a row"), Override("open", "ann", "why", 130.0))
    assert record.why(129.0) == "ann: why"
    assert record.why(130.0) == "5 failures in a row"
