"""Lines on their way to a stream that may stall. Owns the thread that waits for it, so that the event loop never does.

A line is kept in memory for a moment and lost if the process is killed in it. A reader that stalls costs lines, which
are counted and told once it reads again; a reader that is gone costs all of them, silently.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Protocol

import orjson

KEPT_BYTES = 8 << 20
"""Lines kept while the reader stalls; beyond that new ones are dropped."""
COALESCE_SECONDS = 0.02
"""How long the thread lets lines gather: one wake-up and one system call for all of them."""
STALLED_SECONDS = 0.05


class Stream(Protocol):
    """The part of a binary file the writer needs."""

    def write(self, data: bytes, /) -> int | None: ...


class LogWriter:
    """A file-like object whose `write` returns at once and never raises."""

    def __init__(self, stream: Stream) -> None:
        # The unbuffered file below: a lock held by a stalled thread would hang the interpreter's own exit.
        self._stream: Stream = getattr(stream, "raw", stream)
        self._lines: deque[bytes] = deque()
        self._kept = 0
        self._dropped = 0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take a line; drop it if the reader has stalled for too long."""
        if self._kept + len(line) > KEPT_BYTES:
            self._dropped += 1
            return
        self._lines.append(line)
        self._kept += len(line)
        if not self._wake.is_set():
            self._wake.set()

    def flush(self) -> None:
        """Nothing: the thread flushes."""

    def close(self, timeout: float = 2.0) -> None:
        """Write what is left, for at most `timeout` seconds."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._closing.is_set() or self._lines:
            self._wake.wait()
            self._closing.wait(COALESCE_SECONDS)
            self._wake.clear()
            self._write_all(self._take())

    def _take(self) -> bytes:
        lines = []
        while self._lines:
            lines.append(self._lines.popleft())
        # Set, not subtracted: two threads count here without a lock, and an error must not add up.
        self._kept = 0
        dropped, self._dropped = self._dropped, 0
        if dropped:
            lines.append(orjson.dumps({"event": "log.dropped", "level": "warning", "lines": dropped}) + b"\n")
        return b"".join(lines)

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                written = self._stream.write(bytes(rest) if len(rest) < len(data) else data)
                if written is None:  # a non-blocking stream that is full
                    time.sleep(STALLED_SECONDS)
                rest = rest[written or 0 :]
        except (OSError, ValueError):  # the reader has gone, or the stream was closed: there is nobody to tell
            return
