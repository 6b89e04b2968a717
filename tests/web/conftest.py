"""Starts control planes on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.web.rig import FakeClock, Rig

Client = TestClient[web.Request, web.Application]
Open = Callable[[Rig], Awaitable[Client]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def serve() -> AsyncIterator[Open]:
    """Serve rigs until the test ends."""
    clients: list[Any] = []

    async def start(rig: Rig) -> Client:
        client = TestClient(TestServer(rig.app()))
        clients.append(client)
        await client.start_server()
        return client

    yield start
    for client in clients:
        await client.close()
