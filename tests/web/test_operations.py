"""Status, summary, metrics and health over real sockets; every answer is held against the OpenAPI document."""

from __future__ import annotations

import pytest

from tests.web.conftest import Open
from tests.web.document import ask
from tests.web.rig import TIMEOUT, FakeClock, Rig, SharedStore, answered

READ_ONLY = ["/api/status", "/api/status/summary", "/api/metrics", "/metrics", "/healthz", "/readyz"]


async def trip(rig: Rig) -> None:
    for _ in range(5):
        await rig.pay(TIMEOUT)


async def test_status_of_a_replica_alone(clock: FakeClock, serve: Open) -> None:
    client = await serve(Rig(clock))
    response, status = await ask(client, "GET", "/api/status")
    assert response.headers["Cache-Control"] == "no-store"
    assert status["replica"] == {
        "id": "r1",
        "version": "9.8.7",
        "started": "2023-11-14T22:13:20.000Z",
        "uptime_seconds": 100.0,
        "draining": False,
    }
    assert status["store"] == {
        "kind": "memory",
        "up": True,
        "shared": False,
        "degraded": None,
        "on_outage": None,
        "warnings": [],
    }
    assert status["shared"] is False
    assert status["replicas"] == ["r1"]
    assert status["upstreams"]["mock"]["breaker"]["state"] == "closed"


async def test_status_tells_what_happened(clock: FakeClock, serve: Open) -> None:
    rig = Rig(clock)
    await rig.pay(answered(201))
    await rig.pay(answered(402))
    await trip(rig)
    await rig.pay()
    clock.passed += 4
    _, status = await ask(await serve(rig), "GET", "/api/status")
    mock = status["upstreams"]["mock"]
    assert mock["attempts"] == {"decline": 1, "success": 1, "timeout": 5}
    assert mock["payments"] == {"not_sent": 1, "unknown": 5, "final": 2}
    assert mock["rejected"] == 1
    assert mock["budget"]["requests"] == 8
    breaker = mock["breaker"]
    assert (breaker["state"], breaker["cause"], breaker["opens"]) == ("open", "5 failures in a row", 1)
    assert (breaker["since_seconds"], breaker["retry_after"]) == (4.0, 6.0)


async def test_status_while_the_store_is_away(clock: FakeClock, serve: Open) -> None:
    store = SharedStore(clock)
    rig = Rig(clock, store)
    client = await serve(rig)
    _, before = await ask(client, "GET", "/api/status")
    store.away = True
    await rig.gate.refresh()
    _, after = await ask(client, "GET", "/api/status")
    shared = {"kind": "redis", "shared": True, "on_outage": "local", "warnings": []}
    assert before["store"] == {**shared, "up": True, "degraded": None}
    assert after["store"] == {**shared, "up": False, "degraded": "breaker"}


async def test_summary_with_its_facts(clock: FakeClock, serve: Open) -> None:
    rig = Rig(clock)
    for _ in range(3):
        await rig.pay(answered(201))
    for _ in range(7):
        await rig.pay(TIMEOUT)
    _, body = await ask(await serve(rig), "GET", "/api/status/summary")
    assert body["summary"].startswith("In the last 10 minutes, 62% of payment attempts failed. The circuit breaker is")
    assert body["window_seconds"] == 600
    assert body["generated_at"] == "2023-11-14T22:15:00.000Z"
    assert body["traffic"]["mock"] == {
        "attempts": 8,
        "succeeded": 3,
        "failed": 5,
        "declined": 0,
        "success_rate": 0.375,
        "failure_rate": 0.625,
    }
    assert body["upstreams"]["mock"]["breaker"]["state"] == "open"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/json"),
        ("text/plain", "text/plain"),
        ("text/*", "text/plain"),
        ("application/json, text/plain", "application/json"),
        ("application/json;q=0.5, text/plain;q=0.6", "text/plain"),
        ("text/html, */*;q=0.8", "application/json"),
    ],
)
async def test_summary_by_accept(clock: FakeClock, serve: Open, accept: str | None, content_type: str) -> None:
    client = await serve(Rig(clock))
    response, _ = await ask(client, "GET", "/api/status/summary", headers={"Accept": accept} if accept else {})
    assert response.content_type == content_type
    assert response.headers["Vary"] == "Accept"
    assert response.headers["Cache-Control"] == "no-store"


async def test_summary_as_text_is_the_same_text(clock: FakeClock, serve: Open) -> None:
    client = await serve(Rig(clock))
    _, body = await ask(client, "GET", "/api/status/summary")
    response, _ = await ask(client, "GET", "/api/status/summary", headers={"Accept": "text/plain"})
    assert await response.text() == body["summary"] + "\n"


async def test_metrics_pass_the_accept_field_on(clock: FakeClock, serve: Open) -> None:
    client = await serve(Rig(clock))
    response, _ = await ask(client, "GET", "/metrics", headers={"Accept": "application/openmetrics-text"})
    assert await response.text() == "# application/openmetrics-text\n"
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_overview_since_start_and_of_the_fleet(clock: FakeClock, serve: Open) -> None:
    rig = Rig(clock)
    await rig.pay(answered(421), answered(201))
    await rig.pay(TIMEOUT)
    clock.passed += 700  # beyond the window, but not beyond this replica's memory of itself
    await rig.pay(answered(201))
    _, body = await ask(await serve(rig), "GET", "/api/metrics")
    mock = body["upstreams"]["mock"]
    assert mock["breaker"] == "closed"
    since = mock["since_start"]
    assert (since["requests"], since["retries"], since["retries_denied"], since["rejected"]) == (3, 1, 1, 0)
    assert (since["attempts"]["attempts"], since["attempts"]["failed"], since["attempts"]["failure_rate"]) == (
        4,
        1,
        0.25,
    )
    assert mock["fleet"]["requests"] == 1
    assert mock["fleet"]["attempts"]["success_rate"] == 1.0


async def test_overview_without_attempts_has_no_rates(clock: FakeClock, serve: Open) -> None:
    _, body = await ask(await serve(Rig(clock)), "GET", "/api/metrics")
    assert body["upstreams"]["mock"]["fleet"]["attempts"]["failure_rate"] is None


async def test_health(clock: FakeClock, serve: Open) -> None:
    response, body = await ask(await serve(Rig(clock)), "GET", "/healthz")
    assert (response.status, body) == (200, {"status": "alive"})
    assert response.headers["Cache-Control"] == "no-store"


async def test_ready_until_draining(clock: FakeClock, serve: Open) -> None:
    rig = Rig(clock)
    client = await serve(rig)
    response, body = await ask(client, "GET", "/readyz")
    assert (response.status, body) == (200, {"status": "ready", "degraded": None})
    rig.draining = True
    response, body = await ask(client, "GET", "/readyz")
    assert (response.status, body) == (503, {"status": "draining", "degraded": None})


async def test_a_degraded_replica_is_ready_and_says_so(clock: FakeClock, serve: Open) -> None:
    store = SharedStore(clock)
    rig = Rig(clock, store)
    store.away = True
    await rig.gate.refresh()
    response, body = await ask(await serve(rig), "GET", "/readyz")
    assert (response.status, body) == (200, {"status": "ready", "degraded": "breaker"})


@pytest.mark.parametrize("path", READ_ONLY)
async def test_head_is_get_without_a_body(clock: FakeClock, serve: Open, path: str) -> None:
    client = await serve(Rig(clock))
    got = await client.get(path)
    head = await client.head(path)
    assert (head.status, head.headers["Content-Type"]) == (got.status, got.headers["Content-Type"])
    assert int(head.headers["Content-Length"]) > 0
    assert await head.read() == b""


@pytest.mark.parametrize("path", READ_ONLY)
async def test_other_methods_are_told_the_right_ones(clock: FakeClock, serve: Open, path: str) -> None:
    response, body = await ask(await serve(Rig(clock)), "DELETE", path)
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
    assert body["detail"] == "DELETE is not possible here; use GET, HEAD."
