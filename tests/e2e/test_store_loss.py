"""The store is lost, emptied, restarted or frozen while the breaker matters: every replica goes on, then they agree."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis.asyncio import Redis

from demo.store import StoreServer, free_port, start_store
from tests.e2e.rig import Process, Rig, until
from tests.e2e.test_shared_state import THRESHOLD, arrivals, fail, fleet, policy, told

AGREE_SECONDS = 3.0


async def store_up(rig: Rig, replicas: list[Process], wanted: bool) -> None:
    async def condition() -> bool:
        return all([(await rig.get(one, "/api/status"))["store"]["up"] is wanted for one in replicas])

    await until(condition, f"store up: {wanted}", AGREE_SECONDS)


async def same_record(rig: Rig, replicas: list[Process], state: str) -> int:
    """Wait until they tell the same state of the same epoch; the epoch."""

    async def condition() -> bool:
        views = [await told(rig, replica) for replica in replicas]
        return {(view["state"], view["epoch"]) for view in views} == {(state, views[0]["epoch"])}

    await until(condition, f"one {state} record", AGREE_SECONDS)
    return int((await told(rig, replicas[0]))["epoch"])


@contextmanager
def again(lost: StoreServer) -> Iterator[StoreServer]:
    """An empty store where the lost one was."""
    store = start_store(lost.port)
    try:
        yield store
    finally:
        store.stop()


def kill(store: StoreServer) -> None:
    os.kill(store.pid, signal.SIGKILL)


async def test_a_store_that_appears_after_the_start_is_taken_up(rig: Rig) -> None:
    provider, port = await rig.provider(), free_port()
    rig.configure(provider, upstream=policy(), redis={"url": f"redis://127.0.0.1:{port}/0"})
    replicas = await asyncio.gather(*(rig.replica(provider, None) for _ in range(2)))  # not failed: /readyz said 200
    alone = await rig.pay(replicas[0])
    assert (alone.status, alone.headers["X-Proxy-Degraded"]) == (201, "breaker")
    assert await rig.metric(replicas[0], "holdfast_redis_up") == 0

    store = start_store(port)
    try:
        await store_up(rig, replicas, True)
        assert "X-Proxy-Degraded" not in (await rig.pay(replicas[0])).headers
        await rig.faults(provider, outage=True)
        await fail(rig, replicas[0], THRESHOLD)
        await rig.agree(replicas, "open")
    finally:
        store.stop()
    assert len(replicas[0].events("store.down")) == 1


async def test_a_flush_while_open_opens_no_door(rig: Rig, own_store: StoreServer) -> None:
    provider, replicas = await fleet(rig, own_store, 2)
    await rig.faults(provider, outage=True)
    await fail(rig, replicas[0], THRESHOLD)
    await rig.agree(replicas, "open")
    before = await same_record(rig, replicas, "open")
    async with Redis.from_url(own_store.url) as client:
        await client.flushall()
        flushed = time.monotonic()
        while time.monotonic() - flushed < 1.5 or not await client.exists("holdfast:{mock}:breaker"):
            assert time.monotonic() - flushed < AGREE_SECONDS, "nobody gave the record back"
            assert {(await rig.pay(replica)).status for replica in replicas} == {503}
            await asyncio.sleep(0.01)
    assert await same_record(rig, replicas, "open") == before
    assert await arrivals(rig, provider) == THRESHOLD


@pytest.mark.parametrize("state", [pytest.param("closed", marks=pytest.mark.chaos), "open"])
async def test_a_store_that_comes_back_empty_is_agreed_on_within_three_seconds(
    rig: Rig, own_store: StoreServer, state: str
) -> None:
    provider, replicas = await fleet(rig, own_store, 2)
    if state == "open":
        await rig.faults(provider, outage=True)
        await fail(rig, replicas[0], THRESHOLD)
        await rig.agree(replicas, "open")
    kill(own_store)
    await store_up(rig, replicas, False)
    with again(own_store):
        await store_up(rig, replicas, True)
        await same_record(rig, replicas, state)
        if state == "closed":  # and they count together again
            await rig.faults(provider, outage=True)
            await fail(rig, replicas[0], THRESHOLD - 2)
            await fail(rig, replicas[1], 2)
            await same_record(rig, replicas, "open")
        assert await arrivals(rig, provider) == THRESHOLD


async def test_an_outage_that_starts_without_a_store_is_learnt_by_each_and_then_shared(
    rig: Rig, own_store: StoreServer
) -> None:
    provider, replicas = await fleet(rig, own_store, 3)
    kill(own_store)
    await store_up(rig, replicas, False)
    await rig.faults(provider, outage=True)
    for replica in replicas[:2]:
        await fail(rig, replica, THRESHOLD)
        await rig.agree([replica], "open", 1)
    assert await rig.breaker(replicas[2]) == "closed"
    refused = await rig.pay(replicas[0])
    assert (refused.status, refused.headers["X-Proxy-Degraded"]) == (503, "breaker")
    assert await arrivals(rig, provider) == 2 * THRESHOLD
    with again(own_store):
        await store_up(rig, replicas, True)
        await same_record(rig, replicas, "open")
        assert {(await rig.pay(replica)).status for replica in replicas} == {503}
        assert await arrivals(rig, provider) == 2 * THRESHOLD
        assert [len(replica.events("store.down")) for replica in replicas] == [1, 1, 1]


async def test_a_slow_store_does_not_let_more_calls_out_than_it_takes_to_trip(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    rig.configure(provider, upstream=policy(), redis={"timeout": "1s", "poll": "30s"})
    replica = await rig.replica(provider, own_store)
    await rig.faults(provider, outage=True)
    os.kill(own_store.pid, signal.SIGSTOP)
    try:
        await fail(rig, replica, 2 * THRESHOLD)
    finally:
        os.kill(own_store.pid, signal.SIGCONT)
    assert await arrivals(rig, provider) == THRESHOLD


@pytest.mark.parametrize("on_outage", ["open", "closed"])
async def test_a_fixed_verdict_holds_while_the_store_is_away(rig: Rig, own_store: StoreServer, on_outage: str) -> None:
    provider = await rig.provider()
    rig.configure(provider, upstream=policy(), redis={"on_outage": on_outage})
    replica = await rig.replica(provider, own_store)
    kill(own_store)
    await store_up(rig, [replica], False)
    await rig.faults(provider, outage=on_outage == "closed")
    answers = [await rig.pay(replica) for _ in range(2 * THRESHOLD)]
    sent = 2 * THRESHOLD if on_outage == "closed" else 0
    assert {(answer.status, answer.attempts) for answer in answers} == {(503, 1 if sent else 0)}
    assert await arrivals(rig, provider) == sent
    await rig.faults(provider, outage=False)
    with again(own_store):
        await store_up(rig, [replica], True)
        assert (await rig.pay(replica)).status == 201


async def test_a_store_frozen_while_half_open_delays_recovery_by_no_more_than_the_lease(
    rig: Rig, own_store: StoreServer
) -> None:
    provider, replicas = await fleet(rig, own_store, 2, cooldown="300ms")
    await rig.faults(provider, next=["http_500"] * THRESHOLD + ["hang"])
    await fail(rig, replicas[0], THRESHOLD)
    await rig.agree(replicas, "open")
    probing = asyncio.create_task(_pay_once(rig, replicas[0]))
    await rig.agree([replicas[1]], "half_open")
    os.kill(own_store.pid, signal.SIGSTOP)
    frozen = time.monotonic()
    lease, notice = 2.0, 1.5  # the attempt's second and a margin of one; a poll and its timeout
    try:
        paid: set[int] = set()
        while len(paid) < 2:
            assert time.monotonic() - frozen < lease + notice, f"only {len(paid)} of 2 have recovered"
            paid |= {place for place, one in enumerate(replicas) if (await rig.pay(one)).status == 201}
    finally:
        os.kill(own_store.pid, signal.SIGCONT)
    await store_up(rig, replicas, True)
    await same_record(rig, replicas, "closed")
    await probing


async def _pay_once(rig: Rig, replica: Process) -> None:
    while (await rig.pay(replica)).status == 503:
        await asyncio.sleep(0.02)
