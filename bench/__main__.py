"""`python -m bench [--seconds N] [--rounds N]`: Holdfast with every feature on beside a bare aiohttp pass-through.

Both run on one core, the backend and the load on another, in turns, so that whatever else the machine does hits both.
Figures are this machine's; the ratio is what travels.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.load import CONNECTIONS, rate
from demo.store import free_port, start_store

ROOT = Path(__file__).parent.parent
START_SECONDS = 20.0
TARGET = 0.7
"""Of Holdfast without the ledger, which costs a store round trip for each payment and is told beside it."""
BARE, HOLDFAST, WITH_LEDGER = "bare aiohttp", "holdfast", "holdfast, ledger on"


@dataclass(frozen=True, slots=True)
class Contender:
    """One proxy under test."""

    name: str
    port: int
    pid: int


def core(number: int) -> list[str]:
    """Command prefix that pins to a core, where the system can."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if shutil.which("taskset") is None or len(available) < 2:
        return []
    return ["taskset", "-c", str(available[number])]


@contextlib.contextmanager
def running(command: list[str], port: int, pinned: list[str], **environment: str) -> Iterator[int]:
    """A process of ours that listens on `port`; its pid."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*pinned, sys.executable, *command], cwd=ROOT, env={**os.environ, **environment}, stdout=log, stderr=log
        )
        try:
            _wait_for(port, process)
            yield process.pid
        finally:
            process.terminate()
            process.wait(40)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on {port} after {START_SECONDS} s")


def rss_mib(pid: int) -> float:
    """Resident memory of a process, in MiB; 0 where /proc does not tell."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0.0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


@contextlib.contextmanager
def contenders() -> Iterator[list[Contender]]:
    """The backend and both proxies, up and warm-ready."""
    backend, bare, holdfast, ledger = (free_port() for _ in range(4))
    url = f"http://127.0.0.1:{backend}"
    with contextlib.ExitStack() as stack:
        store = start_store()
        stack.callback(store.stop)
        stack.enter_context(running(["-m", "bench.backend", str(backend)], backend, core(1)))
        bare_pid = stack.enter_context(running(["-m", "bench.bare", str(bare), url], bare, core(0)))
        settings = {"UPSTREAM_URL": url, "UPSTREAM_PROFILE": "generic", "REDIS_URL": store.url, "LOG_LEVEL": "info"}
        pid = stack.enter_context(running(["-m", "proxy"], holdfast, core(0), PORT=str(holdfast), **settings))
        settings["HOLDFAST_LEDGER_SECRET"] = "only for the benchmark"
        kept = stack.enter_context(running(["-m", "proxy"], ledger, core(0), PORT=str(ledger), **settings))
        yield [
            Contender(BARE, bare, bare_pid),
            Contender(HOLDFAST, holdfast, pid),
            Contender(WITH_LEDGER, ledger, kept),
        ]


def main() -> int:
    """Run the rounds, print the table; exit 1 if the ratio is below the target."""
    options = _options()
    rates: dict[str, list[float]] = {}
    with contenders() as proxies:
        for proxy in proxies:
            rate(proxy.port, 1, core(1))
        for number in range(options.rounds):
            for proxy in proxies:
                rates.setdefault(proxy.name, []).append(rate(proxy.port, options.seconds, core(1)))
            print(f"round {number + 1}: " + ", ".join(f"{name} {got[-1]:,.0f}/s" for name, got in rates.items()))
        memory = {proxy.name: rss_mib(proxy.pid) for proxy in proxies}
    return _report(rates, memory)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=8, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each proxy, in turns")
    return parser.parse_args()


def _report(rates: dict[str, list[float]], memory: dict[str, float]) -> int:
    print(f"\nPOST of a small JSON body, {CONNECTIONS} connections, one core for each proxy")
    print(f"{'':20}{'requests/s':>12}{'RSS MiB':>10}{'of bare aiohttp':>18}{'lowest, highest':>18}")
    for name, got in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(got, rates[BARE], strict=True)]
        spread = f"{min(ratios):.2f}, {max(ratios):.2f}"
        print(f"{name:20}{statistics.median(got):>12,.0f}{memory[name]:>10.1f}{_ratio(rates, name):>18.2f}{spread:>18}")
    print(f"\ntarget for {HOLDFAST}: {TARGET}")
    return 0 if _ratio(rates, HOLDFAST) >= TARGET else 1


def _ratio(rates: dict[str, list[float]], name: str) -> float:
    return statistics.median(ours / theirs for ours, theirs in zip(rates[name], rates[BARE], strict=True))


if __name__ == "__main__":
    raise SystemExit(main())
