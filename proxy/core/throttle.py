"""How often something may be said: a burst, then so many a second, and how many were left out in between."""

from __future__ import annotations

from collections.abc import Callable


class Throttle:
    """A token bucket: a flood of the same thing is told of, but cannot fill a disk. `now` gives monotonic seconds."""

    def __init__(self, now: Callable[[], float], *, burst: int = 20, per_second: float = 2.0) -> None:
        self._now = now
        self._burst = float(burst)
        self._per_second = per_second
        self._tokens = self._burst
        self._at = now()
        self._left_out = 0

    def take(self) -> int | None:
        """None to stay silent; else speak, and the number of times that were left out since somebody last did."""
        now = self._now()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1:
            self._left_out += 1
            return None
        self._tokens -= 1
        left_out, self._left_out = self._left_out, 0
        return left_out
