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
from prove.market import LEASE_SECONDS, MOVED, PLACES
from prove.provider import read_witness
from prove.story import Evidence, Kill, Move, StoreTrouble
from prove.witness import read_journals

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
        "consecutive_failures": 10,
        "failure_rate": None,
        "cooldown": "200ms",
        "max_cooldown": "600ms",
        "probes": 3,
    },
}
DRAIN_SECONDS = 1.0
"""Shorter than a payment may take, so that some are ended by it."""
LAST_TRIES_SECONDS = 1.0
STARTED = '"event":"replica.started"'
RELOADED = '"event":"config.reloaded"'


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
    lives: int = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def start(self, session: aiohttp.ClientSession) -> None:
        """Start it and wait until it is ready; StartFailure with the end of its log if it never is."""
        environ = {name: text for name, text in os.environ.items() if not name.startswith((*FOREIGN, "HOLDFAST_"))}
        environ["HOLDFAST_LEDGER_SECRET"] = LEDGER_SECRET
        with self.log.open("ab") as output:
            self.tether = tethered(self.words, environ=environ, output=output)
        self.lives += 1
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

    async def pid(self) -> int:
        """The replica's own, by the line it logs when it has started; that is written a moment later."""
        deadline = time.monotonic() + READY_SECONDS
        while self.said(STARTED) < self.lives:
            if time.monotonic() > deadline:
                raise StartFailure(f"{self.name} does not say its process id")
            await asyncio.sleep(STEP_SECONDS)
        starts = [line for line in self.log.read_text().splitlines() if STARTED in line]
        return int(json.loads(starts[-1])["pid"])

    def terminate(self) -> None:
        """SIGTERM, and wait until it has ended."""
        if self.tether is not None:
            self.tether.terminate()
            self.tether.wait(30)
            self.let_go()

    def said(self, words: str) -> int:
        """How often its log has these words."""
        return self.log.read_text(errors="replace").count(words)

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
    providers: list[Server] = field(default_factory=list)
    store: StoreServer | None = None
    keeps: bool = False
    """The store has its data on disk, and again when it comes back."""
    replicas: list[Server] = field(default_factory=list)
    others: list[Server] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    troubles: list[StoreTrouble] = field(default_factory=list)
    move: Move = field(default_factory=Move)
    fleet_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever does something to a replica: a signal must not meet one that is just being started."""

    @property
    def provider(self) -> Server:
        """The first one."""
        return self.providers[0]

    async def start_provider(self) -> None:
        """The mock provider with its witness, still without faults."""
        await self._start_provider("prove.provider", "/healthz")

    async def start_acquirers(self) -> None:
        """Two providers of the whole mix, at two base URLs; the second gets nothing until the fleet is moved."""
        for number in (1, 2):
            await self._start_provider("prove.acquirer", "/admin/faults", str(number))

    async def _start_provider(self, module: str, ready: str, *more: str) -> None:
        port = free_port()
        words = [sys.executable, "-m", module, str(port), str(self.seed), str(self.folder), *more]
        self.providers.append(self.server(f"provider-{len(self.providers) + 1}", words, port, ready))
        await self.providers[-1].start(self.session)

    async def start_fleet(
        self, replicas: int, module: Sequence[str], upstream: Mapping[str, object] = MappingProxyType({})
    ) -> None:
        """A store and so many replicas that share it; `module` is what runs: `proxy`, or an unsafe test build."""
        self.store = await asyncio.to_thread(self.new_store, None)
        self._write_configuration(upstream)
        for number in range(replicas):
            port = free_port()
            listen = ["--config", str(self._path), "--listen", f"{HOST}:{port}"]
            words = [sys.executable, "-m", *module, "serve", *listen]
            self.replicas.append(self.server(f"replica-{number}", words, port, "/readyz"))
        await asyncio.gather(*(replica.start(self.session) for replica in self.replicas))

    def new_store(self, port: int | None) -> StoreServer:
        """The store, started; one that keeps its data finds it where it was."""
        return start_store(port, keep=self.folder / "store" if self.keeps else None)

    def server(self, name: str, words: Sequence[str], port: int, ready: str | None) -> Server:
        """A server of this stage; its log is in the folder."""
        return Server(name, words, port, self.folder / f"{name}.log", ready)

    @property
    def _path(self) -> Path:
        return self.folder / "replica.yaml"

    def _write_configuration(
        self, upstream: Mapping[str, object] = MappingProxyType({}), *, moved: bool = False
    ) -> None:
        mixed = len(self.providers) > 1
        classic = {"mock": {"url": self.provider.url, "profile": "generic", **UPSTREAM, **upstream}}
        upstreams = self._upstreams(moved=moved) if mixed else classic
        routes = {place.path: place.name for place in PLACES} if mixed else {"/api/payment": "mock"}
        document = {
            "redis": {"url": self.store.url if self.store else None},
            "ledger": {"lease": f"{LEASE_SECONDS}s"},
            "upstreams": upstreams,
            "routes": [{"path": path, "upstream": name} for path, name in routes.items()],
            "drain": {"grace": "0ms", "timeout": f"{DRAIN_SECONDS:g}s"},
        }
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(document))
        fresh.replace(self._path)

    def _upstreams(self, *, moved: bool) -> dict[str, object]:
        def url(name: str) -> str:
            return self.providers[1 if moved and name in MOVED else 0].url

        return {
            place.name: {**UPSTREAM, "url": url(place.name), "profile": place.profile, "timeouts": dict(place.timeouts)}
            for place in PLACES
        }

    async def reload_to_second(self) -> None:
        """Rewrite the configuration, SIGHUP every replica, and wait until each has taken it in."""
        async with self.fleet_lock:
            before = [replica.said(RELOADED) for replica in self.replicas]
            self.move.at = time.time()
            self._write_configuration(moved=True)
            for replica in self.replicas:
                os.kill(await replica.pid(), signal.SIGHUP)
            deadline = time.monotonic() + READY_SECONDS
            while any(replica.said(RELOADED) <= was for replica, was in zip(self.replicas, before, strict=True)):
                if time.monotonic() > deadline:
                    raise StartFailure("a replica did not take in its new configuration")
                await asyncio.sleep(STEP_SECONDS)
            self.move.done = time.time()

    async def faults(self, settings: Mapping[str, object]) -> None:
        """Change the providers' faults; the change is made before this returns."""
        for provider in self.providers:
            async with self.session.put(provider.url + "/admin/faults", json=settings) as answer:
                answer.raise_for_status()

    async def evidence(self) -> Evidence:
        """The providers' books and their witness."""
        if len(self.providers) > 1:
            return read_journals(self.folder, (1, 2))
        ledger = await self.get(self.provider, "/admin/ledger")
        return Evidence(tuple(ledger["charges"]), *read_witness(self.folder))

    async def get(self, server: Server, path: str) -> Any:
        """A JSON document; None if there is no such path."""
        async with self.session.get(server.url + path) as answer:
            return None if answer.status == 404 else await answer.json()  # noqa: PLR2004

    def end(self) -> None:
        """Replicas first, then what they need."""
        for servers in (self.replicas, [*self.others, *self.providers]):
            for server in servers:
                server.let_go()
            for server in servers:
                server.wait()
        if self.store is not None:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                os.kill(self.store.pid, signal.SIGCONT)
            self.store.stop()
