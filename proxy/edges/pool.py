"""Connections that wait for their next request, the freshest on top, and what is learnt from how they end."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from proxy.core.keepalive import KeepAlive

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.edges.connection import Connection
    from proxy.edges.resolver import Address

WATCHED = 8
"""So many idle connections are kept where none is trusted, to see whether the host keeps them after all."""
SHORTEST_TURN_SECONDS = 0.05


class Pool:
    """Keeps at most `max_idle` connections, none of them for longer than `idle_seconds` or beyond its own age.

    `current` says whether the provider's name still leads to an address; `now` is monotonic seconds.
    """

    __slots__ = ("_closed", "_current", "_idle", "_idle_seconds", "_keep_alive", "_max_idle", "_now", "_timer")

    def __init__(
        self,
        *,
        max_idle: int,
        idle_seconds: float,
        now: Callable[[], float],
        current: Callable[[Address], bool] = lambda _: True,
    ) -> None:
        self._idle: deque[Connection] = deque()
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds
        self._now = now
        self._current = current
        self._keep_alive = KeepAlive()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._idle)

    def take(self, max_age: float | None) -> Connection | None:
        """The connection used last, if it is still good and idle for less than `max_age` seconds."""
        now = self._now()
        limit = min(self._idle_seconds, self._keep_alive.safe_for(now))
        limit = limit if max_age is None else min(limit, max_age)
        while self._idle:
            connection = self._idle[-1]
            good = connection.usable and now < connection.retire_at and self._current(connection.address)
            if good and now - connection.idle_since >= limit:
                return None
            self._idle.pop()
            if good:
                connection.rested = now - connection.idle_since
                return connection
            connection.abort()
        return None

    def put(self, connection: Connection) -> None:
        """Take a connection back, or close it if it is of no more use or there is no room."""
        now = self._now()
        self._trim(now)
        usable = connection.usable
        if not usable:
            self._keep_alive.closed(0.0, now)
        room = self._max_idle if self._keep_alive.safe_for(now) else min(self._max_idle, WATCHED)
        if self._closed or not usable or len(self._idle) >= room or now >= connection.retire_at:
            connection.abort()
            return
        connection.idle_since = now
        self._idle.append(connection)
        if self._timer is None:
            self._arm(self._idle_seconds)

    def ended(self, connection: Connection) -> None:
        """The host closed a connection, or spoke on it, while it was idle."""
        if connection in self._idle:
            self._idle.remove(connection)
            now = self._now()
            self._keep_alive.closed(now - connection.idle_since, now)

    def kept(self, rested: float) -> None:
        """A connection that had been idle for so long (seconds) carried another request."""
        self._keep_alive.kept(rested)

    def refused(self, rested: float) -> None:
        """A connection that had been idle for so long was closed without a word when it was used again."""
        self._keep_alive.closed(rested, self._now())

    def silence(self, since: float) -> None:
        """A reused connection was dead: close what has been idle since before `since`, which may be dead as well."""
        while self._idle and self._idle[0].idle_since <= since:
            self._idle.popleft().abort()

    def close(self) -> None:
        """Close what is idle now, and from now on whatever is given back."""
        self._closed = True
        self._disarm()
        while self._idle:
            self._idle.pop().abort()

    def _trim(self, now: float) -> None:
        """Close what nobody will use again; the oldest lie at the bottom. They were kept to the last, which is told."""
        idle = self._idle
        while idle and (not idle[0].usable or now - idle[0].idle_since >= self._idle_seconds):
            connection = idle.popleft()
            if connection.usable:
                self._keep_alive.kept(now - connection.idle_since)
            connection.abort()

    # The timer runs while there is something to trim, and no longer: an idle replica has nothing to do.

    def _arm(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(max(seconds, SHORTEST_TURN_SECONDS), self._turn)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self) -> None:
        now = self._now()
        self._timer = None
        self._trim(now)
        if self._idle:
            self._arm(self._idle[0].idle_since + self._idle_seconds - now)
