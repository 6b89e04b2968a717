"""Answers of our own, and what every answer carries."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from proxy.core.answers import Told, answer_headers, failed, problem, provider_answer, refused
from proxy.core.model import Answer, Certainty, Kind, Outcome, TransportFailure, WireError, header
from proxy.core.outcome import Row
from tests import fakes
from tests.fakes import FakeStream, response

TOLD = Told("req-1", 2, Outcome.UNKNOWN)


def document(answer: Answer) -> dict[str, object]:
    assert isinstance(answer.body, bytes)
    parsed = json.loads(answer.body)
    assert isinstance(parsed, dict)
    return parsed


def test_a_problem_says_what_a_person_needs() -> None:
    answer = problem(504, "http_response_timeout", "No answer.", TOLD)
    assert document(answer) == {
        "type": "about:blank",
        "title": "Gateway Timeout",
        "status": 504,
        "detail": "No answer.",
        "error": "http_response_timeout",
        "outcome": "unknown",
        "attempts": 2,
        "request_id": "req-1",
    }
    assert header(answer.headers, b"content-type") == b"application/problem+json"
    assert answer.reason == b"Gateway Timeout"


def test_our_answers_stop_the_sdk() -> None:
    not_sent = Told("req-1", 0, Outcome.NOT_SENT)
    for answer in (
        problem(404, "e", "d", not_sent),
        refused(1, 60, "d", not_sent),
        failed(fakes.TIMEOUT, Row.TIMEOUT, Kind.UNKEYED, 424, TOLD),
        failed(fakes.REFUSED, Row.CONNECT_FAILED, Kind.KEYED, 424, not_sent),
    ):
        assert header(answer.headers, b"stripe-should-retry") == b"false"


@pytest.mark.parametrize(
    ("wait", "cap", "seconds"),
    [
        (8.0, 60.0, b"8"),
        (8.01, 60.0, b"9"),
        (0.0, 60.0, b"1"),
        (0.4, 60.0, b"1"),
        (90.0, 60.0, b"60"),
        (float("inf"), 60.0, b"60"),
        (5.0, 0.5, b"1"),
    ],
)
def test_a_refusal_tells_the_true_wait_rounded_up_and_capped(wait: float, cap: float, seconds: bytes) -> None:
    answer = refused(wait, cap, "d", Told("req-1", 0, Outcome.NOT_SENT))
    assert answer.status == 503
    assert answer.outcome is Outcome.NOT_SENT
    assert header(answer.headers, b"retry-after") == seconds


def test_the_providers_answer_is_untouched() -> None:
    stream = FakeStream(b"a")
    given = response(299, (b"X-A", b"1"), (b"x-a", b"2"), (b"Content-Encoding", b"gzip"), body=stream)
    answer = provider_answer(given, Told("req-1", 1, Outcome.FINAL))
    assert (answer.status, answer.reason, answer.headers) == (299, b"Reason", given.headers)
    assert answer.body is stream
    assert answer.error is None


def test_a_cut_answer_tells_what_was_seen_of_it() -> None:
    answer = failed(fakes.CUT, Row.CUT, Kind.KEYED, 424, TOLD)
    assert header(answer.headers, b"x-upstream-status") == b"200"
    assert header(answer.headers, b"x-upstream-request-id") == b"req_1"
    assert header(failed(fakes.TIMEOUT, Row.TIMEOUT, Kind.KEYED, 424, TOLD).headers, b"x-upstream-status") is None


@pytest.mark.parametrize(("kind", "status"), [(Kind.READ, 502), (Kind.KEYED, 504), (Kind.UNKEYED, 424)], ids=str)
def test_not_reached_now_but_doubtful_before_is_answered_as_doubt(kind: Kind, status: int) -> None:
    answer = failed(fakes.REFUSED, Row.CONNECT_FAILED, kind, 424, TOLD)
    assert (answer.status, answer.outcome) == (status, Outcome.UNKNOWN)
    assert "nothing was sent" not in str(document(answer)["detail"])


def test_a_write_that_is_safe_to_repeat_is_not_answered_as_if_nothing_was_sent() -> None:
    assert failed(fakes.RESET, Row.NO_ANSWER, Kind.READ, 424, TOLD, write=True).status == 504
    assert failed(fakes.RESET, Row.NO_ANSWER, Kind.READ, 424, TOLD).status == 502


@pytest.mark.parametrize("unknown_status", [424, 504])
def test_a_key_of_ours_protects_nobody_who_repeats(unknown_status: int) -> None:
    """promises.md K: a client that repeats does so under a new key."""
    told = replace(TOLD, injected_key="ours")
    assert failed(fakes.RESET, Row.NO_ANSWER, Kind.KEYED, unknown_status, told).status == unknown_status


def test_every_answer_carries_outcome_attempts_and_request_id() -> None:
    headers = answer_headers(provider_answer(response(200), Told("req-1", 3, Outcome.FINAL)), "req-1")
    assert headers == ((b"X-Payment-Outcome", b"final"), (b"X-Proxy-Attempts", b"3"), (b"X-Request-Id", b"req-1"))


def test_the_providers_request_id_is_kept() -> None:
    headers = answer_headers(
        provider_answer(response(200, (b"x-request-ID", b"p")), Told("req-1", 1, Outcome.FINAL)), "req-1"
    )
    assert [value for name, value in headers if name.lower() == b"x-request-id"] == [b"p"]


def test_key_degradation_and_error_are_told_where_there_are_any() -> None:
    answer = Answer(502, b"", (), b"", Outcome.NOT_SENT, 1, "dns_error", "key-1", "breaker")
    headers = answer_headers(answer, "req-1")
    assert header(headers, b"x-proxy-idempotency-key") == b"key-1"
    assert header(headers, b"x-proxy-degraded") == b"breaker"
    assert header(headers, b"proxy-status") == b"holdfast; error=dns_error"


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        ("no complete head in time", b'; details="no complete head in time"'),
        ('say "no" \\ or "yes"', b'; details="say \\"no\\" \\\\ or \\"yes\\""'),
        ("", b""),
        ("d\u00e9j\u00e0 vu", b""),
        ("two\r\nlines", b""),
    ],
)
def test_what_the_wire_showed_is_told_as_a_structured_string(detail: str, told: bytes) -> None:
    failure = TransportFailure(Certainty.NO_ANSWER, WireError.JUNK, detail)
    for outcome in (Outcome.UNKNOWN, Outcome.NOT_SENT):
        answer = failed(failure, Row.NO_ANSWER, Kind.KEYED, 424, Told("req-1", 1, outcome))
        assert header(answer_headers(answer, "req-1"), b"proxy-status") == b"holdfast; error=http_protocol_error" + told
