"""One more call for a payment that ended unknown: what it asks first, what it leaves behind, what it says is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from proxy.core.breaker import Closed, HalfOpen, Override, Record
from proxy.core.ledger import Entry, State
from proxy.core.model import Outcome, Result
from proxy.followup import Case
from proxy.gate import Permit
from proxy.resend import resend
from tests.fakes import GENERIC, KEYED, REFUSED, RESET, Corridor, FakeStream, Step, response, settled, upstream
from tests.ledger.desk import LEASE, Desk, keyed
from tests.ledger.entries import UP, told

NOT_SENT, UNKNOWN, FINAL = Outcome.NOT_SENT, Outcome.UNKNOWN, Outcome.FINAL


class Rig:
    """One payment that ended unknown; `script` is what the provider does with what comes after it."""

    def __init__(self, *script: Result | Step, **settings: object) -> None:
        self.desk = Desk(auto=True)
        config = upstream(retry={"max_retries": 0}, **settings)
        self.corridor = Corridor(RESET, *script, config=config, clock=self.desk.clock, ledger=self.desk.keeper)
        self.gate, self.budget = self.corridor.gate, self.corridor.budget

    async def unknown(self) -> Case:
        """The payment, and the case that it makes."""
        assert (await self.corridor.pay()).outcome is UNKNOWN
        await self.desk.keeper.drain(0)
        (entry,) = await self.entries()
        forwarder = self.corridor.forwarder
        return Case(entry.write.id, forwarder.destination, forwarder.profile, keyed(), 600.0)

    async def entries(self) -> Sequence[Entry]:
        return await self.desk.store.entries(UP, None, 9)

    async def again(self, case: Case) -> Outcome | None:
        """One resend, with everything written down."""
        outcome = await resend(self.corridor.forwarder, case)
        await self.desk.keeper.drain(0)
        await self.gate.drain()
        assert self.gate.in_flight == 0, "every permit is given back"
        return outcome

    @property
    def sent(self) -> int:
        """How many resends have reached the provider."""
        return len(self.corridor.transport.sent) - 1

    async def state(self) -> State:
        (entry,) = await self.entries()
        return entry.state

    async def free(self, case: Case) -> bool:
        """Whether the next call with the key is granted at once."""
        (entry,) = await self.entries()
        return not (await self.desk.store.claim(entry.write, "r9/1", LEASE)).held

    def when_claimed(self, act: Callable[[], None]) -> None:
        """Do something between the first look and the permit."""
        answer = self.desk.store.claim

        async def claim(*arguments: object, **more: object) -> object:
            found = await answer(*arguments, **more)  # type: ignore[arg-type]
            act()
            return found

        self.desk.store.claim = claim  # type: ignore[method-assign,assignment]

    def becomes(self, record: Record) -> None:
        """The breaker, as another replica made it."""
        self.gate.learn(replace(self.gate.view, record=record))


@pytest.mark.parametrize(
    ("result", "outcome", "state"),
    [
        (response(201), FINAL, State.FINAL),
        (response(402), FINAL, State.FINAL),
        (response(503), UNKNOWN, State.UNKNOWN),
        (RESET, UNKNOWN, State.UNKNOWN),
        (REFUSED, UNKNOWN, State.UNKNOWN),
        (response(401), None, State.UNKNOWN),
    ],
)
async def test_what_the_provider_says_is_known_told_and_written_down(
    result: Result, outcome: Outcome | None, state: State
) -> None:
    rig = Rig(result)
    case = await rig.unknown()
    assert await rig.again(case) is outcome
    assert (rig.sent, await rig.state()) == (1, state)
    assert rig.corridor.transport.sent[0].payment == rig.corridor.transport.sent[1].payment
    assert await rig.free(case)


async def test_it_costs_the_retry_budget() -> None:
    rig = Rig(response(201))
    case = await rig.unknown()
    before = rig.budget.left
    await rig.again(case)
    assert rig.budget.left == before - 1


async def test_a_client_s_own_call_under_way_is_left_alone_and_resolves_nothing() -> None:
    rig = Rig()
    case = await rig.unknown()
    (entry,) = await rig.entries()
    await rig.desk.store.claim(entry.write, "client/1", LEASE)
    assert await rig.again(case) is NOT_SENT
    (after,) = await rig.entries()
    assert (rig.sent, after.state, after.owner) == (0, State.UNKNOWN, "client/1")


async def test_somebody_else_has_found_out() -> None:
    rig = Rig()
    case = await rig.unknown()
    await rig.desk.store.settle(UP, [told(State.FINAL, "r2/1", id_=case.id)])
    assert await rig.again(case) is FINAL
    assert (rig.sent, await rig.state(), await rig.free(case)) == (0, State.FINAL, True)


async def test_without_the_ledger_nothing_is_sent() -> None:
    rig = Rig()
    case = await rig.unknown()
    rig.desk.store.away()
    outcome = await resend(rig.corridor.forwarder, case)
    assert (outcome, rig.sent, rig.gate.in_flight) == (NOT_SENT, 0, 0)
    rig.desk.store.back()
    await rig.desk.keeper.drain(1.0)
    assert await rig.state() is State.UNKNOWN


def half_open(rig: Rig) -> Record:
    return Record(rig.gate.view.record.epoch + 1, HalfOpen(10.0), rig.gate.now(), 1, "because")


@pytest.mark.parametrize("label", ["half_open", "forced_open"])
async def test_where_the_breaker_is_not_closed_not_even_the_ledger_is_asked(label: str) -> None:
    rig = Rig()
    case = await rig.unknown()
    record = half_open(rig)
    if label == "forced_open":
        record = replace(record, state=Closed(), override=Override("open", "a", "b", None))
    rig.becomes(record)
    assert rig.gate.view.record.label(rig.gate.now()) == label
    asked = rig.desk.store.times("claim")
    assert await rig.again(case) is NOT_SENT
    assert (rig.sent, rig.desk.store.times("claim")) == (0, asked)


async def test_where_somebody_has_forced_it_closed_it_goes_out() -> None:
    rig = Rig(response(201))
    case = await rig.unknown()
    rig.becomes(replace(half_open(rig), override=Override("closed", "a", "b", None)))
    assert await rig.again(case) is FINAL


async def test_where_the_budget_is_spent_not_even_the_ledger_is_asked() -> None:
    rig = Rig()
    case = await rig.unknown()
    spend(rig)
    asked = rig.desk.store.times("claim")
    assert await rig.again(case) is NOT_SENT
    assert (rig.sent, rig.desk.store.times("claim")) == (0, asked)


def spend(rig: Rig, left: float = 1.0) -> None:
    """Leave less than so much of the retry budget."""
    while rig.budget.left >= left:
        assert rig.budget.spend()


async def test_the_last_of_the_budget_is_enough() -> None:
    rig = Rig(response(201))
    case = await rig.unknown()
    spend(rig, 2.0)
    assert rig.budget.left >= 1.0
    assert await rig.again(case) is FINAL


async def test_a_budget_spent_meanwhile_gives_the_permit_back() -> None:
    rig = Rig()
    case = await rig.unknown()
    rig.when_claimed(lambda: spend(rig))
    assert await rig.again(case) is NOT_SENT
    assert (rig.sent, await rig.state(), await rig.free(case)) == (0, State.UNKNOWN, True)


async def test_a_permit_that_turns_out_to_be_a_probe_is_given_back_with_its_place() -> None:
    rig = Rig()
    case = await rig.unknown()
    record = half_open(rig)
    await rig.corridor.store.install(UP, record, expected=None, window=30.0)
    rig.when_claimed(lambda: rig.becomes(record))
    before = rig.budget.left
    assert await rig.again(case) is NOT_SENT
    assert (rig.sent, rig.budget.left) == (0, before), "what was not sent costs nothing"
    permit = await rig.gate.admit()
    assert isinstance(permit, Permit)
    assert permit.probe is not None, "its place is free for a client's call"


async def test_a_gate_that_refuses_is_asked_again_later() -> None:
    rig = Rig(max_concurrency=1)
    case = await rig.unknown()
    permit = await rig.gate.admit()
    assert isinstance(permit, Permit)
    outcome = await resend(rig.corridor.forwarder, case)
    assert (outcome, rig.sent, rig.gate.in_flight) == (NOT_SENT, 0, 1)
    await rig.desk.keeper.drain(0)
    assert await rig.free(case)


async def test_a_streamed_answer_is_given_up_with_its_connection() -> None:
    stream = FakeStream(b"{}")
    rig = Rig(response(201, body=stream))
    assert await rig.again(await rig.unknown()) is FINAL
    await settled()
    assert stream.closed


async def test_the_provider_s_wait_is_kept_for_the_next_try() -> None:
    rig = Rig(response(503, (b"Retry-After", b"90")))
    case = await rig.unknown()
    assert await rig.again(case) is UNKNOWN
    assert case.rest == 90.0


async def test_a_key_past_its_retention_settles_nothing_and_is_not_sent_again() -> None:
    rig = Rig(RESET)
    case = await rig.unknown()
    rig.desk.clock.advance(3600 * 25)
    assert await rig.again(case) is None


@pytest.mark.parametrize("what", ["destination", "profile"])
async def test_a_provider_that_a_reload_made_another_one_is_never_asked(what: str) -> None:
    rig = Rig()
    case = await rig.unknown()
    if what == "destination":
        case.destination = replace(case.destination, url="http://another.test")
    else:
        case.profile = GENERIC.model_copy(update={"name": "another"})
    asked = rig.desk.store.times("claim")
    assert await rig.again(case) is None
    assert (rig.sent, rig.desk.store.times("claim")) == (0, asked)


async def test_a_resend_that_is_cut_off_leaves_it_unknown() -> None:
    rig = Rig(Step(ValueError("a bug")))
    case = await rig.unknown()
    with pytest.raises(ValueError, match="a bug"):
        await rig.again(case)
    await rig.desk.keeper.drain(0)
    assert (rig.gate.in_flight, await rig.state(), await rig.free(case)) == (0, State.UNKNOWN, True)
    assert keyed(KEYED).payment == case.keyed.payment
