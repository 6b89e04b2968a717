"""A replica's life: starts that cannot work, a store that is not there yet, SIGTERM and SIGINT under load, SIGHUP."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from demo.store import StoreServer, free_port
from tests.e2e.rig import ROOT, Answered, Process, Rig, until

TIMEOUTS = {"connect": "500ms", "attempt": "2s", "total": "4s"}
CALM = {"timeouts": TIMEOUTS, "retry": {"max_retries": 0}, "breaker": {"consecutive_failures": 3, "cooldown": "30s"}}
ROUTES = [{"path": "/api/payment", "upstream": "mock"}]
GRACE_SECONDS = 0.3
PART_BYTES = 100_000


def mock(**settings: object) -> dict[str, object]:
    return {"upstreams": {"mock": {"url": "http://127.0.0.1:9", **settings}}, "routes": ROUTES}


def started(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A replica that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )


@pytest.mark.parametrize(
    ("document", "environment", "says"),
    [
        (None, {}, ["UPSTREAM_URL", "config.yaml"]),
        ({**mock(), "cooldwon": 1}, {}, ["config.yaml", "cooldwon"]),
        (mock(breaker={"cooldown": "ten"}), {}, ["config.yaml", "upstreams.mock.breaker.cooldown", "ten"]),
        (mock(url="ftp://x"), {}, ["upstreams.mock.url", "ftp://x", "http://"]),
        (mock(profile="strype"), {}, ["strype", "generic"]),
        (mock(url="https://127.0.0.1:9", ca_file="no.pem"), {}, ["upstreams.mock.ca_file", "no.pem"]),
        (mock(), {"PORT": "abc"}, ["PORT", "abc"]),
        (mock(), {"REDIS_URL": "http://x"}, ["REDIS_URL", "redis://"]),
    ],
)
def test_a_configuration_that_cannot_work_is_one_clear_line(
    tmp_path: Path, document: object, environment: dict[str, str], says: list[str]
) -> None:
    if document is not None:
        (tmp_path / "config.yaml").write_text(json.dumps(document))
    ended = started(tmp_path, **environment)
    assert ended.returncode == 2
    (line,) = (ended.stdout + ended.stderr).splitlines()
    assert all(word in line for word in says), line


@pytest.mark.parametrize("which", ["listen", "admin"])
def test_a_taken_port_is_one_clear_line(tmp_path: Path, which: str) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        ports = {"listen": f"127.0.0.1:{free_port()}", "admin": {}}
        ports |= {"listen": f"127.0.0.1:{port}"} if which == "listen" else {"admin": {"listen": f"127.0.0.1:{port}"}}
        (tmp_path / "config.yaml").write_text(json.dumps({**mock(), **ports}))
        ended = started(tmp_path)
    assert ended.returncode == 1
    (line,) = (ended.stdout + ended.stderr).splitlines()
    assert str(port) in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_replica_told_to_stop_under_load_answers_all_it_took_and_leaves(
    rig: Rig, own_store: StoreServer, number: signal.Signals
) -> None:
    provider = await rig.provider()
    await rig.faults(provider, latency_ms={"p50": 60, "p99": 150})
    rig.configure(provider, upstream=CALM, drain={"grace": f"{GRACE_SECONDS}s", "timeout": "8s"})
    leaving, staying = await asyncio.gather(*(rig.replica(provider, own_store) for _ in range(2)))
    name = (await rig.get(leaving, "/api/status"))["replica"]["id"]
    answers: list[Answered] = []
    balancer_saw_it, stop = asyncio.Event(), asyncio.Event()
    loads = [
        asyncio.create_task(rig.pay_steadily([leaving], 100, balancer_saw_it, answers)),
        asyncio.create_task(rig.pay_steadily([staying], 50, stop, answers)),
    ]
    await until(lambda: _paid(answers, 40), "payments flow")

    leaving.signal(number)
    await until(lambda: _draining(rig, leaving), "/readyz says 503", GRACE_SECONDS)
    balancer_saw_it.set()
    assert await leaving.ended(GRACE_SECONDS + 2) == 0
    await until(lambda: _left(rig, staying, name), "its name off the list", 1)
    stop.set()
    await asyncio.gather(*loads)

    charges = (await rig.ledger(provider))["charges"]
    assert {answer.status for answer in answers} == {201}
    assert sorted(charge["reference"] for charge in charges) == sorted(answer.reference for answer in answers)
    assert [line["unfinished"] for line in leaving.events("replica.stopped")] == [0]
    await until(lambda: _logged([leaving, staying], len(answers)), "a log line for each payment", 1)
    await until(lambda: _counted(rig, staying, len(answers)), "every count of the leaver in the fleet's", 1)


async def _paid(answers: list[Answered], count: int) -> bool:
    return len(answers) >= count


async def _logged(replicas: list[Process], count: int) -> bool:
    return sum(len(replica.events("payment.finished")) for replica in replicas) == count


async def _draining(rig: Rig, replica: Process) -> bool:
    async with rig.session.get(replica.url + "/readyz") as answer:
        return answer.status == 503 and (await answer.json())["status"] == "draining"


async def _left(rig: Rig, replica: Process, name: str) -> bool:
    return name not in (await rig.get(replica, "/api/status"))["replicas"]


async def _counted(rig: Rig, replica: Process, count: int) -> bool:
    payments = (await rig.get(replica, "/api/status"))["upstreams"]["mock"]["payments"]
    return bool(payments["final"] == count)


async def test_clients_that_keep_their_connections_do_not_hold_up_the_end(rig: Rig) -> None:
    provider = await rig.provider()
    await rig.faults(provider, latency_ms={"p50": 50, "p99": 50})
    rig.configure(provider, upstream=CALM, drain={"grace": "200ms", "timeout": "3s"})
    replica = await rig.replica(provider, None)
    answers: list[Answered] = []
    unanswered: list[str] = []

    async def client(number: int) -> None:
        await asyncio.sleep(number * 0.006)  # at no moment is none of them waiting
        while not unanswered:
            try:
                answers.append(await rig.pay(replica))
            except aiohttp.ClientConnectorError:  # the door is shut: a balancer goes elsewhere
                return
            except aiohttp.ClientError as error:
                unanswered.append(repr(error))

    clients = [asyncio.create_task(client(number)) for number in range(8)]
    await until(lambda: _paid(answers, 16), "payments flow")
    told = time.monotonic()
    replica.signal(signal.SIGTERM)
    code = await replica.ended(6)
    took = time.monotonic() - told
    await asyncio.gather(*clients)

    assert code == 0
    assert unanswered == []
    assert len((await rig.ledger(provider))["charges"]) == len(answers)
    assert took < 2, f"the drain took {took:.1f} s, while each payment took 0.05 s"


async def hanging_payment(rig: Rig, store: StoreServer) -> tuple[Process, asyncio.Task[Answered]]:
    """A payment that would take 20 s, through a replica that was told to stop and has a second for it."""
    provider = await rig.provider()
    patient = {**CALM, "timeouts": {"connect": "1s", "attempt": "20s", "total": "30s"}}
    rig.configure(provider, upstream=patient, drain={"grace": "100ms", "timeout": "1s"})
    replica = await rig.replica(provider, store)
    await rig.faults(provider, next=["hang"])
    hanging = asyncio.create_task(rig.pay(replica))
    await until(lambda: _in_flight(rig, provider), "the payment is under way")
    replica.signal(signal.SIGTERM)
    return replica, hanging


async def test_a_hanging_payment_holds_up_the_end_no_longer_than_the_drain_may_take(
    rig: Rig, own_store: StoreServer
) -> None:
    replica, hanging = await hanging_payment(rig, own_store)
    assert await replica.ended(0.1 + 1 + 4) == 0  # aiohttp's own shutdown takes two more, a second each
    assert [line["unfinished"] for line in replica.events("replica.stopped")] == [1]
    await asyncio.gather(hanging, return_exceptions=True)


async def test_who_waits_for_a_hanging_payment_is_told_that_nobody_knows(rig: Rig, own_store: StoreServer) -> None:
    replica, hanging = await hanging_payment(rig, own_store)
    await replica.ended(6)
    (answer,) = await asyncio.gather(hanging, return_exceptions=True)
    assert isinstance(answer, Answered), repr(answer)
    assert (answer.status in {424, 504}, answer.outcome) == (True, "unknown")
    assert [line["outcome"] for line in replica.events("payment.finished")] == ["unknown"]


async def _in_flight(rig: Rig, provider: Process) -> bool:
    return bool((await rig.ledger(provider, summary=True))["in_flight"])


@asynccontextmanager
async def slow_answers(parts: int) -> AsyncIterator[str]:
    """A provider whose answers take their time, a tenth of a second for each part; its URL."""

    ended = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (parts * PART_BYTES))
            for _ in range(parts):
                writer.write(b"x" * PART_BYTES)
                await writer.drain()
                await asyncio.sleep(0.1)
        writer.close()
        ended.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            await ended.wait()


async def test_an_answer_on_its_way_is_finished_before_the_end(rig: Rig) -> None:
    provider, parts = await rig.provider(), 28
    patient = {"timeouts": {"connect": "1s", "attempt": "8s", "total": "9s"}}
    rig.configure(provider, upstream=patient, drain={"grace": "0s", "timeout": "9s"})
    async with slow_answers(parts) as url:
        replica = await rig.replica(provider, None, UPSTREAM_URL=url)
        async with rig.session.get(replica.url + "/api/payment/a-report") as answer:
            received = len(await answer.content.readany())
            replica.signal(signal.SIGTERM)
            with suppress(aiohttp.ClientPayloadError):
                received += len(await answer.read())
        assert received == parts * PART_BYTES
        assert await replica.ended(3) == 0
