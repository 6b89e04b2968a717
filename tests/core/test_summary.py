"""The summary's sentences, word by word."""

from __future__ import annotations

import pytest

from proxy.core.breaker import Closed, HalfOpen, Open, Override, Record
from proxy.core.budget import Spent
from proxy.core.negotiation import prefer
from proxy.core.outcome import Row
from proxy.core.retry import TABLE, Signal
from proxy.core.status import build
from proxy.core.summary import spoken, summarize
from tests.core.facts import NOW, facts, upstream

CLOSED = "The circuit breaker is closed."
FIVE = "5 failures in a row"


def text(attempts: dict[str, int] | None = None, *, record: Record | None = None, mode: str = "enforce") -> str:
    history = {f"attempt:{row}": n for row, n in (attempts or {}).items()}
    return summarize(build(facts(upstream(record=record, history=history, mode=mode))))


def opened(seconds_ago: float, left: float, opens: int = 1) -> Record:
    return Record(epoch=1, state=Open(NOW + left, 10.0), since=NOW - seconds_ago, opens=opens, cause=FIVE)


def forced(state: str, until: float | None, reason: str = "provider maintenance") -> Record:
    return Record(epoch=1, override=Override(state, "alice", reason, until))  # type: ignore[arg-type]


def test_the_sentence_everybody_asks_for() -> None:
    assert text({"success": 3, "timeout": 5, "server_error": 2}, record=opened(42, 7.6)) == (
        "In the last 10 minutes, 70% of payment attempts failed. "
        "The circuit breaker is currently open, blocking new attempts. "
        "It opened 42 s ago because of this: 5 failures in a row. "
        "It will let a probe through in 8 s. "
        "Of 10 attempts, 5 timed out and 2 got a server error."
    )


@pytest.mark.parametrize(
    ("attempts", "result"),
    [
        ({}, "no payments were attempted"),
        ({"success": 1}, "the only payment attempt succeeded"),
        ({"success": 1234}, "all 1234 payment attempts succeeded"),
        ({"decline": 1}, "the only payment attempt did not fail"),
        ({"success": 19, "decline": 1}, "none of the 20 payment attempts failed"),
        ({"success": 19, "rate_limited": 1}, "none of the 20 payment attempts failed"),
        ({"timeout": 1}, "the only payment attempt failed"),
        ({"timeout": 2}, "100% of payment attempts failed"),
        ({"success": 1, "timeout": 999}, "more than 99% of payment attempts failed"),
        ({"success": 1, "timeout": 99}, "99% of payment attempts failed"),
        ({"success": 2, "timeout": 1}, "33% of payment attempts failed"),
        ({"success": 99, "timeout": 1}, "1% of payment attempts failed"),
        ({"success": 999, "timeout": 1}, "fewer than 1% of payment attempts failed"),
    ],
)
def test_how_the_attempts_went(attempts: dict[str, int], result: str) -> None:
    assert text(attempts).startswith(f"In the last 10 minutes, {result}. {CLOSED}")


@pytest.mark.parametrize("attempts", [{}, {"success": 1}, {"success": 40}, {"success": 19, "decline": 1}])
def test_nothing_is_added_where_all_is_well(attempts: dict[str, int]) -> None:
    assert text(attempts).endswith(CLOSED)


@pytest.mark.parametrize(
    ("record", "sentences"),
    [
        (
            opened(0.2, 10),
            (
                "The circuit breaker is currently open, blocking new attempts. "
                "It opened 1 s ago because of this: 5 failures in a row. It will let a probe through in 10 s."
            ),
        ),
        (
            opened(200, 0, opens=2),
            (
                "The circuit breaker is currently open, blocking new attempts. "
                "It opened 3 min ago for the 2nd time in a row because of this: 5 failures in a row. "
                "It will let the next payment through as a probe."
            ),
        ),
        (
            Record(state=HalfOpen(10.0), since=NOW - 1, opens=1, cause="12 of 20 calls failed"),
            (
                "The circuit breaker is half-open, letting only probes through to see whether the provider is back. "
                "It opened because of this: 12 of 20 calls failed."
            ),
        ),
        (
            Record(state=Closed(), since=NOW - 30, opens=1, cause="1 probe passed"),
            "The circuit breaker is closed. It closed 30 s ago: 1 probe passed.",
        ),
        (Record(state=Closed(), since=NOW - 3600, opens=1, cause="1 probe passed"), CLOSED),
        (
            forced("open", NOW + 899.5),
            (
                "The circuit breaker is forced open by alice for another 15 min, blocking new attempts. "
                "The reason given: provider maintenance."
            ),
        ),
        (
            forced("closed", None, "We know!"),
            (
                "The circuit breaker is forced closed by alice until it is set back to automatic, so failures do not "
                "open it. The reason given: We know!"
            ),
        ),
        (forced("open", NOW - 1), CLOSED),
    ],
)
def test_the_breaker(record: Record, sentences: str) -> None:
    assert text(record=record) == f"In the last 10 minutes, no payments were attempted. {sentences}"


@pytest.mark.parametrize("record", [opened(1, 9), Record(state=HalfOpen(1.0), cause=FIVE), forced("open", None)])
def test_a_shadow_breaker_is_never_said_to_block(record: Record) -> None:
    summary = text(record=record, mode="shadow")
    assert "but in shadow mode it blocks nothing" in summary
    assert "blocking new attempts" not in summary
    assert "only probes" not in summary


@pytest.mark.parametrize(
    ("number", "ordinal"),
    [(2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (21, "21st"), (113, "113th")],
)
def test_how_often_it_opened(number: int, ordinal: str) -> None:
    assert f"for the {ordinal} time in a row" in text(record=opened(5, 5, opens=number))


@pytest.mark.parametrize("row", [row for row, rule in TABLE.items() if rule.signal is Signal.FAILURE])
def test_every_failure_has_words(row: Row) -> None:
    assert "Of 2 attempts, 1 " in text({"success": 1, row: 1})


def test_the_most_frequent_failures_come_first_and_the_rest_together() -> None:
    attempts = {"success": 3, "timeout": 1, "cut": 1, "connect_failed": 4, "server_error": 2, "no_answer": 2}
    assert "Of 13 attempts, 4 could not connect, 2 got no answer, 2 got a server error and 2 failed otherwise." in text(
        attempts
    )


@pytest.mark.parametrize(
    ("attempts", "sentence"),
    [
        ({"decline": 1}, "1 attempt was declined; a decline is an answer, so it does not count as a failure."),
        ({"success": 8, "decline": 2}, "2 attempts were declined; a decline is"),
        ({"success": 3, "rate_limited": 2}, "2 attempts were turned down by the provider as too many."),
    ],
)
def test_what_is_no_failure_but_worth_knowing(attempts: dict[str, int], sentence: str) -> None:
    assert sentence in text(attempts)


@pytest.mark.parametrize(
    ("history", "sentence"),
    [
        ({"payment:unknown": 1}, "1 payment ended with an unknown outcome: look it up before paying again."),
        ({"payment:unknown": 3}, "3 payments ended with an unknown outcome: look them up before paying again."),
        ({"rejected": 1}, "1 call was rejected without being sent."),
        ({"rejected": 12}, "12 calls were rejected without being sent."),
    ],
)
def test_what_it_meant_for_payments(history: dict[str, int], sentence: str) -> None:
    assert summarize(build(facts(upstream(history=history)))).endswith(f"{CLOSED} {sentence}")


@pytest.mark.parametrize(("retries", "left", "told"), [(9, 0.3, True), (9, 1.0, False), (0, 0.0, False)])
def test_the_retry_budget(retries: int, left: float, told: bool) -> None:
    summary = summarize(build(facts(upstream(spent=Spent(10, retries), retries_left=left))))
    assert ("The retry budget is used up: failed attempts are not repeated for now." in summary) is told


@pytest.mark.parametrize(
    ("on_outage", "sentence"),
    [
        ("local", "The shared store is unavailable: this replica decides alone."),
        ("closed", "The shared store is unavailable: as configured, every call is let through."),
        ("open", "The shared store is unavailable: as configured, every call is refused."),
    ],
)
def test_without_the_shared_store(on_outage: str, sentence: str) -> None:
    summary = summarize(build(facts(shared=True, up=False, on_outage=on_outage)))
    assert summary.endswith(f"{CLOSED} {sentence} The numbers are this replica's own.")
    assert "store" not in summarize(build(facts(shared=True, up=True, on_outage=on_outage)))
    assert "store" not in summarize(build(facts(shared=False, up=False, on_outage=on_outage)))


def test_several_upstreams_get_a_paragraph_each() -> None:
    one, other = upstream("adyen", history={"attempt:success": 2}), upstream("stripe", record=opened(5, 5))
    assert summarize(build(facts(one, other, shared=True, up=False))).split("\n\n") == [
        "adyen: In the last 10 minutes, all 2 payment attempts succeeded. The circuit breaker is closed.",
        (
            "stripe: In the last 10 minutes, no payments were attempted. "
            "The circuit breaker is currently open, blocking new attempts. "
            "It opened 5 s ago because of this: 5 failures in a row. It will let a probe through in 5 s."
        ),
        "The shared store is unavailable: this replica decides alone. The numbers are this replica's own.",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (600, "10 minutes"),
        (60, "minute"),
        (3600, "hour"),
        (7200, "2 hours"),
        (90, "90 seconds"),
        (5400, "90 minutes"),
        (12.5, "12.5 seconds"),
    ],
)
def test_a_window_as_people_say_it(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


JSON, TEXT = "application/json", "text/plain"


@pytest.mark.parametrize(
    ("accept", "preferred"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("nonsense", JSON),
        ("image/png", JSON),
        ("text/plain", TEXT),
        ("TEXT/Plain; charset=utf-8", TEXT),
        ("text/plain;q=0", JSON),
        ("application/json;q=0.2, text/*;q=0.3", TEXT),
        ("text/*, text/plain;q=0.1, application/json;q=0.5", JSON),
        ("*/*;q=0.9, application/json;q=0.1", TEXT),
        ("text/plain;q=x, application/json;q=0.1", JSON),
        ("text/plain;q=7, application/json;q=0.1", JSON),
        ("text/plain;format=flowed;Q=0.4, application/json;q=0.5", JSON),
    ],
)
def test_negotiation(accept: str, preferred: str) -> None:
    assert prefer(accept, (JSON, TEXT)) == preferred
