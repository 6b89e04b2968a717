"""The only client socket of the data plane: sends one payment once, and says how far it got."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from proxy.core.model import TransportFailure, WireError
from proxy.edges.connection import Connection
from proxy.edges.pool import Pool
from proxy.edges.wire import Target, connect_failure, not_sent, request_head

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.model import Headers, Payment, Result

__all__ = ["HttpUpstream", "Target"]


class HttpUpstream:
    """HTTP/1.1 to one upstream over kept-alive connections. It never sends anything twice by itself."""

    __slots__ = ("_busy", "_pool", "_target")

    def __init__(self, target: Target, *, now: Callable[[], float] = time.monotonic) -> None:
        self._target = target
        self._busy: set[Connection] = set()
        self._pool = Pool(max_idle=target.max_idle, idle_seconds=target.idle_seconds, now=now)

    async def send(
        self, payment: Payment, *, timeout: float, extra: Headers = (), max_idle_age: float | None = None
    ) -> Result:
        """Send `payment` once; wire trouble is a value, only cancellation and the request's own stream raise.

        `timeout` (seconds) bounds everything up to the returned Response, and the silences of a streamed body.
        `max_idle_age`: use only a connection idle for less than this; 0 means a fresh one.
        """
        head = request_head(payment, extra)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        connection = self._pool.take(max_idle_age) or await self._connect(loop, timeout)
        if isinstance(connection, TransportFailure):
            return connection
        self._busy.add(connection)
        try:
            return await connection.exchange(payment, head, deadline, timeout)
        finally:
            self._busy.discard(connection)

    def give_up(self) -> None:
        """End every wait for an answer now, as its timeout would."""
        for connection in self._busy:
            connection.expire()

    async def aclose(self) -> None:
        """Close idle connections; busy ones are closed after use."""
        self._pool.close()
        await asyncio.sleep(0)  # transports tell of their end in the loop's next turn

    async def _connect(self, loop: asyncio.AbstractEventLoop, timeout: float) -> Connection | TransportFailure:
        """A new connection, TLS included, or why there is none."""
        target = self._target
        try:
            async with asyncio.timeout(min(timeout, target.connect_timeout)):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, target.buffer_limit, self._pool.put),
                    target.host,
                    target.port,
                    ssl=target.ssl,
                    server_hostname=target.server_hostname if target.ssl else None,
                )
        except TimeoutError:
            return not_sent(WireError.CONNECT_TIMEOUT, "no connection in time")
        except (OSError, UnicodeError, EOFError) as error:
            return connect_failure(error)
        return connection
