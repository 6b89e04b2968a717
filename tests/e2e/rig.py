"""Real processes on loopback: a provider, a store, replicas; and a client that pays through them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from demo.store import StoreServer, free_port

ROOT = Path(__file__).parents[2]
START_SECONDS = 20.0
HOST = "127.0.0.1"


@dataclass(slots=True)
class Process:
    """One of ours, known by its pid and its port."""

    port: int
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, as a machine that dies would."""
        self.popen.kill()
        self.popen.wait(5)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self.popen.poll() is None:
            self.popen.terminate()
        return self.popen.wait(15)

    async def ended(self, seconds: float) -> int:
        """Its exit code, once it has ended by itself."""

        async def gone() -> bool:
            return self.popen.poll() is not None

        await until(gone, f"the end of {self.log.name}: {self.log.read_text()[-400:]}", seconds)
        return int(self.popen.returncode)

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it logged under a name."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == name]


@dataclass(slots=True)
class Answered:
    """What a client saw of one payment."""

    reference: str
    status: int
    outcome: str
    attempts: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


@dataclass
class Rig:
    """Everything of one test, ended with it."""

    folder: Path
    session: aiohttp.ClientSession
    processes: list[Process] = field(default_factory=list)

    async def provider(self, *arguments: str, port: int | None = None) -> Process:
        """A mock provider without faults unless told otherwise."""
        port = port or free_port()
        command = ["-m", "mock_provider", "--port", str(port), "--failure-rate", "0", *arguments]
        return await self.start("provider", port, command, {}, "/healthz")

    def configure(self, provider: Process, *, upstream: Mapping[str, object] | None = None, **rest: object) -> None:
        """Write the config.yaml that replicas read when they start or are told to reload; JSON is YAML as well."""
        upstreams = {"mock": {"url": provider.url, "profile": "generic", **(upstream or {})}}
        document = {"upstreams": upstreams, "routes": [{"path": "/api/payment", "upstream": "mock"}], **rest}
        (self.folder / "config.yaml").write_text(json.dumps(document))

    async def replica(self, provider: Process, store: StoreServer | None, **settings: str) -> Process:
        """One replica of Holdfast in front of the provider; `settings` are environment variables."""
        port = free_port()
        environment = {"PORT": str(port), "UPSTREAM_URL": provider.url, "LOG_LEVEL": "info"}
        if not (self.folder / "config.yaml").exists():
            environment["UPSTREAM_PROFILE"] = "generic"
        environment |= settings
        if store is not None:
            environment["REDIS_URL"] = store.url
        return await self.start("replica", port, ["-m", "proxy"], environment, "/readyz")

    async def start(self, name: str, port: int, command: list[str], extra: Mapping[str, str], ready: str) -> Process:
        log = self.folder / f"{name}-{port}.log"
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **extra}
        with log.open("wb") as out:
            popen = subprocess.Popen(  # noqa: ASYNC220 - it returns as soon as the process is there
                [sys.executable, *command], stdout=out, stderr=out, cwd=self.folder, env=environment
            )
        process = Process(port, popen, log)
        self.processes.append(process)
        await until(lambda: self._ready(process, ready), f"{name} on {port}: {log.read_text()}")
        return process

    async def _ready(self, process: Process, path: str) -> bool:
        assert process.popen.poll() is None, process.log.read_text()
        with contextlib.suppress(aiohttp.ClientError):
            async with self.session.get(process.url + path) as answer:
                return answer.status == 200
        return False

    async def get(self, process: Process, path: str) -> Any:
        """A JSON document."""
        async with self.session.get(process.url + path) as answer:
            return await answer.json()

    async def breaker(self, replica: Process) -> str:
        """The breaker's state as a replica tells it."""
        status = await self.get(replica, "/api/status")
        (upstream,) = status["upstreams"].values()
        return str(upstream["breaker"]["state"])

    async def agree(self, replicas: list[Process], state: str, seconds: float = 3.0) -> float:
        """Wait until every replica tells this state; how long it took."""

        async def all_tell() -> bool:
            return all([await self.breaker(replica) == state for replica in replicas])

        return await until(all_tell, f"{state} on every replica", seconds)

    async def metric(self, process: Process, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        async with self.session.get(process.url + "/metrics") as answer:
            families = list(text_string_to_metric_families(await answer.text()))
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    async def faults(self, provider: Process, **changes: object) -> None:
        async with self.session.put(provider.url + "/admin/faults", json=changes) as answer:
            assert answer.status == 200, await answer.text()

    async def ledger(self, provider: Process, *, summary: bool = False) -> Any:
        return await self.get(provider, "/admin/ledger" + ("?summary=1" if summary else ""))

    async def pay(
        self, replica: Process, reference: str | None = None, *, key: str | None = None, **fields: object
    ) -> Answered:
        """One payment; its reference is its own unless given."""
        reference = reference or uuid.uuid4().hex
        headers = {"Idempotency-Key": key} if key else {}
        body = {"amount": 1200, "currency": "EUR", "reference": reference, **fields}
        started = time.monotonic()
        async with self.session.post(replica.url + "/api/payment", json=body, headers=headers) as answer:
            content = await answer.read()
        told = answer.headers
        return Answered(
            reference,
            answer.status,
            told.get("X-Payment-Outcome", ""),
            int(told.get("X-Proxy-Attempts", "-1")),
            told,
            content,
            time.monotonic() - started,
        )

    async def pay_many(self, replicas: list[Process], count: int, at_once: int) -> list[Answered]:
        """`count` payments, alternating the replicas, at most `at_once` under way."""
        places = asyncio.Semaphore(at_once)

        async def one(number: int) -> Answered:
            async with places:
                return await self.pay(replicas[number % len(replicas)], f"payment-{number}")

        return await asyncio.gather(*(one(number) for number in range(count)))

    async def pay_steadily(
        self, replicas: list[Process], rate: float, until_set: asyncio.Event, answers: list[Answered]
    ) -> None:
        """Open-loop load: `rate` payments a second, however long each takes, until the event is set."""
        pending: set[asyncio.Task[None]] = set()

        async def one(number: int) -> None:
            answers.append(await self.pay(replicas[number % len(replicas)]))

        started, number = time.monotonic(), 0
        while not until_set.is_set():
            task = asyncio.create_task(one(number))
            pending.add(task)
            task.add_done_callback(pending.discard)
            number += 1
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
        await asyncio.gather(*pending)


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = START_SECONDS) -> float:
    """Wait for a condition; how long it took, in seconds. Fails, saying `what`, after `seconds`."""
    started = time.monotonic()
    while not await condition():
        assert time.monotonic() - started < seconds, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)
    return time.monotonic() - started


@contextlib.asynccontextmanager
async def open_rig(folder: Path) -> AsyncIterator[Rig]:
    """A rig whose every process is gone afterwards."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60)) as session:
        rig = Rig(folder, session)
        try:
            yield rig
        finally:
            for process in rig.processes:
                with contextlib.suppress(ProcessLookupError):
                    process.signal(signal.SIGCONT)
                process.popen.kill()
                process.popen.wait(5)
