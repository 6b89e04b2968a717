"""A replica with `listen_tls`, as a process: both ports at once, TLS alone, and a certificate renewed by SIGHUP."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from demo.store import free_port
from tests.certificates import write_certificate
from tests.e2e.rig import HOST, ROOT, Process, Rig, until


async def pay(rig: Rig, port: int, authority: Path) -> int:
    """The status of one payment over TLS by somebody who trusts `authority` alone; a connection of its own."""
    trusting = ssl.create_default_context(cafile=authority)
    body = {"amount": 1200, "currency": "EUR", "reference": "r"}
    url = f"https://{HOST}:{port}/api/payment"
    closing = {"Connection": "close"}
    async with rig.session.post(url, json=body, ssl=trusting, headers=closing) as answer:
        return answer.status


def launch(rig: Rig, port: int) -> Process:
    """A replica of the rig's folder that nobody has waited for."""
    log = rig.folder / f"replica-{port}.log"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "REDIS_URL": "none", "PORT": str(port)}
    with log.open("wb") as out:
        command = [sys.executable, "-m", "proxy"]
        popen = subprocess.Popen(command, stdout=out, stderr=out, cwd=rig.folder, env=environment)
    process = Process(port, popen, log)
    rig.processes.append(process)
    return process


def started(replica: Process) -> list[str]:
    (event,) = replica.events("replica.started")
    return list(event["listen"])


async def test_both_ports_and_a_certificate_renewed_by_sighup(rig: Rig, tmp_path: Path) -> None:
    authority, key = write_certificate(tmp_path)
    provider, port = await rig.provider(), free_port()
    rig.configure(provider, listen_tls={"listen": f"{HOST}:{port}", "cert": "tls.crt", "key": "tls.key"})
    replica = await rig.replica(provider, None)
    await until(lambda: told(replica, "replica.started"), "the start")
    assert started(replica) == [f"http://0.0.0.0:{replica.port}", f"https://{HOST}:{port}"]
    assert (await pay(rig, port, authority), (await rig.pay(replica)).status) == (201, 201)

    key.write_text("half a file")
    replica.signal(signal.SIGHUP)
    await until(lambda: told(replica, "config.refused"), "a refusal")
    assert "holds no PEM private key" in replica.events("config.refused")[0]["problems"][0]
    assert await pay(rig, port, authority) == 201

    old = tmp_path / "old.crt"
    authority.rename(old)
    write_certificate(tmp_path)
    replica.signal(signal.SIGHUP)
    await until(lambda: told(replica, "config.reloaded"), "a reload")
    assert await pay(rig, port, authority) == 201
    with pytest.raises(aiohttp.ClientConnectorError):
        await pay(rig, port, old)


async def told(replica: Process, event: str) -> bool:
    return bool(replica.events(event))


async def test_tls_alone(rig: Rig, tmp_path: Path) -> None:
    authority, _ = write_certificate(tmp_path)
    provider = await rig.provider()
    rig.configure(provider, listen_tls={"cert": "tls.crt", "key": "tls.key"})
    port = free_port()
    process = launch(rig, port)
    await until(lambda: told(process, "replica.started"), "the start")
    assert started(process) == [f"https://0.0.0.0:{port}"]
    assert await pay(rig, port, authority) == 201
    trusting = ssl.create_default_context(cafile=authority)
    async with rig.session.get(f"https://{HOST}:{port}/readyz", ssl=trusting) as answer:
        assert answer.status == 200
    assert process.stop() == 0


async def test_a_certificate_that_cannot_be_read_ends_the_start_with_2(rig: Rig, tmp_path: Path) -> None:
    provider = await rig.provider()
    rig.configure(provider, listen_tls={"cert": "no.crt", "key": "no.key"})
    process = launch(rig, free_port())
    assert await process.ended(20) == 2
    wrong = f"listen_tls.cert: {tmp_path / 'no.crt'} cannot be read: No such file or directory"
    assert process.log.read_text().splitlines() == [wrong]
