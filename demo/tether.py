"""`python -m demo.tether CMD ARGS…`: runs CMD for exactly as long as whoever holds our standard input lives.

A pipe is closed by the kernel even when its holder is killed with SIGKILL, on every system; so nothing outlives its
parent. A tether has a session of its own: Ctrl-C and kill reach the holder's group, and the order of the end is the
holder's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

GRACE_SECONDS = 5.0
ROOT = Path(__file__).parent.parent


def tethered(
    command: Sequence[str], *, environ: Mapping[str, str] | None = None, output: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start `command` from the project's root; it ends when our end of `stdin` is closed, by us or by our death."""
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "demo.tether", *command],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        cwd=ROOT,
        env=environ,
        start_new_session=True,
    )


def main(command: list[str]) -> int:
    """The command's exit code; 128 + n if it was ended by signal n."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    threading.Thread(target=_end_with_holder, args=(child,), daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def _end_with_holder(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1024):
        pass
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
