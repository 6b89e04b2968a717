"""What is logged, what never is, and that logging hurts nobody."""

import io
import json
import logging
import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.cards import luhn, mask_cards
from proxy.core.events import (
    AttemptFinished,
    BreakerChanged,
    CallRejected,
    ClientDropped,
    Event,
    PaymentFinished,
    RecordUnreadable,
    RetryDenied,
    RetryScheduled,
    StoreChanged,
    StoreFailed,
    StoreInspected,
    TurnFailed,
)
from proxy.core.model import Kind, Outcome
from proxy.core.outcome import Row
from proxy.core.retry import Denied
from proxy.edges import log_writer
from proxy.edges.log import LogSink, configure
from proxy.edges.log_writer import LogWriter
from proxy.edges.scrub import mask_library_text, scrub, scrubbed

CARD = "4242424242424242"
UUID = "3f1c2d4e-1111-4abc-8def-0123456789ab"


def payment(**change: object) -> PaymentFinished:
    facts: dict[str, object] = {
        "route": "/api/payment",
        "upstream": "mock",
        "request_id": UUID,
        "trace_id": None,
        "method": "POST",
        "kind": Kind.KEYED,
        "status": 201,
        "outcome": Outcome.FINAL,
        "attempts": 1,
        "seconds": 0.0213,
        "error": None,
    }
    return PaymentFinished(**{**facts, **change})  # type: ignore[arg-type]


EVENTS: dict[str, Event] = {
    "payment.finished": payment(),
    "breaker.changed": BreakerChanged("mock", "closed", "open", 3, "5 failures in a row", 10.0),
    "store.up": StoreChanged(up=True, cause=""),
    "store.down": StoreChanged(up=False, cause="refused"),
    "turn.failed": TurnFailed("sync", "ValueError('http://h/?token=abc')"),
    "attempt.finished": AttemptFinished("mock", UUID, 1, Row.TIMEOUT, None, "http_response_timeout", 0.5, probe=False),
    "retry.scheduled": RetryScheduled("mock", UUID, Row.TIMEOUT, 0.25),
    "retry.denied": RetryDenied("mock", UUID, Denied.BUDGET),
    "call.rejected": CallRejected("mock", "breaker", shadow=False),
}
ALWAYS = ["payment.finished", "breaker.changed", "store.up", "store.down", "turn.failed"]
WARNINGS = ["breaker.changed", "store.down", "turn.failed"]


@pytest.fixture(autouse=True)
def root_log_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def lines(stream: io.BytesIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def logged(*events: object, level: str = "debug") -> list[dict[str, object]]:
    stream = io.BytesIO()
    sink = LogSink(configure(level, "json", stream))  # type: ignore[arg-type]
    for event in events:
        sink.publish(event)  # type: ignore[arg-type]
    return lines(stream)


@pytest.mark.parametrize(
    ("level", "names"), [("debug", list(EVENTS)), ("info", ALWAYS), ("warning", WARNINGS), ("error", ["turn.failed"])]
)
def test_a_level_lets_through_what_it_should(level: str, names: list[str]) -> None:
    assert [line["event"] for line in logged(*EVENTS.values(), level=level)] == names


def test_a_payment_is_one_line_of_named_fields() -> None:
    (line,) = logged(payment(trace_id="4bf92f3577b34da6a3ce929d0e0e4736"))
    assert line.pop("timestamp")
    assert line == {
        "level": "info",
        "event": "payment.finished",
        "request_id": UUID,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "route": "/api/payment",
        "upstream": "mock",
        "method": "POST",
        "kind": "keyed",
        "status": 201,
        "outcome": "final",
        "attempts": 1,
        "duration_ms": 21.3,
        "error": None,
    }


def test_what_the_wire_showed_is_told_of_attempt_and_payment_where_there_is_anything() -> None:
    attempt = AttemptFinished("mock", UUID, 1, Row.NO_ANSWER, None, "http_protocol_error", 0.5, False, "bare LF")
    told = logged(attempt, payment(detail="bare LF"), EVENTS["attempt.finished"], payment())
    assert [line.get("detail") for line in told] == ["bare LF", "bare LF", None, None]
    assert ["detail" in line for line in told] == [True, True, False, False]


def test_a_payment_in_doubt_is_a_warning_at_every_level_but_error() -> None:
    doubtful = payment(outcome=Outcome.UNKNOWN, status=504)
    assert [line["level"] for line in logged(doubtful, level="warning")] == ["warning"]
    assert logged(doubtful, level="error") == []


@pytest.mark.parametrize(
    ("new", "level"), [("open", "warning"), ("forced_open", "warning"), ("half_open", "info"), ("closed", "info")]
)
def test_an_opening_breaker_is_a_warning(new: str, level: str) -> None:
    (line,) = logged(BreakerChanged("mock", "x", new, 3, "5 failures in a row", None))
    assert (line["level"], line["new"], line["cause"]) == (level, new, "5 failures in a row")


def test_a_bug_in_the_background_is_told_without_its_query_string() -> None:
    (line,) = logged(EVENTS["turn.failed"])
    assert (line["level"], line["loop"], line["cause"]) == ("error", "sync", "ValueError('http://h/?[masked]")


def test_each_kind_of_trouble_with_a_store_that_answers_is_told_once() -> None:
    wrong, late = StoreFailed("claim", "TypeError"), StoreFailed("claim", "no answer in time")
    told = logged(wrong, wrong, late, wrong, late)
    assert [(line["event"], line["cause"]) for line in told] == [
        ("store.failed", "TypeError"),
        ("store.failed", "no answer in time"),
    ]


def test_while_the_store_is_known_to_be_away_only_that_is_told() -> None:
    failed = StoreFailed("claim", "TypeError")
    told = logged(failed, StoreChanged(up=False, cause="x"), failed, StoreChanged(up=True, cause="y"), failed, failed)
    assert [line["event"] for line in told] == ["store.failed", "store.down", "store.up", "store.failed"]


def test_a_store_that_went_away_says_where_it_is() -> None:
    (line,) = logged(StoreChanged(up=False, cause="read: refused", where="10.0.0.5:6379"))
    assert (line["level"], line["store"]) == ("warning", "10.0.0.5:6379")


def test_what_is_unsafe_about_the_store_is_a_warning_each() -> None:
    told = logged(StoreInspected((("it forgets", "make it keep"), ("it evicts", "do not"))))
    assert [(line["event"], line["level"], line["problem"], line["remedy"]) for line in told] == [
        ("store.unsafe", "warning", "it forgets", "make it keep"),
        ("store.unsafe", "warning", "it evicts", "do not"),
    ]


def test_a_record_that_nobody_can_read_is_told_with_its_upstream() -> None:
    lost, back = logged(RecordUnreadable("mock", "unknown state"), RecordUnreadable("mock", None))
    assert (lost["event"], lost["level"], lost["upstream"]) == ("store.record_unreadable", "warning", "mock")
    assert (back["event"], back["upstream"]) == ("store.record_readable", "mock")


def refused(number: int = 0, **change: object) -> PaymentFinished:
    facts = {"request_id": f"r{number}", "status": 400, "outcome": Outcome.NOT_SENT, "malformed": "host"}
    return payment(**{**facts, **change})


def test_a_malformed_request_is_a_line_with_a_reason_and_no_payment() -> None:
    (line,) = logged(refused())
    assert (line["event"], line["level"], line["reason"], line["request_id"]) == (
        "request.malformed",
        "info",
        "host",
        "r0",
    )
    assert (line["status"], line["outcome"], line["suppressed"]) == (400, "not_sent", 0)
    assert logged(refused(), level="warning") == []
    doubtful = refused(outcome=Outcome.UNKNOWN)  # part of it was on its way already
    assert [(line["event"], line["level"]) for line in logged(doubtful)] == [("payment.finished", "warning")]


def test_a_flood_of_malformed_requests_or_dropped_clients_is_told_of_and_counted_but_not_each() -> None:
    now, stream = [0.0], io.BytesIO()
    sink = LogSink(configure("info", "json", stream), lambda: now[0])
    for number in range(500):
        sink.publish(refused(number))
        sink.publish(ClientDropped("too_many_connections"))
        sink.publish(payment())
    sink.publish(ClientDropped("not_reading"))
    now[0] += 10
    sink.publish(refused())
    sink.publish(ClientDropped("too_many_connections"))
    told = lines(stream)
    assert sum(line["event"] == "payment.finished" for line in told) == 500
    malformed = [line for line in told if line["event"] == "request.malformed"]
    assert (len(malformed), malformed[-1]["suppressed"]) == (21, 480)
    dropped = [
        (line["reason"], line["suppressed"], line["level"]) for line in told if line["event"] == "client.dropped"
    ]
    many = "too_many_connections"
    assert dropped == [(many, 0, "warning"), ("not_reading", 0, "warning"), (many, 499, "warning")]


def test_the_console_has_no_colours_and_ends_its_lines() -> None:
    stream = io.BytesIO()
    LogSink(configure("info", "console", stream)).publish(payment(request_id="é\ud800"))
    text = stream.getvalue()
    assert b"payment.finished" in text
    assert text.endswith(b"\n")
    assert b"\x1b" not in text


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("closed"), RuntimeError("surprise")])
@pytest.mark.parametrize("form", ["json", "console"])
def test_publish_never_raises(error: Exception, form: str) -> None:
    class Broken(io.BytesIO):
        def write(self, _: object) -> int:
            raise error

    sink = LogSink(configure("debug", form, Broken()))  # type: ignore[arg-type]
    for event in EVENTS.values():
        sink.publish(event)
    sink.publish(payment(request_id="\ud800"))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (CARD, "[masked]"),
        (f"card {CARD}.", "card [masked]."),
        (f"x{CARD}y", "x[masked]y"),
        ("4242 4242 4242 4242", "[masked]"),
        ("4242-4242-4242-4242", "[masked]"),
        ("3782 822463 10005", "[masked]"),
        ("4242 4242 4242 4242 12/29", "[masked] 12/29"),
        ("12 4242 4242 4242 4242", "12 [masked]"),
        (f"{CARD} {CARD}", "[masked] [masked]"),
        ("4222222222222", "[masked]"),
        ("4242424242424241", "4242424242424241"),
        ("424242424242", "424242424242"),
        ("4" * 20, "[masked]"),
        (UUID, UUID),
        ("00000000000042424242424242420000", "[masked]"),  # an id of digits alone is too rare to spare it
        ("2026-11-23T06:57:17.602", "2026-11-23T06:57:17.602"),
    ],
)
def test_card_numbers_are_masked_and_ids_are_not(text: str, masked: str) -> None:
    assert mask_cards(text) == masked


@given(st.text(), st.integers(10**11, 10**18 - 1), st.text())
def test_no_card_number_survives_whatever_stands_around_it(before: str, number: int, after: str) -> None:
    body = str(number)
    card = next(f"{body}{digit}" for digit in range(10) if luhn(f"{body}{digit}"))
    edge = not (
        before[-1:].isdigit() or after[:1].isdigit() or before.endswith((" ", "-")) or after.startswith((" ", "-"))
    )
    if edge and 13 <= len(card) <= 19:
        assert card not in mask_cards(before + card + after)


def test_the_net_reaches_every_depth() -> None:
    deep = {"a": [CARD, {CARD: (CARD, 1)}], "b": CARD.encode(), "c": {CARD}, "d": 5, "e": None}
    expected = {"a": ["[masked]", {"[masked]": ["[masked]", 1]}], "b": "[masked]", "c": ["[masked]"], "d": 5, "e": None}
    assert scrubbed(deep) == expected
    assert scrub(None, "info", dict(deep)) == expected


def test_the_net_is_under_every_line() -> None:
    (line,) = logged(payment(request_id=f"order {CARD}"))
    assert line["request_id"] == "order [masked]"


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("GET http://h/p?card=1&x=2 failed", "card=1"),
        ("URL('http://h/p?x=a,b)c')", "b)c"),
        ("http://user:pw@h/", "pw"),
        ("Authorization: Bearer abc", "abc"),
        ("b'authorization': b'Bearer abc'", "abc"),
        ("Idempotency-Key: abc", "abc"),
        ("password=abc", "abc"),
        (f"body {CARD}", CARD),
    ],
)
def test_what_libraries_say_is_cleaned(text: str, gone: str) -> None:
    assert gone not in mask_library_text(text)


def test_the_standard_librarys_warnings_go_the_same_way() -> None:
    stream = io.BytesIO()
    configure("info", "json", stream)
    configure("info", "json", stream)  # a second time does not double them
    library = logging.getLogger("some.library")
    library.info("not this")
    library.warning("connecting to %s", "http://h/p?token=abc")
    try:
        int(f"http://h/?card={CARD}")
    except ValueError:
        library.exception("failed")
    for handler in logging.getLogger().handlers:
        if type(handler).__module__.startswith("proxy"):  # pytest's own handlers do raise
            handler.emit(library.makeRecord("x", logging.WARNING, "f", 1, "%d", ("no number",), None))
    warned, failed = lines(stream)
    assert (warned["event"], warned["level"], warned["logger"]) == ("library.message", "warning", "some.library")
    assert warned["message"] == "connecting to http://h/p?[masked]"
    assert failed["level"] == "error"
    assert "'http://h/?[masked]" in str(failed["error"])
    assert CARD not in str(failed)


class Stalled:
    """A stream whose reader does not read until told to."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.reads = threading.Event()
        self.data = b""

    def write(self, data: bytes) -> int:
        self.entered.set()
        assert self.reads.wait(10)
        self.data += data
        return len(data)


def test_a_stalled_reader_stalls_nobody_and_the_loss_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "KEPT_BYTES", 100)
    stream = Stalled()
    writer = LogWriter(stream)
    writer.write(b"first\n")
    assert stream.entered.wait(10)
    for _ in range(30):
        writer.write(b"x" * 9 + b"\n")
    stream.reads.set()
    writer.close(10)
    first, *rest, told = stream.data.splitlines()
    assert first == b"first"
    assert len(rest) == 10
    assert json.loads(told) == {"event": "log.dropped", "level": "warning", "lines": 20}


def test_closing_does_not_wait_for_a_stalled_reader_forever() -> None:
    stream = Stalled()
    writer = LogWriter(stream)
    writer.write(b"first\n")
    assert stream.entered.wait(10)
    writer.close(0.01)
    assert stream.data == b""
    stream.reads.set()


def test_a_full_pipe_gets_every_byte_in_order() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    sent = [b"%d\n" % n * 100 for n in range(1000)]  # more than a pipe holds
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "wb") as pipe:
        writer = LogWriter(pipe)
        for line in sent:
            writer.write(line)
        assert reader.read(len(b"".join(sent))) == b"".join(sent)
        writer.close(10)


def test_a_reader_that_has_gone_is_nobodys_trouble() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        writer = LogWriter(pipe)
        writer.write(b"lost\n")
        writer.close(10)
        assert not writer._thread.is_alive()
