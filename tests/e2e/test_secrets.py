"""What must never be kept: card numbers, keys, credentials, bodies, queries. Paid in every way, then looked for."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from demo.store import StoreServer
from tests.e2e.rig import HOST, Process, Rig, until

CARD = "4242424242424242"
SPACED = "4242 4242 4242 4242"
DASHED = "4242-4242-4242-4242"
SECRETS = {
    "card number": CARD,
    "card number in groups": SPACED,
    "card number with dashes": DASHED,
    "key": "idem-key-of-nobody-else",
    "authorization": "sk_live_51Hsecret",
    "basic credential": "YWRtaW46aHVudGVyMg",
    "cookie": "session-cookie-value",
    "body": "a cardholder called Grace",
    "query": "query-secret-value",
    "admin token": "the-admin-token",
    "header": "custom-header-value",
}
OUTCOMES = ["ok", "http_500", "http_503", "http_429", "hang", "reset_before", "reset_after", "cut_body", "junk"]
MALFORMED = [
    f"POST /api/payment?pan={CARD} HTTP/9.9\r\nHost: x\r\nAuthorization: {SECRETS['authorization']}\r\n\r\n",
    f"POST /api/payment HTTP/1.1\r\nHost: x\r\nIdempotency-Key : {SECRETS['key']}\r\n\r\n",
    f"POST /api/payment HTTP/1.1\r\nHost: x\r\nX-Odd\x00: {SECRETS['header']}\r\n\r\n",
    f"POST /api/payment HTTP/1.1\r\nHost: x\r\n{SECRETS['header']}\r\n\r\n",
    f"POST /api/payment HTTP/1.1\r\nHost: x\r\nContent-Length: {CARD}x\r\n\r\n{SECRETS['body']}",
    f"POST /api/payment HTTP/1.1\r\nHost: x\r\nContent-Length: {SECRETS['body']}\r\n\r\n",
    f"POST /api/payment HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz{SECRETS['body']}\r\n",
    f"{CARD} /api/payment?q={SECRETS['query']} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    f"GET /elsewhere/{CARD}?q={SECRETS['query']} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    f"{SECRETS['body']}\r\n\r\n",
]


async def pay(rig: Rig, replica: Process, number: int, path: str = "/api/payment", token: str = "tok_visa") -> int:
    """One payment that carries every secret, wherever one may stand; its status, 0 if it broke off."""
    headers = {
        "Idempotency-Key": f"{SECRETS['key']}-{CARD}-{number}",
        "X-Request-Id": [CARD, DASHED, f"order-{CARD}", f"{SPACED} 1"][number % 4],
        "Authorization": [f"Bearer {SECRETS['authorization']}", f"Basic {SECRETS['basic credential']}"][number % 2],
        "Cookie": f"s={SECRETS['cookie']}",
        "X-Custom": f"{SECRETS['header']} {CARD}",
        "traceparent": f"00-4bf92f3577b34da6a3ce929d0e0e4736-{CARD}-01",
    }
    fields = {"amount": 1200, "currency": "EUR", "reference": f"reference-{number}", "token": token}
    body = {**fields, "note": f"{SECRETS['body']} {CARD} {SPACED} {DASHED}"}
    url = f"{replica.url}{path}?q={SECRETS['query']}&pan={CARD}"
    try:
        async with rig.session.post(url, json=body, headers=headers) as answer:
            await answer.read()
            return answer.status
    except aiohttp.ClientError:
        return 0


async def say(replica: Process, text: str) -> None:
    """Bytes that are no request, or hardly one."""
    reader, writer = await asyncio.open_connection(HOST, replica.port)
    writer.write(text.encode())
    writer.write_eof()
    await asyncio.wait_for(reader.read(), 5)
    writer.close()


async def control_plane(rig: Rig, replica: Process) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {SECRETS['admin token']}"}
    texts = {}
    for path in ("/metrics", "/api/status", "/api/status/summary", "/api/metrics", "/api-docs/openapi.json"):
        async with rig.session.get(replica.url + path, headers=headers) as answer:
            texts[path] = await answer.text()
    return texts


async def dump(client: Redis) -> dict[str, str]:
    """Every key and everything that stands under it."""
    kept = {}
    async for key in client.scan_iter():
        kept[key.decode()] = str(await _read(client, key))
    return kept


async def _read(client: Redis, key: bytes) -> Any:
    kind: Any = await client.type(key)
    if kind == b"string":
        return await client.get(key)
    if kind == b"hash":
        return await client.hgetall(key)
    if kind == b"zset":
        return await client.zrange(key, 0, -1, withscores=True)
    if kind == b"stream":
        return await client.xrange(key)
    if kind == b"set":
        return await client.smembers(key)
    assert kind == b"list", f"{key!r} is a {kind}"
    return await client.lrange(key, 0, -1)


async def test_no_secret_is_found_wherever_it_was_sent_and_whatever_came_of_it(
    rig: Rig, own_store: StoreServer
) -> None:
    provider = await rig.provider()
    await rig.faults(provider, retry_after_s=0, hang_s=5)
    rig.configure(
        provider,
        upstream={
            "timeouts": {"connect": "200ms", "attempt": "400ms", "total": "2s"},
            "retry": {"max_retries": 1, "backoff_ms": [10]},
            "breaker": {"consecutive_failures": 50, "failure_rate": None},
        },
        redis={"attempt_log": 40, "attempt_log_ttl": "90s"},
    )
    settings = {"HOLDFAST_ADMIN_TOKEN": SECRETS["admin token"], "LOG_LEVEL": "debug"}
    replicas = [
        await rig.replica(provider, own_store, **settings),
        await rig.replica(provider, own_store, **settings, UPSTREAM_URL=f"http://{HOST}:9"),  # cannot connect
    ]
    paying = replicas[0]
    for number, fault in enumerate(OUTCOMES):
        await rig.faults(provider, next=[fault, fault])
        await pay(rig, paying, number)
    statuses = {
        "declined": await pay(rig, paying, 100, token="tok_declined"),
        "refused": await pay(rig, replicas[1], 101),
        "no route": await pay(rig, paying, 102, path="/elsewhere"),
        "path": await pay(rig, paying, 103, path=f"/api/payment/{CARD}"),
    }
    for text in MALFORMED:
        await say(paying, text)
    await _force_open(rig, paying)
    statuses["open"] = await pay(rig, paying, 104)
    assert statuses["declined"] in {201, 402}
    assert (statuses["refused"], statuses["no route"], statuses["open"]) == (502, 404, 503)

    async with Redis.from_url(own_store.url) as client:
        await until(lambda: _told(client), "every attempt in the log", 2)
        kept = await dump(client)
        assert 0 < await client.ttl("holdfast:attempts") <= 90
        forever = [key for key in kept if await client.ttl(key) == -1]
    assert set(forever) <= {"holdfast:{mock}:breaker", "holdfast:replicas"}, forever
    places = {replica.log.name: replica.log.read_text() for replica in replicas}
    for replica in replicas:
        replies = await control_plane(rig, replica)
        places |= {f"{replica.port}{path}": text for path, text in replies.items()}
    found = _found({**places, **{f"redis {key}": key + text for key, text in kept.items()}})
    assert found == []
    assert "payment.finished" in places[paying.log.name]
    assert any('"request_id"' in text for text in kept.values())


async def _force_open(rig: Rig, replica: Process) -> None:
    headers = {"Authorization": f"Bearer {SECRETS['admin token']}"}
    wish = json.dumps({"reason": "the end of the test"})
    async with rig.session.post(f"{replica.url}/api/breakers/mock/open", data=wish, headers=headers) as answer:
        assert answer.status == 200


async def _told(client: Redis) -> bool:
    entries: Any = await client.xrange("holdfast:attempts")
    attempts = [attempt for _, entry in entries for attempt in json.loads(entry[b"attempts"])]
    return len(attempts) >= 2 * len(OUTCOMES)


def _found(places: dict[str, str]) -> list[str]:
    return [
        f"{name} in {place}" for place, text in places.items() for name, secret in SECRETS.items() if secret in text
    ]


@pytest.mark.parametrize("field", ["traceparent", "X-Request-Id"])
async def test_an_id_made_of_a_card_number_is_not_kept(rig: Rig, field: str) -> None:
    provider = await rig.provider()
    rig.configure(provider)
    replica = await rig.replica(provider, None)
    value = {"traceparent": f"00-{CARD}{CARD}-00f067aa0ba902b7-01", "X-Request-Id": f"{CARD:0>32}"}[field]
    async with rig.session.get(replica.url + "/api/payment/x", headers={field: value}):
        pass
    await until(lambda: _logged(replica), "the payment's line", 2)
    assert CARD not in replica.log.read_text()


async def _logged(replica: Process) -> bool:
    return bool(replica.events("payment.finished"))


async def test_the_attempts_log_is_capped(rig: Rig, own_store: StoreServer) -> None:
    provider = await rig.provider()
    rig.configure(provider, redis={"attempt_log": 3})
    replica = await rig.replica(provider, own_store)
    async with Redis.from_url(own_store.url) as client:
        await client.config_set("stream-node-max-entries", 2)  # it trims whole nodes, of a hundred entries else
        for number in range(12):  # an entry is a beat
            await rig.pay(replica)
            await until(lambda wanted=number + 1: _grown(client, wanted), "a new entry", 2)  # type: ignore[misc]
        assert (await client.xinfo_stream("holdfast:attempts"))["length"] <= 3 + 2


async def _grown(client: Redis, wanted: int) -> bool:
    if not await client.exists("holdfast:attempts"):
        return False
    return bool((await client.xinfo_stream("holdfast:attempts"))["entries-added"] == wanted)


def test_the_net_would_catch_each_secret() -> None:
    assert len(_found({"here": " ".join(SECRETS.values())})) == len(SECRETS)
