"""The processes of the proof: a store, a provider, replicas. Each can be killed and started again; all end with us."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp

from demo.processes import FOREIGN, TAIL_CHARACTERS, StartFailure
from demo.store import StoreServer, free_port, start_store
from demo.tether import tethered
from prove.provider import read_witness
from prove.story import Evidence, Kill

HOST = "127.0.0.1"
READY_SECONDS = 30.0
STEP_SECONDS = 0.02
LEDGER_SECRET = "a secret of the proof alone, the same on every replica"  # noqa: S105 - guards nothing
EVERY_KIND = (
    "http_500",
    "http_503",
    "http_429",
    "hang",
    "slow",
    "reset_before",
    "reset_after",
    "cut_body",
    "junk",
    "http_500_after",
    "hang_after",
)
FAULTS: dict[str, object] = {
    "failure_rate": 0.35,
    "outage": False,
    "kinds": dict.fromkeys(EVERY_KIND, 1),
    "latency_ms": {"p50": 10, "p99": 80},
    "retry_after_s": 1,
    "slow_s": 0.8,  # longer than an attempt's patience: the retry meets the first one in flight
    "hang_s": 30,
}
CALM: dict[str, object] = {"failure_rate": 0, "outage": False}
UPSTREAM: dict[str, object] = {
    "profile": "generic",
    "timeouts": {"connect": "300ms", "attempt": "500ms", "total": "4s"},
    "retry": {"max_retries": 3, "backoff_ms": [50, 150, 450], "budget": {"ratio": 1.0, "min_per_second": 50}},
    "breaker": {
        "consecutive_failures": 15,
        "failure_rate": None,
        "cooldown": "200ms",
        "max_cooldown": "600ms",
        "probes": 3,
    },
}
NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(slots=True)
class Server:
    """A command on a tether, at one port through all its lives."""

    name: str
    words: Sequence[str]
    port: int
    log: Path
    ready: str | None
    """Path that answers 200 when it is ready; None: it is when it accepts connections."""
    tether: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def start(self, session: aiohttp.ClientSession) -> None:
        """Start it and wait until it is ready; StartFailure with the end of its log if it never is."""
        environ = {name: text for name, text in os.environ.items() if not name.startswith((*FOREIGN, "HOLDFAST_"))}
        environ["HOLDFAST_LEDGER_SECRET"] = LEDGER_SECRET
        with self.log.open("ab") as output:
            self.tether = tethered(self.words, environ=environ, output=output)
        deadline = time.monotonic() + READY_SECONDS
        while not await self._is_ready(session):
            if self.tether.poll() is not None or time.monotonic() > deadline:
                said = self.log.read_text(errors="replace")[-TAIL_CHARACTERS:]
                raise StartFailure(f"{self.name} did not come up: {said}")
            await asyncio.sleep(STEP_SECONDS)

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        with contextlib.suppress(aiohttp.ClientConnectionError, TimeoutError):
            async with session.get(self.url + (self.ready or "/"), timeout=aiohttp.ClientTimeout(1)) as answer:
                return self.ready is None or answer.status == 200  # noqa: PLR2004
        return False

    def kill(self) -> None:
        """SIGKILL, to the tether as well: they are a process group."""
        if self.tether is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.tether.pid, signal.SIGKILL)
            self.tether.wait(5)
            self.let_go()

    def let_go(self) -> None:
        """End it as it wants to be ended; the tether sees to it."""
        if self.tether is not None and self.tether.stdin is not None:
            self.tether.stdin.close()

    def wait(self) -> None:
        """Until it is gone."""
        if self.tether is not None:
            self.tether.wait(20)


@dataclass(slots=True)
class Stage:
    """All processes of a run, and what was done to them."""

    folder: Path
    seed: int
    session: aiohttp.ClientSession
    provider: Server = field(init=False)
    store: StoreServer | None = None
    replicas: list[Server] = field(default_factory=list)
    others: list[Server] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)

    async def start_provider(self) -> None:
        """The provider with its witness, still without faults."""
        port = free_port()
        words = [sys.executable, "-m", "prove.provider", str(port), str(self.seed), str(self.folder)]
        self.provider = self.server("provider", words, port, "/healthz")
        await self.provider.start(self.session)

    async def start_fleet(
        self, replicas: int, module: str, upstream: Mapping[str, object] = MappingProxyType({})
    ) -> None:
        """A store and so many replicas that share it; `module` is what runs: `proxy`, or the unsafe test build."""
        self.store = await asyncio.to_thread(start_store)
        path = self.folder / "replica.yaml"
        path.write_text(json.dumps(self._configuration(self.store, upstream)))
        for number in range(replicas):
            port = free_port()
            words = [sys.executable, "-m", module, "serve", "--config", str(path), "--listen", f"{HOST}:{port}"]
            self.replicas.append(self.server(f"replica-{number}", words, port, "/readyz"))
        await asyncio.gather(*(replica.start(self.session) for replica in self.replicas))

    def server(self, name: str, words: Sequence[str], port: int, ready: str | None) -> Server:
        """A server of this stage; its log is in the folder."""
        return Server(name, words, port, self.folder / f"{name}.log", ready)

    def _configuration(self, store: StoreServer, upstream: Mapping[str, object]) -> dict[str, object]:
        return {
            "redis": {"url": store.url},
            "upstreams": {"mock": {"url": self.provider.url, **UPSTREAM, **upstream}},
            "routes": [{"path": "/api/payment", "upstream": "mock"}],
            "drain": {"grace": "0ms", "timeout": "5s"},
        }

    async def faults(self, settings: dict[str, object]) -> None:
        """Change the provider's faults; the change is made before this returns."""
        async with self.session.put(self.provider.url + "/admin/faults", json=settings) as answer:
            answer.raise_for_status()

    async def evidence(self) -> Evidence:
        """The provider's ledger and its witness."""
        ledger = await self.get(self.provider, "/admin/ledger")
        return Evidence(tuple(ledger["charges"]), *read_witness(self.folder))

    async def get(self, server: Server, path: str) -> Any:
        """A JSON document; None if there is no such path."""
        async with self.session.get(server.url + path) as answer:
            return None if answer.status == 404 else await answer.json()  # noqa: PLR2004

    def end(self) -> None:
        """Replicas first, then what they need."""
        everything = [*self.replicas, *self.others, *([self.provider] if hasattr(self, "provider") else [])]
        for server in everything:
            server.let_go()
        for server in everything:
            server.wait()
        if self.store is not None:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                os.kill(self.store.pid, signal.SIGCONT)
            self.store.stop()
