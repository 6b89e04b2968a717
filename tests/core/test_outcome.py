"""The decision table of payments.md section 6, row by row, for a provider that honours `Idempotency-Key`.

The verdicts are written by hand from that table. Rows that need a provider's own facts (7, 9, 10, 11, 15 and 18)
come with the profiles that state them; row 1 and 23 are the corridor's, row 24 is in test_idempotency.py.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.answers import Told, answer_for
from proxy.core.model import Certainty, Kind, Outcome, Result, TransportFailure, WireError
from proxy.core.outcome import Row, retry_after_seconds, row_of
from proxy.core.profiles import Profile
from proxy.core.retry import TABLE, may_repeat, outcome_after
from tests import fakes
from tests.fakes import GENERIC, NO_KEYS, response


@dataclass(frozen=True)
class Verdict:
    again: bool
    outcome: str
    breaker: str
    status: int


def verdict(result: Result, kind: Kind, facts: Profile, unknown_status: int = 424) -> Verdict:
    """What the code decides for a first attempt that ended in `result`."""
    terms = facts.terms[0] if kind is Kind.KEYED and facts.terms else None
    row = row_of(result, kind, facts, terms)
    outcome = outcome_after(row, kind, doubtful=False)
    answer = answer_for(result, row, kind, unknown_status, Told("req-1", 1, outcome))
    return Verdict(may_repeat(row, kind, terms), answer.outcome.value, TABLE[row].signal.value, answer.status)


STOP, AGAIN = False, True
# what happened | read: repeat, outcome, status | keyed: the same | unkeyed: the same | breaker
Cell = tuple[bool, str, int]
NOT_SENT_AGAIN: tuple[Cell, Cell, Cell] = ((AGAIN, "not_sent", 502), (AGAIN, "not_sent", 502), (AGAIN, "not_sent", 502))
NOT_SENT_STOP: tuple[Cell, Cell, Cell] = ((STOP, "not_sent", 502), (STOP, "not_sent", 502), (STOP, "not_sent", 502))
DECISIONS: list[tuple[str, Result, Cell, Cell, Cell, str]] = [
    # row 2
    ("2 dns", fakes.DNS, *NOT_SENT_AGAIN, "failure"),
    ("2 refused", fakes.REFUSED, *NOT_SENT_AGAIN, "failure"),
    ("2 connect timeout", fakes.CONNECT_TIMEOUT, *NOT_SENT_AGAIN, "failure"),
    ("2 tls", fakes.TLS, *NOT_SENT_AGAIN, "failure"),
    # row 3
    ("3 certificate", fakes.CERTIFICATE, *NOT_SENT_STOP, "failure"),
    # row 4
    ("4 reset", fakes.RESET, (AGAIN, "unknown", 502), (AGAIN, "unknown", 504), (STOP, "unknown", 424), "failure"),
    ("4 junk", fakes.JUNK, (AGAIN, "unknown", 502), (AGAIN, "unknown", 504), (STOP, "unknown", 424), "failure"),
    # row 5
    ("5 timeout", fakes.TIMEOUT, (AGAIN, "unknown", 504), (AGAIN, "unknown", 504), (STOP, "unknown", 424), "failure"),
    # row 6
    ("6 cut", fakes.CUT, (AGAIN, "unknown", 502), (AGAIN, "unknown", 504), (STOP, "unknown", 424), "failure"),
    # row 8
    ("8 500", response(500), (AGAIN, "unknown", 500), (AGAIN, "unknown", 500), (STOP, "unknown", 500), "failure"),
    ("8 501", response(501), (AGAIN, "unknown", 501), (AGAIN, "unknown", 501), (STOP, "unknown", 501), "failure"),
    ("8 599", response(599), (AGAIN, "unknown", 599), (AGAIN, "unknown", 599), (STOP, "unknown", 599), "failure"),
    # row 12
    ("12 502", response(502), (AGAIN, "unknown", 502), (AGAIN, "unknown", 502), (STOP, "unknown", 502), "failure"),
    ("12 504", response(504), (AGAIN, "unknown", 504), (AGAIN, "unknown", 504), (STOP, "unknown", 504), "failure"),
    ("12 520", response(520), (AGAIN, "unknown", 520), (AGAIN, "unknown", 520), (STOP, "unknown", 520), "failure"),
    ("12 526", response(526), (AGAIN, "unknown", 526), (AGAIN, "unknown", 526), (STOP, "unknown", 526), "failure"),
    # row 13
    ("13 503", response(503), (AGAIN, "unknown", 503), (AGAIN, "unknown", 503), (STOP, "unknown", 503), "failure"),
    # row 14
    ("14 429", response(429), (AGAIN, "final", 429), (AGAIN, "final", 429), (STOP, "final", 429), "neutral"),
    # row 16
    ("16 408", response(408), (AGAIN, "unknown", 408), (AGAIN, "unknown", 408), (STOP, "unknown", 408), "failure"),
    ("16 421", response(421), (AGAIN, "final", 421), (AGAIN, "final", 421), (AGAIN, "final", 421), "neutral"),
    # row 20
    ("20 decline", response(402), (STOP, "final", 402), (STOP, "final", 402), (STOP, "final", 402), "success"),
    ("20 bad request", response(400), (STOP, "final", 400), (STOP, "final", 400), (STOP, "final", 400), "success"),
    ("20 auth", response(401), (STOP, "final", 401), (STOP, "final", 401), (STOP, "final", 401), "success"),
    ("20 forbidden", response(403), (STOP, "final", 403), (STOP, "final", 403), (STOP, "final", 403), "success"),
    ("20 not found", response(404), (STOP, "final", 404), (STOP, "final", 404), (STOP, "final", 404), "success"),
    ("20 gone", response(410), (STOP, "final", 410), (STOP, "final", 410), (STOP, "final", 410), "success"),
    ("20 too large", response(413), (STOP, "final", 413), (STOP, "final", 413), (STOP, "final", 413), "success"),
    ("20 too early", response(425), (STOP, "final", 425), (STOP, "final", 425), (STOP, "final", 425), "success"),
    # row 21
    ("21 200", response(200), (STOP, "final", 200), (STOP, "final", 200), (STOP, "final", 200), "success"),
    ("21 201", response(201), (STOP, "final", 201), (STOP, "final", 201), (STOP, "final", 201), "success"),
    ("21 202", response(202), (STOP, "final", 202), (STOP, "final", 202), (STOP, "final", 202), "success"),
    ("21 204", response(204), (STOP, "final", 204), (STOP, "final", 204), (STOP, "final", 204), "success"),
    # row 22
    ("22 302", response(302), (STOP, "final", 302), (STOP, "final", 302), (STOP, "final", 302), "neutral"),
    ("22 304", response(304), (STOP, "final", 304), (STOP, "final", 304), (STOP, "final", 304), "neutral"),
    ("22 307", response(307), (STOP, "final", 307), (STOP, "final", 307), (STOP, "final", 307), "neutral"),
]  # fmt: skip
CELLS = [
    pytest.param(result, kind, cell, breaker, id=f"{name} {kind}")
    for name, result, read, keyed, unkeyed, breaker in DECISIONS
    for kind, cell in ((Kind.READ, read), (Kind.KEYED, keyed), (Kind.UNKEYED, unkeyed))
]


@pytest.mark.parametrize(("result", "kind", "cell", "breaker"), CELLS)
def test_decision_table(result: Result, kind: Kind, cell: Cell, breaker: str) -> None:
    again, outcome, status = cell
    assert verdict(result, kind, GENERIC) == Verdict(again, outcome, breaker, status)


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        # row 17: only a request with a key can meet itself in flight; for others a 409 is a plain refusal, row 20
        (409, Kind.KEYED, Verdict(AGAIN, "unknown", "neutral", 409)),
        (409, Kind.READ, Verdict(STOP, "final", "success", 409)),
        (409, Kind.UNKEYED, Verdict(STOP, "final", "success", 409)),
        # row 19: a 422 to a request with a key; for others a validation error, row 20
        (422, Kind.KEYED, Verdict(STOP, "final", "neutral", 422)),
        (422, Kind.READ, Verdict(STOP, "final", "success", 422)),
        (422, Kind.UNKEYED, Verdict(STOP, "final", "success", 422)),
    ],
)
def test_rows_17_and_19_need_a_key(status: int, kind: Kind, expected: Verdict) -> None:
    assert verdict(response(status), kind, GENERIC) == expected


@pytest.mark.parametrize("result", [fakes.RESET, fakes.JUNK, fakes.TIMEOUT, fakes.CUT], ids=lambda result: result.error)
@pytest.mark.parametrize(("kind", "status"), [(Kind.KEYED, 504), (Kind.UNKEYED, 504)])
def test_unknown_status_504_is_used_for_unkeyed_writes(result: Result, kind: Kind, status: int) -> None:
    assert verdict(result, kind, GENERIC, unknown_status=504).status == status


@pytest.mark.parametrize("unknown_status", [424, 504])
@pytest.mark.parametrize("kind", list(Kind))
def test_unknown_status_does_not_touch_what_was_not_sent(kind: Kind, unknown_status: int) -> None:
    assert verdict(fakes.REFUSED, kind, GENERIC, unknown_status).status == 502


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 520, 599])
def test_a_provider_not_known_to_be_safe_after_5xx_gets_no_keyed_retry(status: int) -> None:
    careful = fakes.profile(received_5xx_then_same_key="never")
    assert verdict(response(status), Kind.KEYED, careful) == Verdict(STOP, "unknown", "failure", status)
    assert verdict(response(status), Kind.READ, careful).again
    assert not verdict(fakes.TIMEOUT, Kind.KEYED, careful).again


@pytest.mark.parametrize("status", range(100, 600))
def test_without_keys_a_write_is_repeated_only_where_nothing_was_carried_out(status: int) -> None:
    assert verdict(response(status), Kind.UNKEYED, NO_KEYS).again is (status == 421)


@pytest.mark.parametrize("status", [409, 422])
def test_without_keys_409_and_422_are_plain_refusals(status: int) -> None:
    assert verdict(response(status), Kind.UNKEYED, NO_KEYS) == Verdict(STOP, "final", "success", status)


@pytest.mark.parametrize("status", [500, 502, 503, 408])
def test_without_keys_reads_are_still_repeated(status: int) -> None:
    assert verdict(response(status), Kind.READ, NO_KEYS).again


def test_a_decline_status_of_the_profile_is_a_decline() -> None:
    facts = fakes.profile(decline_statuses=[410])
    row = row_of(response(410), Kind.KEYED, facts, facts.terms[0])
    assert row is Row.DECLINE
    assert TABLE[row].settles


@given(status=st.integers(100, 599), kind=st.sampled_from(Kind), facts=st.sampled_from([GENERIC, NO_KEYS]))
def test_every_status_has_a_row_and_no_success_is_ever_repeated(status: int, kind: Kind, facts: Profile) -> None:
    decided = verdict(response(status), kind, facts)
    assert decided.status == status
    if decided.outcome == "final" and decided.breaker == "success":
        assert not decided.again
    if kind is Kind.UNKEYED and decided.outcome == "unknown":
        assert not decided.again


def test_every_row_is_decided() -> None:
    assert set(TABLE) == set(Row)


# Retry-After ---------------------------------------------------------------------------------------------------


def asked(value: bytes, wall_now: float = 0.0) -> float | None:
    return retry_after_seconds(response(503, (b"retry-AFTER", value)), wall_now)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0.0),
        (b"120", 120.0),
        (b" 7 ", 7.0),
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", 37.0),
        (b"Sun, 06 Nov 1994 08:49:00 GMT", 0.0),
        (b"Sun, 06 Nov 1994 08:48:00 GMT", 0.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: bytes, seconds: float) -> None:
    assert asked(value, wall_now=784111740.0) == seconds


@pytest.mark.parametrize(
    "value", [b"", b"-5", b"+5", b"1.5", b"soon", b"\xb2", b"1e3", b"Sun, 99 Nov 1994 08:49:37 GMT"]
)
def test_an_unreadable_retry_after_is_none(value: bytes) -> None:
    assert asked(value) is None


def test_no_retry_after_is_none() -> None:
    assert retry_after_seconds(response(503), 0.0) is None
    assert retry_after_seconds(fakes.TIMEOUT, 0.0) is None


@pytest.mark.parametrize("status", [429, 503])
def test_a_head_whose_body_broke_off_asks_for_its_wait_all_the_same(status: int) -> None:
    cut = TransportFailure(Certainty.CUT, WireError.CUT, "", status, ((b"Retry-After", b"7"),))
    assert retry_after_seconds(cut, 0.0) == 7.0


@pytest.mark.parametrize(
    "value",
    [
        b"Mon, 01 Jan 99999999999 00:00:00 GMT",
        b"Mon, 01 Jan 2024 99999999999999999999:00:00 GMT",
        b"Mon, 01 Jan 2024 00:00:00 +99999999999999999",
    ],
)
def test_a_date_beyond_reckoning_is_unreadable_and_not_an_exception(value: bytes) -> None:
    assert asked(value) is None


def test_a_date_without_zone_is_utc_wherever_the_replica_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as there:
        there.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        seconds = asked(b"Sun Nov  6 08:49:37 1994", wall_now=784111740.0)
    time.tzset()
    assert seconds == 37.0


def test_retry_after_is_always_a_finite_number() -> None:
    seconds = asked(b"9" * 400)
    assert seconds is None or seconds < float("inf")


@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_retry_after_is_never_negative(text: str) -> None:
    seconds = asked(text.encode("latin-1"))
    assert seconds is None or seconds >= 0


# doubt ---------------------------------------------------------------------------------------------------------

SETTLING = {Row.SUCCESS, Row.DECLINE, Row.REPLAY}


@pytest.mark.parametrize("row", list(Row))
def test_after_a_doubtful_attempt_only_an_answer_about_the_payment_is_final(row: Row) -> None:
    expected = Outcome.FINAL if row in SETTLING else Outcome.UNKNOWN
    assert outcome_after(row, Kind.KEYED, doubtful=True) is expected
    assert outcome_after(row, Kind.UNKEYED, doubtful=True) is Outcome.UNKNOWN, "the key is past its retention"
