"""The control plane of a running fleet, as a person on call, a script and a Prometheus see it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from typing import Any

import pytest

from demo.store import StoreServer, free_port
from tests.e2e.rig import HOST, ROOT, Process, Rig, until

TOKEN = "token-of-this-test"
POLICY = {"retry": {"max_retries": 1, "backoff_ms": [5]}, "breaker": {"consecutive_failures": 6, "cooldown": "20s"}}


async def fleet(rig: Rig, store: StoreServer) -> tuple[Process, list[Process]]:
    provider = await rig.provider()
    await rig.faults(provider, retry_after_s=0)
    rig.configure(provider, upstream=POLICY)
    started = (rig.replica(provider, store, HOLDFAST_ADMIN_TOKEN=TOKEN) for _ in range(2))
    return provider, await asyncio.gather(*started)


async def outage(rig: Rig, provider: Process, replica: Process) -> None:
    """Three payments that went well, then the outage that opens the breaker: six of nine attempts failed."""
    for _ in range(3):
        assert (await rig.pay(replica)).status == 201
    await rig.faults(provider, outage=True)
    for _ in range(3):
        await rig.pay(replica)
    await rig.agree([replica], "open")


def holdfast(*arguments: str, token: str = TOKEN) -> tuple[int, str, str]:
    """The command line, run to its end: exit code, output, errors."""
    environment = {"PYTHONPATH": str(ROOT), "HOLDFAST_ADMIN_TOKEN": token}
    command = [sys.executable, "-m", "proxy", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=15, check=False, env=environment)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize("own_port", [False, True])
async def test_every_endpoint_answers_as_it_should(rig: Rig, own_store: StoreServer, own_port: bool) -> None:
    provider, port, data = await rig.provider(), free_port(), free_port()
    admin = {"listen": f"{HOST}:{data}", "admin": {"listen": f"{HOST}:{port}"}} if own_port else {"listen": f":{port}"}
    rig.configure(provider, upstream=POLICY, **admin)
    environment = {"REDIS_URL": own_store.url, "HOLDFAST_ADMIN_TOKEN": TOKEN}
    replica = await rig.start("replica", port, ["-m", "proxy"], environment, "/readyz")
    for path, content_type in (
        ("/api/status", "application/json"),
        ("/api/status/summary", "application/json"),
        ("/api/metrics", "application/json"),
        ("/metrics", "text/plain"),
        ("/api-docs", "text/html"),
        ("/api-docs/openapi.json", "application/json"),
        ("/healthz", "application/json"),
        ("/readyz", "application/json"),
    ):
        async with rig.session.get(replica.url + path) as answer:
            assert (answer.status, answer.content_type) == (200, content_type), path
            assert content_type != "application/json" or isinstance(await answer.json(), dict)
    async with rig.session.get(replica.url + "/metrics", headers={"Accept": "application/openmetrics-text"}) as answer:
        assert answer.content_type == "application/openmetrics-text"
        assert (await answer.text()).endswith("# EOF\n")
    for action in ("open", "close", "auto"):
        assert await _order(rig, replica, action, None) == 401
        assert await _order(rig, replica, action, "wrong") == 403
        assert await _order(rig, replica, action, TOKEN) == 200
    if own_port:  # and the provider's own paths are all the provider's
        async with rig.session.get(f"http://{HOST}:{data}/api/status") as answer:
            assert (answer.status, answer.headers["X-Payment-Outcome"]) == (404, "not_sent")


async def _order(rig: Rig, replica: Process, action: str, token: str | None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    url = f"{replica.url}/api/breakers/mock/{action}"
    async with rig.session.post(url, json={"reason": "a walk through"}, headers=headers) as answer:
        assert answer.content_type == ("application/json" if answer.status == 200 else "application/problem+json")
        return answer.status


async def test_every_replica_tells_the_same_of_the_fleet(rig: Rig, own_store: StoreServer) -> None:
    provider, replicas = await fleet(rig, own_store)
    await rig.faults(provider, failure_rate=0.3, kinds={"hang": 0}, seed=3)
    answers = await rig.pay_many(replicas, 60, at_once=8)
    attempts = sum(answer.attempts for answer in answers)

    async def same() -> bool:
        first, second = [_fleets(await rig.get(one, "/api/status")) for one in replicas]
        return bool(first == second) and sum(first["mock"]["attempts"].values()) == attempts

    async def both_known() -> bool:
        lists = [(await rig.get(one, "/api/status"))["replicas"] for one in replicas]
        return lists[0] == lists[1] and len(lists[0]) == 2

    took = await until(same, f"both replicas tell of {attempts} attempts", 1)
    texts = [(await rig.get(one, "/api/status/summary"))["summary"].partition(" The circuit")[0] for one in replicas]
    assert texts[0] == texts[1]
    await until(both_known, "both replicas on each one's list", 1)
    print(f"agreed after {took * 1000:.0f} ms: {texts[0]}")  # noqa: T201


def _fleets(status: Any) -> Any:
    parts = ("attempts", "payments", "rejected")
    return {name: {part: one[part] for part in parts} for name, one in status["upstreams"].items()}


async def test_the_summary_of_an_outage_reads_as_promised(rig: Rig, own_store: StoreServer) -> None:
    provider, replicas = await fleet(rig, own_store)
    await outage(rig, provider, replicas[0])
    for replica in replicas:
        assert (await rig.pay(replica)).status == 503
    promised = re.compile(
        r"In the last 10 minutes, 67% of payment attempts failed\. "
        r"The circuit breaker is currently open, blocking new attempts\. "
        r"It opened \d+ ?m?s ago because of this: 6 failures in a row\. .*\n",
    )
    for replica in replicas:
        await until(lambda one=replica: _says(rig, one, promised), await _text(rig, replica), 1)  # type: ignore[misc]
        assert promised.match((await rig.get(replica, "/api/status/summary"))["summary"] + "\n")


async def _says(rig: Rig, replica: Process, promised: re.Pattern[str]) -> bool:
    return promised.fullmatch(await _text(rig, replica)) is not None


async def test_the_summary_logged_at_an_opening_knows_why(rig: Rig, own_store: StoreServer) -> None:
    provider, replicas = await fleet(rig, own_store)
    await outage(rig, provider, replicas[0])
    await rig.agree(replicas, "open")
    for replica in replicas:
        await until(lambda one=replica: _summarized(one), "a summary in the log", 2)  # type: ignore[misc]
    texts = [replica.events("summary")[0]["text"] for replica in replicas]
    assert all(" failed. The circuit breaker is currently open" in text for text in texts), texts


async def _summarized(replica: Process) -> bool:
    return bool(replica.events("summary"))


async def _text(rig: Rig, replica: Process) -> str:
    async with rig.session.get(replica.url + "/api/status/summary", headers={"Accept": "text/plain"}) as answer:
        assert answer.content_type == "text/plain"
        return await answer.text()


async def test_the_command_line_sees_and_steers_the_fleet(rig: Rig, own_store: StoreServer) -> None:
    _, replicas = await fleet(rig, own_store)
    first, second = replicas
    assert (await rig.pay(first)).status == 201
    code, text, _ = await asyncio.to_thread(holdfast, "status", first.url)
    assert code == 0
    assert all(word in text for word in ("mock", "CLOSED")), text
    code, text, _ = await asyncio.to_thread(holdfast, "status", "--json", first.url)
    assert (code, json.loads(text)["shared"]) == (0, True)

    order = ("breaker", "open", "mock", "--reason", "drill", "--url")
    code, _, _ = await asyncio.to_thread(holdfast, *order, first.url, "--for", "5m")
    assert code == 0
    await rig.agree(replicas, "forced_open", 1)
    assert (await rig.pay(second)).status == 503
    code, text, _ = await asyncio.to_thread(holdfast, "summary", second.url)
    assert code == 0
    assert "forced open" in text
    assert "drill" in text
    code, _, errors = await asyncio.to_thread(holdfast, *order, first.url, token="wrong")
    assert code != 0
    assert len(errors.splitlines()) == 1
    code, _, _ = await asyncio.to_thread(holdfast, "breaker", "auto", "mock", "--reason", "over", "--url", second.url)
    assert code == 0
    await rig.agree(replicas, "closed", 1)
