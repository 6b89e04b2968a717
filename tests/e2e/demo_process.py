"""The demo as a process: started on free ports, read line by line, and asked what it has started."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from demo.ports import taken
from demo.store import free_port

ROOT = Path(__file__).parents[2]
DEADLINE = 30.0


def free_ports() -> tuple[int, int]:
    """A port whose successor is free too, and one for the provider."""
    while True:
        first, provider = free_port(), free_port()
        if not taken(first + 1) and provider not in {first, first + 1}:
            return first, provider


@dataclass(slots=True)
class Demo:
    """A running demo in a session of its own, as a terminal would start it."""

    process: subprocess.Popen[bytes]
    output: Path
    ports: tuple[int, int, int]

    def text(self) -> str:
        return self.output.read_text()

    async def says(self, wanted: str) -> str:
        """All it has said, once `wanted` is part of it."""
        await until(lambda: wanted in self.text() or self.process.poll() is not None, f"the demo to say {wanted!r}")
        assert wanted in self.text(), self.text()
        return self.text()

    def signal(self, number: signal.Signals) -> None:
        """To the whole group, as Ctrl-C does."""
        os.killpg(self.process.pid, number)

    async def ended(self) -> int:
        """Its exit code."""
        await until(lambda: self.process.poll() is not None, "the demo to end")
        return self.process.returncode

    def children(self) -> set[int]:
        """Everything it has started, directly or not."""
        return descendants(self.process.pid)

    async def nothing_left(self, pids: set[int]) -> None:
        """Wait until the processes are gone and the ports are free."""
        await until(lambda: not any(map(alive, pids)), "its processes to be gone")
        await until(lambda: not any(map(taken, self.ports)), "its ports to be free")


@asynccontextmanager
async def demo(*arguments: str, ports: tuple[int, int] | None = None) -> AsyncIterator[Demo]:
    """`python -m demo` on ports of its own."""
    first, provider = ports or free_ports()
    command = [sys.executable, "-m", "demo", "--port", str(first), "--provider-port", str(provider), *arguments]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        environ = {**os.environ, "TMPDIR": folder}
        with output.open("wb") as sink:
            process = subprocess.Popen(  # noqa: ASYNC220 - the fork takes a moment, the rest is polled
                command,
                cwd=ROOT,
                env=environ,
                stdout=sink,
                stderr=sink,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        running = Demo(process, output, (first, first + 1, provider))
        try:
            yield running
        finally:
            pids = running.children()
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
            await until(lambda: not any(map(alive, pids)), "its processes to be gone")


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition on processes, which set no events."""
    deadline = asyncio.get_running_loop().time() + DEADLINE
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"waited {DEADLINE:g} s for {what}"
        await asyncio.sleep(0.05)


def descendants(pid: int) -> set[int]:
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listing.splitlines())}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def alive(pid: int) -> bool:
    """Whether it runs; one that waits for its parent to notice its end does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.strip().startswith("Z")
