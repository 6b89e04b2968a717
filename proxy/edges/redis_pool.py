"""Connections to Redis that are set up in the background, so that no command pays for it.

A command takes a warm connection, or waits for the first that is given back or ready; when it stops waiting, the
set-up goes on and serves the next one. So the limit of a command and that of a set-up (TCP, TLS, AUTH, SELECT, scripts:
several round trips) are two, and a Redis far away is reached by both.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError

SPARE = 3
"""Idle connections kept ready, so that load that grows finds one instead of waiting for it: the fleet's beat, its polls
and the ledger's writing use one each for a round trip, and a claim ought to find another."""
MOST_AT_ONCE = 8
"""Set-ups under way at the same time: enough for a burst, too few to drown a Redis that has just come back."""

in_hand: ContextVar[list[AbstractConnection] | None] = ContextVar("in_hand", default=None)
"""Connections that the operation under way has used; None where nobody asks."""


class NotConnected(RedisConnectionError):
    """No connection could be set up; its cause says why."""


class WarmPool(ConnectionPool):
    """redis-py's pool, without a set-up on any command's time. `prepare` makes a new connection ready for use."""

    def __init__(
        self, *, setup_seconds: float, prepare: Callable[[AbstractConnection], Awaitable[None]], **options: Any
    ) -> None:
        super().__init__(**options)
        self._setup_seconds = setup_seconds
        self._prepare = prepare
        self._waiting: deque[asyncio.Future[AbstractConnection]] = deque()
        self._making: set[asyncio.Task[None]] = set()

    async def get_connection(self, command_name: object = None, *_: object, **__: object) -> AbstractConnection:  # noqa: ARG002
        """A connection that is set up and has nothing left to read; the wait for one is the caller's to limit."""
        connection = await self._idle() or await self._wait()
        self._in_use_connections.add(connection)
        if (used := in_hand.get()) is not None:
            used.append(connection)
        self._make_more()
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        """Take a connection back; one that is broken, or that was marked as such, is closed for good."""
        self._in_use_connections.discard(connection)
        if _usable(connection):
            self._give(connection)
            return
        await connection.disconnect(nowait=True)
        if self._waiting:
            self._make_more()

    async def warm(self) -> None:
        """Return once a connection is ready, or none could be set up within the limit."""
        try:
            await self.release(await self.get_connection())
        except Exception:  # noqa: BLE001 - whoever asks next is told
            return

    async def disconnect(self, inuse_connections: bool = True) -> None:
        making = list(self._making)
        for one in making:
            one.cancel()
        await asyncio.gather(*making, return_exceptions=True)
        await super().disconnect(inuse_connections)

    async def _idle(self) -> AbstractConnection | None:
        while self._available_connections:
            connection = self._available_connections.pop()
            if await _clean(connection):
                return connection
            await connection.disconnect(nowait=True)
        return None

    async def _wait(self) -> AbstractConnection:
        place: asyncio.Future[AbstractConnection] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._make_more()
        try:
            return await place
        except BaseException:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._give(place.result())
            raise

    def _give(self, connection: AbstractConnection) -> None:
        self._in_use_connections.discard(connection)
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                self._in_use_connections.add(connection)
                place.set_result(connection)
                return
        self._available_connections.append(connection)

    def _make_more(self) -> None:
        wanted = sum(not place.done() for place in self._waiting) + SPARE
        known = len(self._available_connections) + len(self._making)
        room = self.max_connections - known - len(self._in_use_connections)
        for _ in range(min(wanted - known, room, MOST_AT_ONCE - len(self._making))):
            making = asyncio.ensure_future(self._make())
            self._making.add(making)
            making.add_done_callback(self._making.discard)

    async def _make(self) -> None:
        connection: AbstractConnection = self.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(self._setup_seconds):
                await connection.connect()  # type: ignore[no-untyped-call]
                await self._prepare(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, the waiting are told of it
            await connection.disconnect(nowait=True)
            self._failed(error)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        else:
            self._give(connection)

    def _failed(self, error: Exception) -> None:
        """Tell the waiting, unless another set-up may still serve them."""
        if any(making is not asyncio.current_task() and not making.done() for making in self._making):
            return
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                failure = NotConnected()
                failure.__cause__ = error
                place.set_exception(failure)


def _usable(connection: AbstractConnection) -> bool:
    suspected = connection.should_reconnect()  # type: ignore[no-untyped-call]
    writer = connection._writer  # noqa: SLF001 - uvloop closes it on a reset, which redis-py does not look at
    return writer is not None and not writer.is_closing() and not suspected


async def _clean(connection: AbstractConnection) -> bool:
    """Whether it is open and nothing is left to read: an answer that nobody asked for would become the next one's."""
    if not _usable(connection):
        return False
    try:
        return not await connection.can_read()
    except Exception:  # noqa: BLE001 - it is closed then, or as good as
        return False
