"""A payment costs no Redis round trip: commands are counted, and a store that never answers delays nobody."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

import pytest
from redis.asyncio import Redis

from demo.store import StoreServer
from tests.e2e.rig import Answered, Process, Rig, until

SLOW_RATE, FAST_RATE, SECONDS = 20, 400, 1.5
REDIS_TIMEOUT_SECONDS = 1.0


async def commands(store: StoreServer) -> Counter[str]:
    """Calls by command, those that scripts make among them."""
    async with Redis.from_url(store.url) as client:
        statistics = await client.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): numbers["calls"] for name, numbers in statistics.items()}
    return Counter({name: count for name, count in calls.items() if name != "info"})


async def spent_at(rig: Rig, store: StoreServer, replicas: list[Process], rate: float) -> tuple[int, Counter[str]]:
    """How many payments were answered at this rate, and what they and the time they took cost in commands."""
    answers: list[Answered] = []
    stop = asyncio.Event()
    before = await commands(store)
    load = asyncio.create_task(rig.pay_steadily(replicas, rate, stop, answers))
    await asyncio.sleep(SECONDS)
    after = await commands(store)
    stop.set()
    await load
    return len(answers), after - before


@pytest.mark.parametrize("state", ["closed", "open"])
async def test_commands_grow_with_time_and_not_with_payments(rig: Rig, own_store: StoreServer, state: str) -> None:
    provider = await rig.provider()
    breaker = {"consecutive_failures": 3, "cooldown": "60s"}
    rig.configure(provider, upstream={"breaker": breaker, "retry": {"max_retries": 0}})
    replicas = await asyncio.gather(*(rig.replica(provider, own_store) for _ in range(2)))
    if state == "open":
        await rig.faults(provider, outage=True)
        for _ in range(3):
            await rig.pay(replicas[0])
        await rig.agree(replicas, "open")

    few, cheap = await spent_at(rig, own_store, replicas, SLOW_RATE)
    many, dear = await spent_at(rig, own_store, replicas, FAST_RATE)

    assert many > 10 * few, f"{few} and {many} payments: too slow a machine to tell"
    assert dear.total() < 1.4 * cheap.total(), f"{few}: {cheap.total()}, {many}: {dear.total()}, {dear - cheap}"
    asked = dear["evalsha"] / SECONDS / len(replicas)  # what the gates said: beats of a tenth of a second, and polls
    assert asked <= 12, f"{asked:.0f} script calls a second from each replica"


@pytest.mark.parametrize("state", [pytest.param("closed", marks=pytest.mark.chaos), "open"])
async def test_a_store_that_never_answers_adds_no_latency(rig: Rig, own_store: StoreServer, state: str) -> None:
    """Whoever waited for it would wait for a second."""
    provider = await rig.provider()
    rig.configure(
        provider,
        upstream={"breaker": {"consecutive_failures": 3, "cooldown": "60s"}, "retry": {"max_retries": 0}},
        redis={"timeout": f"{REDIS_TIMEOUT_SECONDS}s"},
    )
    replicas = await asyncio.gather(*(rig.replica(provider, own_store) for _ in range(2)))
    if state == "open":
        await rig.faults(provider, outage=True)
        for _ in range(3):
            await rig.pay(replicas[0])
        await rig.agree(replicas, "open")

    os.kill(own_store.pid, signal.SIGSTOP)
    answers: list[Answered] = []
    stop = asyncio.Event()
    load = asyncio.create_task(rig.pay_steadily(replicas, 100, stop, answers))
    try:  # before, while and after the replicas notice
        await until(lambda: _all_degraded(replicas), "both notice", 2 * REDIS_TIMEOUT_SECONDS + 2)
        noticed = len(answers)
        await until(lambda: _more(answers, noticed + 50), "payments without it")
    finally:
        os.kill(own_store.pid, signal.SIGCONT)
        stop.set()
        await load
    assert {answer.status for answer in answers} == {201 if state == "closed" else 503}
    slowest = max(answer.seconds for answer in answers)
    assert slowest < REDIS_TIMEOUT_SECONDS / 2, f"a payment took {slowest:.2f} s"
    assert noticed > 50


async def _all_degraded(replicas: list[Process]) -> bool:
    return all(replica.events("store.down") for replica in replicas)


async def _more(answers: list[Answered], count: int) -> bool:
    return len(answers) >= count
