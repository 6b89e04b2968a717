"""The processes of the demo: started on a tether, each with a log file, ended together in the right order."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from demo.ports import LOCALHOST
from demo.store import StoreServer, start_store
from demo.tether import ROOT, tethered

END_SECONDS = 8.0
STEP_SECONDS = 0.05
# The shell of whoever tries the demo may have these set for something else.
FOREIGN = ("PORT", "LOG_LEVEL", "UPSTREAM_", "FLAKY_PAYMENT_FAILURE_RATE", "REDIS_", "PAYMENT_", "CIRCUIT_BREAKER_")
TAIL_CHARACTERS = 800


class StartFailure(RuntimeError):
    """Something did not come up; the text says what it said last."""


@dataclass(frozen=True, slots=True)
class Process:
    """A command on its tether, and where it writes."""

    name: str
    tether: subprocess.Popen[bytes]
    log: Path

    @property
    def ended(self) -> bool:
        return self.tether.poll() is not None

    def let_go(self) -> None:
        """Close our end of the pipe: the tether ends the process."""
        if self.tether.stdin is not None:
            self.tether.stdin.close()

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-TAIL_CHARACTERS:].strip() or "(it wrote nothing)"


class Processes:
    """All that runs beside the demo. `end` ends the replicas first, while there are still provider and store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[Process] = []
        self._store: StoreServer | None = None

    def start_store(self, port: int | None) -> StoreServer:
        """The store, up and answering."""
        self._store = start_store(port)
        return self._store

    def start_provider(self, port: int, failure_rate: float, seed: int) -> None:
        """The mock provider, with its faults in a fixed order."""
        options = {"--host": LOCALHOST, "--port": port, "--failure-rate": failure_rate, "--seed": seed}
        words = [str(word) for option in options.items() for word in option]
        self._start("mock-provider", ["-m", "mock_provider", *words], {})

    def start_replica(self, port: int, store_url: str, provider_port: int, token: str) -> None:
        """One replica, told by its environment where store and provider are."""
        environ = {
            "REDIS_URL": store_url,
            "UPSTREAM_URL": f"http://{LOCALHOST}:{provider_port}",
            "HOLDFAST_ADMIN_TOKEN": token,
        }
        listen = ["--config", str(ROOT / "demo" / "replica.yaml"), "--listen", f"{LOCALHOST}:{port}"]
        self._start(f"replica-{port}", ["-m", "proxy", "serve", *listen], environ)

    def _start(self, name: str, words: list[str], environ: Mapping[str, str]) -> None:
        log = self.folder / f"{name}.log"
        clean = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        with log.open("wb") as output:
            tether = tethered([sys.executable, *words], environ={**clean, **environ}, output=output)
        self._running.append(Process(name, tether, log))

    def check(self) -> None:
        """StartFailure if one of them has ended by itself."""
        for process in self._running:
            if process.ended:
                raise StartFailure(f"{process.name} ended by itself; the end of its log:\n{process.last_words()}")

    async def end(self) -> None:
        """Let everything go and wait until it is gone."""
        replicas = [process for process in self._running if process.name.startswith("replica")]
        others = [process for process in self._running if process not in replicas]
        for group in (replicas, others):
            for process in group:
                process.let_go()
            for process in group:
                await self._gone(process)
        if self._store is not None:
            self._store.stop()

    async def _gone(self, process: Process) -> None:
        deadline = time.monotonic() + END_SECONDS
        while not process.ended and time.monotonic() < deadline:
            await asyncio.sleep(STEP_SECONDS)  # the tether kills what does not end; killed itself, it could not
