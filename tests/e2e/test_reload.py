"""SIGHUP: what changes, what is refused, and what a reload must not disturb."""

from __future__ import annotations

import asyncio
import os
import signal

from demo.store import StoreServer
from tests.e2e.rig import Process, Rig, until

TIMEOUTS = {"connect": "500ms", "attempt": "2s", "total": "4s"}
CALM = {"timeouts": TIMEOUTS, "retry": {"max_retries": 0}, "breaker": {"consecutive_failures": 3, "cooldown": "30s"}}
ROUTES = [{"path": "/api/payment", "upstream": "mock"}]


async def under_way(rig: Rig, provider: Process, count: int = 1) -> None:
    async def there() -> bool:
        return bool((await rig.ledger(provider, summary=True))["in_flight"] == count)

    await until(there, f"{count} payments under way")


async def hup(replica: Process, event: str) -> dict[str, object]:
    """Tell it to reload; the line it logs of that."""
    before = len(replica.events(event))
    replica.signal(signal.SIGHUP)

    async def told() -> bool:
        return len(replica.events(event)) > before

    await until(told, f"{event}: {replica.log.read_text()[-400:]}", 3)
    return replica.events(event)[-1]


async def test_a_reload_takes_effect_and_leaves_payments_under_way_alone(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    rig.configure(provider, upstream=CALM)
    replica = await rig.replica(provider, own_store)
    await rig.faults(provider, latency_ms={"p50": 700, "p99": 700})
    started = [asyncio.create_task(rig.pay(replica)) for _ in range(20)]
    await under_way(rig, provider, 20)

    routes = [*ROUTES, {"path": "/v2/pay", "upstream": "mock"}]
    retries = {**CALM, "retry": {"max_retries": 2, "backoff_ms": [1]}}
    rig.configure(provider, upstream=retries, routes=routes)
    await hup(replica, "config.reloaded")
    await rig.faults(provider, latency_ms={"p50": 0, "p99": 0}, retry_after_s=0, next=["http_503", "http_503"])
    retried = await rig.pay(replica)
    async with rig.session.post(replica.url + "/v2/pay", json={}) as answer:
        routed = answer.status, answer.headers["X-Payment-Outcome"]
    assert (retried.status, retried.attempts) == (201, 3)
    assert routed == (404, "final")  # the provider's own 404: it was asked
    assert {answer.status for answer in await asyncio.gather(*started)} == {201}
    assert len((await rig.ledger(provider))["charges"]) == 21


async def test_a_reload_that_cannot_be_is_refused_with_its_reason_and_changes_nothing(
    rig: Rig, own_store: StoreServer
) -> None:
    provider = await rig.provider()
    rig.configure(provider, upstream=CALM)
    replica = await rig.replica(provider, own_store)
    for changes, reason in (
        ({"upstream": {**CALM, "retrys": {}}}, "retrys"),
        ({"upstream": {**CALM, "profile": "strype"}}, "strype"),
        ({"upstream": CALM, "listen": "127.0.0.1:1"}, "listen"),
        ({"upstream": CALM, "redis": {"timeout": "90ms"}}, "redis"),
    ):
        rig.configure(provider, **changes)
        line = await hup(replica, "config.refused")
        assert reason in str(line["problems"]), line
    (rig.folder / "config.yaml").write_text("upstreams: [")
    await hup(replica, "config.refused")
    assert (await rig.pay(replica)).status == 201
    assert replica.events("config.reloaded") == []


async def test_an_open_breaker_stays_open_through_a_reload(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    rig.configure(provider, upstream=CALM)
    replica = await rig.replica(provider, own_store)
    await rig.faults(provider, outage=True)
    for _ in range(3):
        await rig.pay(replica)
    await rig.agree([replica], "open")
    before = await rig.get(replica, "/api/status")
    await hup(replica, "config.reloaded")
    await rig.agree([replica], "open", 1)
    after = await rig.get(replica, "/api/status")
    old, new = (status["upstreams"]["mock"]["breaker"] for status in (before, after))
    assert (old["epoch"], old["cause"], old["since"]) == (new["epoch"], new["cause"], new["since"])
    assert (await rig.pay(replica)).status == 503
    assert after["upstreams"]["mock"]["attempts"] == before["upstreams"]["mock"]["attempts"]
    assert await rig.metric(replica, "holdfast_breaker_state", state="open") == 1


async def test_an_open_breaker_lets_nothing_through_while_a_reload_waits_for_the_store(
    rig: Rig, own_store: StoreServer
) -> None:
    provider = await rig.provider()
    rig.configure(provider, upstream=CALM, redis={"timeout": "800ms", "poll": "30s"})
    replica = await rig.replica(provider, own_store)
    await rig.faults(provider, outage=True)
    for _ in range(3):
        await rig.pay(replica)
    await rig.agree([replica], "open")
    os.kill(own_store.pid, signal.SIGSTOP)
    try:
        await hup(replica, "config.reloaded")
        answers = [await rig.pay(replica) for _ in range(5)]
    finally:
        os.kill(own_store.pid, signal.SIGCONT)
    assert {answer.status for answer in answers} == {503}
    assert (await rig.ledger(provider, summary=True))["arrivals"] == 3


async def test_a_reload_is_no_transition(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    rig.configure(provider, upstream=CALM)
    replica = await rig.replica(provider, own_store)
    await rig.faults(provider, outage=True)
    for _ in range(3):
        await rig.pay(replica)
    await rig.agree([replica], "open")
    await hup(replica, "config.reloaded")
    await rig.agree([replica], "open", 1)
    assert await rig.metric(replica, "holdfast_breaker_transitions_total", to="open") == 1
    assert len(replica.events("breaker.changed")) == 1


async def test_payments_from_before_a_reload_are_finished_before_the_end(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    patient = {**CALM, "timeouts": {"connect": "500ms", "attempt": "6s", "total": "8s"}}
    rig.configure(provider, upstream=patient, drain={"grace": "0s", "timeout": "8s"})
    replica = await rig.replica(provider, own_store)
    await rig.faults(provider, latency_ms={"p50": 2500, "p99": 2500})
    payment = asyncio.create_task(rig.pay(replica))
    await under_way(rig, provider)
    await hup(replica, "config.reloaded")
    replica.signal(signal.SIGTERM)
    (answer,) = await asyncio.gather(payment, return_exceptions=True)
    assert getattr(answer, "status", answer) == 201
    assert await replica.ended(2) == 0


async def test_payments_from_before_a_reload_are_still_counted_as_under_way(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    rig.configure(provider, upstream=CALM)
    replica = await rig.replica(provider, own_store)
    await rig.faults(provider, latency_ms={"p50": 800, "p99": 800})
    payment = asyncio.create_task(rig.pay(replica))
    await under_way(rig, provider)
    await hup(replica, "config.reloaded")
    counted = await rig.metric(replica, "holdfast_inflight_requests")
    assert (await payment).status == 201
    assert counted == 1


async def test_a_replica_alone_remembers_the_last_minutes_through_a_reload(rig: Rig) -> None:
    provider = await rig.provider()
    rig.configure(provider, upstream=CALM)
    replica = await rig.replica(provider, None)
    assert (await rig.pay(replica)).status == 201

    async def counted() -> bool:
        return bool((await rig.get(replica, "/api/status"))["upstreams"]["mock"]["attempts"] == {"success": 1})

    await until(counted, "the payment in the status", 2)
    await hup(replica, "config.reloaded")
    assert await counted()


async def test_a_known_provider_under_another_profile_is_told_at_the_start_and_after_a_reload(rig: Rig) -> None:
    provider = await rig.provider()
    rig.configure(provider)
    replica = await rig.replica(provider, None, UPSTREAM_URL="https://api.stripe.com")
    await until(lambda: warned(replica, 1), "warned")  # it listens before it has told everything
    (line,) = replica.events("config.warning")
    assert line["level"] == "warning"
    assert line["message"].startswith("upstreams.mock: api.stripe.com is a host of stripe")
    rig.configure(provider, upstream={"profile": "adyen"})
    await hup(replica, "config.reloaded")
    await until(lambda: warned(replica, 2), "warned again")
    rig.configure(provider, upstream={"profile": "stripe"})
    replica.signal(signal.SIGHUP)
    await until(lambda: reloaded(replica, 2), "the second reload")
    assert len(replica.events("config.warning")) == 2


async def warned(replica: Process, times: int) -> bool:
    return len(replica.events("config.warning")) == times


async def reloaded(replica: Process, times: int) -> bool:
    return len(replica.events("config.reloaded")) == times
