"""What Prometheus's own tools say of /metrics: promtool reads it, a real server scrapes the fleet."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess

import aiohttp
import pytest

from demo.store import StoreServer, free_port
from tests.e2e.rig import HOST, Process, Rig, until
from tests.e2e.test_operations import fleet, outage


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on PATH: what a real {name} says of us is NOT tested here")
    return path


async def test_metrics_of_a_busy_replica_pass_promtool_and_stay_few(rig: Rig, own_store: StoreServer) -> None:
    promtool = tool("promtool")
    provider, (replica, _) = await fleet(rig, own_store)
    await outage(rig, provider, replica)
    await rig.pay(replica)
    before = await _exposition(rig, replica)
    checked = await asyncio.to_thread(
        subprocess.run, [promtool, "check", "metrics"], input=before, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr, checked.stdout) == (0, "", "")

    for number in range(300):
        url = f"{replica.url}/{['api/payment', 'nowhere'][number % 2]}/order-{number}?q={number}"
        method = ["GET", "POST", f"METHOD{number}"][number % 3]
        headers = {"Idempotency-Key": f"key-{number}", "X-Request-Id": f"request-{number}"}
        async with rig.session.request(method, url, headers=headers) as answer:
            await answer.read()
    after = await _exposition(rig, replica)
    grown = set(_series(after)) - set(_series(before))
    assert len(grown) < 60, sorted(grown)
    assert not re.search(r"order-|key-|request-\d|METHOD\d", after)


def _series(text: str) -> list[str]:
    return [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]


async def _exposition(rig: Rig, replica: Process) -> str:
    async with rig.session.get(replica.url + "/metrics") as answer:
        return await answer.text()


async def test_a_real_prometheus_scrapes_both_replicas(rig: Rig, own_store: StoreServer) -> None:
    binary = tool("prometheus")
    _, replicas = await fleet(rig, own_store)
    paid = await rig.pay_many(replicas, 30, at_once=8)
    assert {answer.status for answer in paid} == {201}
    prometheus = await _prometheus(rig, binary, [f"{HOST}:{replica.port}" for replica in replicas])
    wanted = 'sum(holdfast_requests_total{upstream="mock",outcome="final"})'

    async def scraped() -> bool:
        return await _ask(rig, prometheus, "sum(up)") == 2 and await _ask(rig, prometheus, wanted) == 30

    await until(scraped, f"two targets and 30 payments: {prometheus.log.read_text()[-400:]}", 15)
    assert await _ask(rig, prometheus, 'sum(holdfast_breaker_state{state="closed"})') == 2


async def _prometheus(rig: Rig, binary: str, targets: list[str]) -> Process:
    config = rig.folder / "prometheus.yml"
    jobs = [{"job_name": "holdfast", "static_configs": [{"targets": targets}]}]
    config.write_text(
        json.dumps({"global": {"scrape_interval": "300ms", "scrape_timeout": "300ms"}, "scrape_configs": jobs})
    )
    port, log = free_port(), rig.folder / "prometheus.log"
    listen, data = f"--web.listen-address={HOST}:{port}", f"--storage.tsdb.path={rig.folder / 'tsdb'}"
    command = [binary, f"--config.file={config}", listen, data]
    with log.open("wb") as out:
        popen = subprocess.Popen(command, stdout=out, stderr=out, cwd=rig.folder)  # noqa: ASYNC220
    prometheus = Process(port, popen, log)
    rig.processes.append(prometheus)
    await until(lambda: rig._ready(prometheus, "/-/ready"), "prometheus is ready")
    return prometheus


async def _ask(rig: Rig, prometheus: Process, query: str) -> float | None:
    try:
        async with rig.session.get(prometheus.url + "/api/v1/query", params={"query": query}) as answer:
            result = (await answer.json())["data"]["result"]
    except aiohttp.ClientError:
        return None
    return float(result[0]["value"][1]) if result else None
