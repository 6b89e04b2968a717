"""What the bookkeeper does in the background and in an outage, against a store that says what it was asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from proxy import bookkeeper
from proxy.core.errors import Unreadable
from proxy.core.events import LedgerLost, LedgerTrimmed, StoreFailed, TurnFailed
from proxy.core.fingerprint import describe
from proxy.core.ledger import UNTRACKED, Entry, Ground, Settlement, State, Write
from proxy.edges.memory_ledger import MemoryLedger
from tests.fakes import READ, payment, settled
from tests.ledger.desk import DESTINATION, Desk, keyed
from tests.ledger.entries import RULE, UP, told, write

OTHER = payment("POST", (b"Idempotency-Key", b"k-2"))


async def test_the_last_settlements_are_tried_until_the_store_is_back() -> None:
    desk = Desk(auto=True)
    desk.store.trouble = lambda name: None if desk.clock.now() > 1000.3 else Unreadable(name, "away")
    desk.keeper.settle(told(State.UNKNOWN))
    assert await desk.keeper.drain(1.0) == 0
    assert desk.clock.now() == pytest.approx(1000.3, abs=0.05)
    assert (await desk.store.count(UP)).unknown == 1


@pytest.mark.parametrize(("seconds", "tries"), [(0.0, (1, 1)), (1.0, (20, 200))])
async def test_what_cannot_be_written_down_in_time_is_counted(seconds: float, tries: tuple[int, int]) -> None:
    desk = Desk(auto=True)
    desk.store.away()
    for id_ in "abc":
        desk.keeper.settle(told(State.UNKNOWN, id_=id_))
    assert await desk.keeper.drain(seconds) == 3
    assert desk.clock.now() - 1000 == pytest.approx(seconds, abs=0.05)
    assert tries[0] <= desk.store.times("settle") <= tries[1]


async def test_an_outage_longer_than_the_queue_forgets_what_the_lease_says_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A forgotten call is unknown once its lease is over, so what is known to be unknown is kept the longest."""
    monkeypatch.setattr(bookkeeper, "MOST_WAITING", 3)
    desk = Desk(auto=True)
    desk.store.away()
    for id_, state in [("u1", State.UNKNOWN), ("f2", State.FINAL), ("u3", State.UNKNOWN), ("f4", State.FINAL)]:
        desk.keeper.settle(told(state, f"r1/{id_}", id_=id_))
    assert await desk.keeper.drain(0) == 3
    assert desk.store.asked[-1] == ("settle", [("u1", "unknown"), ("u3", "unknown"), ("f4", "final")])
    for id_ in ("u5", "u6"):
        desk.keeper.settle(told(State.UNKNOWN, f"r1/{id_}", id_=id_))
    desk.store.back()
    assert await desk.keeper.drain(0) == 0
    assert desk.store.asked[-1] == ("settle", [("u3", "unknown"), ("u5", "unknown"), ("u6", "unknown")])


async def test_many_settlements_are_one_command_and_very_many_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bookkeeper, "MOST_AT_ONCE", 3)
    desk = Desk()
    async with desk.at_work():
        for number in range(7):
            desk.keeper.settle(told(State.UNKNOWN, id_=str(number)))
        await settled()
        assert desk.store.times("settle") == 0, "they are gathered for a moment"
        await desk.pass_(0.01, step=0.001)
    batches = [what for name, what in desk.store.asked if name == "settle"]
    assert [[id_ for id_, _ in batch] for batch in batches] == [["0", "1", "2"], ["3", "4", "5"], ["6"]]  # type: ignore[attr-defined]


async def test_a_settlement_is_written_down_within_milliseconds() -> None:
    desk = Desk()
    async with desk.at_work():
        await desk.granted()
        desk.keeper.settle(told(State.UNKNOWN, id_="z"))
        await desk.pass_(0.005, step=0.001)
        assert await desk.store.entry(UP, "z") is not None


async def test_who_has_nothing_to_write_down_sleeps() -> None:
    desk = Desk()
    async with desk.at_work():
        desk.keeper.settle(told(State.UNKNOWN))
        await desk.pass_(1.0)
        slept = len(desk.clock.slept)
        await desk.pass_(5.0)
        assert len(desk.clock.slept) - slept <= 6, "the looks of each second and nothing else"


async def test_a_failed_write_is_tried_again_after_a_rest_and_in_order() -> None:
    desk = Desk()
    desk.store.away("settle")
    async with desk.at_work():
        desk.keeper.settle(told(State.UNKNOWN))
        desk.keeper.settle(told(State.FINAL))
        await desk.pass_(4.5)
        assert 4 <= desk.store.times("settle") <= 6, "once a second, not all the time"
        assert desk.sink.of(StoreFailed)[0] == StoreFailed("settle", "away")
        desk.store.back()
        await desk.pass_(1.2)
    found = await desk.store.entry(UP, "a")
    assert found is not None
    assert (found.state, found.attempts) == (State.FINAL, 2)


async def test_a_bug_in_a_turn_is_told_costs_a_rest_and_loses_nothing() -> None:
    desk = Desk()
    bugs = iter([ValueError("a bug")])
    desk.store.trouble = lambda name: next(bugs, None) if name == "settle" else None
    async with desk.at_work():
        desk.keeper.settle(told(State.UNKNOWN))
        await desk.pass_(0.5)
        (told_of,) = desk.sink.of(TurnFailed)
        assert told_of.loop == "_write_down"
        assert "ValueError" in told_of.cause
        assert desk.sink.of(StoreFailed) == [], "it is no fault of the store's"
        assert await desk.store.entry(UP, "a") is None
        desk.keeper.settle(told(State.UNKNOWN, id_="b"))
        await desk.pass_(0.2)
        assert await desk.store.entry(UP, "b") is None, "a bug that comes each time must not take the processor"
        await desk.pass_(1.0)
    assert [one.write.id for one in await desk.store.entries(UP, State.UNKNOWN, 9)] == ["a", "b"]


# what a payment meets -----------------------------------------------------------------------------------------------


async def test_a_store_that_is_known_to_be_away_is_not_asked() -> None:
    desk = Desk()
    desk.up = False
    claim = await desk.claim()
    assert claim is not None
    assert (claim.degraded, claim.doubt) == (True, True), "an earlier call with the client's key may be in there"
    own = await desk.claim(payment("POST"))
    assert own is not None
    assert (own.degraded, own.doubt) == (True, False)
    assert desk.store.asked == []


async def test_after_a_failure_the_store_is_left_alone_for_a_second() -> None:
    desk = Desk()
    desk.store.away()
    for _ in range(3):
        claim = await desk.claim()
        assert claim is not None
        assert claim.degraded
    assert desk.store.times("claim") == 1
    assert desk.sink.of(StoreFailed) == [StoreFailed("claim", "away")]
    desk.store.back()
    desk.clock.advance(0.875)
    assert (await desk.claim()).degraded  # type: ignore[union-attr]
    desk.clock.advance(0.125)
    assert not (await desk.claim()).degraded  # type: ignore[union-attr]


@pytest.mark.parametrize("operation", ["upstreams", "count"])
async def test_a_failed_look_is_a_failure_too(operation: str) -> None:
    desk = Desk()
    desk.store.away(operation)
    async with desk.at_work():
        await desk.pass_(1.0)
        assert desk.sink.of(StoreFailed) == [StoreFailed(operation, "away")]
        claim = await desk.claim()
        assert claim is not None
        assert claim.degraded
        await desk.pass_(0.8)
    assert desk.store.times("claim") == 0


async def test_one_payment_that_cannot_be_read_is_no_reason_to_leave_the_store_alone() -> None:
    desk = Desk()
    desk.store.trouble = lambda name: Unreadable(name, "odd")
    assert (await desk.claim()).degraded  # type: ignore[union-attr]
    desk.store.back()
    assert not (await desk.claim(OTHER)).degraded  # type: ignore[union-attr]


async def test_a_call_waits_as_long_as_it_may_and_holds_nothing_afterwards() -> None:
    desk = Desk(auto=True)
    _, owner = await desk.granted()
    left = iter([9.0, 8.0, 7.0, 0.0])
    claim = await desk.keeper.claim(keyed(), DESTINATION, patience=lambda: next(left))
    assert claim is None
    assert desk.clock.slept == [0.01, 0.02, 0.04], "looks that grow apart"
    desk.clock.advance(2.5)
    await desk.keeper._renew(UP)
    assert desk.store.asked[-1] == ("renew", [owner])


async def test_a_look_is_never_longer_than_a_fifth_of_a_second() -> None:
    desk = Desk(auto=True)
    await desk.granted()
    left = iter([9.0] * 12 + [0.15])
    assert await desk.keeper.claim(keyed(), DESTINATION, patience=lambda: next(left)) is None
    assert max(desk.clock.slept) == 0.2


async def test_a_call_that_is_cancelled_while_it_asks_leaves_the_payment_free() -> None:
    desk = Desk(auto=True)
    desk.store.trouble = lambda name: asyncio.CancelledError() if name == "claim" else None  # type: ignore[return-value,assignment]
    with pytest.raises(asyncio.CancelledError):
        await desk.claim()
    desk.store.back()
    await desk.store.claim(_write_of(desk), "r1/1", 60)  # what the store may have heard before
    assert await desk.keeper.drain(0) == 0
    assert not (await desk.claim()).degraded  # type: ignore[union-attr]


async def test_a_read_is_nobody_s_business() -> None:
    desk = Desk()
    assert await desk.claim(READ) is UNTRACKED
    assert desk.store.asked == []


# what it looks after ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lease", "every"), [(0.6, 0.2), (6.0, 2.0)])
async def test_a_long_call_keeps_its_lease_however_short_it_is(lease: float, every: float) -> None:
    desk = Desk(lease=lease)
    async with desk.at_work():
        written, owner = await desk.granted()
        step = lease / 60
        await desk.pass_(3 * lease, step=step)
        assert (await desk.store.claim(written, "r2/1", lease)).held
        asked = desk.store.times("renew")
        assert 3 * lease / every / 2 <= asked <= 3 * lease / every + 1
        desk.keeper.settle(told(State.UNKNOWN, owner, id_=written.id))
        await desk.pass_(2 * lease, step=step)
        assert desk.store.times("renew") == asked, "a call that has ended is not renewed"


async def test_a_claim_holds_until_its_lease_is_over_by_the_replica_s_own_clock() -> None:
    desk = Desk()
    claim = await desk.claim()
    assert claim is not None
    desk.clock.advance(5.9)
    assert desk.keeper.holds(claim)
    desk.clock.advance(0.1)
    assert not desk.keeper.holds(claim)
    assert desk.keeper.holds(UNTRACKED)
    desk.store.away()
    degraded = await desk.claim(OTHER)
    assert degraded is not None
    assert not desk.keeper.holds(degraded)


async def test_a_renewed_claim_holds_on() -> None:
    desk = Desk()
    async with desk.at_work():
        claim = await desk.claim()
        assert claim is not None
        await desk.pass_(20.0)
        assert desk.keeper.holds(claim)


@pytest.mark.parametrize(
    ("meanwhile", "holds"), [(None, True), (State.NOT_SENT, True), (State.UNKNOWN, False), (State.IN_FLIGHT, False)]
)
async def test_a_claim_that_the_store_lost_still_holds_if_nobody_was_there_meanwhile(
    meanwhile: State | None, holds: bool
) -> None:
    desk = Desk()
    async with desk.at_work():
        claim = await desk.claim()
        assert claim is not None
        assert claim.write is not None
        desk.store._entries.clear()
        desk.store._leased.clear()
        if meanwhile is State.IN_FLIGHT:
            await desk.store.claim(claim.write, "r2/1", 60)
        elif meanwhile is not None:
            await desk.store.claim(claim.write, "r2/1", 60)
            await desk.store.settle(UP, [told(meanwhile, "r2/1", id_=claim.write.id)])
        await desk.pass_(4.0)
        assert desk.keeper.holds(claim) is holds
        found = await desk.store.entry(UP, claim.write.id)
        assert found is not None
        assert found.owner == ("r2/1" if meanwhile is State.IN_FLIGHT else claim.owner)


async def test_a_claim_that_the_store_lost_does_not_hold_until_the_store_says_who_was_there() -> None:
    desk = Desk()
    async with desk.at_work():
        claim = await desk.claim()
        assert claim is not None
        assert claim.write is not None
        desk.store._entries.clear()
        desk.store._leased.clear()
        await desk.store.claim(claim.write, "r2/1", 60)
        desk.store.away("claim")
        await desk.pass_(4.0)
        assert desk.store.times("renew") > 0
        assert not desk.keeper.holds(claim)


@pytest.mark.parametrize("lost", [True, False])
async def test_what_this_replica_knows_to_be_unknown_is_in_doubt_though_the_store_lost_it(*, lost: bool) -> None:
    desk = Desk()
    written, owner = await desk.granted()
    desk.keeper.settle(told(State.UNKNOWN, owner, id_=written.id))
    await desk.keeper.drain(0)
    if lost:
        desk.store._entries.clear()
        desk.store._unknown.clear()
    desk.clock.advance(7.0)
    claim = await desk.claim()
    assert claim is not None
    assert (claim.doubt, claim.age) == (True, 7.0)
    desk.keeper.settle(told(State.FINAL, claim.owner, id_=written.id, settles=False))
    await desk.keeper.drain(0)
    desk.keeper.recovery.at_once(UP)
    await desk.keeper.recovery.compare(UP)
    found = await desk.store.entry(UP, written.id)
    assert found is not None
    assert (found.state, desk.clock.wall() - found.since) == (State.UNKNOWN, 7.0)


async def test_what_is_still_to_be_written_down_is_no_loss() -> None:
    desk = Desk()
    written, owner = await desk.granted()
    desk.keeper.settle(told(State.UNKNOWN, owner, id_=written.id))
    desk.keeper.recovery.at_once(UP)
    assert await desk.keeper.recovery.compare(UP) is None
    assert desk.sink.of(LedgerLost) == []


async def test_what_is_still_to_be_written_down_is_in_doubt_though_the_store_lost_the_call() -> None:
    desk = Desk()
    written, owner = await desk.granted()
    desk.store._entries.clear()
    desk.store._leased.clear()
    desk.keeper.settle(told(State.UNKNOWN, owner, id_=written.id))
    claim = await desk.claim()
    assert claim is not None
    assert (claim.doubt, claim.degraded) == (True, False)


@pytest.mark.parametrize(("rule", "settled"), [(RULE, True), ("stripe:Idempotency-Key", False)])
async def test_an_upstream_that_was_renamed_is_the_same_one(rule: str, *, settled: bool) -> None:
    desk = Desk()
    before = replace(_write_of(desk), upstream="old", rule=rule)
    await desk.store.settle("old", [Settlement(before, "r9/1", State.UNKNOWN, None, 1)])
    desk.keeper.know(["old"])
    await desk.keeper.count("old")
    desk.clock.advance(50.0)
    claim = await desk.claim()
    assert claim is not None
    assert claim.write is not None
    assert (claim.doubt, claim.same_rule, claim.age) == (True, settled, 50.0)
    desk.keeper.settle(told(State.FINAL, claim.owner, id_=before.id))
    await desk.keeper.drain(0)
    found = await desk.store.entry("old", before.id)
    assert found is not None
    assert found.state is (State.FINAL if settled else State.UNKNOWN)


async def test_a_key_of_our_own_is_looked_for_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    await desk.store.settle("old", [told(State.UNKNOWN)])
    desk.keeper.know(["old"])
    await desk.keeper.count("old")
    monkeypatch.delattr(MemoryLedger, "entry")  # asking would fail
    assert await desk.claim(payment("POST")) is not None


async def test_a_call_waits_for_one_that_its_upstream_began_under_another_name() -> None:
    desk = Desk(auto=True)
    renamed = replace(DESTINATION, upstream="new")
    first = await desk.claim()
    assert first is not None
    assert await desk.keeper.claim(keyed(), renamed, patience=lambda: 0.0) is None
    desk.keeper.settle(told(State.FINAL, first.owner))
    assert await desk.keeper.claim(keyed(), renamed, patience=lambda: 0.0) is not None


async def test_what_is_settled_is_in_no_doubt_whatever_this_replica_remembers() -> None:
    desk = Desk()
    written, owner = await desk.granted()
    desk.keeper.settle(told(State.UNKNOWN, owner, id_=written.id))
    await desk.keeper.drain(0)
    await desk.store.settle(UP, [told(State.FINAL, "r2/1", id_=written.id, ground=Ground.DECLINE)])
    claim = await desk.claim()
    assert claim is not None
    assert (claim.settled, claim.doubt) == (True, False)


async def test_the_count_of_unknown_outcomes_follows_the_store() -> None:
    desk = Desk()
    async with desk.at_work():
        await desk.store.settle(UP, [told(State.UNKNOWN, id_=id_) for id_ in "ab"])
        assert desk.keeper.unknown(UP) == 0
        await desk.pass_(1.5)
        assert desk.keeper.unknown(UP) == 2
        await desk.store.settle(UP, [told(State.FINAL)])
        assert await desk.keeper.count(UP) == 1
    assert desk.keeper.unknown("somebody else's") == 0


async def test_a_claim_tells_of_what_had_to_be_forgotten_for_it() -> None:
    desk = Desk(most_unknown=1)
    await desk.store.settle(UP, [told(State.UNKNOWN, id_="a")])
    await desk.store.claim(write("b"), "dead/1", 0.0)
    desk.clock.advance(0.1)
    await desk.granted()
    assert desk.sink.of(LedgerTrimmed) == [LedgerTrimmed(UP, 1)]
    await desk.granted(OTHER)
    assert len(desk.sink.of(LedgerTrimmed)) == 1


async def test_books_that_were_kept_before_are_looked_after_too() -> None:
    desk = Desk()
    await desk.store.upstreams(["old"])
    async with desk.at_work():
        await desk.pass_(2.5)
        assert desk.keeper.upstreams == {UP, "old"}
        assert ("count", "old") in desk.store.asked
        assert desk.store.times("upstreams") == 2, "once here, once by the replica"
        desk.keeper.know(["new"])
        await desk.pass_(1.5)
    assert desk.keeper.upstreams == {UP, "old", "new"}
    assert desk.store.asked.count(("upstreams", sorted([UP, "old", "new"]))) == 1


# what is told of several upstreams ----------------------------------------------------------------------------------


async def test_the_entries_of_several_upstreams_are_one_list() -> None:
    desk = Desk()
    for id_, upstream in [("a", "one"), ("b", "two"), ("c", "one"), ("d", "two")]:
        await desk.store.settle(upstream, [told(State.UNKNOWN, id_=id_)])
        desk.clock.advance(1.0)

    async def ids(state: State | None, limit: int = 9) -> str:
        return "".join(one.write.id for one in await desk.keeper.entries(["one", "two"], state, limit))

    assert [await ids(State.UNKNOWN), await ids(State.UNKNOWN, 3)] == ["abcd", "abc"], "the oldest first"
    assert [await ids(None), await ids(None, 2)] == ["dcba", "dc"], "the latest first"
    await desk.store.claim(write("e"), "r1/1", 60)
    assert [one.write.id for one in await desk.keeper.entries([UP], State.IN_FLIGHT, 9)] == ["e"]


async def test_an_entry_is_found_whichever_upstream_s_it_is() -> None:
    desk = Desk()
    await desk.store.settle("two", [told(State.UNKNOWN)])
    found = await desk.keeper.entry(["one", "two"], "a")
    assert isinstance(found, Entry)
    assert await desk.keeper.entry(["one", "two"], "b") is None
    assert await desk.keeper.entry([], "a") is None


def _write_of(desk: Desk) -> Write:
    return describe(desk.keeper._secret, DESTINATION, keyed(), unique="")


async def test_while_the_shared_store_is_known_to_be_away_nobody_looks_at_the_books() -> None:
    desk = Desk()
    desk.up = False
    async with desk.at_work():
        await desk.pass_(5)
        assert desk.store.asked == []
        desk.up = True
        await desk.pass_(3)
    assert {name for name, _ in desk.store.asked} >= {"upstreams", "count"}
