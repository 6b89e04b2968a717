"""Redis as a hostile peer: whatever it says, payments go on, status answers, a start succeeds, and it recovers."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from demo.store import StoreServer
from tests.e2e.rig import Process, Rig, until
from tests.e2e.test_ledger import LEDGER, listed_as
from tests.redis_shim import Shim, shimmed

THRESHOLD = 3
POLICY = {
    "retry": {"max_retries": 0},
    "breaker": {"consecutive_failures": THRESHOLD, "failure_rate": None, "cooldown": "60s"},
}
RECOVER_SECONDS = 5.0
REPLIES = {
    "integer": b":1\r\n",
    "nil": b"$-1\r\n",
    "empty array": b"*0\r\n",
    "string": b"$5\r\nhello\r\n",
    "ok": b"+OK\r\n",
    "nested": b"*2\r\n*1\r\n:1\r\n*1\r\n$1\r\na\r\n",
    "float": b",1.5\r\n",
    "error": b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
    "readonly": b"-READONLY You can't write against a read only replica.\r\n",
    "noscript": b"-NOSCRIPT No matching script.\r\n",
    "half": b"*8\r\n:1\r\n",
    "junk": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "nothing": b"",
}


@pytest.fixture
async def shim(own_store: StoreServer) -> AsyncIterator[Shim]:
    async with shimmed(own_store.port) as shim:
        yield shim


def behind(shim: Shim) -> dict[str, str]:
    """What a replica is told to reach its store by the link, with the ledger on."""
    return {**LEDGER, "REDIS_URL": shim.url}


async def document(rig: Rig, replica: Process) -> dict[str, Any]:
    """The status document, which must be there whatever the store does."""
    async with rig.session.get(replica.url + "/api/status") as answer:
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
    assert all(upstream["breaker"]["state"] for upstream in found["upstreams"].values())
    return found


async def up(rig: Rig, replica: Process, wanted: bool) -> None:
    async def condition() -> bool:
        return bool((await document(rig, replica))["store"]["up"] is wanted)

    await until(condition, f"store up: {wanted}", RECOVER_SECONDS)


async def test_whatever_it_replies_payments_go_on_and_it_recovers(rig: Rig, shim: Shim) -> None:
    provider = await rig.provider()
    rig.configure(provider, redis={"poll": "200ms"})
    replica = await rig.replica(provider, None, **behind(shim))
    paid = 0
    for name, reply in REPLIES.items():
        shim.reply = reply
        for number in range(4):
            answer = await rig.pay(replica, key=f"{name}-{number}")
            paid += 1
            assert (answer.status, answer.outcome, answer.attempts) == (201, "final", 1), name
            assert "ledger" in answer.headers["X-Proxy-Degraded"], name
        await up(rig, replica, False)
        async with rig.session.get(replica.url + "/api/outcomes") as listed:
            assert listed.status == 503, name
        assert await rig.metric(replica, "holdfast_redis_up") == 0
        shim.reply = None
        await up(rig, replica, True)
    await until(lambda: undegraded(rig, replica), "payments with everything", RECOVER_SECONDS)
    assert len((await rig.ledger(provider))["charges"]) >= paid
    log = replica.log.read_text()
    assert "Traceback" not in log
    assert "turn.failed" not in log
    assert len(replica.events("store.down")) == len(REPLIES)
    assert len(replica.events("store.failed")) <= 8 * len(REPLIES)


async def undegraded(rig: Rig, replica: Process) -> bool:
    return "X-Proxy-Degraded" not in (await rig.pay(replica)).headers


@pytest.mark.parametrize("kind", ["integer", "half"])
async def test_a_replica_starts_whatever_the_store_says(rig: Rig, shim: Shim, kind: str) -> None:
    shim.reply = REPLIES[kind]
    provider = await rig.provider()
    replica = await rig.replica(provider, None, **behind(shim))
    assert (await rig.pay(replica)).status == 201
    assert (await document(rig, replica))["store"]["up"] is False
    (line,) = replica.events("store.down")
    assert line["store"] == f"127.0.0.1:{shim.port}"
    shim.reply = None
    await up(rig, replica, True)


async def test_a_reply_that_slipped_in_costs_one_operation(rig: Rig, shim: Shim) -> None:
    provider = await rig.provider()
    replica = await rig.replica(provider, None, **behind(shim))
    for number in range(3):
        shim.extra = b":1\r\n"
        await until(lambda: gone(shim), "the reply slipped in", RECOVER_SECONDS)
        await until(lambda: undegraded(rig, replica), "all well again", RECOVER_SECONDS)
        answer = await rig.pay(replica, key=f"once-{number}")
        again = await rig.pay(replica, answer.reference, key=f"once-{number}")
        assert (answer.status, again.status, again.body) == (201, 201, answer.body)
    assert "Traceback" not in replica.log.read_text()


async def gone(shim: Shim) -> bool:
    return not shim.extra


async def test_status_answers_with_its_document_while_connections_are_reset(rig: Rig, shim: Shim) -> None:
    """uvloop raises RuntimeError on a transport that a reset closed, which redis-py lets through."""
    provider = await rig.provider()
    replica = await rig.replica(provider, None, **behind(shim))
    until_then = time.monotonic() + 3.0

    async def ask() -> None:
        while time.monotonic() < until_then:
            await document(rig, replica)

    async def pay() -> None:
        while time.monotonic() < until_then:
            assert (await rig.pay(replica)).status == 201

    asking = asyncio.gather(*(ask() for _ in range(4)), pay())
    while not asking.done():
        shim.reset()
        await asyncio.sleep(0.007)
    await asking
    await up(rig, replica, True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("record", b'{"name":"ajar","state":{},"since":0,"opens":0,"cause":"","override":null}'),
        ("record", b'{"schema":2,"name":"closed","state":{},"since":0,"opens":0,"cause":"","override":null}'),
        ("record", b'{"name":"closed","state":{}}'),
        ("record", b"not json"),
        ("run", b"many"),
        (None, b"a text where a hash should be"),
    ],
)
async def test_a_record_of_another_version_leaves_the_breaker_working_alone(
    rig: Rig, own_store: StoreServer, field: str | None, value: bytes
) -> None:
    provider = await rig.provider()
    rig.configure(provider, upstream=POLICY)
    replica = await rig.replica(provider, own_store)
    key = "holdfast:{mock}:breaker"
    async with Redis.from_url(own_store.url) as client:
        if field is None:
            await client.set(key, value)
        else:
            await client.hset(key, mapping={"epoch": 9, field: value})
        await until(lambda: logged(replica, "store.record_unreadable"), "told", RECOVER_SECONDS)
        newcomer = await rig.replica(provider, own_store)  # it starts
        await rig.faults(provider, outage=True)
        for one in (replica, newcomer):
            answers = [await rig.pay(one) for _ in range(THRESHOLD + 2)]
            assert [answer.attempts for answer in answers] == [1] * THRESHOLD + [0] * 2
            assert {answer.headers["X-Proxy-Degraded"] for answer in answers} == {"breaker"}
            store = (await document(rig, one))["store"]
            assert (store["up"], store["degraded"]) == (True, "breaker")
            assert store["warnings"][0].startswith("mock: ")
            assert len(one.events("store.record_unreadable")) == 1
            assert one.events("store.down") == one.events("turn.failed") == []
        await client.delete(key)
    await until(lambda: logged(replica, "store.record_readable"), "told again", RECOVER_SECONDS)
    await rig.agree([replica, newcomer], "open")
    assert (await document(rig, replica))["store"]["degraded"] is None


async def logged(replica: Process, event: str) -> bool:
    return bool(replica.events(event))


async def test_members_that_a_newer_replica_wrote_are_nobodys_trouble(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    rig.configure(provider, upstream=POLICY)
    record = {
        "name": "closed",
        "state": {"new_field": 1},
        "since": 0,
        "opens": 0,
        "cause": "x",
        "override": None,
        "new": 2,
    }
    async with Redis.from_url(own_store.url) as client:
        await client.hset("holdfast:{mock}:breaker", mapping={"epoch": 9, "record": orjson.dumps(record)})
    replicas = [await rig.replica(provider, own_store) for _ in range(2)]
    await rig.faults(provider, outage=True)
    for _ in range(THRESHOLD):
        await rig.pay(replicas[0])
    await rig.agree(replicas, "open")
    assert replicas[0].events("store.record_unreadable") == []


async def test_an_entry_of_another_version_degrades_its_own_payment_alone(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    replica = await rig.replica(provider, own_store, **LEDGER)
    first = await rig.pay(replica, key="k-1")
    await until(lambda: listed_as(rig, replica, first.headers["X-Request-Id"], "final"), "written down")
    upstream = next(iter((await document(rig, replica))["upstreams"]))
    async with Redis.from_url(own_store.url) as client:
        (name,) = [key async for key in client.scan_iter(f"holdfast:{{{upstream}}}:ledger:entry:*")]
        await client.hset(name, "state", "brand_new")
    again = await rig.pay(replica, first.reference, key="k-1")
    assert (again.status, again.body, again.headers["X-Proxy-Degraded"]) == (201, first.body, "ledger")
    assert "X-Proxy-Degraded" not in (await rig.pay(replica, key="k-2")).headers
    listed = await rig.get(replica, "/api/outcomes")
    assert len(listed["outcomes"]) == 2
    assert "Traceback" not in replica.log.read_text()


@pytest.mark.parametrize("round_trip_ms", [50, 90])
async def test_a_store_that_far_away_is_reached_at_the_start_and_again(
    rig: Rig, shim: Shim, round_trip_ms: int
) -> None:
    """The default timeout is 100 ms; setting a connection up takes several round trips."""
    shim.delay_seconds = round_trip_ms / 2000
    provider = await rig.provider()
    replica = await rig.replica(provider, None, **behind(shim))
    await up(rig, replica, True)
    assert shim.accepted < 20
    await until(lambda: undegraded(rig, replica), "a payment with everything", RECOVER_SECONDS)
    shim.reset()
    await up(rig, replica, True)
    await until(lambda: undegraded(rig, replica), "reached again", RECOVER_SECONDS)


async def test_scripts_that_a_far_store_forgot_are_loaded_again(rig: Rig, shim: Shim, own_store: StoreServer) -> None:
    shim.delay_seconds = 0.025
    provider = await rig.provider()
    replica = await rig.replica(provider, None, **behind(shim))
    async with Redis.from_url(own_store.url) as client:
        await client.script_flush()
    await until(lambda: undegraded(rig, replica), "everything is there again", RECOVER_SECONDS)
    await asyncio.sleep(0)
    assert (await document(rig, replica))["store"]["up"] is True


async def test_a_ledger_in_a_store_that_forgets_or_evicts_is_warned_about(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    async with Redis.from_url(own_store.url) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")
        await client.config_set("maxmemory", str(64 << 20))
        replica = await rig.replica(provider, own_store, **LEDGER)
        await until(lambda: logged(replica, "store.unsafe"), "warned", RECOVER_SECONDS)
        told = replica.events("store.unsafe")
        assert [line["level"] for line in told] == ["warning", "warning"]
        assert ["keeps nothing" in told[0]["problem"], "allkeys-lru" in told[1]["problem"]] == [True, True]
        warnings = (await document(rig, replica))["store"]["warnings"]
        assert warnings == [f"{line['problem']}; {line['remedy']}" for line in told]
        assert await rig.metric(replica, "holdfast_store_warnings") == 2
        without = await rig.replica(provider, own_store)  # only a ledger needs it
        assert (await document(rig, without))["store"]["warnings"] == []

        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("appendonly", "yes")
        os.kill(own_store.pid, signal.SIGSTOP)
        await up(rig, replica, False)
        os.kill(own_store.pid, signal.SIGCONT)
        await up(rig, replica, True)
    await until(lambda: safe(rig, replica), "looked again", RECOVER_SECONDS)


async def safe(rig: Rig, replica: Process) -> bool:
    store = (await document(rig, replica))["store"]
    return store["warnings"] == [] and await rig.metric(replica, "holdfast_store_warnings") == 0
