"""Connections that wait for their next request, the freshest on top."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.edges.connection import Connection


class Pool:
    """Keeps at most `max_idle` connections, none of them for use after `idle_seconds`."""

    __slots__ = ("_closed", "_idle", "_idle_seconds", "_max_idle", "_now")

    def __init__(self, *, max_idle: int, idle_seconds: float, now: Callable[[], float]) -> None:
        self._idle: deque[Connection] = deque()
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds
        self._now = now
        self._closed = False

    def __len__(self) -> int:
        return len(self._idle)

    def take(self, max_age: float | None) -> Connection | None:
        """The connection used last, if it is still open and idle for less than `max_age` seconds."""
        idle, limit = self._idle, self._idle_seconds if max_age is None else min(max_age, self._idle_seconds)
        while idle:
            connection = idle[-1]
            if connection.usable and self._now() - connection.idle_since >= limit:
                return None
            idle.pop()
            if connection.usable:
                return connection
        return None

    def put(self, connection: Connection) -> None:
        """Take a connection back, or close it if there is no room."""
        now = self._now()
        self._drop_stale(now)
        if self._closed or len(self._idle) >= self._max_idle:
            connection.abort()
            return
        connection.idle_since = now
        self._idle.append(connection)

    def close(self) -> None:
        """Close what is idle now, and from now on whatever is given back."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()

    def _drop_stale(self, now: float) -> None:
        """Close what nobody will use again; the oldest lie at the bottom."""
        idle = self._idle
        while idle and (not idle[0].usable or now - idle[0].idle_since >= self._idle_seconds):
            idle.popleft().abort()
