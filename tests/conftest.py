"""Fixtures that only start and stop things."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from demo.store import StoreServer, start_store
from proxy.edges.redis_client import connect


@pytest.fixture(scope="session")
def store_server() -> Iterator[StoreServer]:
    """One real server for the tests that only read and write."""
    server = start_store()
    yield server
    server.stop()


@pytest.fixture
def own_store() -> Iterator[StoreServer]:
    """A server of the test's own, to freeze, flush or kill."""
    server = start_store()
    yield server
    server.stop()


@pytest.fixture
async def redis_client(store_server: StoreServer) -> AsyncIterator[Redis]:
    """A client of the session's server, emptied first."""
    client = connect(store_server.url, 2.0)
    await client.flushall()
    yield client
    await client.aclose()
