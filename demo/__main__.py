"""`python -m demo`: the end by Ctrl-C is taken care of before anything slow is imported."""

from __future__ import annotations

import os
import signal
import sys


def run() -> int:
    """The demo's exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))  # so far there is nothing to end but ourselves
    from demo.command import main  # noqa: PLC0415 - takes a moment, in which Ctrl-C must not show a traceback

    return main()


if __name__ == "__main__":
    sys.exit(run())
