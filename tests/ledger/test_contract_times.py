"""What every store of ledger entries must uphold as time passes: leases, renewals, retention, order, bounds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from proxy.core.ledger import Entry, Ground, State, granted
from proxy.edges import redis_ledger
from proxy.edges.memory_ledger import MemoryLedger
from proxy.edges.redis_ledger import RedisLedger
from proxy.ports import LedgerStore
from tests.ledger.entries import UP, told, write

LEASE = 30.0
RETENTION = 0.3
A_MILLISECOND = 0.0011
"""Redis's clock is read in whole ones."""


def redis_store(client: Redis, most_unknown: int = 100) -> LedgerStore:
    return RedisLedger(client, prefix="t", timeout_seconds=2.0, retention_seconds=RETENTION, most_unknown=most_unknown)


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, redis_client: Redis) -> LedgerStore:
    if request.param == "memory":
        return MemoryLedger(time.time, retention_seconds=RETENTION, most_unknown=100)
    return redis_store(redis_client)


async def entry(store: LedgerStore, id_: str = "a") -> Entry:
    found = await store.entry(UP, id_)
    assert found is not None
    return found


async def ended(store: LedgerStore, state: State, id_: str = "a", owner: str = "r1/1", **result: object) -> None:
    """A call of its own, from beginning to end."""
    await store.claim(write(id_), owner, LEASE)
    await store.settle(UP, [told(state, owner, id_=id_, **result)])  # type: ignore[arg-type]


async def ids(store: LedgerStore, state: State | None, limit: int = 100) -> list[str]:
    return [one.write.id for one in await store.entries(UP, state, limit)]


# leases -------------------------------------------------------------------------------------------------------------


async def test_a_payment_is_held_for_exactly_its_lease(store: LedgerStore) -> None:
    until = (await store.claim(write(), "r1/1", 0.2)).now + 0.2
    while (answer := await store.claim(write(), "r2/1", 0.2)).held:
        assert answer.now <= until + A_MILLISECOND
        await asyncio.sleep(0.005)
    assert answer.now >= until - A_MILLISECOND


async def test_a_call_is_in_flight_for_exactly_its_lease(store: LedgerStore) -> None:
    granted = (await store.claim(write(), "r1/1", 0.2)).now
    while (found := await entry(store)).state is State.IN_FLIGHT:
        assert found.lease == pytest.approx(granted + 0.2, abs=A_MILLISECOND)
        await asyncio.sleep(0.005)
    assert found.changed >= granted + 0.2 - A_MILLISECOND
    assert (found.state.value, found.lapsed) == ("unknown", True)
    assert found.since == pytest.approx(granted, abs=A_MILLISECOND)


async def test_a_renewal_keeps_every_call_it_names_for_everybody(store: LedgerStore) -> None:
    """Both the lease that a claim looks at and the index by which the dead are found."""
    names = [(id_, f"r1/{id_}") for id_ in "abc"]
    for id_, owner in names:
        await store.claim(write(id_), owner, 0.1)
    assert await store.renew(UP, names, LEASE) == frozenset()
    await asyncio.sleep(0.15)
    assert [(await store.claim(write(id_), "r2/1", LEASE)).held for id_ in "abc"] == [True] * 3
    assert [(await entry(store, id_)).state for id_ in "abc"] == [State.IN_FLIGHT] * 3
    assert min([(await entry(store, id_)).lease for id_ in "abc"]) > time.time() + LEASE / 2


async def test_a_renewal_may_also_be_short(store: LedgerStore) -> None:
    await store.claim(write(), "r1/1", LEASE)
    await store.renew(UP, [("a", "r1/1")], 0.05)
    await asyncio.sleep(0.1)
    assert (await store.count(UP)).unknown == 1


async def test_a_renewal_of_what_has_ended_or_is_unknown_changes_nothing(store: LedgerStore) -> None:
    await ended(store, State.FINAL, "f")
    await ended(store, State.UNKNOWN, "u")
    await store.claim(write("u"), "r2/1", LEASE)
    assert await store.renew(UP, [("f", "r1/1"), ("u", "r2/1")], LEASE) == {"f"}
    assert [(await entry(store, id_)).state for id_ in "fu"] == [State.FINAL, State.UNKNOWN]


async def test_however_many_die_at_once_all_are_found_and_each_is_unknown_to_whoever_claims_it(
    store: LedgerStore,
) -> None:
    """A command looks at no more than some of them, the first that died."""
    for number in range(25):
        last = await store.claim(write(f"dead-{number:02}"), f"dead/{number}", 0.3)
    assert last.tracked.unknown == 0, "all of them still live"
    await asyncio.sleep(0.35)
    answer = await store.claim(write("dead-24"), "r1/1", LEASE)
    assert not answer.held
    assert granted(write("dead-24"), "r1/1", answer.prior, answer.now).doubt
    found = await entry(store, "dead-24")
    assert (found.state, found.owner, found.lapsed) == (State.UNKNOWN, "r1/1", False)
    assert (await store.claim(write("b"), "r1/2", LEASE)).tracked.unknown == 25
    await store.claim(write("one more"), "dead/26", 0.0)
    await asyncio.sleep(0.005)
    assert (await store.claim(write("c"), "r1/3", LEASE)).tracked.unknown == 26
    await store.settle(UP, [told(State.NOT_SENT)])
    assert len(await ids(store, State.UNKNOWN)) == 26


@pytest.mark.parametrize("finder", ["claim", "settle", "count", "entries", "entry"])
async def test_whoever_asks_finds_what_the_dead_have_left(store: LedgerStore, finder: str) -> None:
    await store.claim(write(), "dead/1", 0.0)
    await asyncio.sleep(0.005)
    found: list[State | int] = []
    match finder:
        case "claim":
            found.append((await store.claim(write("b"), "r1/1", LEASE)).tracked.unknown)
        case "settle":
            found.append((await store.settle(UP, [told(State.FINAL, id_="b")])).unknown)
        case "count":
            found.append((await store.count(UP)).unknown)
        case "entries":
            found.extend(one.state for one in await store.entries(UP, None, 10))
        case _:
            found.append((await entry(store)).state)
    assert found in ([1], [State.UNKNOWN])


# retention ----------------------------------------------------------------------------------------------------------

History = Callable[[LedgerStore, str], Awaitable[object]]


async def claim(store: LedgerStore, id_: str, owner: str = "r2/1", lease: float = LEASE) -> None:
    await store.claim(write(id_), owner, lease)


async def final(store: LedgerStore, id_: str) -> None:
    await ended(store, State.FINAL, id_)


async def not_sent(store: LedgerStore, id_: str) -> None:
    await ended(store, State.NOT_SENT, id_)


async def unknown(store: LedgerStore, id_: str) -> None:
    await ended(store, State.UNKNOWN, id_)


async def refused(store: LedgerStore, id_: str) -> None:
    await ended(store, State.FINAL, id_, ground=Ground.REFUSAL, status=429)


async def dead(store: LedgerStore, id_: str) -> None:
    await claim(store, id_, lease=0.0)
    await asyncio.sleep(0.003)
    await store.count(UP)


async def dead_beside_a_final(store: LedgerStore, id_: str) -> None:
    await final(store, id_)
    await dead(store, id_)


async def dead_beside_an_unknown(store: LedgerStore, id_: str) -> None:
    await unknown(store, id_)
    await dead(store, id_)


async def resolved(store: LedgerStore, id_: str) -> None:
    await unknown(store, id_)
    await store.settle(UP, [told(State.FINAL, "r9/1", id_=id_)])


async def asked_again(store: LedgerStore, id_: str) -> None:
    await final(store, id_)
    await claim(store, id_)
    await store.settle(UP, [told(State.NOT_SENT, "r2/1", id_=id_)])


async def told_late_beside_a_call(store: LedgerStore, id_: str) -> None:
    await final(store, id_)
    await claim(store, id_)
    await store.settle(UP, [told(State.FINAL, id_=id_)])


async def restored(store: LedgerStore, id_: str) -> None:
    await store.restore(UP, [told(State.UNKNOWN, id_=id_)])


def taken_again(before: History) -> History:
    async def history(store: LedgerStore, id_: str) -> None:
        await before(store, id_)
        await claim(store, id_)

    return history


HISTORIES: dict[str, tuple[History, State | None]] = {
    "final": (final, None),
    "not sent": (not_sent, None),
    "refused": (refused, None),
    "resolved": (resolved, None),
    "final, asked again, ended": (asked_again, None),
    "final, its next owner died": (dead_beside_a_final, None),
    "in flight": (claim, State.IN_FLIGHT),
    "unknown": (unknown, State.UNKNOWN),
    "unknown, taken again": (taken_again(unknown), State.UNKNOWN),
    "its owner died": (dead, State.UNKNOWN),
    "its owner died, taken again": (taken_again(dead), State.UNKNOWN),
    "unknown, its next owner died": (dead_beside_an_unknown, State.UNKNOWN),
    "restored": (restored, State.UNKNOWN),
    "not sent, taken again": (taken_again(not_sent), State.IN_FLIGHT),
    "refused, taken again": (taken_again(refused), State.IN_FLIGHT),
    "final, taken again": (taken_again(final), State.FINAL),
    "final, taken again, told late": (told_late_beside_a_call, State.FINAL),
}


async def test_after_the_retention_what_is_known_and_nobody_s_is_gone_and_nothing_else(store: LedgerStore) -> None:
    for name, (history, _) in HISTORIES.items():
        await history(store, name)
    there = {name: await store.entry(UP, name) is not None for name in HISTORIES}
    assert there == dict.fromkeys(HISTORIES, True)
    await asyncio.sleep(RETENTION + 0.1)
    found = {name: await store.entry(UP, name) for name in HISTORIES}
    assert {name: one and one.state for name, one in found.items()} == {
        name: state for name, (_, state) in HISTORIES.items()
    }
    stay = {name for name, (_, state) in HISTORIES.items() if state is not None}
    assert set(await ids(store, None)) == stay
    await store.settle(UP, [told(State.NOT_SENT, "r2/1", id_="final, taken again")])
    await asyncio.sleep(RETENTION + 0.1)
    assert await store.entry(UP, "final, taken again") is None, "its call has ended"


@pytest.mark.parametrize("state", [State.FINAL, State.NOT_SENT])
async def test_the_retention_counts_from_what_was_heard_last(store: LedgerStore, state: State) -> None:
    await ended(store, state)
    for _ in range(2):
        await asyncio.sleep(0.6 * RETENTION)
        await store.settle(UP, [told(state)])
    assert (await entry(store)).state is state
    await asyncio.sleep(RETENTION + 0.1)
    assert await store.entry(UP, "a") is None


async def test_a_lease_that_outlives_its_call_prolongs_nothing(store: LedgerStore) -> None:
    await store.claim(write(), "r1/1", 0.6 * RETENTION)
    await store.settle(UP, [told(State.FINAL)])
    for _ in range(2):
        await asyncio.sleep(0.6 * RETENTION)
        await store.count(UP)
    assert await store.entry(UP, "a") is None


# what is kept of a call ---------------------------------------------------------------------------------------------


async def test_calls_and_attempts_are_counted_whoever_made_them(store: LedgerStore) -> None:
    await ended(store, State.UNKNOWN)
    await ended(store, State.UNKNOWN, owner="r2/1")
    await store.settle(UP, [told(State.NOT_SENT, "r3/1"), told(State.FINAL, "r4/1")])
    found = await entry(store)
    assert (found.calls, found.attempts) == (2, 4)


async def test_only_a_change_of_state_is_a_change(store: LedgerStore) -> None:
    for id_ in "ab":
        await ended(store, State.UNKNOWN, id_)
        await asyncio.sleep(0.003)
    before = [await entry(store, id_) for id_ in "ab"]
    await ended(store, State.UNKNOWN, "a", "r2/1")
    await store.settle(UP, [told(State.NOT_SENT, "r3/1"), told(State.UNKNOWN, "r3/1")])
    after = [await entry(store, id_) for id_ in "ab"]
    assert [(one.changed, one.since) for one in after] == [(one.changed, one.since) for one in before]
    assert await ids(store, State.UNKNOWN) == ["a", "b"], "the oldest first"


async def test_a_payment_that_was_never_sent_is_as_old_as_its_next_call(store: LedgerStore) -> None:
    await ended(store, State.NOT_SENT)
    first = await entry(store)
    await asyncio.sleep(0.005)
    await ended(store, State.FINAL, owner="r2/1", ground=Ground.REFUSAL)
    second = await entry(store)
    assert second.since > first.since
    await asyncio.sleep(0.005)
    answer = await store.claim(write(), "r3/1", LEASE)
    third = await entry(store)
    assert third.since == second.since, "a refused one has been sent"
    assert third.changed > second.changed
    assert answer.prior is not None
    assert (answer.prior.since, answer.prior.changed) == (second.since, second.changed)


async def test_a_key_is_trusted_for_as_long_as_the_provider_keeps_it(store: LedgerStore) -> None:
    await ended(store, State.FINAL)
    since = (await entry(store)).since
    await asyncio.sleep(0.02)
    for owner, trusted, state in [("r2/1", 5.0, State.FINAL), ("r3/1", 0.01, State.IN_FLIGHT)]:
        answer = await store.claim(write(), owner, LEASE, trusted)
        assert answer.now - since > 0.01
        assert (await entry(store)).state is state
        await store.settle(UP, [told(State.NOT_SENT, owner)])


async def test_an_answer_replaces_what_another_said_and_silence_does_not(store: LedgerStore) -> None:
    await ended(store, State.UNKNOWN, status=500)
    await ended(store, State.UNKNOWN, owner="r2/1")
    assert ((await entry(store)).status, (await entry(store)).provider_request_id) == (500, "prov-1")
    await store.settle(UP, [told(State.FINAL, "r3/1", status=201)])
    await store.settle(UP, [told(State.FINAL, "r4/1", ground=Ground.DECLINE, status=402)])
    found = await entry(store)
    assert (found.status, found.ground) == (201, Ground.SUCCESS)


async def test_what_the_store_never_heard_the_beginning_of_is_described_by_its_end(store: LedgerStore) -> None:
    await store.settle(UP, [told(State.UNKNOWN, "r1/1", status=500)])
    found = await entry(store)
    assert (found.write, found.owner, found.lease, found.lapsed) == (write(), "", 0.0, False)
    assert (found.calls, found.attempts, found.status) == (1, 1, 500)
    assert found.since == pytest.approx(time.time(), abs=5)
    assert found.changed == found.since


async def test_what_is_restored_is_nobody_s_and_can_be_taken_and_resolved(store: LedgerStore) -> None:
    await store.restore(UP, [told(State.UNKNOWN)])
    found = await entry(store)
    assert (found.owner, found.lease, found.lapsed, found.calls, found.attempts) == ("", 0.0, False, 1, 1)
    assert await ids(store, None) == ["a"]
    answer = await store.claim(write(), "r1/1", LEASE)
    assert (answer.held, answer.tracked.unknown) == (False, 1)
    assert (await store.settle(UP, [told(State.FINAL)])).unknown == 0
    assert (await store.restore(UP, [told(State.UNKNOWN)])).resolved == {"a"}


async def test_what_is_unknown_is_restored_already(store: LedgerStore) -> None:
    await ended(store, State.UNKNOWN)
    answer = await store.restore(UP, [told(State.UNKNOWN)])
    assert (answer.missing, answer.resolved) == (frozenset(), frozenset())


@pytest.mark.parametrize("meanwhile", [State.NOT_SENT, State.FINAL, State.IN_FLIGHT])
async def test_what_came_again_to_a_store_that_had_lost_it_and_settled_nothing_is_unknown(
    store: LedgerStore, meanwhile: State
) -> None:
    await store.claim(write("a"), "r1/1", LEASE)
    if meanwhile is not State.IN_FLIGHT:
        await store.settle(UP, [told(meanwhile, settles=False)])
    answer = await store.restore(UP, [told(State.UNKNOWN, "r2/1")])
    assert (answer.missing, answer.resolved, answer.tracked.unknown) == (frozenset("a"), frozenset(), 1)
    found = await entry(store)
    assert (found.state, found.ground) == (State.UNKNOWN, None)
    if meanwhile is State.IN_FLIGHT:
        assert found.owner == "r1/1", "the call under way goes on"
        await store.settle(UP, [told(State.FINAL, settles=False)])
        assert (await entry(store)).state is State.UNKNOWN
    await store.settle(UP, [told(State.FINAL)])
    assert (await entry(store)).state is State.FINAL


async def test_an_entry_that_redis_evicted_is_unknown_as_long_as_the_index_says_so(redis_client: Redis) -> None:
    store = redis_store(redis_client)
    await ended(store, State.UNKNOWN)
    before = await entry(store)
    assert await redis_client.delete("t:{mock}:ledger:entry:a") == 1
    answer = await store.claim(write(), "r2/1", LEASE)
    assert answer.prior is not None
    assert (answer.prior.state, answer.prior.write.rule) == (State.UNKNOWN, write().rule)
    assert answer.prior.since == pytest.approx(before.changed, abs=A_MILLISECOND)
    await store.settle(UP, [told(State.NOT_SENT, "r2/1")])
    found = await entry(store)
    assert (found.state, found.write, found.calls) == (State.UNKNOWN, write(), 1)


@pytest.mark.parametrize("lost", [True, False])
async def test_what_is_restored_is_as_old_as_it_was(store: LedgerStore, *, lost: bool) -> None:
    if not lost:
        await ended(store, State.NOT_SENT)
    await store.restore(UP, [replace(told(State.UNKNOWN), age=90.0)])
    found = await entry(store)
    assert found.changed - found.since == pytest.approx(90.0, abs=1.0)


async def test_what_is_told_of_a_payment_that_the_store_lost_is_as_old_as_it_was(store: LedgerStore) -> None:
    await store.settle(UP, [replace(told(State.UNKNOWN), age=90.0)])
    found = await entry(store)
    assert found.changed - found.since == pytest.approx(90.0, abs=1.0)


# lists and bounds ---------------------------------------------------------------------------------------------------


async def test_a_list_holds_each_payment_once_and_no_more_than_was_asked_for(store: LedgerStore) -> None:
    for id_ in "abc":
        await ended(store, State.FINAL, id_)
        await asyncio.sleep(0.003)
    for id_ in "cde":
        await store.claim(write(id_), f"r2/{id_}", LEASE)
        await asyncio.sleep(0.003)
    assert await ids(store, None) == ["e", "d", "c", "b", "a"]
    assert await ids(store, None, 3) == ["e", "d", "c"]
    assert await ids(store, State.FINAL) == ["c", "b", "a"]
    assert await ids(store, State.FINAL, 2) == ["c", "b"]
    assert await ids(store, State.IN_FLIGHT, 1) == ["d"]
    for state in [None, *State]:
        assert await ids(store, state, 0) == []


@pytest.mark.parametrize("kind", [State.FINAL, State.UNKNOWN, State.IN_FLIGHT])
@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_of_more_than_was_asked_for_the_latest_are_listed(store: LedgerStore, kind: State, limit: int) -> None:
    for id_ in "abcd":
        await store.claim(write(id_), "r1/1", LEASE)
        if kind is not State.IN_FLIGHT:
            await store.settle(UP, [told(kind, id_=id_)])
        await asyncio.sleep(0.003)
    assert await ids(store, None, limit) == list("dcba")[:limit]
    assert await ids(store, kind, limit) == list("dcba" if kind is State.FINAL else "abcd")[:limit]


async def test_a_list_of_one_state_looks_past_what_is_later_and_of_another(store: LedgerStore) -> None:
    for id_, state in zip("abcd", [State.FINAL, State.FINAL, State.NOT_SENT, State.NOT_SENT], strict=True):
        await ended(store, state, id_)
        await asyncio.sleep(0.003)
    assert await ids(store, State.FINAL, 2) == ["b", "a"]
    assert await ids(store, State.NOT_SENT, 1) == ["d"]


@pytest.mark.parametrize("most", [1, 2])
async def test_the_oldest_unknown_beyond_the_bound_are_forgotten_by_whoever_counts(
    redis_client: Redis, most: int
) -> None:
    memory = MemoryLedger(time.time, retention_seconds=RETENTION, most_unknown=most)
    for store in (memory, redis_store(redis_client, most)):
        for id_ in "abc":
            await store.claim(write(id_), f"dead/{id_}", 0.0)
            await asyncio.sleep(0.003)
            tracked = await store.count(UP)
        assert (tracked.unknown, tracked.trimmed) == (most, 1)
        assert (await store.count(UP)).trimmed == 0
        assert (await ids(store, None))[::-1] == await ids(store, State.UNKNOWN)
        assert await store.entry(UP, "a") is None


async def test_only_so_many_settled_ones_are_listed_and_the_others_are_still_found(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_ledger, "LATEST", 3)
    store = redis_store(redis_client)
    for id_ in "abcde":
        await ended(store, State.FINAL, id_)
        await asyncio.sleep(0.003)
    assert await ids(store, State.FINAL) == ["e", "d", "c"]
    assert (await entry(store, "a")).state is State.FINAL
