"""One Redis client whose every operation ends within its limit, as a value or as StoreUnavailable.

Redis is a peer like any other: whatever goes wrong while it is asked, or with what it says, is its trouble and never
the payment's. So a reply is decoded here, inside the guard, and a caller only ever sees what the decoding made of it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from proxy.core.errors import StoreUnavailable, Unreadable
from proxy.edges.redis_pool import NotConnected, WarmPool, in_hand
from proxy.edges.redis_script import teach

T = TypeVar("T")

_STORED_WRONG = re.compile(r"(?:WRONGTYPE |(?![A-Z]{3,} )).*user_script", re.DOTALL)
"""Errors within one of our scripts that speak of what is stored under its keys: another type, or no number."""


def connect(url: str, connect_timeout_seconds: float) -> Redis:
    """A client whose connections are set up in the background within `connect_timeout_seconds`, each tried once.

    It waits for replies without a limit of its own: `within` has that.
    """
    pool = WarmPool.from_url(
        url,
        setup_seconds=connect_timeout_seconds,
        prepare=teach,
        socket_timeout=None,
        socket_connect_timeout=connect_timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        protocol=2,
        driver_info=None,  # CLIENT SETINFO: round trips, and rights, for a name nobody needs
    )
    return Redis.from_pool(pool)


async def warm(client: Redis) -> None:
    """Return once a connection is ready or could not be set up within its limit; never raises."""
    if isinstance(pool := client.connection_pool, WarmPool):
        await pool.warm()


async def within(timeout_seconds: float, operation: str, command: Awaitable[Any], decode: Callable[[Any], T]) -> T:
    """What `decode` makes of the command's reply; StoreUnavailable whatever goes wrong.

    A connection that such a thing happened on is not used again: its next reply may be an earlier question's.
    """
    async with translated(operation):
        with _suspected():
            async with asyncio.timeout(timeout_seconds):
                reply = await command
            return decode(reply)


def readable(what: str, operation: str, decode: Callable[..., T], *parts: Any) -> T:
    """`decode(*parts)` of what is stored under one key; Unreadable if that is nothing this version understands."""
    try:
        return decode(*parts)
    except Exception as error:
        raise Unreadable(operation, f"{what} cannot be read: {type(error).__name__}") from error


def nothing(_: Any) -> None:
    """For commands whose reply says nothing."""


@asynccontextmanager
async def translated(operation: str) -> AsyncIterator[None]:
    """Whatever is raised as StoreUnavailable; its cause names types and never quotes what was sent or said."""
    try:
        yield
    except StoreUnavailable:
        raise
    except Exception as error:
        raise _unavailable(operation, error) from error


def _unavailable(operation: str, error: Exception) -> StoreUnavailable:
    if type(error) is ResponseError and _STORED_WRONG.match(str(error)):
        return Unreadable(operation, "what is stored under its keys is not ours to read")
    return StoreUnavailable(operation, _cause(error))


@contextmanager
def _suspected() -> Iterator[None]:
    """Mark the connections used meanwhile, so that they are closed, if anything goes wrong."""
    connections: list[Any] = []
    token = in_hand.set(connections)
    try:
        yield
    except Unreadable:
        raise
    except BaseException:
        for connection in connections:
            connection.mark_for_reconnect()
        raise
    finally:
        in_hand.reset(token)


def _cause(error: BaseException | None) -> str:
    """The type of the trouble, and the system's own word for it where there is one."""
    if isinstance(error, NotConnected):
        return f"no connection: {_cause(error.__cause__)}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    system = error if isinstance(error, OSError) else getattr(error, "__context__", None)
    name = type(error).__name__
    return f"{name} ({system.strerror})" if isinstance(system, OSError) and system.strerror else name
