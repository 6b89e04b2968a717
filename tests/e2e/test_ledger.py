"""The outcome ledger with real processes: nothing is lost when a replica dies, and one call at a time has a key."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from typing import Any

from redis.asyncio import Redis

from demo.store import StoreServer
from tests.e2e.rig import ROOT, Process, Rig, until

SECRET = "a secret of the whole fleet"
LEDGER = {"HOLDFAST_LEDGER_SECRET": SECRET}
ONCE = {**LEDGER, "PAYMENT_MAX_RETRIES": "0"}
CARD = "4242424242424242"


async def outcomes(rig: Rig, replica: Process, query: str = "?state=unknown") -> list[dict[str, Any]]:
    document = await rig.get(replica, f"/api/outcomes{query}")
    listed: list[dict[str, Any]] = document["outcomes"]
    return listed


async def listed_as(rig: Rig, replica: Process, request_id: str, state: str) -> bool:
    found = await outcomes(rig, replica, "")
    return [one["state"] for one in found if one["request_id"] == request_id] == [state]


async def test_the_same_key_on_two_replicas_reaches_the_provider_one_at_a_time(
    rig: Rig, own_store: StoreServer
) -> None:
    provider = await rig.provider()
    replicas = [await rig.replica(provider, own_store, **LEDGER) for _ in range(2)]
    await rig.faults(provider, latency_ms={"p50": 150, "p99": 150})

    answers = await asyncio.gather(*(rig.pay(replicas[n % 2], "order-1", key="the-key") for n in range(8)))

    books = await rig.ledger(provider)
    assert [answer.status for answer in answers] == [201] * 8
    assert {answer.outcome for answer in answers} == {"final"}
    assert len({answer.body for answer in answers}) == 1
    assert (len(books["charges"]), books["max_in_flight"]) == (1, 1)
    (entry,) = await outcomes(rig, replicas[0], "")
    assert (entry["state"], entry["calls"], entry["status"]) == ("final", 8, 201)


async def test_different_keys_do_not_wait_for_one_another(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    replica = await rig.replica(provider, own_store, **LEDGER)
    await rig.faults(provider, latency_ms={"p50": 200, "p99": 200})
    await asyncio.gather(*(rig.pay(replica, key=f"key-{n}") for n in range(10)))
    assert (await rig.ledger(provider))["max_in_flight"] > 5


async def test_a_replica_killed_in_mid_payment_leaves_an_unknown_outcome_that_a_later_success_resolves(
    rig: Rig, own_store: StoreServer
) -> None:
    provider = await rig.provider()
    rig.configure(provider, ledger={"lease": "1s"})
    victim, survivor = [await rig.replica(provider, own_store, **LEDGER) for _ in range(2)]
    await rig.faults(provider, failure_rate=0, next=["hang_after"])

    paying = asyncio.create_task(rig.pay(victim, "order-77", key="key-77"))
    await until(lambda: _arrived(rig, provider, 1), "the payment is under way", 5)
    await asyncio.sleep(0.1)
    victim.kill()
    paying.cancel()

    async def is_listed() -> bool:
        return bool(await outcomes(rig, survivor))

    await until(is_listed, "the dead replica's payment is listed", 4)
    (entry,) = await outcomes(rig, survivor)
    assert (entry["upstream"], entry["reference"], entry["state"]) == ("mock", "order-77", "unknown")
    assert entry["request_id"]
    assert (await rig.get(survivor, f"/api/outcomes/{entry['id']}"))["id"] == entry["id"]
    status = await rig.get(survivor, "/api/status")
    assert status["upstreams"]["mock"]["unknown_outcomes"] == 1
    assert await rig.metric(survivor, "holdfast_unknown_outcomes", upstream="mock") == 1
    assert "1 payment has an unknown outcome" in (await rig.get(survivor, "/api/status/summary"))["summary"]

    again = await rig.pay(survivor, "order-77", key="key-77")
    assert (again.status, again.outcome) == (201, "final")
    await until(lambda: listed_as(rig, survivor, entry["request_id"], "final"), "it is resolved", 2)
    assert await outcomes(rig, survivor) == []
    assert len((await rig.ledger(provider))["charges"]) == 1


async def test_a_write_without_a_key_is_listed_too_and_nothing_waits_for_it(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    rig.configure(provider, upstream={"inject_key": False})
    replica = await rig.replica(provider, own_store, **LEDGER)
    await rig.faults(provider, failure_rate=0, next=["reset_after"])
    first = await rig.pay(replica, "order-1")
    assert (first.status, first.outcome, first.attempts) == (424, "unknown", 1)

    async def is_listed() -> bool:
        return [one["keyed"] for one in await outcomes(rig, replica)] == [False]

    await until(is_listed, "it is listed", 2)
    assert len((await rig.ledger(provider))["charges"]) == 1
    text = await command("outcomes", "--unknown", "--url", replica.url)
    wanted = {first.headers["X-Request-Id"], "order-1", "unknown in all: 1"}
    assert [word for word in wanted if word not in text] == []
    document = json.loads(await command("outcomes", "--json", "--url", replica.url))
    assert [one["state"] for one in document["outcomes"]] == ["unknown"]


async def test_a_breaker_that_opens_does_not_make_an_unknown_outcome_a_payment_that_was_not_sent(
    rig: Rig, own_store: StoreServer
) -> None:
    provider = await rig.provider()
    settings = {**ONCE, "CIRCUIT_BREAKER_FAILURE_THRESHOLD": "1", "CIRCUIT_BREAKER_COOLDOWN_MS": "60000"}
    replicas = [await rig.replica(provider, own_store, **settings) for _ in range(2)]
    await rig.faults(provider, failure_rate=0, next=["reset_after"])
    assert (await rig.pay(replicas[0], key="k")).outcome == "unknown"
    await rig.agree(replicas, "open")
    for replica in replicas:
        answer = await rig.pay(replica, key="k")
        assert (answer.status, answer.outcome, answer.attempts) == (504, "unknown", 0)
        assert (await rig.pay(replica, key=uuid.uuid4().hex)).outcome == "not_sent"


async def test_what_was_left_unknown_by_an_outage_is_found_out_when_the_provider_is_back(
    rig: Rig, own_store: StoreServer
) -> None:
    provider = await rig.provider()
    replica = await rig.replica(provider, own_store, **ONCE)
    others = {"http_500": 0, "http_503": 0, "hang": 0, "reset_before": 0}
    await rig.faults(provider, failure_rate=1, kinds={"reset_after": 1, **others})
    first, second = [await rig.pay(replica, f"order-{n}", key=f"key-{n}") for n in range(2)]
    assert {first.outcome, second.outcome} == {"unknown"}
    await asyncio.sleep(1.5)
    assert len(await outcomes(rig, replica)) == 2
    await rig.faults(provider, failure_rate=0)

    for answer in (first, second):
        request_id = answer.headers["X-Request-Id"]
        await until(lambda: listed_as(rig, replica, request_id, "final"), "it finds out by itself", 8)  # noqa: B023
    found = await outcomes(rig, replica, "?state=final")
    assert [one["status"] for one in found] == [201, 201]
    assert await rig.metric(replica, "holdfast_followups_total", result="resolved") == 2
    assert await rig.metric(replica, "holdfast_unknown_outcomes") == 0
    books = await rig.ledger(provider)
    assert (len(books["charges"]), books["duplicates"]) == (2, [])


async def test_a_drain_tries_once_more_and_leaves_the_rest_listed(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    leaving, staying = [await rig.replica(provider, own_store, **ONCE) for _ in range(2)]
    await rig.faults(provider, failure_rate=0, next=["reset_after", "reset_after", "ok", "reset_after"])
    for n in range(2):
        assert (await rig.pay(leaving, f"order-{n}", key=f"key-{n}")).outcome == "unknown"
    assert leaving.stop() == 0

    states = sorted(one["state"] for one in await outcomes(rig, staying, ""))
    assert states == ["final", "unknown"]
    books = await rig.ledger(provider)
    assert (len(books["charges"]), books["duplicates"]) == (2, [])


async def test_a_frozen_store_degrades_the_ledger_and_delays_nobody(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    replica = await rig.replica(provider, own_store, **LEDGER)
    os.kill(own_store.pid, signal.SIGSTOP)
    try:
        frozen = [await rig.pay(replica, key=f"frozen-{n}") for n in range(5)]
        await rig.faults(provider, failure_rate=0, next=["reset_after"])
        injected = await rig.pay(replica, "order-9")
    finally:
        os.kill(own_store.pid, signal.SIGCONT)

    assert [answer.status for answer in frozen] == [201] * 5
    assert max(answer.seconds for answer in frozen) < 0.5
    assert all("ledger" in answer.headers["X-Proxy-Degraded"] for answer in frozen)
    assert (injected.outcome, injected.attempts) == ("unknown", 1), "a key that only we know is not worth a retry"

    async def is_listed() -> bool:
        return [one["reference"] for one in await outcomes(rig, replica)] == ["order-9"]

    await until(is_listed, "what became of it is written down once the store is back", 5)
    assert len((await rig.ledger(provider))["charges"]) == 6


async def test_nothing_secret_is_in_the_store(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    replica = await rig.replica(provider, own_store, **ONCE)
    secrets = ["key-of-jane@example.org", CARD, "sk_live_topsecret", "Jane Doe", "cvc-737", SECRET]
    headers = {"Authorization": f"Bearer {secrets[2]}", "X-API-Key": f"api-{secrets[2]}", "Idempotency-Key": secrets[0]}
    order = {"amount": 987654321, "currency": "EUR", "reference": CARD, "name": "Jane Doe", "cvc": "cvc-737"}
    await rig.faults(provider, failure_rate=0, next=["ok", "reset_after", "http_500", "hang_after"])
    for n in range(3):
        own = {**headers, "Idempotency-Key": f"{n}{secrets[0]}"}
        async with rig.session.post(f"{replica.url}/api/payment?card={CARD}", json=order, headers=own) as answer:
            await answer.read()
    under_way = asyncio.create_task(rig.pay(replica, CARD, key=secrets[0], name="Jane Doe"))
    await asyncio.sleep(0.5)

    text = await everything(own_store)
    under_way.cancel()

    assert text.count("ledger:entry:") >= 4
    for secret in [*secrets, "987654321", CARD[:12]]:
        assert secret not in text, secret


async def command(*arguments: str) -> str:
    """What `holdfast ARGUMENTS` prints."""
    words = [sys.executable, "-m", "proxy", *arguments]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def everything(store: StoreServer) -> str:
    """The whole store, every key with what it holds, as one text."""
    parts: list[object] = []
    client: Any
    async with Redis.from_url(store.url) as client:
        async for key in client.scan_iter(count=1000):
            kind = (await client.type(key)).decode()
            read = {
                "hash": client.hgetall,
                "string": client.get,
                "stream": client.xrange,
                "set": client.smembers,
                "zset": lambda name: client.zrange(name, 0, -1, withscores=True),
            }[kind]
            parts += [key, await read(key)]
    return repr(parts)


async def _arrived(rig: Rig, provider: Process, count: int) -> bool:
    arrivals: int = (await rig.ledger(provider))["arrivals"]
    return arrivals >= count
