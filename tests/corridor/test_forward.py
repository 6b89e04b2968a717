"""The corridor end to end among fakes: what the provider receives, what the client is told, what is published."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from proxy.core.breaker import Closed, HalfOpen, Open, Record
from proxy.core.errors import RequestRefused
from proxy.core.events import AttemptFinished, CallRejected, PaymentFinished, RetryDenied, RetryScheduled, TurnFailed
from proxy.core.model import Answer, Kind, Outcome, Payment, Result, header
from proxy.core.outcome import Row
from proxy.core.retry import Denied
from proxy.edges.memory_store import MemoryBreakerStore
from proxy.failover import FailoverStore
from proxy.gate import Permit
from proxy.ports import Lease
from tests import fakes
from tests.fakes import (
    CUT,
    GENERIC,
    HANG,
    KEYED,
    NO_KEYS,
    READ,
    REFUSED,
    RESET,
    TIMEOUT,
    UNKEYED,
    Corridor,
    FakeClock,
    FakeStream,
    RecordingSink,
    ScriptedStore,
    Step,
    payment,
    profile,
    response,
    settled,
    upstream,
)

OK = response(201)
BY_KIND = {Kind.READ: READ, Kind.KEYED: KEYED, Kind.UNKEYED: UNKEYED}


def denials(corridor: Corridor) -> list[Denied]:
    return [event.reason for event in corridor.sink.of(RetryDenied)]


def retries(**settings: object) -> dict[str, object]:
    return {"jitter": "none", **settings}


# what the provider receives -----------------------------------------------------------------------------------------


async def test_a_success_is_one_attempt_and_comes_back_untouched() -> None:
    corridor = Corridor(response(201, (b"X-A", b"1"), (b"X-A", b"2"), body=b"\x00body"))
    answer = await corridor.pay()
    assert (answer.status, answer.body, answer.outcome, answer.attempts) == (201, b"\x00body", Outcome.FINAL, 1)
    assert answer.headers == ((b"X-A", b"1"), (b"X-A", b"2"))
    assert len(corridor.transport.sent) == 1
    assert corridor.clock.slept == []


@pytest.mark.parametrize("one", [READ, KEYED, payment("POST")], ids=["read", "client's key", "our key"])
async def test_every_attempt_sends_the_same_request(one: Payment) -> None:
    corridor = Corridor(RESET, response(503), TIMEOUT, OK)
    answer = await corridor.pay(one)
    sent = [attempt.payment for attempt in corridor.transport.sent]
    assert len(sent) == answer.attempts == 4
    assert all(each == sent[0] for each in sent)
    assert (sent[0].body, sent[0].target) == (one.body, one.target)


async def test_the_key_is_made_once_before_the_first_attempt_and_the_client_is_told() -> None:
    corridor = Corridor(TIMEOUT, TIMEOUT, OK, new_keys=["only-one"])
    answer = await corridor.pay(payment("POST"))
    assert [header(one.payment.headers, b"idempotency-key") for one in corridor.transport.sent] == [b"only-one"] * 3
    assert answer.injected_key == "only-one"


@pytest.mark.parametrize("last", [OK, TIMEOUT, REFUSED, response(500), response(409)])
async def test_the_client_is_told_our_key_whatever_became_of_it(last: Result) -> None:
    corridor = Corridor(last, config=upstream(retry={"max_retries": 0}))
    assert (await corridor.pay(payment("POST"))).injected_key == "new-key"


@pytest.mark.parametrize("one", [KEYED, READ, UNKEYED])
async def test_no_key_is_claimed_where_none_was_added(one: Payment) -> None:
    corridor = Corridor(OK, new_keys=[])
    assert (await corridor.pay(one)).injected_key is None
    assert corridor.transport.sent[0].payment == one


@pytest.mark.parametrize(
    ("one", "first", "ages"),
    [
        (READ, TIMEOUT, [None, 0.0]),
        (KEYED, CUT, [None, 0.0]),
        (KEYED, response(503), [None, None]),
        (KEYED, RESET, [None, 0.0]),
        (KEYED, response(408), [None, 0.0]),
        (UNKEYED, REFUSED, [1.0, 1.0]),
        (UNKEYED, response(421), [1.0, 0.0]),
    ],
)
async def test_which_connection_an_attempt_may_take(one: Payment, first: Result, ages: list[float | None]) -> None:
    corridor = Corridor(first, OK)
    await corridor.pay(one)
    assert [sent.max_idle_age for sent in corridor.transport.sent] == ages


async def test_the_rest_of_the_deadline_is_passed_on_in_milliseconds() -> None:
    config = upstream(timeouts={"header": "X-Remaining"}, retry=retries())
    corridor = Corridor(Step(TIMEOUT, takes=3.0), OK, config=config)
    await corridor.pay(started=corridor.clock.now() - 1.0)
    told = [sent.extra[0] for sent in corridor.transport.sent]
    assert [name for name, _ in told] == [b"X-Remaining"] * 2
    assert [int(value) for _, value in told] == pytest.approx([9000, 5900], abs=1)


async def test_no_deadline_header_unless_configured() -> None:
    corridor = Corridor(OK)
    await corridor.pay()
    assert corridor.transport.sent[0].extra == ()


# doubt --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "status", "outcome"),
    [
        (TIMEOUT, REFUSED, 504, "unknown"),
        (TIMEOUT, fakes.CERTIFICATE, 504, "unknown"),
        (CUT, fakes.DNS, 504, "unknown"),
        (response(500), REFUSED, 504, "unknown"),
        (TIMEOUT, response(429), 429, "unknown"),
        (TIMEOUT, response(401), 401, "unknown"),
        (TIMEOUT, response(400), 400, "unknown"),
        (TIMEOUT, response(404), 404, "unknown"),
        (TIMEOUT, response(302), 302, "unknown"),
        (TIMEOUT, response(421), 421, "unknown"),
        (TIMEOUT, response(409), 409, "unknown"),
        (TIMEOUT, response(500), 500, "unknown"),
        (TIMEOUT, TIMEOUT, 504, "unknown"),
        (TIMEOUT, response(201), 201, "final"),
        (TIMEOUT, response(402), 402, "final"),
        (TIMEOUT, response(422), 422, "unknown"),
        (response(409), response(201), 201, "final"),
        (response(429), response(401), 401, "final"),
        (REFUSED, REFUSED, 502, "not_sent"),
        (REFUSED, response(401), 401, "final"),
        (REFUSED, TIMEOUT, 504, "unknown"),
        (REFUSED, response(429), 429, "final"),
    ],
)
async def test_doubt_of_an_earlier_attempt_stays_until_the_payment_itself_is_answered(
    first: Result, second: Result, status: int, outcome: str
) -> None:
    corridor = Corridor(first, second, config=upstream(retry={"max_retries": 1}))
    answer = await corridor.pay(KEYED)
    assert (answer.status, answer.outcome, answer.attempts) == (status, outcome, 2)
    assert corridor.sink.of(PaymentFinished)[0].outcome == outcome


async def test_doubt_survives_a_middle_attempt_that_was_not_sent() -> None:
    corridor = Corridor(TIMEOUT, REFUSED, REFUSED, REFUSED)
    answer = await corridor.pay(KEYED)
    assert (answer.status, answer.outcome, answer.attempts) == (504, Outcome.UNKNOWN, 4)


@pytest.mark.parametrize(
    ("one", "first", "status"),
    [(KEYED, response(429), 504), (UNKEYED, response(421), 424), (READ, TIMEOUT, 502), (READ, response(500), 502)],
    ids=["keyed 429", "unkeyed 421", "read timeout", "read 500"],
)
async def test_row_2_after_an_earlier_attempt_was_sent_is_answered_as_row_4(
    one: Payment, first: Result, status: int
) -> None:
    corridor = Corridor(first, REFUSED, config=upstream(retry={"max_retries": 1}))
    answer = await corridor.pay(one)
    assert len(corridor.transport.sent) == 2
    assert (answer.status, answer.outcome) == (status, Outcome.UNKNOWN)


@pytest.mark.parametrize("kind", [Kind.READ, Kind.KEYED])
async def test_reads_and_keyed_writes_are_repeated_until_they_succeed(kind: Kind) -> None:
    corridor = Corridor(RESET, response(502), response(201))
    answer = await corridor.pay(BY_KIND[kind])
    assert (answer.status, answer.attempts) == (201, 3)


@pytest.mark.parametrize("result", [RESET, TIMEOUT, CUT, response(500), response(503), response(429), response(408)])
@pytest.mark.parametrize("facts", [GENERIC, NO_KEYS], ids=["generic", "none"])
async def test_an_unkeyed_write_that_was_sent_is_never_sent_again(result: Result, facts: object) -> None:
    corridor = Corridor(result, facts=GENERIC if facts is GENERIC else NO_KEYS)
    await corridor.pay(UNKEYED)
    assert len(corridor.transport.sent) == 1
    assert denials(corridor) == [Denied.UNSAFE]


async def test_unknown_status_of_the_config_is_used() -> None:
    corridor = Corridor(TIMEOUT, config=upstream(unknown_status=504))
    assert (await corridor.pay(UNKEYED)).status == 504


# row 24 -------------------------------------------------------------------------------------------------------------


async def test_a_key_that_the_provider_has_forgotten_is_not_relied_on() -> None:
    corridor = Corridor(Step(TIMEOUT, takes=3.0), facts=profile(key={"retention": "3s"}))
    await corridor.pay(KEYED)
    assert len(corridor.transport.sent) == 1
    assert denials(corridor) == [Denied.UNSAFE]


async def test_a_forgotten_key_is_answered_as_unkeyed() -> None:
    corridor = Corridor(Step(TIMEOUT, takes=3.0), facts=profile(key={"retention": "3s"}))
    answer = await corridor.pay(KEYED)
    assert (answer.status, answer.outcome) == (424, Outcome.UNKNOWN)


async def test_a_key_must_still_be_kept_when_the_attempt_goes_out() -> None:
    corridor = Corridor(
        Step(response(503, (b"Retry-After", b"3")), takes=1.0), OK, facts=profile(key={"retention": "2s"})
    )
    await corridor.pay(KEYED)
    assert len(corridor.transport.sent) == 1


# waiting, patience, budget ------------------------------------------------------------------------------------------


async def test_the_waits_follow_the_backoff_with_jitter() -> None:
    corridor = Corridor(RESET, RESET, RESET, OK)
    await corridor.pay()
    assert corridor.clock.slept == pytest.approx([0.05, 0.15, 0.45])


async def test_retry_after_is_waited_for() -> None:
    corridor = Corridor(response(429, (b"Retry-After", b"4")), OK)
    await corridor.pay()
    assert corridor.clock.slept == [4.0]
    assert corridor.transport.sent[1].at - corridor.transport.sent[0].at == 4.0


async def test_a_retry_after_that_does_not_fit_is_handed_on_at_once() -> None:
    corridor = Corridor(response(503, (b"Retry-After", b"30")))
    answer = await corridor.pay()
    assert (answer.status, header(answer.headers, b"retry-after")) == (503, b"30")
    assert corridor.clock.slept == []
    assert denials(corridor) == [Denied.DEADLINE]


async def test_max_retries_ends_with_the_last_answer() -> None:
    corridor = Corridor(response(500), response(502), response(503), response(504, (b"X-Last", b"1")))
    answer = await corridor.pay()
    assert (answer.status, answer.attempts, header(answer.headers, b"x-last")) == (504, 4, b"1")
    assert denials(corridor) == [Denied.MAX_RETRIES]


async def test_the_total_deadline_ends_everything() -> None:
    corridor = Corridor(*[Step(TIMEOUT, takes=3.0)] * 4, config=upstream(retry=retries(max_retries=10)))
    answer = await corridor.pay()
    assert answer.attempts == 3  # 3 + 0.1 + 3 + 0.3 + 3; after another 0.9 no half attempt would fit
    assert denials(corridor) == [Denied.DEADLINE]
    assert corridor.clock.now() - corridor.transport.sent[0].at <= 10.0


async def test_an_attempt_gets_no_more_time_than_is_left() -> None:
    corridor = Corridor(Step(TIMEOUT, takes=3.0), Step(TIMEOUT, takes=3.0), Step(OK), config=upstream(retry=retries()))
    await corridor.pay(started=corridor.clock.now() - 1.5)
    assert [sent.timeout for sent in corridor.transport.sent] == pytest.approx([3.0, 3.0, 2.1])


@pytest.mark.parametrize("late", [10.0, 25.0])
async def test_a_request_that_arrives_after_its_deadline_is_not_sent(late: float) -> None:
    corridor = Corridor()
    with pytest.raises(RequestRefused) as refused:
        await corridor.pay(started=corridor.clock.now() - late)
    assert (refused.value.status, refused.value.outcome) == (408, Outcome.NOT_SENT)
    assert corridor.gate.in_flight == 0


async def test_a_wait_that_outlasts_the_deadline_is_followed_by_no_attempt() -> None:
    clock = FakeClock()
    corridor = Corridor(response(500, (b"X-First", b"1")), clock=clock)
    oversleep = clock.sleep

    async def sleep(seconds: float) -> None:
        await oversleep(seconds)
        clock.advance(60.0)

    clock.sleep = sleep  # type: ignore[method-assign]
    answer = await corridor.pay()
    assert (answer.status, answer.attempts) == (500, 1)


class SlowStore(MemoryBreakerStore):
    """A store whose leases take their time."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__(clock.wall)
        self._clock, self._seconds = clock, seconds

    async def lease(
        self, upstream: str, record: Record, *, expected: int, owner: str, limit: int, seconds: float, window: float
    ) -> Lease:
        self._clock.advance(self._seconds)
        return await super().lease(
            upstream, record, expected=expected, owner=owner, limit=limit, seconds=seconds, window=window
        )


async def test_no_attempt_starts_after_the_deadline_though_the_gate_was_slow() -> None:
    clock = FakeClock()
    store = SlowStore(clock, 0.1)
    corridor = Corridor(OK, clock=clock, store=store)
    await half_open(corridor)
    with pytest.raises(RequestRefused):
        await corridor.pay(started=clock.now() - 9.95)
    assert corridor.transport.sent == []
    await settled()
    assert store._entry("mock").leases == {}


async def test_an_empty_budget_ends_with_the_last_answer() -> None:
    corridor = Corridor(response(503), config=upstream(retry={"budget": {"ratio": 0.0, "min_per_second": 0}}))
    answer = await corridor.pay()
    assert (answer.status, answer.attempts) == (503, 1)
    assert denials(corridor) == [Denied.BUDGET]
    assert corridor.sink.of(RetryScheduled) == []


async def test_the_budget_counts_payments_and_waiting_retries() -> None:
    corridor = Corridor(RESET, RESET, OK, clock=FakeClock(auto=False))
    task = asyncio.create_task(corridor.pay())
    await settled()
    assert (corridor.budget.report().requests, corridor.budget.report().retries) == (1, 1)
    corridor.clock.advance(1.0)
    await settled()
    assert corridor.budget.report().retries == 2
    corridor.clock.advance(1.0)
    assert (await task).attempts == 3


async def test_a_failure_that_is_not_repeated_costs_no_budget() -> None:
    corridor = Corridor(TIMEOUT)
    await corridor.pay(UNKEYED)
    assert corridor.budget.report().retries == 0


# the gate -----------------------------------------------------------------------------------------------------------


async def open_breaker(corridor: Corridor) -> None:
    record = Record(1, Open(corridor.clock.wall() + 7.5, 10.0), corridor.clock.wall(), 1, "because")
    corridor.gate.learn(await corridor.store.install("mock", record, expected=None, window=30.0))


async def half_open(corridor: Corridor) -> None:
    record = Record(1, HalfOpen(10.0), corridor.clock.wall(), 1, "because")
    corridor.gate.learn(await corridor.store.install("mock", record, expected=None, window=30.0))


@pytest.mark.parametrize("one", [READ, KEYED, UNKEYED])
async def test_an_open_breaker_sends_nothing_and_says_when(one: Payment) -> None:
    corridor = Corridor()
    await open_breaker(corridor)
    answer = await corridor.pay(one)
    assert (answer.status, answer.outcome, answer.attempts) == (503, Outcome.NOT_SENT, 0)
    assert header(answer.headers, b"retry-after") == b"8"
    assert header(answer.headers, b"stripe-should-retry") == b"false"
    assert corridor.transport.sent == []


async def test_retry_after_of_a_refusal_is_capped_by_the_profile() -> None:
    corridor = Corridor(facts=profile(max_retry_after="5s"))
    await open_breaker(corridor)
    assert header((await corridor.pay()).headers, b"retry-after") == b"5"


async def test_a_full_house_sends_nothing() -> None:
    corridor = Corridor(HANG, config=upstream(max_concurrency=1))
    task = asyncio.create_task(corridor.pay())
    await corridor.transport.started.wait()
    answer = await corridor.pay()
    assert (answer.status, answer.outcome) == (503, Outcome.NOT_SENT)
    assert corridor.sink.of(CallRejected) == [CallRejected("mock", "concurrency", shadow=False)]
    await cancelled(task)


async def test_an_opening_breaker_ends_the_attempts_with_the_last_answer() -> None:
    corridor = Corridor(response(500, (b"X-First", b"1")), config=upstream(breaker={"consecutive_failures": 1}))
    answer = await corridor.pay()
    assert (answer.status, answer.attempts, answer.outcome) == (500, 1, Outcome.UNKNOWN)
    assert header(answer.headers, b"x-first") == b"1"
    assert denials(corridor) == [Denied.BREAKER]


async def test_a_breaker_that_opened_after_a_doubtful_attempt_does_not_say_not_sent() -> None:
    corridor = Corridor(TIMEOUT, config=upstream(breaker={"consecutive_failures": 1}))
    answer = await corridor.pay()
    assert (answer.status, answer.outcome) == (504, Outcome.UNKNOWN)


@pytest.mark.parametrize(
    ("result", "calls", "failures"),
    [(OK, 1, 0), (response(402), 1, 0), (response(400), 1, 0), (TIMEOUT, 1, 1), (REFUSED, 1, 1), (response(429), 0, 0)],
)
async def test_what_the_breaker_learns(result: Result, calls: int, failures: int) -> None:
    corridor = Corridor(result, config=upstream(retry={"max_retries": 0}))
    await corridor.pay()
    await corridor.gate.flush()
    counts = corridor.gate.view.counts
    assert (counts.calls, counts.failures) == (calls, failures)
    assert corridor.gate.in_flight == 0


async def test_the_breaker_learns_of_retry_after() -> None:
    corridor = Corridor(response(503, (b"Retry-After", b"77")), config=upstream(breaker={"consecutive_failures": 1}))
    await corridor.pay()
    await corridor.gate.flush()
    state = corridor.gate.view.record.state
    assert isinstance(state, Open)
    assert state.cooldown == pytest.approx(77.0)


async def test_real_traffic_is_the_probe_and_closes_the_breaker() -> None:
    corridor = Corridor(OK)
    await half_open(corridor)
    assert (await corridor.pay()).status == 201
    await settled()
    assert corridor.sink.of(AttemptFinished)[0].probe
    assert corridor.transport.sent[-1].max_idle_age == 0.0, "it asks how the provider is, not how an old connection is"
    assert isinstance(corridor.gate.view.record.state, Closed)


async def test_a_failed_probe_is_not_repeated() -> None:
    corridor = Corridor(TIMEOUT)
    await half_open(corridor)
    answer = await corridor.pay()
    assert (answer.status, answer.attempts) == (504, 1)
    assert isinstance(corridor.gate.view.record.state, Open)


@pytest.mark.parametrize("value", [b"Mon, 01 Jan 99999999999 00:00:00 GMT", b"9" * 400, b"\xff", b"-1"])
async def test_a_nonsensical_retry_after_loses_no_outcome(value: bytes) -> None:
    corridor = Corridor(response(201, (b"Retry-After", value)))
    answer = await corridor.pay(UNKEYED)
    assert (answer.status, answer.outcome) == (201, Outcome.FINAL)
    assert corridor.gate.in_flight == 0


async def test_degradation_is_told() -> None:
    clock, sink = FakeClock(), RecordingSink()
    shared = ScriptedStore(clock.wall, mode="refuse")
    store = FailoverStore(shared, MemoryBreakerStore, clock=clock, events=sink)
    corridor = Corridor(OK, OK, OK, clock=clock, store=store)
    assert (await corridor.pay()).degraded is None
    await corridor.gate.refresh()
    assert (await corridor.pay()).degraded == "breaker"
    shared.mode = "up"
    await store.recover({"mock": 30.0})
    assert (await corridor.pay()).degraded is None


# bodies and streams -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", [READ, KEYED, UNKEYED])
@pytest.mark.parametrize("result", [REFUSED, TIMEOUT, response(503)])
async def test_a_streamed_body_has_one_attempt(one: Payment, result: Result) -> None:
    corridor = Corridor(result)
    answer = await corridor.pay(replace(one, body=FakeStream(b"big"), body_length=3))
    assert answer.attempts == len(corridor.transport.sent) == 1
    assert denials(corridor) in ([Denied.STREAMED_BODY], [Denied.UNSAFE])


async def read(answer: Answer) -> bytes:
    """A streamed body to its end, closed as the server does."""
    assert not isinstance(answer.body, bytes)
    whole = b"".join([chunk async for chunk in answer.body])
    await answer.body.aclose()
    return whole


async def test_a_payment_is_under_way_until_its_answer_has_been_read() -> None:
    corridor = Corridor(response(201, body=FakeStream(b"1")))
    answer = await corridor.pay()
    assert corridor.forwarder.under_way == 1
    await read(answer)
    assert corridor.forwarder.under_way == 0


async def test_answers_that_are_replaced_are_closed_and_the_last_is_not() -> None:
    streams = [FakeStream(b"1"), FakeStream(b"2"), FakeStream(b"3")]
    corridor = Corridor(
        response(503, body=streams[0]), REFUSED, response(500, body=streams[1]), response(201, body=streams[2])
    )
    answer = await corridor.pay()
    assert [stream.closed for stream in streams] == [True, True, False]
    assert await read(answer) == b"3"


async def test_an_answer_kept_because_the_breaker_opened_is_still_readable() -> None:
    stream = FakeStream(b"1")
    corridor = Corridor(response(503, body=stream), config=upstream(breaker={"consecutive_failures": 1}))
    answer = await corridor.pay()
    assert not stream.closed
    assert await read(answer) == b"1"
    assert stream.closed


async def test_an_answer_is_closed_if_the_payment_is_cancelled_while_it_waits() -> None:
    stream = FakeStream(b"1")
    corridor = Corridor(response(503, body=stream), clock=FakeClock(auto=False))
    task = asyncio.create_task(corridor.pay(READ))
    await settled()
    await cancelled(task)
    assert stream.closed


# client gone, cancellation, trouble ---------------------------------------------------------------------------------


async def cancelled(task: asyncio.Task[Answer]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settled()


async def test_a_read_nobody_waits_for_is_not_repeated() -> None:
    corridor = Corridor(TIMEOUT)
    corridor.gone = True
    assert (await corridor.pay(READ)).attempts == 1
    assert denials(corridor) == [Denied.CLIENT_GONE]


@pytest.mark.parametrize(("one", "first"), [(KEYED, TIMEOUT), (KEYED, response(503)), (UNKEYED, REFUSED)])
async def test_a_write_goes_on_to_its_outcome_though_the_client_went_away(one: Payment, first: Result) -> None:
    corridor = Corridor(first, OK)
    corridor.gone = True
    answer = await corridor.pay(one)
    assert (answer.outcome, answer.attempts) == (Outcome.FINAL, 2)
    assert corridor.sink.of(PaymentFinished)[0].outcome is Outcome.FINAL


async def test_cancelling_gives_the_permit_back_and_counts_nothing() -> None:
    corridor = Corridor(HANG)
    task = asyncio.create_task(corridor.pay())
    await corridor.transport.started.wait()
    assert corridor.gate.in_flight == 1
    await cancelled(task)
    await corridor.gate.flush()
    assert corridor.gate.in_flight == 0
    assert corridor.gate.view.counts.calls == 0
    assert corridor.sink.of(AttemptFinished) == []


async def test_cancelling_frees_the_probe() -> None:
    corridor = Corridor(HANG)
    await half_open(corridor)
    task = asyncio.create_task(corridor.pay())
    await corridor.transport.started.wait()
    await cancelled(task)
    again = await corridor.gate.admit()
    assert isinstance(again, Permit)
    assert again.probe is not None


async def test_a_client_that_breaks_off_gives_the_permit_back() -> None:
    corridor = Corridor(Step(RequestRefused(400, "The client broke off.")))
    with pytest.raises(RequestRefused):
        await corridor.pay()
    assert (corridor.gate.in_flight, corridor.forwarder.under_way) == (0, 0)


async def test_a_bug_once_an_attempt_has_begun_leaves_unknown_and_says_where_it_was() -> None:
    corridor = Corridor(Step(RuntimeError("4242424242424242")))
    answer = await corridor.pay()
    assert (answer.status, answer.outcome, answer.error) == (500, Outcome.UNKNOWN, "proxy_internal_error")
    assert (corridor.gate.in_flight, corridor.forwarder.under_way) == (0, 0)
    (event,) = corridor.sink.of(TurnFailed)
    assert event.cause.startswith("RuntimeError at fakes.py:")


async def test_a_bug_while_an_answer_is_classified_leaves_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    corridor = Corridor(response(201))
    monkeypatch.setattr("proxy.forward.row_of", lambda *_: 1 / 0)
    answer = await corridor.pay()
    assert (answer.status, answer.outcome) == (500, Outcome.UNKNOWN)


async def test_a_bug_before_an_attempt_says_that_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    corridor = Corridor()
    monkeypatch.setattr(corridor.gate, "admit", lambda: 1 / 0)
    answer = await corridor.pay()
    assert (answer.status, answer.outcome, answer.attempts) == (500, Outcome.NOT_SENT, 0)


async def test_at_the_end_of_this_replica_a_write_under_way_is_unknown_and_not_sent_again() -> None:
    corridor = Corridor(HANG)
    task = asyncio.create_task(corridor.pay())
    await corridor.transport.started.wait()
    corridor.forwarder.end()
    answer = await task
    assert (answer.status, answer.outcome, answer.attempts) == (504, Outcome.UNKNOWN, 1)
    assert corridor.gate.in_flight == 0


async def test_at_the_end_of_this_replica_what_was_never_sent_is_another_s_to_take() -> None:
    corridor = Corridor()
    corridor.forwarder.end()
    answer = await corridor.pay()
    assert (answer.status, answer.outcome, answer.attempts) == (503, Outcome.NOT_SENT, 0)
    assert header(answer.headers, b"retry-after") == b"1"


async def test_at_the_end_of_this_replica_a_payment_that_waits_is_answered_with_what_is_known() -> None:
    corridor = Corridor(response(503, (b"X-First", b"1")), clock=FakeClock(auto=False))
    task = asyncio.create_task(corridor.pay())
    await settled()
    corridor.forwarder.end()
    answer = await task
    assert (answer.status, answer.attempts) == (503, 1)
    assert header(answer.headers, b"x-first") == b"1"


async def test_what_this_replica_gave_up_says_nothing_of_the_provider() -> None:
    corridor = Corridor(*[HANG] * 5)
    tasks = [asyncio.create_task(corridor.pay(UNKEYED)) for _ in range(5)]
    await settled()
    corridor.forwarder.end()
    await asyncio.gather(*tasks)
    await corridor.gate.drain()
    assert isinstance((await corridor.store.read("mock", 30.0)).record.state, Closed)


async def test_closing_closes_the_transport() -> None:
    corridor = Corridor()
    await corridor.forwarder.aclose()
    assert corridor.transport.closed


# events -------------------------------------------------------------------------------------------------------------


async def test_the_stations_are_told_in_order() -> None:
    corridor = Corridor(Step(TIMEOUT, takes=3.0), Step(response(503), takes=0.5), Step(OK, takes=0.25), draw=0.0)
    await corridor.pay(started=corridor.clock.now() - 1.0)
    assert corridor.sink.events == [
        AttemptFinished("mock", "req-1", 1, Row.TIMEOUT, None, "http_response_timeout", 3.0, False, "because"),
        RetryScheduled("mock", "req-1", Row.TIMEOUT, 0.0),
        AttemptFinished("mock", "req-1", 2, Row.UNAVAILABLE, 503, None, 0.5, probe=False),
        RetryScheduled("mock", "req-1", Row.UNAVAILABLE, 0.0),
        AttemptFinished("mock", "req-1", 3, Row.SUCCESS, 201, None, 0.25, probe=False),
        corridor.sink.of(PaymentFinished)[0],
    ]


async def test_the_finish_says_how_it_ended() -> None:
    corridor = Corridor(Step(TIMEOUT, takes=2.0))
    await corridor.pay(UNKEYED, started=corridor.clock.now() - 1.0)
    assert corridor.sink.of(PaymentFinished) == [
        PaymentFinished(
            route="/api/payment",
            upstream="mock",
            request_id="req-1",
            trace_id="trace-1",
            method="PUT",
            kind=Kind.UNKEYED,
            status=424,
            outcome=Outcome.UNKNOWN,
            attempts=1,
            seconds=3.0,
            error="http_response_timeout",
            detail="because",
        )
    ]


@pytest.mark.parametrize("result", [OK, response(402), response(404), response(302)])
async def test_nothing_is_denied_where_nothing_was_to_mend(result: Result) -> None:
    corridor = Corridor(result)
    await corridor.pay()
    assert denials(corridor) == []


async def test_a_refusal_is_told_as_a_payment_of_no_attempts() -> None:
    corridor = Corridor()
    await open_breaker(corridor)
    await corridor.pay()
    finish = corridor.sink.of(PaymentFinished)[0]
    assert (finish.status, finish.attempts, finish.outcome) == (503, 0, Outcome.NOT_SENT)
    assert len(corridor.sink.of(CallRejected)) == 1
    assert corridor.sink.of(RetryDenied) == []


async def test_no_event_holds_payment_data() -> None:
    secret = b"4242424242424242"
    one = payment(
        "POST", (b"Authorization", secret), (b"Idempotency-Key", secret), target=b"/p?c=" + secret, body=secret
    )
    corridor = Corridor(RESET, response(500, (b"X", secret), body=secret), OK)
    await corridor.pay(one)
    assert secret.decode() not in repr(corridor.sink.events)
