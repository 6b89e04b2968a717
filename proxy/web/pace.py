"""What a client's bytes cost: the time a head takes to come, and what a chunked body spends on its chunks' sizes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LONGEST_START_BYTES = 16 << 10
"""How much of an unfinished head is looked at to say what is wrong with it."""
FRAMING_BYTES = 16 << 10
"""What chunk sizes, extensions and trailers may take beside 3/8 of the body, as chunks of 16 bytes need."""
_END = b"\r\n\r\n"


class HeadWatch:
    """Gives a head its time from its first byte on, and calls `late` when that is over.

    `start` is what has come of it so far. `seconds` may be shortened as long as nothing is being watched.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, late: Callable[[], None]) -> None:
        self._loop = loop
        self._late = late
        self._timer: asyncio.TimerHandle | None = None
        self.seconds = seconds
        self.start = b""

    def watch(self) -> None:
        """Let the time run, if it does not yet."""
        if self._timer is None:
            self._timer = self._loop.call_later(self.seconds, self._expire)

    def begins(self, data: bytes) -> None:
        """Take in a piece of a head that is not whole yet."""
        if not self.start:
            if not data.strip(b"\r\n"):  # an empty line before a request counts for nothing (RFC 9112 section 2.2)
                return
            self.stop()
        if len(self.start) < LONGEST_START_BYTES:
            self.start += data[:LONGEST_START_BYTES]
        self.watch()

    def ends(self, data: bytes) -> bytes:
        """The head is whole with `data`; all that came of it."""
        self.stop()
        seen, self.start = self.start + data, b""
        return seen

    def stop(self) -> None:
        """Let no time run."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        self._late()


class Framing:
    """Counts what a body in chunks takes on the wire beside its own bytes: each chunk costs the loop a microsecond."""

    def __init__(self) -> None:
        self.chunked = False
        self._bytes = 0

    def begins(self, *, chunked: bool) -> None:
        """A message begins."""
        self.chunked = chunked
        self._bytes = 0

    def is_too_much(self, size: int, grown: int, body: int) -> bool:
        """Take in `size` bytes by which the body grew by `grown` to `body`: whether it is mostly chunk sizes."""
        self._bytes += size - grown
        return self._bytes > FRAMING_BYTES + body * 3 // 8


def begun_behind(seen: bytes, body_length: int) -> bytes:
    """What `seen` has behind the whole message that came last in it, whose body has this length: the next one's start.

    An empty line is nothing. Told from the end, so that a body that ends like a head may hide it: then the connection
    has its idle time.
    """
    if seen.endswith(_END, 0, len(seen) - body_length):
        return b""
    if seen.endswith(b"\r\n") and seen.endswith(_END, 0, len(seen) - body_length - 2):
        return b""
    return seen.rpartition(_END)[2] or b" "
