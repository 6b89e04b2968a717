"""The ledger's routes: every answer is held against the OpenAPI document by `ask`."""

from __future__ import annotations

import pytest

from proxy.core.model import Response
from tests.web.conftest import Open
from tests.web.document import ask
from tests.web.rig import TIMEOUT, FakeClock, Rig, answered


async def test_without_a_ledger_there_is_nothing_to_list(clock: FakeClock, serve: Open) -> None:
    client = await serve(Rig(clock))
    for path in ("/api/outcomes", "/api/outcomes/abc"):
        response, body = await ask(client, "GET", path)
        assert response.status == 404
        assert "HOLDFAST_LEDGER_SECRET" in body["detail"]
    _, status = await ask(client, "GET", "/api/status")
    assert status["upstreams"]["mock"]["unknown_outcomes"] is None


async def test_unknown_outcomes_are_listed_with_what_helps_to_find_them(clock: FakeClock, serve: Open) -> None:
    rig = Rig(clock, with_ledger=True)
    client = await serve(rig)
    await rig.pay(TIMEOUT)
    await rig.pay(Response(201, b"", ((b"Request-Id", b"prov-7"),), b"{}"))

    _, document = await ask(client, "GET", "/api/outcomes?state=unknown&upstream=mock&limit=10")
    (entry,) = document["outcomes"]
    assert document["unknown"] == 1
    assert (entry["state"], entry["upstream"], entry["request_id"]) == ("unknown", "mock", "req-1")
    assert (entry["route"], entry["method"], entry["keyed"], entry["attempts"]) == ("/api/payment", "POST", False, 1)
    _, everything = await ask(client, "GET", "/api/outcomes")
    assert sorted(one["state"] for one in everything["outcomes"]) == ["final", "unknown"]
    (final,) = (one for one in everything["outcomes"] if one["state"] == "final")
    assert (final["status"], final["provider_request_id"]) == (201, "prov-7")
    _, one = await ask(client, "GET", f"/api/outcomes/{entry['id']}")
    assert one == entry


async def test_status_and_summary_tell_of_them(clock: FakeClock, serve: Open) -> None:
    rig = Rig(clock, with_ledger=True)
    client = await serve(rig)
    await rig.pay(TIMEOUT)
    _, status = await ask(client, "GET", "/api/status")
    _, summary = await ask(client, "GET", "/api/status/summary")
    assert status["upstreams"]["mock"]["unknown_outcomes"] == 1
    assert "1 payment has an unknown outcome: look it up before paying again." in summary["summary"]


@pytest.mark.parametrize("query", ["state=lost", "upstream=other", "limit=0", "limit=1001", "limit=-1", "limit=x"])
async def test_a_query_that_cannot_be_followed_is_told_so(clock: FakeClock, serve: Open, query: str) -> None:
    client = await serve(Rig(clock, with_ledger=True))
    response, _ = await ask(client, "GET", f"/api/outcomes?{query}")
    assert response.status == 400


async def test_what_is_not_there_is_404_and_a_store_that_is_away_503(clock: FakeClock, serve: Open) -> None:
    rig = Rig(clock, with_ledger=True)
    client = await serve(rig)
    response, _ = await ask(client, "GET", "/api/outcomes/0")
    assert response.status == 404
    rig.entries.away = True
    for path in ("/api/outcomes", "/api/outcomes/0"):
        response, _ = await ask(client, "GET", path)
        assert (response.status, response.headers["Retry-After"]) == (503, "1")


async def test_reading_is_all_there_is(clock: FakeClock, serve: Open) -> None:
    client = await serve(Rig(clock, with_ledger=True))
    response, _ = await ask(client, "POST", "/api/outcomes")
    assert response.headers["Allow"] == "GET, HEAD"


async def test_a_declined_payment_is_final(clock: FakeClock, serve: Open) -> None:
    rig = Rig(clock, with_ledger=True)
    client = await serve(rig)
    await rig.pay(answered(402))
    _, document = await ask(client, "GET", "/api/outcomes?state=final")
    assert [one["status"] for one in document["outcomes"]] == [402]
