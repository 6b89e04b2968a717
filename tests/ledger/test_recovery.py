"""What a replica remembers of the unknown, when it compares that with the store, and what it says of a loss."""

from __future__ import annotations

import pytest

from proxy import recovery
from proxy.core.errors import StoreUnavailable
from proxy.core.events import LedgerLost
from proxy.core.ledger import Claim, Ground, State
from proxy.ports import Tracked
from proxy.recovery import Recovery
from tests.fakes import FakeClock, RecordingSink
from tests.ledger.desk import Desk, Store
from tests.ledger.entries import UP, told, write

UNKNOWN = State.UNKNOWN


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Store(self.clock)
        self.sink = RecordingSink()
        self.recovery = Recovery(self.store, clock=self.clock, events=self.sink)

    def note(self, *ids: str) -> None:
        """Unknown, and written down."""
        for id_ in ids:
            self.recovery.note(one := told(UNKNOWN, id_=id_))
            self.recovery.written(one)

    def heard(self, began: str, known: int = 0, upstream: str = UP) -> None:
        self.recovery.heard(upstream, Tracked(0, 0, began), known)

    async def compare(self) -> set[str]:
        """The ids that were compared; none if there was nothing to do."""
        self.store.asked.clear()
        await self.recovery.compare(UP)
        return {id_ for _, ids in self.store.asked for id_ in ids}  # type: ignore[attr-defined]

    def lost(self) -> list[LedgerLost]:
        return self.sink.of(LedgerLost)


async def test_what_is_unknown_is_remembered_until_an_answer_settles_it() -> None:
    rig = Rig()
    rig.note("a", "b", "c")
    rig.recovery.note(told(State.FINAL, id_="a"))
    rig.recovery.note(told(State.FINAL, id_="b", ground=Ground.REFUSAL))
    rig.recovery.note(told(State.NOT_SENT, id_="c"))
    rig.recovery.note(told(State.FINAL, id_="d"))
    assert await rig.compare() == {"b", "c"}


async def test_what_the_store_knows_to_be_known_is_forgotten() -> None:
    rig = Rig()
    rig.note("a", "b")
    await rig.store.settle(UP, [told(State.FINAL, id_="a"), told(UNKNOWN, id_="b")])
    assert await rig.compare() == {"a", "b"}
    rig.recovery.at_once(UP)
    assert await rig.compare() == {"b"}
    assert rig.lost() == []


async def test_it_compares_every_half_minute_though_nothing_seems_lost() -> None:
    rig = Rig()
    rig.note("a")
    await rig.store.settle(UP, [told(UNKNOWN)])
    assert await rig.compare() == {"a"}
    rig.clock.advance(29.9)
    assert await rig.compare() == set()
    rig.clock.advance(0.1)
    assert await rig.compare() == {"a"}
    assert rig.recovery.losses == {}


async def test_without_anything_remembered_the_store_is_not_asked() -> None:
    rig = Rig()
    assert await rig.compare() == set()
    rig.note("a")
    rig.recovery.note(told(State.FINAL))
    assert await rig.compare() == set()


async def test_an_eviction_is_mended_and_told() -> None:
    rig = Rig()
    rig.note("a", "b")
    await rig.store.settle(UP, [told(UNKNOWN, id_="a")])
    tracked = await rig.recovery.compare(UP)
    assert tracked is not None
    assert tracked.unknown == 2
    assert rig.lost() == [LedgerLost(UP, 1, 1)]
    losses = rig.recovery.losses[UP]
    assert (losses.times, losses.restored, losses.last) == (1, 1, rig.clock.wall())


async def test_a_ledger_that_began_anew_is_a_loss_though_nobody_can_write_it_back() -> None:
    rig = Rig()
    rig.heard("first", 0)
    rig.heard("second", 7)
    assert await rig.recovery.compare(UP) is None
    assert rig.lost() == [LedgerLost(UP, 7, 0)]
    assert await rig.recovery.compare(UP) is None
    rig.heard("second", 7)
    await rig.recovery.compare(UP)
    assert len(rig.lost()) == 1, "told once"


async def test_of_what_was_known_and_what_was_written_back_the_larger_is_told() -> None:
    rig = Rig()
    rig.note("a", "b", "c")
    rig.heard("first")
    rig.heard("second", 2)
    await rig.recovery.compare(UP)
    rig.heard("third", 9)
    rig.heard("fourth", 0)
    await rig.recovery.compare(UP)
    assert rig.lost() == [LedgerLost(UP, 3, 3), LedgerLost(UP, 9, 0)]
    losses = rig.recovery.losses[UP]
    assert (losses.times, losses.restored) == (2, 3)


@pytest.mark.parametrize("begun", [["first", "first"], ["", "first"], ["", "", "first", "first"]])
async def test_the_same_beginning_or_the_first_is_no_loss(begun: list[str]) -> None:
    rig = Rig()
    for began in begun[:-1]:
        rig.heard(began)
    rig.heard(begun[-1], 3)
    await rig.recovery.compare(UP)
    assert rig.lost() == []


async def test_a_beginning_is_remembered_over_a_store_that_has_none_yet() -> None:
    """A flushed store that has only been read has no beginning; what it says next is another one all the same."""
    rig = Rig()
    rig.heard("first")
    rig.heard("", 4)
    rig.heard("second", 0)
    await rig.recovery.compare(UP)
    assert rig.lost() == [LedgerLost(UP, 4, 0)]


async def test_upstreams_lose_their_books_apart() -> None:
    rig = Rig()
    rig.heard("first")
    rig.heard("another", 3, upstream="other")
    await rig.recovery.compare(UP)
    assert rig.lost() == []


async def test_very_many_are_written_back_in_some_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "MOST_AT_ONCE", 2)
    rig = Rig()
    rig.note(*"abcde")
    await rig.recovery.compare(UP)
    assert [what for _, what in rig.store.asked] == [["a", "b"], ["c", "d"], ["e"]]
    assert rig.lost() == [LedgerLost(UP, 5, 5)]
    assert (await rig.store.count(UP)).unknown == 5


async def test_beyond_the_bound_the_oldest_is_left_to_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "MOST_REMEMBERED", 3)
    rig = Rig()
    rig.note(*"abcd")
    assert await rig.compare() == {"b", "c", "d"}


async def test_a_store_that_fails_in_the_middle_is_compared_again_later() -> None:
    rig = Rig()
    rig.note("a")
    rig.store.away()
    with pytest.raises(StoreUnavailable):
        await rig.recovery.compare(UP)
    rig.store.back()
    assert await rig.compare() == {"a"}


async def test_after_an_outage_it_is_compared_at_once() -> None:
    desk = Desk()
    async with desk.at_work():
        desk.keeper.settle(told(UNKNOWN))
        await desk.pass_(3.0)
        desk.store._entries.clear()  # an eviction, of which nobody is told
        desk.store._unknown.clear()
        desk.store._leased.clear()
        await desk.pass_(3.0)
        assert desk.store.times("restore") == 1, "the next look is half a minute away"
        desk.store.away()
        await desk.pass_(2.0)
        desk.store.back()
        await desk.pass_(3.0)
    assert desk.sink.of(LedgerLost) == [LedgerLost(UP, 1, 1)]
    assert desk.keeper.unknown(UP) == 1


async def test_what_a_claim_shows_to_be_lost_is_written_back_without_waiting_for_the_next_look() -> None:
    rig = Rig()
    rig.note("a")
    assert await rig.compare() == {"a"}
    assert await rig.compare() == set(), "not twice within half a minute"
    claim = rig.recovery.recall(Claim(write("a"), "r1/1"))
    assert claim.doubt
    assert await rig.compare() == {"a"}
    rig.recovery.recall(Claim(write("a"), "r1/2", doubt=True))
    assert await rig.compare() == set(), "where the store knows, there is nothing to write back"
