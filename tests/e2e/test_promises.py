"""The first two promises attacked from outside: real replicas, a real store, and a provider that behaves badly.

Each letter is a break that was once found (and its neighbours); what is asserted is what arrived and what was told.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from demo.store import StoreServer, start_store
from tests.e2e.raw import Arrival, Raw, answer, call, config, raw_provider, start, states, write
from tests.e2e.rig import Process, Rig, until

QUICK = {"followup": {"max_entries": 0}}
TOKEN = {"HOLDFAST_ADMIN_TOKEN": "token"}


def scripted(*steps: bytes | None, last: bytes | None = None) -> Callable[[Arrival], Awaitable[bytes | None]]:
    """Answers in order, by key; then `last`."""
    seen: dict[str, int] = {}

    async def script(arrival: Arrival) -> bytes | None:
        key = arrival.fields.get("idempotency-key", "")
        number = seen.get(key, 0)
        seen[key] = number + 1
        return steps[number] if number < len(steps) else last

    return script


async def listed(rig: Rig, replica: Process, expected: list[tuple[str, int | None]], query: str = "") -> None:
    async def is_so() -> bool:
        return sorted(await states(rig, replica, query), key=str) == sorted(expected, key=str)

    await until(is_so, f"{expected} listed", 5)


async def force_open(rig: Rig, replica: Process) -> None:
    order = {"reason": "a test", "actor": "a test"}
    url = f"{replica.url}/api/breakers/psp/open"
    async with rig.session.post(url, json=order, headers={"Authorization": "Bearer token"}) as told:
        assert told.status == 200, await told.text()


@pytest.mark.parametrize("refusal", [429, 403, 400])
async def test_e_a_refusal_hides_nothing_that_the_same_key_does_later(
    rig: Rig, own_store: StoreServer, refusal: int
) -> None:
    async with raw_provider(scripted(answer(refusal), None)) as provider:
        document = config(provider.url, profile="stripe", ledger={"lease": "1s", **QUICK})
        one, two = [await start(rig, document, own_store, **TOKEN) for _ in range(2)]
        first = await call(one, "/v1/charges", key="order-1")
        assert (first.status, first.outcome) == (refusal, "final")
        await listed(rig, two, [("final", refusal)])

        lost = await call(one, "/v1/charges", key="order-1")
        assert (lost.status, lost.outcome) == (504, "unknown")
        await listed(rig, two, [("unknown", None)], "?state=unknown")

        await force_open(rig, two)
        refused = await call(two, "/v1/charges", key="order-1")
        assert refused.outcome == "unknown", refused


async def test_e_a_replica_killed_after_a_refusal_leaves_unknown_and_a_success_wins(
    rig: Rig, own_store: StoreServer
) -> None:
    release = asyncio.Event()

    async def script(arrival: Arrival) -> bytes | None:
        if len(provider.arrivals) == 1:
            return answer(429)
        if len(provider.arrivals) == 2:
            await release.wait()
            return None
        return answer(201)

    async with raw_provider(script) as provider:
        patience = {"connect": "1s", "attempt": "9s", "total": "9s"}
        document = config(provider.url, upstream={"timeouts": patience}, ledger={"lease": "1s", **QUICK})
        one, two = [await start(rig, document, own_store) for _ in range(2)]
        assert (await call(one, key="k")).outcome == "final"
        dying = asyncio.create_task(call(one, key="k"))
        await arrived(provider, 2)
        one.kill()
        await dying
        await listed(rig, two, [("unknown", 429)])  # promises.md J: without asking for a state, too
        release.set()
        assert (await call(two, key="k")).outcome == "final"
        await listed(rig, two, [("final", 201)])


async def arrived(provider: Raw, count: int) -> None:
    async def there() -> bool:
        return len(provider.arrivals) >= count

    await until(there, f"{count} arrivals", 10)


async def reload(replica: Process) -> None:
    before = len(replica.events("config.reloaded"))
    replica.signal(signal.SIGHUP)

    async def told() -> bool:
        return len(replica.events("config.reloaded")) > before

    await until(told, replica.log.read_text()[-400:], 5)


@pytest.mark.parametrize("change", ["url", "profile", "gone"])
async def test_b_nothing_old_goes_where_a_reload_leads(rig: Rig, own_store: StoreServer, change: str) -> None:
    async with raw_provider(scripted(None, last=answer(201))) as old, raw_provider(scripted(last=answer(201))) as new:
        replica = await start(rig, config(old.url), own_store)
        assert (await call(replica, key="order-4711")).outcome == "unknown"
        moved = {
            "url": config(new.url),
            "profile": config(old.url, profile="none"),
            "gone": {**config(new.url), "upstreams": {"other": config(new.url)["upstreams"]["psp"]}}
            | {"routes": [{"path": "/", "upstream": "other"}]},
        }[change]
        write(rig, replica.port, moved)
        await reload(replica)

        async def stopped() -> bool:
            return [line["result"] for line in replica.events("outcome.followed_up")] == ["stopped"]

        await until(stopped, "the follow-up has stopped", 5)
        assert (len(old.arrivals), len(new.arrivals)) == (1, 0)
        await listed(rig, replica, [("unknown", None)], "?state=unknown")
        if change == "url":  # the client's own call there is another payment, and resolves nothing
            assert (await call(replica, key="order-4711")).outcome == "final"
            await listed(rig, replica, [("unknown", None), ("final", 201)])


@pytest.mark.parametrize("restarted", [False, True])
async def test_b_an_upstream_that_is_renamed_is_the_same_one(
    rig: Rig, own_store: StoreServer, *, restarted: bool
) -> None:
    async with raw_provider(scripted(None, answer(429), last=answer(201))) as provider:
        document = config(provider.url, ledger=QUICK)
        replica = await start(rig, document, own_store)
        assert (await call(replica, key="k")).outcome == "unknown"
        await listed(rig, replica, [("unknown", None)], "?state=unknown")
        renamed = {**document, "upstreams": {"other": document["upstreams"]["psp"]}}
        renamed["routes"] = [{"path": "/", "upstream": "other"}]
        if restarted:
            replica = await start(rig, renamed, own_store)
            await listed(rig, replica, [("unknown", None)], "?state=unknown")
        else:
            write(rig, replica.port, renamed)
            await reload(replica)
        assert (await call(replica, key="k")).outcome == "unknown"
        assert (await call(replica, key="k")).outcome == "final"
        await listed(rig, replica, [], "?state=unknown")


@pytest.mark.parametrize(("lines", "body"), [((), b"x" * 2048), (("Trailer: Authorization",), b"{}")])
async def test_e_what_is_refused_before_it_is_sent_takes_no_doubt_away(
    rig: Rig, own_store: StoreServer, lines: tuple[str, ...], body: bytes
) -> None:
    async with raw_provider(scripted(None)) as provider:
        small = {"max_body": 1024, "retry_body": 1024}
        replica = await start(rig, config(provider.url, ledger=QUICK, upstream=small), own_store)
        fresh = await call(replica, key="another", lines=lines, body=body)
        assert (fresh.status in {400, 413}, fresh.outcome, fresh.attempts) == (True, "not_sent", 0)
        assert (await call(replica, key="k")).outcome == "unknown"
        refused = await call(replica, key="k", lines=lines, body=body)
        assert (refused.status, refused.outcome, refused.attempts) == (fresh.status, "unknown", 0)
        assert len(provider.arrivals) == 1
        await listed(rig, replica, [("unknown", None)], "?state=unknown")


async def test_d_a_call_that_waits_does_not_take_the_lease_of_the_call_it_waits_for(
    rig: Rig, own_store: StoreServer
) -> None:
    spans: list[tuple[float, float]] = []

    async def script(arrival: Arrival) -> bytes | None:
        await asyncio.sleep(2.5)
        spans.append((arrival.at, time.monotonic()))
        return answer(201)

    async with raw_provider(script) as provider:
        patience = {"connect": "1s", "attempt": "5s", "total": "12s"}
        document = config(provider.url, upstream={"timeouts": patience}, ledger={"lease": "1s", **QUICK})
        replica = await start(rig, document, own_store)
        first = asyncio.create_task(call(replica, key="same"))
        await arrived(provider, 1)
        second = asyncio.create_task(call(replica, key="same"))
        unknown = []
        while not first.done():
            unknown += await states(rig, replica, "?state=unknown")
            await asyncio.sleep(0.1)
        assert [(await one).outcome for one in (first, second)] == ["final", "final"]
        assert unknown == [], "the owner lives, so its payment is in flight"
        (_, ended), (began, _) = spans
        assert began >= ended, "one at a time"


async def test_f_every_write_is_in_the_books_however_safe_its_profile_calls_it(
    rig: Rig, own_store: StoreServer
) -> None:
    async with raw_provider(scripted(None, answer(404))) as provider:
        once = await start(rig, config(provider.url, profile="stripe"), own_store)
        told = await call(once, "/v1/subscriptions/sub_1?invoice_now=true", method="DELETE")
        assert (told.status, told.outcome) == (504, "unknown")
        await listed(rig, once, [("unknown", None)])
    async with raw_provider(scripted(None, answer(404))) as provider:
        again = {"retry": {"max_retries": 1, "backoff_ms": [1]}}
        twice = await start(rig, config(provider.url, profile="adyen", upstream=again), own_store)
        told = await call(twice, "/v1/x", method="PUT")
        assert (told.status, told.outcome, len(provider.arrivals)) == (404, "unknown", 2)
        await listed(rig, twice, [("unknown", None), ("unknown", 404)])


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: application/json\r\nContent-Length: 300000\r\n",
        b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n",
    ],
    ids=["large", "events"],
)
async def test_g_a_streamed_answer_that_breaks_off_is_unknown_in_the_ledger(
    rig: Rig, own_store: StoreServer, head: bytes
) -> None:
    async def script(_: Arrival) -> bytes | None:
        begun = b"5\r\nhello\r\n" if b"chunked" in head else b"{"
        return b"HTTP/1.1 201 X\r\nConnection: close\r\n" + head + b"\r\n" + begun

    async with raw_provider(script) as provider:
        replica = await start(rig, config(provider.url, ledger=QUICK), own_store)
        assert (await call(replica, key="k")).status == 201
        await listed(rig, replica, [("unknown", None)], "?state=unknown")


@pytest.mark.parametrize(("inject", "expected"), [(True, 424), (False, 424)])
async def test_k_a_keyless_client_that_repeats_5xx_pays_once(
    rig: Rig, own_store: StoreServer, inject: bool, expected: int
) -> None:
    charged: list[str] = []

    async def script(arrival: Arrival) -> bytes | None:
        charged.append(arrival.fields.get("idempotency-key", "none"))
        await asyncio.sleep(5)
        return None

    async with raw_provider(script) as provider:
        short = {"timeouts": {"connect": "300ms", "attempt": "300ms", "total": "600ms"}, "inject_key": inject}
        replica = await start(rig, config(provider.url, upstream=short), own_store)
        for _ in range(3):
            told = await call(replica)
            if told.status not in {502, 503, 504}:
                break
        assert (told.status, told.outcome) == (expected, "unknown")
        assert len(set(charged)) == 1


async def test_m_a_key_whose_ledger_is_away_is_never_told_not_sent(rig: Rig, own_store: StoreServer) -> None:
    async with raw_provider(scripted(None)) as provider:
        replica = await start(rig, config(provider.url, ledger=QUICK), own_store)
        assert (await call(replica, key="order-1")).outcome == "unknown"
        await listed(rig, replica, [("unknown", None)])
    os.kill(own_store.pid, signal.SIGSTOP)
    refused = await call(replica, key="order-1")
    assert (refused.outcome, "ledger" in refused.fields["x-proxy-degraded"]) == ("unknown", True)
    assert (await call(replica)).outcome == "not_sent", "a request without a key has no earlier call"
    os.kill(own_store.pid, signal.SIGCONT)


@pytest.mark.parametrize("kind", ["retry_after", "timeout"])
async def test_q_the_last_try_undercuts_no_wait(rig: Rig, own_store: StoreServer, kind: str) -> None:
    async def script(_: Arrival) -> bytes | None:
        if kind == "retry_after":
            return answer(503, b"{}", "Retry-After: 120")
        await asyncio.sleep(20)
        return None

    async with raw_provider(script) as provider:
        profile = "generic" if kind == "retry_after" else "checkout_com"
        short = {"timeouts": {"connect": "500ms", "attempt": "500ms", "total": "1s"}}
        replica = await start(rig, config(provider.url, profile=profile, upstream=short), own_store)
        await call(replica, "/payments", key="k", lines=("Cko-Idempotency-Key: k",))
        assert replica.stop() == 0
        assert len(provider.arrivals) == 1


async def test_i_a_payment_that_outlives_a_reload_is_waited_for_at_the_end(rig: Rig, own_store: StoreServer) -> None:
    release = asyncio.Event()

    async def script(_: Arrival) -> bytes | None:
        await release.wait()
        return answer(201)

    async with raw_provider(script) as provider:
        patience = {"connect": "1s", "attempt": "15s", "total": "20s"}
        drain = {"drain": {"grace": "0s", "timeout": "1s"}}
        replica = await start(rig, config(provider.url, upstream={"timeouts": patience}) | drain, own_store)
        paying = asyncio.create_task(call(replica, key="k"))
        await arrived(provider, 1)
        write(rig, replica.port, config(provider.url, upstream={"timeouts": patience, "max_concurrency": 9}) | drain)
        await reload(replica)
        await asyncio.sleep(1.2)  # longer than drain.timeout, which is not how long a payment may live
        replica.signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        release.set()
        told = await paying
        assert (told.status, told.outcome) == (201, "final")
        assert await replica.ended(10) == 0
        assert [line["unfinished"] for line in replica.events("replica.stopped")] == [0]


async def test_n_an_old_retry_after_does_not_decide_a_later_opening(rig: Rig, own_store: StoreServer) -> None:
    mode = [answer(503, b"{}", "Retry-After: 7200")]

    async def script(_: Arrival) -> bytes | None:
        return mode[0]

    async with raw_provider(script) as provider:
        breaker = {"consecutive_failures": 3, "failure_rate": None, "cooldown": "1s", "max_cooldown": "10s"}
        replicas = [
            await start(rig, config(provider.url, upstream={"breaker": breaker}), store) for store in (own_store, None)
        ]
        for replica in replicas:
            mode[0] = answer(503, b"{}", "Retry-After: 7200")
            assert (await call(replica, method="GET")).status == 503
            mode[0] = answer(200)
            for _ in range(10):
                assert (await call(replica, method="GET")).status == 200
            mode[0] = answer(500)
            for _ in range(3):
                await call(replica, method="GET")
            await rig.agree([replica], "open")
            status = await rig.get(replica, "/api/status")
            assert status["upstreams"]["psp"]["breaker"]["retry_after"] <= 1.0


async def test_o1_unknown_outcomes_that_the_store_has_lost_are_told_and_written_back(rig: Rig) -> None:
    store = start_store()
    async with raw_provider(scripted()) as provider:
        replica = await start(rig, config(provider.url, ledger=QUICK), store)
        for key in ("one", "two"):
            assert (await call(replica, key=key)).outcome == "unknown"
        await listed(rig, replica, [("unknown", None)] * 2, "?state=unknown")
        port = store.port
        store.stop()
        store = start_store(port)
        try:
            await listed_again(rig, replica)
            await until(lambda: logged(replica, "ledger.lost"), "the loss is told", 5)
            (line,) = replica.events("ledger.lost")
            assert (line["upstream"], line["restored"]) == ("psp", 2)
            ledger = (await rig.get(replica, "/api/status"))["ledger"]
            assert (ledger["losses"], ledger["restored"]) == (1, 2)
            assert await rig.metric(replica, "holdfast_ledger_restored_total", upstream="psp") == 2
            assert await rig.metric(replica, "holdfast_unknown_outcomes", upstream="psp") == 2
        finally:
            store.stop()


async def test_o1_a_key_that_comes_again_before_its_loss_is_noticed_is_in_doubt_still(
    rig: Rig, own_store: StoreServer
) -> None:
    async with raw_provider(scripted(None, answer(429))) as provider:
        replica = await start(rig, config(provider.url, ledger=QUICK), own_store)
        assert (await call(replica, key="k")).outcome == "unknown"
        await listed(rig, replica, [("unknown", None)], "?state=unknown")
        await flush(own_store)
        assert (await call(replica, key="k")).outcome == "unknown"
        await listed_again(rig, replica, 1)


async def flush(store: StoreServer) -> None:
    async with Redis.from_url(store.url) as client:
        await client.flushall()


async def logged(replica: Process, event: str) -> bool:
    return bool(replica.events(event))


async def listed_again(rig: Rig, replica: Process, count: int = 2) -> None:
    async def there() -> bool:
        document = await rig.get(replica, "/api/outcomes?state=unknown")
        return len(document.get("outcomes", [])) == count

    await until(there, "what was lost is listed again", 10)
