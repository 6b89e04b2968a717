"""Request bodies in memory: a bound for the whole process, asked before a byte more is kept. Nobody waits for it."""

from __future__ import annotations

from collections.abc import Callable

from proxy.core.answers import BREAKER_OPEN
from proxy.core.errors import RequestRefused
from proxy.core.model import Headers

FREE_BYTES = 16 << 10
"""What every request may hold unasked, so that uploads never keep an ordinary payment out."""
_RETRY_AFTER: Headers = ((b"Retry-After", b"1"),)


class BodyMemory:
    """How many bytes are held; `most` gives the bound in force."""

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self.held = 0

    def take(self, size: int) -> None:
        """Count `size` bytes more. RequestRefused 503 if they would be too many: nothing was sent."""
        if self.held + size > self._most():
            detail = "Too many request bodies are in memory (limits.buffered_bodies); nothing was sent. Try again."
            raise RequestRefused(503, detail, error=BREAKER_OPEN, extra=_RETRY_AFTER)
        self.held += size

    def give_back(self, size: int) -> None:
        """Count `size` bytes less."""
        self.held -= size


class Hold:
    """What one request holds; to be released when its body is not needed any more, however that comes."""

    __slots__ = ("_memory", "_size", "_taken")

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._size = 0
        self._taken = 0

    def grow(self, size: int) -> None:
        """Hold `size` bytes more. RequestRefused 503 beyond the bound."""
        self._size += size
        wanted = max(0, self._size - FREE_BYTES) - self._taken
        if wanted > 0:
            self._memory.take(wanted)
            self._taken += wanted

    def release(self) -> None:
        """Hold nothing any more."""
        if self._taken:
            self._memory.give_back(self._taken)
        self._size = self._taken = 0
