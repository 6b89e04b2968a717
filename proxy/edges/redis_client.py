"""One Redis client whose every operation ends within the timeout, as a value or as StoreUnavailable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from proxy.core.errors import StoreUnavailable

T = TypeVar("T")


def connect(url: str, timeout_seconds: float) -> Redis:
    """A client that gives up after `timeout_seconds`, once: waiting longer is the caller's decision, not a retry's."""
    return Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        protocol=2,
    )


async def within(timeout_seconds: float, operation: str, command: Awaitable[T]) -> T:
    """The command's reply; StoreUnavailable if Redis refuses, freezes or fails."""
    async with translated(operation):
        async with asyncio.timeout(timeout_seconds):
            return await command


@asynccontextmanager
async def translated(operation: str) -> AsyncIterator[None]:
    """Redis's own errors as StoreUnavailable; their texts carry no values we sent."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailable(operation, _cause(error)) from error


def _cause(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
