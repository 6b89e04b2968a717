"""The only client socket of the data plane: sends one payment once, and says how far it got."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from proxy.core.model import Certainty, Response, TransportFailure, WireError
from proxy.edges.dialer import Dialer
from proxy.edges.pool import Pool
from proxy.edges.resolver import Resolver
from proxy.edges.wire import Target, not_sent, request_head

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.model import Headers, Payment, Result
    from proxy.edges.connection import Connection

__all__ = ["HttpUpstream", "Target"]

LEAVING_SECONDS = 5.0
"""Who answers 503 (RFC 9110 section 15.6.4) may be about to leave: its connection is used for so long at most, and its
name looked up again. Not dropped at once: new handshakes by the hundred help no one who is merely overloaded."""
_UNAVAILABLE = 503
TOO_LATE = "ended before anything was sent"


class HttpUpstream:
    """HTTP/1.1 to one upstream over kept-alive connections. It never sends anything twice by itself.

    `now`: monotonic seconds; `draw`: random numbers from 0 to 1.
    """

    __slots__ = ("_busy", "_dialer", "_ended", "_now", "_pool")

    def __init__(
        self,
        target: Target,
        *,
        resolver: Resolver | None = None,
        now: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        resolver = resolver or Resolver(target.host, target.port, now=now)
        self._pool = Pool(max_idle=target.max_idle, idle_seconds=target.idle_seconds, now=now, current=resolver.holds)
        self._dialer = Dialer(target, resolver, self._pool, now=now, draw=draw)
        self._busy: set[Connection] = set()
        self._now = now
        self._ended = asyncio.Event()

    async def send(
        self, payment: Payment, *, timeout: float, extra: Headers = (), max_idle_age: float | None = None
    ) -> Result:
        """Send `payment` once; wire trouble is a value, only cancellation and the request's own stream raise.

        `timeout` (seconds) bounds everything up to the returned Response, and the silences of a streamed body.
        `max_idle_age`: use only a connection idle for less than this; 0 means a fresh one.
        """
        head = request_head(payment, extra)
        deadline = asyncio.get_running_loop().time() + timeout
        connection = await self._connection(timeout, max_idle_age)
        if isinstance(connection, TransportFailure):
            return connection
        began = self._now()
        self._busy.add(connection)
        try:
            result = await connection.exchange(payment, head, deadline, timeout)
        finally:
            self._busy.discard(connection)
        self._learn(connection, result, began)
        return result

    def give_up(self) -> None:
        """End for good: every wait ends now, as its timeout would end it, and nothing is sent any more."""
        self._ended.set()
        self._dialer.give_up()
        for connection in self._busy:
            connection.expire()

    async def aclose(self) -> None:
        """Close idle connections; busy ones are closed after use."""
        self._pool.close()
        await asyncio.sleep(0)  # transports tell of their end in the loop's next turn

    async def _connection(self, timeout: float, max_idle_age: float | None) -> Connection | TransportFailure:
        """A connection to send on at once, or why there is none; never one after the end, however late it comes."""
        if self._ended.is_set():
            return not_sent(WireError.CONNECT_TIMEOUT, TOO_LATE)
        connection = self._pool.take(max_idle_age) or await self._dialer.dial(timeout)
        if self._ended.is_set() and not isinstance(connection, TransportFailure):
            connection.abort()
            return not_sent(WireError.CONNECT_TIMEOUT, TOO_LATE)
        return connection

    def _learn(self, connection: Connection, result: Result, began: float) -> None:
        """Draw from one exchange what it says of connections like it."""
        rested = connection.rested
        if isinstance(result, Response):
            if rested is not None:
                self._pool.kept(rested)
            if result.status == _UNAVAILABLE:
                connection.retire_at = min(connection.retire_at, self._now() + LEAVING_SECONDS)
                self._dialer.doubt()
            return
        if result.certainty is Certainty.NOT_SENT or result.error is WireError.JUNK:
            return
        if rested is None:
            self._dialer.shun(connection.address)
            return
        self._pool.silence(began)
        if result.error is WireError.RESET and connection.silent:
            self._pool.refused(rested)
