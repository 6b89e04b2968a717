"""One payment's way with a ledger: what is claimed, who waits, what is said, what is written down."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from proxy.bookkeeper import Bookkeeper
from proxy.core.config import Followup as Limits
from proxy.core.errors import StoreUnavailable
from proxy.core.events import FollowedUp, LedgerLost, TurnFailed
from proxy.core.ledger import Entry, Ground, Settlement, State, Write
from proxy.core.model import Outcome, Payment, Result
from proxy.edges.config_file import load_profile
from proxy.edges.memory_ledger import MemoryLedger
from proxy.followup import Case, Followup
from proxy.ports import Claimed, Tracked
from proxy.resend import resend
from tests.fakes import (
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
    RecordingSink,
    Step,
    payment,
    profile,
    response,
    settled,
    upstream,
)

ONCE = upstream(retry={"max_retries": 0})
SECRET = b"the fleet's own secret"


class Entries(MemoryLedger):
    """A ledger store that counts round trips, and can be away, or silent after having done what it was asked."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock.wall, retention_seconds=3600, most_unknown=100)
        self.trips: list[str] = []
        self.mode = "up"
        self._clock = clock

    def retention(self, seconds: float) -> None:
        """Keep what is known for another time from now on."""
        self._retention = seconds

    def lose(self) -> None:
        """Come back without anything, as a store that keeps nothing does."""
        super().__init__(lambda: self._clock.wall() + 1e-3, retention_seconds=3600, most_unknown=100)

    async def claim(self, write: Write, owner: str, lease_seconds: float, trusted_seconds: float = math.inf) -> Claimed:
        self._come("claim")
        answer = await super().claim(write, owner, lease_seconds, trusted_seconds)
        self._leave("claim")
        return answer

    async def settle(self, upstream: str, told: Sequence[Settlement]) -> Tracked:
        self._come("settle")
        answer = await super().settle(upstream, told)
        self._leave("settle")
        return answer

    async def renew(self, upstream: str, held: Sequence[tuple[str, str]], lease_seconds: float) -> frozenset[str]:
        self._come("renew")
        return await super().renew(upstream, held, lease_seconds)

    def _come(self, operation: str) -> None:
        self.trips.append(operation)
        if self.mode == "away":
            raise StoreUnavailable(operation, "away")

    def _leave(self, operation: str) -> None:
        if self.mode == "silent":
            raise StoreUnavailable(operation, "silent")

    async def all(self) -> list[Entry]:
        return list(await self.entries("mock", None, 100))

    async def states(self) -> list[State]:
        return [entry.state for entry in await self.all()]


def book(entries: Entries, clock: FakeClock, replica: str = "r1") -> Bookkeeper:
    unique = iter(map(str, range(1000)))
    return Bookkeeper(
        entries,
        SECRET,
        lease_seconds=5,
        replica=replica,
        clock=clock,
        unique=lambda: f"{replica}-{next(unique)}",
        events=RecordingSink(),
        up=lambda: True,
    )


class Bench:
    """Corridors on one ledger, each with a script of its own."""

    def __init__(self, *, auto: bool = True) -> None:
        self.clock = FakeClock(auto=auto)
        self.entries = Entries(self.clock)
        self.books: list[Bookkeeper] = []

    def corridor(self, *script: object, config: object = ONCE, followup: Followup | None = None) -> Corridor:
        keeper = book(self.entries, self.clock, f"r{len(self.books) + 1}")
        self.books.append(keeper)
        return Corridor(*script, config=config, clock=self.clock, ledger=keeper, followup=followup)  # type: ignore[arg-type]

    async def written(self) -> None:
        for keeper in self.books:
            await keeper.drain(0)


@pytest.mark.parametrize(
    ("one", "result", "state"),
    [
        (KEYED, response(201), State.FINAL),
        (KEYED, response(402), State.FINAL),
        (KEYED, RESET, State.UNKNOWN),
        (KEYED, response(500), State.UNKNOWN),
        (KEYED, REFUSED, State.NOT_SENT),
        (UNKEYED, response(201), State.FINAL),
        (UNKEYED, TIMEOUT, State.UNKNOWN),
    ],
)
async def test_a_write_is_claimed_in_one_round_trip_and_settled_afterwards(
    one: Payment, result: object, state: State
) -> None:
    bench = Bench()
    await bench.corridor(result).pay(one)
    assert bench.entries.trips == ["claim"]
    assert await bench.entries.states() == [State.IN_FLIGHT]
    await bench.written()
    assert await bench.entries.states() == [state]
    assert bench.entries.trips == ["claim", "settle"]


async def test_a_read_is_none_of_the_ledger_s() -> None:
    bench = Bench()
    await bench.corridor(response(200)).pay(READ)
    await bench.written()
    assert bench.entries.trips == []


async def test_what_is_kept_names_the_payment_and_no_secret() -> None:
    bench = Bench()
    body = b'{"reference": "order-7", "card": "4242424242424242"}'
    headers = ((b"Idempotency-Key", b"my-raw-key"), (b"Authorization", b"Bearer sk_live"))
    await bench.corridor(response(201, (b"Request-Id", b"p-1"))).pay(payment("POST", *headers, body=body))
    await bench.written()
    (entry,) = await bench.entries.all()
    assert (entry.write.reference, entry.write.request_id, entry.provider_request_id) == ("order-7", "req-1", "p-1")
    text = repr(entry)
    assert [secret for secret in ("my-raw-key", "sk_live", "4242", "a=%2F") if secret in text] == []


async def test_the_same_key_waits_for_the_call_before_it() -> None:
    bench = Bench(auto=False)
    first, second = bench.corridor(HANG), bench.corridor(response(201))
    one = asyncio.create_task(first.pay())
    await first.transport.started.wait()
    two = asyncio.create_task(second.pay())
    for _ in range(5):
        await settled()
        bench.clock.advance(0.2)
    assert not second.transport.started.is_set()
    first.transport.give_up()
    assert (await one).outcome is Outcome.UNKNOWN
    await bench.written()
    await settled()
    bench.clock.advance(0.2)
    answer = await two
    assert (answer.status, answer.outcome, answer.attempts) == (201, Outcome.FINAL, 1)
    await bench.written()
    assert await bench.entries.states() == [State.FINAL]


async def test_a_call_before_it_that_takes_too_long_is_answered_409_and_nothing_is_invented() -> None:
    bench = Bench()
    await bench.entries.claim((await _write(bench)), "r9/1", 1000)
    second = bench.corridor(config=upstream(timeouts={"attempt": "2s", "total": "4s"}))
    answer = await second.pay()
    assert (answer.status, answer.outcome, answer.attempts) == (409, Outcome.UNKNOWN, 0)
    assert bench.clock.now() - 1000 == pytest.approx(3.0, abs=0.25)
    await bench.written()
    assert await bench.entries.states() == [State.IN_FLIGHT]


async def _write(bench: Bench) -> Write:
    """What KEYED is to the ledger."""
    corridor = bench.corridor(REFUSED)
    await corridor.pay()
    await bench.written()
    (entry,) = await bench.entries.all()
    return entry.write


async def test_a_dead_owner_s_payment_is_taken_over_when_its_lease_is_over() -> None:
    bench = Bench()
    await bench.entries.claim(await _write(bench), "dead/1", 1.0)
    answer = await bench.corridor(response(201)).pay()
    assert (answer.status, answer.outcome) == (201, Outcome.FINAL)
    await bench.written()
    assert await bench.entries.states() == [State.FINAL]


async def unknown_before() -> Bench:
    bench = Bench()
    await bench.corridor(RESET).pay()
    await bench.written()
    return bench


@pytest.mark.parametrize(
    ("result", "status", "outcome", "state"),
    [
        (response(201), 201, Outcome.FINAL, State.FINAL),
        (response(402), 402, Outcome.FINAL, State.FINAL),
        (response(429), 429, Outcome.UNKNOWN, State.UNKNOWN),
        (response(401), 401, Outcome.UNKNOWN, State.UNKNOWN),
        (REFUSED, 504, Outcome.UNKNOWN, State.UNKNOWN),
    ],
)
async def test_what_is_unknown_stays_so_until_the_provider_settles_it(
    result: object, status: int, outcome: Outcome, state: State
) -> None:
    bench = await unknown_before()
    answer = await bench.corridor(result).pay()
    assert (answer.status, answer.outcome) == (status, outcome)
    await bench.written()
    assert await bench.entries.states() == [state]


async def test_a_deadline_that_is_over_says_nothing_of_an_earlier_call() -> None:
    bench = await unknown_before()
    answer = await bench.corridor().pay(started=bench.clock.now() - 60)
    assert (answer.status, answer.outcome, answer.attempts) == (504, Outcome.UNKNOWN, 0)


async def test_a_key_refused_for_another_body_says_nothing_of_the_payment_whose_key_it_is() -> None:
    bench = await unknown_before()
    other = payment("POST", *KEYED.headers, body=b'{"a":2}')
    answer = await bench.corridor(response(422)).pay(other)
    assert (answer.status, answer.outcome) == (422, Outcome.UNKNOWN)
    await bench.written()
    assert await bench.entries.states() == [State.UNKNOWN]


async def test_a_key_refused_for_another_body_is_final_where_the_payment_whose_key_it_is_is_known() -> None:
    bench = Bench()
    await bench.corridor(response(201)).pay()
    await bench.written()
    answer = await bench.corridor(response(422)).pay(payment("POST", *KEYED.headers, body=b'{"a":2}'))
    assert (answer.status, answer.outcome) == (422, Outcome.FINAL)
    await bench.written()
    (entry,) = await bench.entries.all()
    assert (entry.state, entry.status, entry.ground) == (State.FINAL, 201, Ground.SUCCESS)


@pytest.mark.parametrize("refusal", [429, 403, 400, 302])
async def test_what_no_settling_answer_made_final_hides_nothing_that_the_key_does_later(refusal: int) -> None:
    """promises.md E: a limiter's 429, then a charge whose answer is lost, then an open breaker or a dead provider."""
    bench = Bench()
    assert (await bench.corridor(response(refusal)).pay()).outcome is Outcome.FINAL
    await bench.written()
    assert (await bench.corridor(RESET).pay()).outcome is Outcome.UNKNOWN
    await bench.written()
    assert await bench.entries.states() == [State.UNKNOWN]
    for result in (REFUSED, response(429), response(400)):
        assert (await bench.corridor(result).pay()).outcome is Outcome.UNKNOWN
        await bench.written()
        assert await bench.entries.states() == [State.UNKNOWN]
    assert (await bench.corridor(response(201)).pay()).outcome is Outcome.FINAL
    await bench.written()
    assert await bench.entries.states() == [State.FINAL]


async def test_a_redirect_that_may_have_been_carried_out_is_never_followed_by_not_sent() -> None:
    bench = Bench()
    await bench.corridor(response(302)).pay()
    await bench.written()
    assert (await bench.corridor(REFUSED).pay()).outcome is Outcome.UNKNOWN
    await bench.written()
    (entry,) = await bench.entries.all()
    assert (entry.state, entry.ground, entry.status) == (State.FINAL, Ground.OTHER, 302)


async def test_a_success_under_a_key_past_its_retention_says_nothing_of_what_is_unknown() -> None:
    bench = await unknown_before()
    bench.clock.advance(2 * 3600)
    answer = await bench.corridor(response(201)).pay()
    assert (answer.status, answer.outcome) == (201, Outcome.UNKNOWN)
    await bench.written()
    assert await bench.entries.states() == [State.UNKNOWN]


async def test_a_payment_under_a_key_past_its_retention_is_listed_if_its_answer_is_lost() -> None:
    bench = Bench()
    await bench.corridor(response(201)).pay()
    await bench.written()
    bench.entries.retention(10 * 3600)
    await bench.corridor(response(201)).pay()
    await bench.written()
    bench.clock.advance(2 * 3600)
    assert (await bench.corridor(RESET).pay()).outcome is Outcome.UNKNOWN
    await bench.written()
    assert await bench.entries.states() == [State.UNKNOWN]


async def test_the_same_key_by_another_profile_leaves_the_doubt() -> None:
    bench = Bench()
    there = payment("POST", *KEYED.headers, target=b"/v1/charges")
    await bench.corridor(RESET).pay(there)
    await bench.written()
    keeper = bench.books[0]
    stripe = Corridor(
        response(201), config=ONCE, clock=bench.clock, ledger=keeper, facts=load_profile("stripe", Path())
    )
    assert (await stripe.pay(there)).outcome is Outcome.UNKNOWN
    await bench.written()
    assert await bench.entries.states() == [State.UNKNOWN]


async def test_the_same_key_at_another_address_is_another_payment() -> None:
    bench = await unknown_before()
    moved = upstream(url="http://elsewhere.test:4000", retry={"max_retries": 0})
    assert (await bench.corridor(response(201), config=moved).pay()).outcome is Outcome.FINAL
    await bench.written()
    assert sorted(await bench.entries.states()) == [State.FINAL, State.UNKNOWN]


@pytest.mark.parametrize("again", [response(404), response(401), REFUSED])
async def test_a_write_that_is_safe_to_repeat_is_in_the_books_and_in_doubt_all_the_same(again: Result) -> None:
    """promises.md F: Stripe's DELETE, unanswered, then 404 as whoever repeats it gets it."""
    stripe = load_profile("stripe", Path())
    bench = Bench()
    keeper = book(bench.entries, bench.clock)
    corridor = Corridor(
        TIMEOUT, again, config=upstream(retry={"max_retries": 1}), clock=bench.clock, ledger=keeper, facts=stripe
    )
    answer = await corridor.pay(payment("DELETE", target=b"/v1/subscriptions/sub_1"))
    await keeper.drain(0)
    assert (answer.outcome, len(corridor.transport.sent)) == (Outcome.UNKNOWN, 2)
    assert await bench.entries.states() == [State.UNKNOWN]


async def test_a_write_that_is_safe_to_repeat_is_settled_by_its_success() -> None:
    bench = Bench()
    keeper = book(bench.entries, bench.clock)
    corridor = Corridor(
        TIMEOUT,
        response(200),
        config=upstream(),
        clock=bench.clock,
        ledger=keeper,
        facts=load_profile("stripe", Path()),
    )
    assert (await corridor.pay(payment("DELETE", target=b"/v1/x"))).outcome is Outcome.FINAL
    await keeper.drain(0)
    assert await bench.entries.states() == [State.FINAL]


class Breaking:
    """A streamed body that breaks off, or does not."""

    def __init__(self, trouble: Exception | None) -> None:
        self.trouble = trouble

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"part"
        if self.trouble is not None:
            raise self.trouble

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize(
    ("trouble", "read", "state"),
    [
        (None, True, State.FINAL),
        (ConnectionError("cut"), True, State.UNKNOWN),
        (ConnectionError("cut"), False, State.FINAL),
    ],
)
async def test_a_streamed_answer_is_settled_by_how_it_ends(trouble: Exception | None, read: bool, state: State) -> None:
    """promises.md G: what breaks off within a large answer is as unknown as within a small one."""
    bench = Bench()
    corridor = bench.corridor(response(201, body=Breaking(trouble)))
    answer = await corridor.pay()
    await bench.written()
    assert (await bench.entries.states(), corridor.gate.in_flight) == ([State.IN_FLIGHT], 1)
    assert not isinstance(answer.body, bytes)
    if read:
        with suppress(ConnectionError):
            assert [chunk async for chunk in answer.body] == [b"part"]
    await answer.body.aclose()
    await bench.written()
    assert await bench.entries.states() == [state]
    assert (corridor.gate.in_flight, corridor.forwarder.under_way) == (0, 0)


@pytest.mark.parametrize("mode", ["away", "silent"])
@pytest.mark.parametrize("result", [REFUSED, response(429), response(400)])
async def test_a_client_s_key_is_never_told_more_than_is_known_while_the_ledger_is_away(
    mode: str, result: object
) -> None:
    """promises.md M: it may be listed as unknown, and nobody can look."""
    bench = Bench()
    bench.entries.mode = mode
    answer = await bench.corridor(result).pay()
    assert (answer.outcome, answer.degraded) == (Outcome.UNKNOWN, "ledger")
    bench.entries.mode = "up"
    await bench.written()
    assert State.UNKNOWN not in await bench.entries.states(), "what this call did is known"


async def test_without_the_ledger_a_request_with_no_key_of_its_client_s_is_told_what_it_did() -> None:
    bench = Bench()
    bench.entries.mode = "away"
    for one in (payment("POST"), UNKEYED):
        assert (await bench.corridor(REFUSED).pay(one)).outcome is Outcome.NOT_SENT


async def test_a_call_that_waits_takes_nothing_from_the_call_it_waits_for() -> None:
    """promises.md D: on one replica the waiter's name must not stand for the owner's when leases are renewed."""
    bench = Bench(auto=False)
    keeper = book(bench.entries, bench.clock)
    patient = upstream(timeouts={"attempt": "9s", "total": "60s"}, retry={"max_retries": 0})
    first, second = (Corridor(step, config=patient, clock=bench.clock, ledger=keeper) for step in (HANG, response(201)))
    keeper.know(["mock"])
    keeping = asyncio.create_task(keeper.run())
    one = asyncio.create_task(first.pay())
    await first.transport.started.wait()
    two = asyncio.create_task(second.pay())
    for _ in range(80):
        await settled()
        bench.clock.advance(0.1)
    await settled()
    assert not second.transport.started.is_set()
    assert await bench.entries.states() == [State.IN_FLIGHT]
    first.transport.give_up()
    assert (await one).outcome is Outcome.UNKNOWN
    for _ in range(10):
        await settled()
        bench.clock.advance(0.1)
    assert (await two).outcome is Outcome.FINAL
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await keeper.drain(0)
    assert await bench.entries.states() == [State.FINAL]


async def test_a_call_whose_lease_is_over_no_longer_speaks_for_its_key() -> None:
    """This replica stood still for longer than its lease; another took the key, and lost its answer."""
    bench = Bench()
    slow, other = bench.corridor(Step(REFUSED, takes=6.0)), bench.corridor(RESET)
    answer = await slow.pay()
    assert answer.outcome is Outcome.UNKNOWN
    assert (await other.pay()).outcome is Outcome.UNKNOWN
    without = await bench.corridor(Step(REFUSED, takes=6.0)).pay(payment("POST"))
    assert without.outcome is Outcome.NOT_SENT, "nobody else has a key of ours"


async def test_unknown_outcomes_that_the_store_has_lost_are_told_and_written_back() -> None:
    """operations.md O1."""
    bench = Bench(auto=False)
    keeper = book(bench.entries, bench.clock)
    sink = RecordingSink()
    keeper.recovery._events = sink
    corridor = Corridor(RESET, response(201), config=ONCE, clock=bench.clock, ledger=keeper)
    keeper.know(["mock"])
    await corridor.pay()
    await corridor.pay(payment("POST", (b"Idempotency-Key", b"k-2")))
    await keeper.drain(0)
    keeping = asyncio.create_task(keeper.run())
    await turn(bench, 2)
    bench.entries.lose()
    await turn(bench, 3)
    assert await bench.entries.states() == [State.UNKNOWN]
    assert sink.of(LedgerLost) == [LedgerLost("mock", 1, 1)]
    assert keeper.unknown("mock") == 1
    await turn(bench, 60)
    assert len(sink.of(LedgerLost)) == 1, "a loss is told once"
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_loss_that_nobody_can_mend_is_told_all_the_same() -> None:
    bench = Bench(auto=False)
    await bench.corridor(RESET).pay()
    await bench.written()
    other, sink = book(bench.entries, bench.clock, "r9"), RecordingSink()
    other.recovery._events = sink
    other.know(["mock"])
    keeping = asyncio.create_task(other.run())
    await turn(bench, 3)
    assert other.unknown("mock") == 1
    bench.entries.lose()
    await turn(bench, 3)
    assert sink.of(LedgerLost) == [LedgerLost("mock", 1, 0)]
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_claim_that_the_store_has_lost_is_taken_again_so_that_a_crash_leaves_a_trace() -> None:
    bench = Bench(auto=False)
    keeper = book(bench.entries, bench.clock)
    corridor = Corridor(HANG, config=ONCE, clock=bench.clock, ledger=keeper)
    keeper.know(["mock"])
    paying = asyncio.create_task(corridor.pay())
    await corridor.transport.started.wait()
    keeping = asyncio.create_task(keeper.run())
    bench.entries.lose()
    await turn(bench, 3)
    assert await bench.entries.states() == [State.IN_FLIGHT]
    for task in (keeping, paying):
        task.cancel()
    await asyncio.gather(keeping, paying, return_exceptions=True)


async def turn(bench: Bench, seconds: int) -> None:
    """Let the background work of so many seconds be done."""
    for _ in range(2 * seconds):
        await settled()
        bench.clock.advance(0.5)
    await settled()


async def test_a_key_older_than_the_provider_keeps_it_is_sent_once_only() -> None:
    bench = await unknown_before()
    bench.clock.advance(2 * 3600)
    answer = await bench.corridor(RESET, config=upstream()).pay()
    assert (answer.attempts, answer.outcome) == (1, Outcome.UNKNOWN)


@pytest.mark.parametrize("mode", ["away", "silent"])
async def test_without_the_store_payments_flow_and_say_so(mode: str) -> None:
    bench = Bench()
    bench.entries.mode = mode
    corridor = bench.corridor(response(201), response(201), RESET, response(201), config=upstream())
    first = await corridor.pay()
    assert (first.status, first.degraded) == (201, "ledger")
    assert (await corridor.pay()).status == 201
    assert bench.entries.trips == ["claim"], "after a failure it is left alone for a while"
    retried = await corridor.pay(payment("POST", (b"Idempotency-Key", b"k-2")))
    assert (retried.status, retried.attempts) == (201, 2), "the client's own key is good for a retry"
    bench.entries.mode = "up"
    await bench.written()
    assert await bench.entries.states() == [State.FINAL, State.FINAL]


async def test_without_the_store_an_answer_is_still_read_as_one_to_the_key_that_was_sent() -> None:
    """In flight, said of a key of ours, is no refusal: found by the proof as a `final` 409 that was charged."""
    bench = Bench()
    bench.entries.mode = "away"
    answer = await bench.corridor(response(409), config=upstream()).pay(payment())
    assert (answer.status, answer.outcome, answer.attempts) == (409, Outcome.UNKNOWN, 1)


async def test_without_the_store_a_key_of_ours_is_not_worth_a_retry() -> None:
    bench = Bench()
    bench.entries.mode = "away"
    answer = await bench.corridor(RESET, config=upstream()).pay(payment())
    assert (answer.status, answer.outcome, answer.attempts) == (424, Outcome.UNKNOWN, 1)
    bench.entries.mode = "up"
    await bench.written()
    assert await bench.entries.states() == [State.UNKNOWN]


async def test_a_long_call_keeps_its_lease() -> None:
    bench = Bench(auto=False)
    corridor = bench.corridor(HANG)
    paying = asyncio.create_task(corridor.pay())
    await corridor.transport.started.wait()
    keeping = asyncio.create_task(bench.books[0].run())
    bench.books[0].know(["mock"])
    for _ in range(10):
        await settled()
        bench.clock.advance(1.0)
    await settled()
    assert "renew" in bench.entries.trips
    assert await bench.entries.states() == [State.IN_FLIGHT]
    keeping.cancel()
    corridor.transport.give_up()
    await paying
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_cancelled_send_is_unknown_and_a_cancelled_wait_leaves_nothing() -> None:
    bench = Bench(auto=False)
    corridor = bench.corridor(HANG)
    paying = asyncio.create_task(corridor.pay())
    await corridor.transport.started.wait()
    waiting = asyncio.create_task(bench.corridor().pay())
    await settled()
    for task in (waiting, paying):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await bench.written()
    assert await bench.entries.states() == [State.UNKNOWN]


async def test_the_client_going_away_changes_nothing() -> None:
    bench = Bench()
    corridor = bench.corridor(RESET, response(201), config=upstream())
    corridor.gone = True
    assert (await corridor.pay()).attempts == 2
    await bench.written()
    assert await bench.entries.states() == [State.FINAL]


class Following(Bench):
    """A corridor whose unknown writes are followed up."""

    def __init__(self, *script: object, config: object = ONCE, **limits: object) -> None:
        super().__init__(auto=False)
        self.sink = RecordingSink()
        self.followup = Followup(
            Limits.model_validate(limits), self._resend, clock=self.clock, draw=lambda: 0.0, events=self.sink
        )
        self.one = self.corridor(*script, config=config, followup=self.followup)

    async def _resend(self, case: Case) -> Outcome | None:
        return await resend(self.one.forwarder, case)

    async def run(self, turns: int = 50) -> None:
        for _ in range(turns):
            await settled()
            await self.written()
            self.clock.advance(0.5)

    def results(self) -> list[str]:
        return [event.result for event in self.sink.of(FollowedUp)]


async def test_an_unknown_write_is_sent_again_as_it_was_until_the_provider_says() -> None:
    bench = Following(RESET, RESET, response(500), response(201))
    assert (await bench.one.pay()).outcome is Outcome.UNKNOWN
    await bench.run()
    assert bench.results() == ["unknown", "unknown", "resolved"]
    assert len({(sent.payment.headers, sent.payment.body) for sent in bench.one.transport.sent}) == 1
    assert await bench.entries.states() == [State.FINAL]
    assert len(bench.followup) == 0
    waits = [sent.at - 1000 for sent in bench.one.transport.sent]
    assert waits == pytest.approx([0, 1, 3, 7], abs=0.01)


@pytest.mark.parametrize("result", [response(201), response(402), response(400), REFUSED])
async def test_what_is_known_is_not_followed_up(result: object) -> None:
    bench = Following(result)
    await bench.one.pay()
    assert len(bench.followup) == 0


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_key_of_ours_is_followed_up_only_where_clients_are_said_to_repeat_it(allowed: bool) -> None:
    """Else its client could look the payment up, find nothing, and pay anew before the follow-up makes the charge."""
    bench = Following(RESET, response(201), injected_keys=allowed)
    answer = await bench.one.pay(payment("POST"))
    assert (answer.outcome, answer.injected_key is not None) == (Outcome.UNKNOWN, True)
    await bench.run()
    assert len(bench.one.transport.sent) == (2 if allowed else 1)
    assert await bench.entries.states() == [State.FINAL if allowed else State.UNKNOWN]


async def test_a_write_without_a_key_is_never_sent_again() -> None:
    bench = Following(RESET)
    await bench.one.pay(UNKEYED)
    await bench.run()
    assert len(bench.one.transport.sent) == 1


async def test_it_stops_where_a_resend_would_not_be_safe_any_more() -> None:
    bench = Following(RESET, response(401))
    await bench.one.pay()
    await bench.run()
    assert bench.results() == ["stopped"]
    assert await bench.entries.states() == [State.UNKNOWN]


async def test_a_reload_to_another_address_or_profile_ends_it_and_leaves_it_listed() -> None:
    """promises.md B."""
    for other in (
        {"config": upstream(url="http://elsewhere.test:4000", retry={"max_retries": 0})},
        {"facts": NO_KEYS},
        {"facts": profile(name="generic", declines=[{"statuses": [418]}])},
    ):
        bench = Following(RESET)
        await bench.one.pay()
        bench.one = Corridor(clock=bench.clock, ledger=bench.books[0], followup=bench.followup, **other)
        await bench.run()
        assert bench.results() == ["stopped"]
        assert bench.one.transport.sent == []
        assert await bench.entries.states() == [State.UNKNOWN]


async def test_the_end_of_the_replica_undercuts_no_wait_that_was_asked_for() -> None:
    """promises.md Q."""
    busy = response(503, (b"Retry-After", b"90"))
    bench = Following(busy)
    await bench.one.pay()
    await bench.run(4)
    assert await bench.followup.last_try(1.0) == 1
    assert len(bench.one.transport.sent) == 1


async def test_it_does_not_take_a_refusal_of_somebody_else_for_an_answer() -> None:
    """promises.md E: what it did not ask it never resolves."""
    bench = Following(RESET, response(201))
    await bench.one.pay()
    await bench.written()
    assert (await bench.corridor(response(403)).pay()).outcome is Outcome.UNKNOWN
    await bench.written()
    await bench.run()
    assert bench.results() == ["resolved"]
    assert len(bench.one.transport.sent) == 2


async def test_it_is_no_probe_and_waits_for_the_breaker() -> None:
    strict = upstream(retry={"max_retries": 0}, breaker={"consecutive_failures": 1, "cooldown": "10s"})
    bench = Following(RESET, config=strict)
    await bench.one.pay()
    await bench.one.gate.drain()
    await bench.run(40)
    assert bench.clock.now() > 1010, "the cooldown is over"
    assert len(bench.one.transport.sent) == 1
    await bench.followup.last_try(0.1)


async def test_a_breaker_that_opens_between_two_attempts_does_not_stop_the_follow_up() -> None:
    strict = upstream(breaker={"consecutive_failures": 1, "cooldown": "10s"})
    bench = Following(RESET, config=strict)
    paying = asyncio.create_task(bench.one.pay())
    await bench.run(5)
    assert (await paying).outcome is Outcome.UNKNOWN
    assert len(bench.followup) == 1
    await bench.followup.last_try(0.1)


async def test_a_key_near_its_end_is_not_followed_up_beyond_it() -> None:
    bench = Following(*[RESET] * 5)
    first = bench.clock.now()
    await bench.corridor(RESET).pay()
    await bench.written()
    bench.clock.advance(3580)
    await bench.one.pay()
    await bench.run(60)
    assert bench.results()[-1] == "expired"
    assert len(bench.one.transport.sent) > 2
    assert all(sent.at < first + 3600 for sent in bench.one.transport.sent)


async def test_a_bug_costs_one_case_and_is_told() -> None:
    bench = Following(RESET, Step(ValueError("a bug")))
    await bench.one.pay()
    await bench.run()
    assert bench.results() == ["stopped"]
    assert [event.loop for event in bench.sink.of(TurnFailed)] == ["followup"]
    assert await bench.entries.states() == [State.UNKNOWN]


async def test_what_the_provider_asks_for_is_never_undercut() -> None:
    busy = response(503, (b"Retry-After", b"90"))
    bench = Following(busy, busy, response(201))
    await bench.one.pay()
    await bench.run(500)
    assert [sent.at - 1000 for sent in bench.one.transport.sent] == [0, 90, 180]


async def test_it_ends_with_its_time() -> None:
    bench = Following(*[RESET] * 3, **{"for": "5s"})
    await bench.one.pay()
    await bench.run()
    assert bench.results()[-1] == "expired"
    assert len(bench.one.transport.sent) == 3
    assert await bench.entries.states() == [State.UNKNOWN]


async def test_it_ends_when_the_next_wait_would_not_fit() -> None:
    bench = Following(*[RESET] * 3, **{"for": "5s"})
    await bench.one.pay()
    await bench.run(8)  # until 4 s: sent after 0, 1 and 3 s, and the next wait is 4 s
    assert bench.results()[-1] == "expired"
    assert len(bench.followup) == 0


@pytest.mark.parametrize(
    ("one", "before", "known"),
    [
        (KEYED, RESET, Outcome.UNKNOWN),
        (KEYED, response(201), Outcome.UNKNOWN),
        (KEYED, response(429), Outcome.NOT_SENT),
        (payment("POST"), RESET, Outcome.NOT_SENT),
    ],
)
async def test_what_is_refused_before_it_is_sent_is_told_what_its_key_is_known_for(
    one: Payment, before: Result, known: Outcome
) -> None:
    bench = Bench()
    await bench.corridor(before).pay()
    await bench.written()
    assert await bench.corridor().forwarder.known_of(one) is known
    await bench.written()
    assert State.IN_FLIGHT not in await bench.entries.states(), "asking holds nothing"


async def test_while_a_call_with_its_key_is_under_way_nothing_is_known() -> None:
    bench = Bench()
    await bench.entries.claim(await _write(bench), "r9/1", 1000)
    assert await bench.corridor().forwarder.known_of(KEYED) is Outcome.UNKNOWN


async def test_somebody_else_s_answer_ends_it_too() -> None:
    bench = Following(RESET)
    await bench.one.pay()
    await bench.written()
    assert (await bench.corridor(response(201)).pay()).status == 201
    await bench.written()
    await bench.run()
    assert bench.results() == ["resolved"]
    assert len(bench.one.transport.sent) == 1


@pytest.mark.parametrize("limits", [{"max_entries": 0}, {"max_bytes": 3}])
async def test_its_number_and_bytes_are_bounded(limits: dict[str, object]) -> None:
    bench = Following(RESET, **limits)
    await bench.one.pay()
    assert (len(bench.followup), bench.results()) == (0, ["no_room"])


async def test_the_end_of_the_replica_tries_once_more_and_leaves_the_rest() -> None:
    bench = Following(RESET, RESET, Step(RESET), response(201))
    await bench.one.pay()
    await bench.one.pay(payment("POST", (b"Idempotency-Key", b"k-2")))
    await bench.written()
    assert await bench.followup.last_try(1.0) == 1
    await bench.written()
    assert sorted(await bench.entries.states()) == [State.FINAL, State.UNKNOWN]


CONFLICT = response(
    409,
    body=b'{"error":{"errors":[{"reason":"idempotent_creation_conflict","links":{"conflicting_resource_id":"PM1"}}]}}',
)


def at_gocardless(body: bytes = b'{"a":1}') -> Payment:
    return payment("POST", *KEYED.headers, target=b"/payments", body=body)


@pytest.mark.parametrize(("body", "known"), [(b'{"a":1}', True), (b'{"a":2}', False)])
async def test_a_replay_settles_the_payment_that_it_is_of(body: bytes, known: bool) -> None:
    """GoCardless answers a replay with 409; asked for with another body it names another payment than the one asked."""
    bench = Bench()
    gocardless = load_profile("gocardless", Path())

    def corridor(result: Result) -> Corridor:
        keeper = book(bench.entries, bench.clock, f"r{len(bench.books)}")
        bench.books.append(keeper)
        return Corridor(result, config=ONCE, clock=bench.clock, ledger=keeper, facts=gocardless)

    await corridor(RESET).pay(at_gocardless())
    await bench.written()
    answer = await corridor(CONFLICT).pay(at_gocardless(body))
    await bench.written()
    (entry,) = await bench.entries.all()
    if known:
        assert (answer.outcome, entry.state, entry.ground) == (Outcome.FINAL, State.FINAL, Ground.REPLAY)
    else:
        assert (answer.outcome, entry.state) == (Outcome.UNKNOWN, State.UNKNOWN)
    later = await corridor(REFUSED).pay(at_gocardless())
    assert later.outcome is Outcome.UNKNOWN, "it was carried out, or may have been"


async def test_without_a_ledger_nothing_is_followed_up() -> None:
    bench = Following()
    alone = Corridor(RESET, config=ONCE, clock=bench.clock, followup=bench.followup)
    assert (await alone.pay()).outcome is Outcome.UNKNOWN
    assert len(bench.followup) == 0
