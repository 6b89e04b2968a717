"""`python -m demo.tether CMD ARGS…`: runs CMD for exactly as long as whoever holds our standard input lives.

A pipe is closed by the kernel even when its holder is killed with SIGKILL, on every system; so nothing outlives its
parent. SIGINT is left to the holder: Ctrl-C reaches the whole terminal group, and the order of the end is the holder's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

GRACE_SECONDS = 10.0


def main(command: list[str]) -> int:
    """The command's exit code; 128 + n if it was ended by signal n."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
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
