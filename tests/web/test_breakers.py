"""Overrides by hand: who may, what they must say, and that the fleet follows."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.gate import Permit, Refusal
from tests.web.conftest import Client, Open
from tests.web.document import ask
from tests.web.rig import TIMEOUT, TOKEN, FakeClock, Rig, SharedStore

BEARER = {"Authorization": f"Bearer {TOKEN}"}
WHY = {"reason": "provider maintenance"}


async def post(client: Client, action: str, body: Any = None, **options: Any) -> tuple[Any, Any]:
    return await ask(client, "POST", f"/api/breakers/mock/{action}", **{"headers": BEARER, "json": body, **options})


async def test_open_for_a_while(clock: FakeClock, serve: Open) -> None:
    rig = Rig(clock)
    client = await serve(rig)
    response, breaker = await post(client, "open", {**WHY, "for": "15m", "actor": "alice"})
    assert response.status == 200
    assert breaker["state"] == "forced_open"
    assert breaker["retry_after"] == 900.0
    assert breaker["override"] == {
        "forced": "open",
        "actor": "alice",
        "reason": "provider maintenance",
        "expires_in_seconds": 900.0,
    }
    assert (await rig.pay()).status == 503
    clock.passed += 901
    _, status = await ask(client, "GET", "/api/status")
    assert status["upstreams"]["mock"]["breaker"]["state"] == "closed"
    assert status["upstreams"]["mock"]["breaker"]["override"] is None
    assert isinstance(await rig.gate.admit(), Permit)


async def test_close_holds_against_failures_until_auto(clock: FakeClock, serve: Open) -> None:
    rig = Rig(clock)
    client = await serve(rig)
    _, breaker = await post(client, "close", WHY)
    assert (breaker["state"], breaker["override"]["actor"]) == ("forced_closed", "admin")
    assert breaker["override"]["expires_in_seconds"] is None
    for _ in range(6):
        await rig.pay(TIMEOUT)
    permit = await rig.gate.admit()
    assert isinstance(permit, Permit)
    rig.gate.release(permit)
    _, breaker = await post(client, "auto")
    assert (breaker["state"], breaker["override"]) == ("closed", None)
    for _ in range(5):
        await rig.pay(TIMEOUT)
    assert isinstance(await rig.gate.admit(), Refusal)


async def test_the_whole_fleet_follows(clock: FakeClock, serve: Open) -> None:
    store = SharedStore(clock)
    one, other = Rig(clock, store, "r1"), Rig(clock, store, "r2")
    await post(await serve(one), "open", WHY)
    await other.gate.refresh()
    _, status = await ask(await serve(other), "GET", "/api/status")
    assert status["upstreams"]["mock"]["breaker"]["state"] == "forced_open"
    assert isinstance(await other.gate.admit(), Refusal)


async def test_auto_without_an_override_forgets_nothing(clock: FakeClock, serve: Open) -> None:
    rig = Rig(clock)
    for _ in range(3):
        await rig.pay(TIMEOUT)
    response, breaker = await post(await serve(rig), "auto")
    assert response.status == 200
    assert (breaker["epoch"], breaker["counts"]["consecutive"]) == (0, 3)


async def test_without_the_store_the_override_is_said_to_be_ours_alone(clock: FakeClock, serve: Open) -> None:
    store = SharedStore(clock)
    rig = Rig(clock, store)
    store.away = True
    response, breaker = await post(await serve(rig), "open", WHY)
    assert (response.status, breaker["state"]) == (200, "forced_open")
    assert response.headers["X-Proxy-Degraded"] == "breaker"


async def test_losing_every_race_is_told(clock: FakeClock, serve: Open) -> None:
    store = SharedStore(clock)
    rig = Rig(clock, store)
    store.contended = True
    response, body = await post(await serve(rig), "open", WHY)
    assert response.status == 409
    assert "try again" in body["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Basic Y29ycmVjdA=="}, 401),
        ({"Authorization": "Bearer wrong"}, 403),
        ({"Authorization": "Bearer correct"}, 403),
        ({"Authorization": "Bearer corréct horse"}, 403),
        ({"Authorization": "bearer correct horse"}, 200),
    ],
)
async def test_only_with_the_token(clock: FakeClock, serve: Open, headers: dict[str, str], status: int) -> None:
    rig = Rig(clock)
    response, _ = await post(await serve(rig), "open", WHY, headers=headers)
    assert response.status == status
    assert ("WWW-Authenticate" in response.headers) == (status == 401)
    assert rig.gate.view.record.label(clock.wall()) == ("forced_open" if status == 200 else "closed")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}])
async def test_nobody_may_where_no_token_is_configured(clock: FakeClock, serve: Open, headers: dict[str, str]) -> None:
    response, body = await post(await serve(Rig(clock, token=None)), "open", WHY, headers=headers)
    assert response.status == 403
    assert "HOLDFAST_ADMIN_TOKEN" in body["detail"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "reason: say why"),
        (b"{}", "reason: say why"),
        (b'{"reason": " \\n "}', "reason: say why"),
        (b"not json", "The body is not JSON"),
        (b'["why"]', "body: expected a JSON object"),
        (b'{"reason": 7}', "reason: Input should be a valid string"),
        (b'{"reason": "x", "for": "15"}', "for: expected a duration with its unit"),
        (b'{"reason": "x", "for": 900}', "for: expected a duration with its unit"),
        (b'{"reason": "x", "for": "0s"}', "for: Input should be greater than 0"),
        (b'{"reason": "x", "for": "31d"}', "for: Input should be less than or equal to 2592000"),
        (b'{"reason": "x", "until": "noon"}', "until: unknown; expected reason, for or actor"),
        (b'{"reason": "x", "seconds": 5}', "seconds: unknown; expected reason, for or actor"),
        (b'{"reason": "a\\u001b[2Jb"}', "reason: expected text without control characters"),
        (b'{"reason": "' + b"x" * 201 + b'"}', "reason: String should have at most 200 characters"),
    ],
)
async def test_bad_orders_are_explained(clock: FakeClock, serve: Open, body: bytes, says: str) -> None:
    rig = Rig(clock)
    response, problem = await post(await serve(rig), "open", json=None, data=body)
    assert response.status == 400
    assert problem["detail"].startswith(says)
    assert rig.gate.view.record.override is None


async def test_a_huge_body_is_not_kept(clock: FakeClock, serve: Open) -> None:
    response, body = await post(await serve(Rig(clock)), "open", {"reason": "x" * (20 << 10)})
    assert response.status == 413
    assert "larger than 16384 bytes" in body["detail"]


async def test_an_unknown_upstream_gets_the_known_names(clock: FakeClock, serve: Open) -> None:
    client = await serve(Rig(clock))
    response, body = await ask(client, "POST", "/api/breakers/stripe/open", headers=BEARER, json=WHY)
    assert response.status == 404
    assert body["detail"] == "There is no upstream 'stripe'; there is mock."


async def test_names_of_upstreams_are_not_told_without_the_token(clock: FakeClock, serve: Open) -> None:
    response, _ = await ask(await serve(Rig(clock)), "POST", "/api/breakers/stripe/open", json=WHY)
    assert response.status == 401


async def test_reading_an_action_is_not_possible(clock: FakeClock, serve: Open) -> None:
    response, _ = await ask(await serve(Rig(clock)), "GET", "/api/breakers/mock/open")
    assert (response.status, response.headers["Allow"]) == (405, "POST")
