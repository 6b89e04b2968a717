"""What every store of ledger entries must uphold, whichever it is."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.asyncio import Redis

from proxy.core.ledger import Ground, State
from proxy.edges.memory_ledger import MemoryLedger
from proxy.edges.redis_ledger import RedisLedger
from proxy.ports import LedgerStore
from tests.ledger.entries import UP, told, write

LEASE = 30.0
SHORT = 0.05
RETENTION = 0.2


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, redis_client: Redis) -> LedgerStore:
    if request.param == "memory":
        return MemoryLedger(time.time, retention_seconds=RETENTION, most_unknown=3)
    return RedisLedger(redis_client, prefix="t", timeout_seconds=2.0, retention_seconds=RETENTION, most_unknown=3)


async def state(store: LedgerStore, id_: str = "a") -> State | None:
    entry = await store.entry(UP, id_)
    return None if entry is None else entry.state


async def crash(store: LedgerStore, id_: str = "a", owner: str = "dead/1") -> None:
    """A call whose owner dies, and its lease."""
    await store.claim(write(id_), owner, SHORT)
    await asyncio.sleep(2 * SHORT)


async def test_a_new_payment_is_in_flight_and_keeps_what_it_was_described_by(store: LedgerStore) -> None:
    answer = await store.claim(write(), "r1/1", LEASE)
    entry = await store.entry(UP, "a")
    assert not answer.held
    assert answer.prior is None
    assert abs(answer.now - time.time()) < 5
    assert entry is not None
    assert (entry.write, entry.state, entry.owner) == (write(), State.IN_FLIGHT, "r1/1")
    assert (entry.calls, entry.attempts, entry.status) == (1, 0, None)
    assert entry.held(answer.now)


async def test_a_held_payment_is_nobody_else_s(store: LedgerStore) -> None:
    await store.claim(write(), "r1/1", LEASE)
    assert (await store.claim(write(), "r2/1", LEASE)).held
    await store.settle(UP, [told(State.FINAL)])
    assert not (await store.claim(write(), "r2/1", LEASE)).held


@pytest.mark.parametrize("ended", [State.FINAL, State.UNKNOWN, State.NOT_SENT])
async def test_a_call_in_flight_ends_as_its_owner_says(store: LedgerStore, ended: State) -> None:
    await store.claim(write(), "r1/1", LEASE)
    await store.settle(UP, [told(ended)])
    entry = await store.entry(UP, "a")
    assert entry is not None
    assert (entry.state, entry.owner, entry.attempts) == (ended, "", 1)
    assert entry.status == (201 if ended is State.FINAL else None)
    assert entry.provider_request_id == ("prov-1" if ended is State.FINAL else None)


@pytest.mark.parametrize("later", [State.UNKNOWN, State.NOT_SENT, State.FINAL])
async def test_nothing_follows_what_is_settled(store: LedgerStore, later: State) -> None:
    await store.claim(write(), "r1/1", LEASE)
    await store.settle(UP, [told(State.FINAL)])
    answer = await store.claim(write(), "r2/1", LEASE)
    assert answer.prior is not None
    assert (answer.prior.state, answer.prior.status) == (State.FINAL, 201)
    assert await state(store) is State.FINAL
    await store.settle(UP, [told(later, "r2/1", settles=False, status=402 if later is State.FINAL else None)])
    entry = await store.entry(UP, "a")
    assert entry is not None
    assert (entry.state, entry.status, entry.calls) == (State.FINAL, 201, 2)


@pytest.mark.parametrize(
    ("ended", "settles", "after"),
    [
        (State.FINAL, True, State.FINAL),
        (State.FINAL, False, State.UNKNOWN),
        (State.NOT_SENT, False, State.UNKNOWN),
        (State.UNKNOWN, False, State.UNKNOWN),
    ],
)
async def test_only_a_settling_answer_resolves_what_was_unknown(
    store: LedgerStore, ended: State, settles: bool, after: State
) -> None:
    await store.claim(write(), "r1/1", LEASE)
    await store.settle(UP, [told(State.UNKNOWN)])
    again = await store.claim(write(body="b2"), "r2/1", LEASE)
    assert again.prior is not None
    assert (again.prior.state, again.prior.write.body) == (State.UNKNOWN, "b1")
    assert await state(store) is State.UNKNOWN, "a try under way does not hide it"
    tracked = await store.settle(UP, [told(ended, "r2/1", settles=settles)])
    assert await state(store) is after
    assert tracked.unknown == (after is State.UNKNOWN)


async def test_a_payment_that_was_not_sent_starts_anew(store: LedgerStore) -> None:
    await store.claim(write(), "r1/1", LEASE)
    await store.settle(UP, [told(State.NOT_SENT)])
    await store.claim(write(request_id="req-2", body="b2"), "r2/1", LEASE)
    entry = await store.entry(UP, "a")
    assert entry is not None
    assert (entry.state, entry.write.request_id, entry.write.body) == (State.IN_FLIGHT, "req-2", "b2")


async def test_a_dead_owner_leaves_unknown_which_whoever_lists_finds(store: LedgerStore) -> None:
    await crash(store)
    assert [(entry.write.id, entry.lapsed) for entry in await store.entries(UP, State.UNKNOWN, 10)] == [("a", True)]
    assert (await store.count(UP)).unknown == 1


async def test_whoever_claims_next_learns_of_the_dead_owner(store: LedgerStore) -> None:
    await crash(store)
    answer = await store.claim(write(), "r2/1", LEASE)
    assert not answer.held
    assert answer.prior is not None
    assert await state(store) is State.UNKNOWN
    assert answer.tracked.unknown == 1


async def test_a_claim_on_another_payment_finds_the_dead_too(store: LedgerStore) -> None:
    await crash(store)
    assert (await store.claim(write("b"), "r2/1", LEASE)).tracked.unknown == 1


async def test_in_flight_is_never_forgotten_by_age(store: LedgerStore) -> None:
    await store.claim(write(), "r1/1", LEASE)
    await asyncio.sleep(RETENTION + 0.1)
    assert await state(store) is State.IN_FLIGHT


@pytest.mark.parametrize("ended", [State.FINAL, State.NOT_SENT])
async def test_what_is_known_is_kept_for_the_retention_only(store: LedgerStore, ended: State) -> None:
    await store.claim(write(), "r1/1", LEASE)
    await store.settle(UP, [told(ended)])
    assert await state(store) is ended
    await asyncio.sleep(RETENTION + 0.1)
    assert await state(store) is None
    assert await store.entries(UP, None, 10) == []


async def test_unknown_stays_until_it_is_resolved(store: LedgerStore) -> None:
    await crash(store)
    await asyncio.sleep(RETENTION + 0.1)
    assert await state(store) is State.UNKNOWN


@pytest.mark.parametrize("ended", [State.FINAL, State.NOT_SENT, State.UNKNOWN])
async def test_an_owner_that_was_thought_dead_still_has_the_last_word(store: LedgerStore, ended: State) -> None:
    await crash(store)
    assert await state(store) is State.UNKNOWN
    await store.settle(UP, [told(ended, "dead/1")])
    assert await state(store) is ended


async def test_not_once_another_call_has_begun(store: LedgerStore) -> None:
    await crash(store)
    await store.claim(write(), "r2/1", LEASE)
    await store.settle(UP, [told(State.NOT_SENT, "dead/1")])
    assert await state(store) is State.UNKNOWN
    assert (await store.claim(write(), "r3/1", LEASE)).held, "the second owner still has it"
    await store.settle(UP, [told(State.FINAL, "dead/1")])
    assert await state(store) is State.FINAL
    assert (await store.claim(write(), "r3/1", LEASE)).held


async def test_a_lease_can_be_renewed_by_its_owner_only(store: LedgerStore) -> None:
    await store.claim(write(), "r1/1", 0.2)
    await store.claim(write("b"), "r1/2", 0.2)
    assert await store.renew(UP, [("a", "r1/1"), ("b", "r2/1"), ("gone", "r1/3")], LEASE) == {"b", "gone"}
    await asyncio.sleep(0.25)
    assert await state(store, "a") is State.IN_FLIGHT
    assert await state(store, "b") is State.UNKNOWN


async def test_an_outcome_the_store_never_heard_the_beginning_of_is_kept(store: LedgerStore) -> None:
    await store.settle(UP, [told(State.UNKNOWN), told(State.FINAL, id_="b"), told(State.NOT_SENT, id_="c")])
    assert [await state(store, id_) for id_ in "abc"] == [State.UNKNOWN, State.FINAL, None]


async def test_an_unknown_outcome_of_a_call_without_a_claim_is_not_hidden_by_another_call(store: LedgerStore) -> None:
    await store.claim(write(), "r1/1", LEASE)
    await store.settle(UP, [told(State.UNKNOWN, "r2/9")])
    assert await state(store) is State.UNKNOWN
    await store.settle(UP, [told(State.FINAL, "r1/1", settles=False)])
    assert await state(store) is State.UNKNOWN


async def test_a_settlement_told_twice_changes_nothing(store: LedgerStore) -> None:
    await store.claim(write(), "r1/1", LEASE)
    await store.settle(UP, [told(State.UNKNOWN), told(State.UNKNOWN)])
    await store.claim(write(), "r2/1", LEASE)
    await store.settle(UP, [told(State.FINAL, "r2/1"), told(State.UNKNOWN), told(State.FINAL, "r2/1")])
    assert await state(store) is State.FINAL


async def test_beyond_the_bound_the_oldest_unknown_are_forgotten_and_counted(store: LedgerStore) -> None:
    trimmed = 0
    for id_ in "abcde":
        await store.claim(write(id_), "r1/1", LEASE)
        trimmed += (await store.settle(UP, [told(State.UNKNOWN, id_=id_)])).trimmed
        await asyncio.sleep(0.002)
    assert trimmed == 2
    assert [entry.write.id for entry in await store.entries(UP, State.UNKNOWN, 10)] == ["c", "d", "e"]
    assert await state(store, "a") is None


async def test_lists_by_state_bounded_and_in_order(store: LedgerStore) -> None:
    for id_, ended in [("a", State.UNKNOWN), ("b", State.FINAL), ("c", State.NOT_SENT), ("d", State.UNKNOWN)]:
        await store.claim(write(id_), f"r1/{id_}", LEASE)
        await store.settle(UP, [told(ended, f"r1/{id_}", id_=id_)])
        await asyncio.sleep(0.002)
    await store.claim(write("e"), "r1/e", LEASE)

    async def ids(wanted: State | None, limit: int = 10) -> str:
        return "".join(entry.write.id for entry in await store.entries(UP, wanted, limit))

    assert await ids(State.UNKNOWN) == "ad"
    assert await ids(State.UNKNOWN, 1) == "a"
    assert await ids(State.FINAL) == "b"
    assert await ids(State.NOT_SENT) == "c"
    assert await ids(State.IN_FLIGHT) == "e"
    assert await ids(None) == "edcba"
    assert await ids(None, 2) == "ed"
    assert list(await store.entries("other", None, 10)) == []


async def test_what_a_dead_replica_left_is_in_the_list_of_everything(store: LedgerStore) -> None:
    await crash(store)
    await store.count(UP)
    assert [(entry.write.id, entry.state) for entry in await store.entries(UP, None, 10)] == [("a", State.UNKNOWN)]


@pytest.mark.parametrize("ground", [Ground.REFUSAL, Ground.OTHER])
async def test_what_no_settling_answer_made_final_begins_anew_and_dies_as_unknown(
    store: LedgerStore, ground: Ground
) -> None:
    await store.claim(write(), "r1/1", LEASE)
    await store.settle(UP, [told(State.FINAL, ground=ground, status=429)])
    answer = await store.claim(write(body="b2"), "dead/1", SHORT)
    assert answer.prior is not None
    assert (answer.prior.state, answer.prior.ground, answer.prior.status) == (State.FINAL, ground, 429)
    assert await state(store) is State.IN_FLIGHT
    await asyncio.sleep(2 * SHORT)
    (entry,) = await store.entries(UP, State.UNKNOWN, 10)
    assert (entry.write.body, entry.lapsed) == ("b2", True)
    await store.settle(UP, [told(State.UNKNOWN, "dead/1")])
    await store.settle(UP, [told(State.FINAL, "r7/1", ground=Ground.SUCCESS)])
    settled = await store.entry(UP, "a")
    assert settled is not None
    assert (settled.state, settled.ground, settled.status) == (State.FINAL, Ground.SUCCESS, 201)


async def test_a_key_that_the_provider_has_forgotten_is_a_new_payment(store: LedgerStore) -> None:
    await store.claim(write(), "r1/1", LEASE)
    await store.settle(UP, [told(State.FINAL)])
    await store.claim(write(), "r2/1", LEASE, 1000.0)
    assert await state(store) is State.FINAL
    await store.settle(UP, [told(State.NOT_SENT, "r2/1")])
    await store.claim(write(), "r3/1", LEASE, 0.0)
    assert await state(store) is State.IN_FLIGHT
    await store.settle(UP, [told(State.UNKNOWN, "r3/1")])
    assert await state(store) is State.UNKNOWN


async def test_what_the_store_has_lost_is_made_anew_and_what_it_knows_is_told(store: LedgerStore) -> None:
    for id_, ended in [("a", State.FINAL), ("b", State.UNKNOWN)]:
        await store.claim(write(id_), f"r1/{id_}", LEASE)
        await store.settle(UP, [told(ended, f"r1/{id_}", id_=id_)])
    restored = await store.restore(UP, [told(State.UNKNOWN, id_=id_) for id_ in "abc"])
    assert (restored.missing, restored.resolved, restored.tracked.unknown) == (frozenset("c"), frozenset("a"), 2)
    entry = await store.entry(UP, "c")
    assert entry is not None
    assert (entry.state, entry.write, entry.attempts) == (State.UNKNOWN, write("c"), 1)
    await asyncio.sleep(RETENTION + 0.1)
    assert [entry.write.id for entry in await store.entries(UP, State.UNKNOWN, 10)] == ["b", "c"]


async def test_what_was_forgotten_for_want_of_room_is_not_restored(store: LedgerStore) -> None:
    everything = [told(State.UNKNOWN, id_=id_) for id_ in "abcde"]
    await store.settle(UP, everything)
    answer = await store.restore(UP, everything)
    assert (answer.missing, answer.resolved) == (frozenset(), frozenset())
    assert (answer.tracked.unknown, answer.tracked.trimmed) == (3, 0)


async def test_a_ledger_has_one_beginning(store: LedgerStore) -> None:
    first = (await store.claim(write(), "r1/1", LEASE)).tracked.began
    assert first
    assert (await store.settle(UP, [told(State.FINAL)])).began == first
    assert (await store.count(UP)).began == first


async def test_books_once_kept_are_known_to_every_replica(store: LedgerStore) -> None:
    assert await store.upstreams(["one"]) == {"one"}
    assert await store.upstreams(["two"]) == {"one", "two"}
    assert await store.upstreams([]) == {"one", "two"}


async def test_of_many_at_once_one_gets_it(store: LedgerStore) -> None:
    answers = await asyncio.gather(*(store.claim(write(), f"r{n}/1", LEASE) for n in range(20)))
    assert sum(not answer.held for answer in answers) == 1
