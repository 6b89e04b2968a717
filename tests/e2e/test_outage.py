"""An outage is learnt once by the whole fleet, and recovery is probed by a bounded number of requests."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest
from redis.asyncio import Redis

from demo.store import StoreServer
from tests.e2e.rig import Answered, Process, Rig, until

COOLDOWN_SECONDS = 1.0
LEASE_MARGIN_SECONDS = 1.0
THRESHOLD = 5
SETTINGS = {
    "CIRCUIT_BREAKER_FAILURE_THRESHOLD": str(THRESHOLD),
    "CIRCUIT_BREAKER_COOLDOWN_MS": str(int(COOLDOWN_SECONDS * 1000)),
    "PAYMENT_MAX_RETRIES": "0",
}
RATE = 200


async def state_is(rig: Rig, replicas: list[Process], state: str) -> bool:
    return all([await rig.breaker(replica) == state for replica in replicas])


async def trip(rig: Rig, replica: Process) -> None:
    """Fail as many payments in a row, through one replica, as it takes."""
    for _ in range(THRESHOLD):
        await rig.pay(replica)


async def test_a_replica_that_saw_no_failure_opens_too_and_tells_when_to_come_back(
    rig: Rig, own_store: StoreServer
) -> None:
    provider = await rig.provider()
    settings = {**SETTINGS, "CIRCUIT_BREAKER_COOLDOWN_MS": "5000"}
    seer, other = [await rig.replica(provider, own_store, **settings) for _ in range(2)]
    await rig.faults(provider, outage=True)

    await trip(rig, seer)
    await until(lambda: state_is(rig, [seer, other], "open"), "open on both replicas", 2)
    answer = await rig.pay(other)

    assert answer.status == 503
    assert answer.outcome == "not_sent"
    assert answer.attempts == 0
    assert 1 <= int(answer.headers["Retry-After"]) <= 5
    assert (await rig.ledger(provider))["arrivals"] == THRESHOLD


@pytest.mark.parametrize("outage_seconds", [4.0, pytest.param(10.0, marks=pytest.mark.chaos)])
async def test_an_outage_under_load_costs_the_provider_little_and_ends_by_itself(
    rig: Rig, own_store: StoreServer, outage_seconds: float
) -> None:
    provider = await rig.provider()
    replicas = [await rig.replica(provider, own_store, **SETTINGS) for _ in range(2)]
    answers: list[Answered] = []
    stop = asyncio.Event()
    load = asyncio.create_task(rig.pay_steadily(replicas, RATE, stop, answers))
    await until(lambda: _paid(answers, 100), "payments flow")

    charged = (await rig.ledger(provider, summary=True))["summary"]["charges"]
    await rig.faults(provider, outage=True)
    await asyncio.sleep(outage_seconds)
    during = await rig.ledger(provider, summary=True)
    failed = during["arrivals"] - during["summary"]["charges"]  # whatever arrived before the outage was charged
    assert during["summary"]["charges"] >= charged
    cooldown = await _longest_wait(rig, replicas)
    await rig.faults(provider, outage=False)
    recovery = await until(lambda: state_is(rig, replicas, "closed"), "closed again", cooldown + 2)
    stop.set()
    await load

    allowed = THRESHOLD + _probes_within(outage_seconds) + during["max_in_flight"]
    assert failed <= 1.1 * allowed, f"{failed} attempts reached a provider that was out, {allowed} allowed"
    assert recovery <= cooldown + 1.0
    refused = [answer for answer in answers if answer.status == 503 and answer.attempts == 0]
    assert refused
    assert {answer.outcome for answer in refused} == {"not_sent"}


async def _paid(answers: list[Answered], count: int) -> bool:
    return sum(answer.status == 201 for answer in answers) >= count


def _probes_within(seconds: float) -> int:
    probes, at, wait = 0, COOLDOWN_SECONDS, COOLDOWN_SECONDS
    while at < seconds:
        probes, wait = probes + 1, wait * 2
        at += wait
    return probes


async def _longest_wait(rig: Rig, replicas: list[Process]) -> float:
    waits = []
    for replica in replicas:
        (upstream,) = (await rig.get(replica, "/api/status"))["upstreams"].values()
        waits.append(upstream["breaker"]["retry_after"] or 0.0)
    return max(waits)


async def test_half_open_never_has_more_probes_under_way_than_allowed(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    replicas = [await rig.replica(provider, own_store, **SETTINGS) for _ in range(3)]
    await rig.faults(provider, outage=True)
    await trip(rig, replicas[0])
    await until(lambda: state_is(rig, replicas, "open"), "open everywhere", 2)
    await rig.faults(provider, outage=False, latency_ms={"p50": 400, "p99": 400})
    async with rig.session.delete(provider.url + "/admin/ledger") as emptied:
        assert emptied.status in {200, 204}

    herd = await _herd_until_closed(rig, replicas)

    ledger = await rig.ledger(provider)
    assert ledger["max_in_flight"] == 1, "more probes than one were in flight"
    assert sum(answer.status == 201 for answer in herd) == len(ledger["charges"])


async def _herd_until_closed(rig: Rig, replicas: list[Process]) -> list[Answered]:
    """All at once, again and again, until one payment has got through; stop before the closed breaker lets more in."""
    answers: list[Answered] = []
    deadline = time.monotonic() + 10
    while not any(answer.status == 201 for answer in answers):
        assert time.monotonic() < deadline
        answers += await asyncio.gather(*(rig.pay(replicas[number % 3]) for number in range(30)))
    return answers


async def test_a_prober_killed_with_its_lease_delays_recovery_by_no_more_than_the_lease(
    rig: Rig, own_store: StoreServer
) -> None:
    provider = await rig.provider()
    config = rig.folder / "config.yaml"
    attempt = 1.5
    config.write_text(
        f"""
upstreams:
  mock:
    url: {provider.url}
    timeouts: {{connect: 1s, attempt: {attempt}s, total: 10s}}
routes: [{{path: /api/payment, upstream: mock}}]
"""
    )
    prober, survivor = [await rig.replica(provider, own_store, **SETTINGS) for _ in range(2)]
    await rig.faults(provider, outage=True)
    await trip(rig, prober)
    await until(lambda: state_is(rig, [prober, survivor], "open"), "open on both", 2)
    await rig.faults(provider, outage=False, failure_rate=0, next=["hang"])

    probing = asyncio.create_task(_knock(rig, prober))
    await until(lambda: state_is(rig, [survivor], "half_open"), "a probe is under way", 5)
    prober.kill()
    killed = time.monotonic()
    probing.cancel()
    while (await rig.pay(survivor)).status != 201:
        assert time.monotonic() - killed < attempt + LEASE_MARGIN_SECONDS + 0.5, "recovery outlasted the lease"
        await asyncio.sleep(0.02)
    await until(lambda: state_is(rig, [survivor], "closed"), "closed", 1)


async def _knock(rig: Rig, replica: Process) -> None:
    while True:
        await rig.pay(replica)
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("trouble", ["killed", "frozen", "flushed"])
async def test_no_payment_fails_or_waits_because_the_store_is_in_trouble(
    rig: Rig, own_store: StoreServer, trouble: str
) -> None:
    provider = await rig.provider()
    replicas = [await rig.replica(provider, own_store, **SETTINGS) for _ in range(2)]
    answers: list[Answered] = []
    stop = asyncio.Event()
    load = asyncio.create_task(rig.pay_steadily(replicas, RATE, stop, answers))
    await until(lambda: _paid(answers, 50), "payments flow")

    await _trouble(rig, own_store, replicas, trouble)
    stop.set()
    await load

    assert {answer.status for answer in answers} == {201}
    assert len((await rig.ledger(provider))["charges"]) == len(answers)
    slowest = max(answer.seconds for answer in answers)
    assert slowest < 1.0, f"a payment waited {slowest:.2f} s"


async def _trouble(rig: Rig, store: StoreServer, replicas: list[Process], trouble: str) -> None:
    if trouble == "flushed":
        async with Redis.from_url(store.url) as client:
            for _ in range(5):
                await client.flushall()
                await asyncio.sleep(0.2)
        return
    os.kill(store.pid, signal.SIGSTOP if trouble == "frozen" else signal.SIGKILL)
    await until(lambda: _degraded(rig, replicas, True), "every replica notices", 3)
    await asyncio.sleep(1.0)
    if trouble == "frozen":
        os.kill(store.pid, signal.SIGCONT)
        await until(lambda: _degraded(rig, replicas, False), "every replica is back", 3)


async def _degraded(rig: Rig, replicas: list[Process], wanted: bool) -> bool:
    return all([(await rig.get(replica, "/api/status"))["store"]["up"] is not wanted for replica in replicas])
