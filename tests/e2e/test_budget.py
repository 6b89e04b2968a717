"""The retry budget is the fleet's: however many replicas see a sick provider, it is not stormed."""

from __future__ import annotations

import asyncio
import time

from demo.store import StoreServer
from tests.e2e.rig import Answered, Process, Rig, until

RATIO, MIN_PER_SECOND = 0.2, 4


def hopeless(window: float) -> dict[str, object]:
    """Every attempt fails, and each payment would like three more."""
    budget = {"ratio": RATIO, "min_per_second": MIN_PER_SECOND, "window": f"{window}s"}
    return {
        "retry": {"max_retries": 3, "backoff_ms": [20], "budget": budget},
        "breaker": {"consecutive_failures": None, "failure_rate": None},
    }


async def sick_fleet(rig: Rig, store: StoreServer, window: float) -> tuple[Process, list[Process]]:
    provider = await rig.provider()
    await rig.faults(provider, outage=True, retry_after_s=0)
    rig.configure(provider, upstream=hopeless(window))
    replicas = await asyncio.gather(*(rig.replica(provider, store) for _ in range(3)))
    await until(lambda: _know_each_other(rig, replicas), "three replicas that know of each other", 3)
    return provider, replicas


async def _know_each_other(rig: Rig, replicas: list[Process]) -> bool:
    return all([len((await rig.get(replica, "/api/status"))["replicas"]) == 3 for replica in replicas])


async def read(rig: Rig, replica: Process) -> Answered:
    """A payment looked up, which fails as well."""
    async with rig.session.get(replica.url + "/api/payment/of-nobody") as answer:
        told = answer.headers
        return Answered("", answer.status, told["X-Payment-Outcome"], int(told["X-Proxy-Attempts"]), told, b"", 0.0)


async def test_three_replicas_together_retry_no_more_than_the_budget(rig: Rig, own_store: StoreServer) -> None:
    window = 6.0
    provider, replicas = await sick_fleet(rig, own_store, window)
    answers: list[Answered] = []
    stop = asyncio.Event()
    load = asyncio.create_task(rig.pay_steadily(replicas, 120, stop, answers))
    for number in range(80):
        answers.append(await read(rig, replicas[number % 3]))
        await asyncio.sleep(0.02)
    stop.set()
    await load

    arrived = (await rig.ledger(provider, summary=True))["arrivals"]
    retries = arrived - len(answers)
    allowed = RATIO * len(answers) + MIN_PER_SECOND * window
    assert {answer.status for answer in answers} == {503}
    assert sum(answer.attempts for answer in answers) == arrived
    assert retries <= 1.1 * allowed, f"{retries} retries of {len(answers)} requests, {allowed:.0f} allowed"
    assert retries >= 0.5 * allowed, f"{retries} retries of {len(answers)} requests: no budget was given out"
    scheduled = sum([await rig.metric(one, "holdfast_retries_total") for one in replicas])
    denied = sum([await rig.metric(one, "holdfast_retries_denied_total", reason="budget") for one in replicas])
    assert scheduled == retries
    assert denied == sum(answer.attempts < 4 for answer in answers)
    print(f"{len(answers)} requests, {retries} retries, {allowed:.0f} allowed, {denied:.0f} denied")  # noqa: T201


async def test_the_budget_holds_over_any_window_and_not_only_over_whole_seconds(
    rig: Rig, own_store: StoreServer
) -> None:
    window = 2.0
    provider, replicas = await sick_fleet(rig, own_store, window)
    await asyncio.sleep((0.7 - time.time()) % 1)  # late in a second
    started = time.monotonic()
    answers = await rig.pay_many(replicas, 30, at_once=30)
    await asyncio.sleep(started + 1.6 - time.monotonic())
    answers += await rig.pay_many(replicas, 30, at_once=30)
    assert time.monotonic() - started < window, "too slow a machine to tell"
    retries = (await rig.ledger(provider, summary=True))["arrivals"] - len(answers)
    allowed = RATIO * len(answers) + MIN_PER_SECOND * window
    assert retries <= 1.1 * allowed, f"{retries} retries within {window:g} s, {allowed:.0f} allowed"
