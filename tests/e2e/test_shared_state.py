"""One breaker for the fleet: pooled counts, overrides, restarts, late results, the provider's own Retry-After."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest

from demo.store import StoreServer, free_port
from tests.e2e.rig import Answered, Process, Rig, until

THRESHOLD = 5
TIMEOUTS = {"connect": "500ms", "attempt": "1s", "total": "3s"}
TOKEN = {"HOLDFAST_ADMIN_TOKEN": "of-this-test"}


def policy(**breaker: object) -> dict[str, object]:
    settings = {"consecutive_failures": THRESHOLD, "failure_rate": None, "cooldown": "30s", **breaker}
    return {"timeouts": TIMEOUTS, "retry": {"max_retries": 0}, "breaker": settings}


async def fleet(rig: Rig, store: StoreServer, count: int, **breaker: object) -> tuple[Process, list[Process]]:
    provider = await rig.provider()
    rig.configure(provider, upstream=policy(**breaker))
    return provider, await asyncio.gather(*(rig.replica(provider, store, **TOKEN) for _ in range(count)))


async def told(rig: Rig, replica: Process) -> Any:
    return (await rig.get(replica, "/api/status"))["upstreams"]["mock"]["breaker"]


async def arrivals(rig: Rig, provider: Process) -> int:
    return int((await rig.ledger(provider, summary=True))["arrivals"])


async def counted(rig: Rig, replica: Process, calls: int) -> bool:
    return bool((await told(rig, replica))["counts"]["calls"] == calls)


async def fail(rig: Rig, replica: Process, times: int) -> None:
    for _ in range(times):
        await rig.pay(replica)


async def test_failures_that_trip_only_together_open_the_fleet_by_push(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    rig.configure(provider, upstream=policy(), redis={"poll": "30s"})
    replicas = await asyncio.gather(*(rig.replica(provider, own_store) for _ in range(3)))
    await rig.faults(provider, outage=True)
    for replica, failures in zip(replicas, (2, 2, 1), strict=True):
        await fail(rig, replica, failures)
    await rig.agree(replicas, "open", 2)  # the next poll is 30 s away
    assert {(await rig.pay(replica)).status for replica in replicas} == {503}
    assert await arrivals(rig, provider) == THRESHOLD


async def test_the_failure_rate_is_the_fleets(rig: Rig, own_store: StoreServer) -> None:
    rate = {"threshold": 0.5, "window": "10s", "min_calls": 12}
    provider, replicas = await fleet(rig, own_store, 3, consecutive_failures=None, failure_rate=rate)
    await rig.faults(provider, next=["ok", "http_500"] * 6)
    for replica in replicas[:2]:
        await fail(rig, replica, 4)
    await until(lambda: counted(rig, replicas[2], 8), "eight calls counted", 2)
    assert await rig.breaker(replicas[2]) == "closed"
    await fail(rig, replicas[2], 4)
    await rig.agree(replicas, "open", 2)
    assert "6 of 12" in (await told(rig, replicas[0]))["cause"]


@pytest.mark.chaos
async def test_a_lone_sick_replica_with_a_small_share_does_not_poison_the_fleet(
    rig: Rig, own_store: StoreServer
) -> None:
    rate = {"threshold": 0.5, "window": "10s", "min_calls": 20}
    provider, (well,) = await fleet(rig, own_store, 1, failure_rate=rate)
    sick = await rig.replica(provider, own_store, UPSTREAM_URL=f"http://127.0.0.1:{free_port()}")
    answers: list[Answered] = []
    stop = asyncio.Event()
    load = asyncio.create_task(rig.pay_steadily([well], 200, stop, answers))
    for _ in range(2 * THRESHOLD):
        failed = await rig.pay(sick)
        assert (failed.status, failed.outcome) == (502, "not_sent")
        paid = len(answers)
        await until(lambda paid=paid: _more(answers, paid + 40), "the well one's successes")  # type: ignore[misc]
    stop.set()
    await load
    assert {answer.status for answer in answers} == {201}
    assert (await told(rig, well))["epoch"] == 0


async def _more(answers: list[Answered], count: int) -> bool:
    return len(answers) >= count


async def order(rig: Rig, replica: Process, action: str, **wish: str) -> None:
    headers = {"Authorization": "Bearer of-this-test"}
    async with rig.session.post(f"{replica.url}/api/breakers/mock/{action}", json=wish, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


async def test_an_override_on_one_replica_is_obeyed_by_all_and_by_one_that_starts_later(
    rig: Rig, own_store: StoreServer
) -> None:
    provider, replicas = await fleet(rig, own_store, 2)
    await order(rig, replicas[0], "open", reason="maintenance", **{"for": "3s"})
    ordered = time.monotonic()
    await rig.agree(replicas, "forced_open", 1)
    replicas[1].kill()
    late = await rig.replica(provider, own_store)
    refused = [await rig.pay(one) for one in (replicas[0], late)]
    assert time.monotonic() - ordered < 3, "too slow a machine to tell"
    assert {(answer.status, answer.outcome) for answer in refused} == {(503, "not_sent")}
    assert all(1 <= int(answer.headers["Retry-After"]) <= 3 for answer in refused)
    assert await arrivals(rig, provider) == 0
    assert (await told(rig, late))["override"]["reason"] == "maintenance"

    await rig.agree([replicas[0], late], "closed", 5)
    assert time.monotonic() - ordered >= 2.9, "it ended before its time"
    assert (await rig.pay(late)).status == 201


async def test_forced_closed_lets_all_through_until_it_is_taken_back(rig: Rig, own_store: StoreServer) -> None:
    provider, replicas = await fleet(rig, own_store, 2)
    await rig.faults(provider, outage=True)
    await fail(rig, replicas[0], THRESHOLD)
    await rig.agree(replicas, "open")
    await order(rig, replicas[1], "close", reason="they say it is back")
    await rig.agree(replicas, "forced_closed", 1)
    assert [(await rig.pay(replica)).attempts for replica in replicas * THRESHOLD] == [1] * 2 * THRESHOLD
    await order(rig, replicas[0], "auto")
    await rig.agree(replicas, "open", 1)


async def test_a_replica_that_starts_during_an_outage_knows_before_its_first_payment(
    rig: Rig, own_store: StoreServer
) -> None:
    provider, (first,) = await fleet(rig, own_store, 1)
    await rig.faults(provider, outage=True)
    await fail(rig, first, THRESHOLD)
    await rig.agree([first], "open")
    late = await rig.replica(provider, own_store)
    answer = await rig.pay(late)
    assert (answer.status, answer.attempts) == (503, 0)
    assert await arrivals(rig, provider) == THRESHOLD
    assert (await told(rig, first))["epoch"] == (await told(rig, late))["epoch"] == 1


async def test_a_late_failure_of_an_earlier_epoch_reopens_nothing(rig: Rig, own_store: StoreServer) -> None:
    rate = {"threshold": 1, "window": "30s", "min_calls": 1000}  # trips nothing; its window is that of the counts
    provider, (slow, quick) = await fleet(rig, own_store, 2, cooldown="200ms", failure_rate=rate)
    await rig.faults(provider, next=["hang"] * 2 * THRESHOLD + ["http_500"] * THRESHOLD)
    late = [asyncio.create_task(rig.pay(slow)) for _ in range(2 * THRESHOLD)]
    await until(lambda: _arrived(rig, provider, 2 * THRESHOLD), "the slow ones under way")
    await fail(rig, quick, THRESHOLD)
    await rig.agree([slow, quick], "open", 0.5)
    await until(lambda: _paid_again(rig, quick), "a probe that closes it", 2)
    await rig.agree([slow, quick], "closed")
    epoch = (await told(rig, quick))["epoch"]
    assert not any(task.done() for task in late), "they were to fail after it closed"

    assert {answer.outcome for answer in await asyncio.gather(*late)} == {"unknown"}
    assert (await rig.pay(slow)).status == (await rig.pay(quick)).status == 201
    await until(lambda: counted(rig, slow, 2), "the payments since", 2)
    views = [await told(rig, replica) for replica in (slow, quick)]
    assert {(view["state"], view["epoch"], view["counts"]["failures"]) for view in views} == {("closed", epoch, 0)}


async def _arrived(rig: Rig, provider: Process, count: int) -> bool:
    return await arrivals(rig, provider) == count


async def _paid_again(rig: Rig, replica: Process) -> bool:
    return (await rig.pay(replica)).status == 201


async def test_the_wait_a_provider_asks_for_holds_for_the_whole_fleet(rig: Rig, own_store: StoreServer) -> None:
    provider, (asked, other) = await fleet(rig, own_store, 2, cooldown="100ms")
    await rig.faults(provider, outage=True, retry_after_s=2)
    await fail(rig, asked, 1)
    opened = time.monotonic()
    await rig.faults(provider, outage=False, retry_after_s=0, next=["http_500"] * (THRESHOLD - 1))
    await fail(rig, other, THRESHOLD - 1)  # the one that trips it was not asked to wait
    await rig.agree([asked, other], "open", 1)
    first = await rig.pay(other)
    assert int(first.headers["Retry-After"]) in {1, 2}
    await until(lambda: _paid_again(rig, other), "the first probe", 6)
    assert time.monotonic() - opened >= 2.0
    assert await arrivals(rig, provider) == THRESHOLD + 1


async def test_a_probe_whose_client_left_still_closes_the_breaker(rig: Rig, own_store: StoreServer) -> None:
    provider, (first, other) = await fleet(rig, own_store, 2, cooldown="200ms")
    await rig.faults(provider, next=["http_500"] * THRESHOLD, latency_ms={"p50": 500, "p99": 500})
    await asyncio.gather(*(rig.pay(first) for _ in range(THRESHOLD)))
    await rig.agree([first, other], "open")
    leaver = asyncio.create_task(_knock(rig, first))
    await rig.agree([other], "half_open")
    leaver.cancel()
    await rig.agree([first, other], "closed", 2)
    assert len((await rig.ledger(provider))["charges"]) == 1


async def test_a_prober_that_is_stopped_gives_its_lease_back(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    breaker = {"consecutive_failures": 3, "cooldown": "300ms"}
    timeouts = {"connect": "1s", "attempt": "20s", "total": "30s"}  # the lease would last 21 s
    rig.configure(
        provider,
        upstream={"timeouts": timeouts, "breaker": breaker, "retry": {"max_retries": 0}},
        drain={"grace": "0s", "timeout": "500ms"},
    )
    prober, other = await asyncio.gather(*(rig.replica(provider, own_store) for _ in range(2)))
    await rig.faults(provider, next=["http_500"] * 3 + ["hang"])
    for _ in range(3):
        await rig.pay(prober)
    await rig.agree([prober, other], "open")
    probing = asyncio.create_task(_knock(rig, prober))
    await rig.agree([other], "half_open")
    assert (await rig.pay(other)).status == 503

    prober.signal(signal.SIGTERM)
    assert await prober.ended(4) == 0
    assert (await rig.pay(other)).status == 201
    await rig.agree([other], "closed", 1)
    probing.cancel()


async def _knock(rig: Rig, replica: Process) -> None:
    while True:
        await rig.pay(replica)
        await asyncio.sleep(0.02)
