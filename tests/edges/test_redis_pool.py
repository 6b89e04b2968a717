"""Connections are set up in the background, handed on, and thrown away once suspected."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from demo.store import StoreServer, free_port
from proxy.core.errors import StoreUnavailable
from proxy.edges.redis_client import connect, nothing, warm, within
from proxy.edges.redis_pool import SPARE
from proxy.edges.redis_script import Script
from proxy.edges.redis_store import RedisBreakerStore
from tests.redis_shim import Shim, shimmed

PATIENT = 5.0


@pytest.fixture
async def shim(store_server: StoreServer) -> AsyncIterator[Shim]:
    async with shimmed(store_server.port) as shim:
        yield shim


@pytest.fixture
async def client(shim: Shim) -> AsyncIterator[Redis]:
    client = connect(shim.url, 2.0)
    yield client
    await client.aclose()


async def ping(client: Redis, seconds: float = PATIENT) -> bytes:
    answer: bytes = await within(seconds, "ping", client.echo("hello"), bytes)
    return answer


async def test_a_set_up_goes_on_when_its_command_has_given_up(shim: Shim, client: Redis) -> None:
    shim.delay_seconds = 0.05
    with pytest.raises(StoreUnavailable):
        await ping(client, 0.11)  # connecting, asking for the scripts, and the command: three round trips
    deadline = time.monotonic() + PATIENT
    while True:
        assert time.monotonic() < deadline, "the set-up ended with the command that waited for it"
        with contextlib.suppress(StoreUnavailable):
            assert await ping(client, 0.15) == b"hello"
            break
    assert shim.accepted <= 2 * (1 + SPARE)


async def test_no_more_connections_than_needed_are_opened(shim: Shim, client: Redis) -> None:
    await warm(client)
    for _ in range(50):
        await ping(client)
    assert shim.accepted <= 1 + 2 * SPARE
    await asyncio.gather(*(ping(client) for _ in range(200)))
    assert shim.accepted <= 100


async def test_more_commands_than_connections_wait_their_turn(shim: Shim) -> None:
    client = connect(f"{shim.url}?max_connections=2", 2.0)
    assert await asyncio.gather(*(ping(client) for _ in range(50))) == [b"hello"] * 50
    assert shim.accepted == 2
    await client.aclose()


async def test_a_refusal_is_told_at_once() -> None:
    client = connect(f"redis://127.0.0.1:{free_port()}/0", 30.0)
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"no connection: ConnectionError \(.+\)"):
        await ping(client)
    await warm(client)
    assert time.monotonic() - started < PATIENT
    await client.aclose()


async def test_a_silent_store_ends_the_set_up_at_its_own_limit(shim: Shim) -> None:
    shim.reply = b""
    client = connect(shim.url, 0.2)
    with pytest.raises(StoreUnavailable, match="no connection: no answer in time"):
        await ping(client)
    await client.aclose()


async def test_idle_connections_that_were_reset_cost_no_command(shim: Shim, client: Redis) -> None:
    await asyncio.gather(*(ping(client) for _ in range(10)))
    shim.reset()
    deadline = time.monotonic() + PATIENT
    while shim.open:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)  # the resets are on their way to us
    for _ in range(10):
        assert await ping(client) == b"hello"


async def test_a_connection_with_a_reply_too_many_is_not_used_again(shim: Shim, client: Redis) -> None:
    await warm(client)
    shim.extra = b":1\r\n"
    with pytest.raises(StoreUnavailable, match="TypeError"):
        await within(PATIENT, "ping", client.echo("hello"), _text)
    for _ in range(20):
        assert await ping(client) == b"hello"


async def test_a_reply_that_is_still_to_come_is_not_the_next_commands(shim: Shim, client: Redis) -> None:
    await warm(client)
    shim.delay_seconds, shim.early = 0.05, b":1\r\n"
    with pytest.raises(StoreUnavailable, match="TypeError"):
        await within(PATIENT, "ping", client.echo("first"), _text)
    answers = [await within(PATIENT, "ping", client.echo("next"), _text) for _ in range(5)]
    assert answers == [b"next"] * 5


def _text(reply: object) -> bytes:
    if not isinstance(reply, bytes):
        raise TypeError(reply)
    return reply


async def test_a_command_that_gave_up_leaves_no_reply_to_the_next(shim: Shim, client: Redis) -> None:
    await warm(client)
    shim.delay_seconds = 0.1
    with pytest.raises(StoreUnavailable, match="no answer in time"):
        await within(0.05, "ping", client.echo("late"), bytes)
    shim.delay_seconds = 0.0
    for _ in range(20):
        assert await ping(client) == b"hello"


async def test_what_a_decoder_raises_is_the_stores_trouble(client: Redis) -> None:
    for error in (TypeError, ValueError, KeyError, AttributeError, RecursionError, ZeroDivisionError, RuntimeError):

        def fail(_: object, error: type[Exception] = error) -> None:
            raise error("with a secret in it")

        with pytest.raises(StoreUnavailable) as told:
            await within(PATIENT, "ping", client.ping(), fail)
        assert str(told.value) == f"ping: {error.__name__}"


async def test_a_cancelled_command_is_cancelled(shim: Shim, client: Redis) -> None:
    await warm(client)
    shim.delay_seconds = 10.0
    asking = asyncio.ensure_future(within(PATIENT, "ping", client.ping(), nothing))
    await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_new_connection_finds_every_script_loaded(shim: Shim, client: Redis, redis_client: Redis) -> None:
    await redis_client.script_flush()
    await warm(client)
    before = await unknown_scripts(redis_client)
    await RedisBreakerStore(client, prefix="t", timeout_seconds=PATIENT).read("mock", 30.0)
    assert await unknown_scripts(redis_client) == before


async def unknown_scripts(client: Redis) -> int:
    """How often anybody was told NOSCRIPT."""
    return int((await client.info("errorstats")).get("errorstat_NOSCRIPT", {}).get("count", 0))


async def test_a_script_is_loaded_even_if_its_caller_cannot_wait(
    shim: Shim, client: Redis, redis_client: Redis
) -> None:
    await warm(client)
    await redis_client.script_flush()
    shim.delay_seconds = 0.05
    report = Script(client, "report")
    keys = ["{u}:1", "{u}:2", "{u}:3"]
    args: list[bytes | str | float] = [1000, -1, 0, 0, 0, 0, ""]
    with pytest.raises(StoreUnavailable):
        await within(0.15, "read", report(keys=keys, args=args), nothing)  # its own round trip and a half
    deadline = time.monotonic() + PATIENT
    while True:
        assert time.monotonic() < deadline, "the script was never loaded"
        with contextlib.suppress(StoreUnavailable):
            await within(0.15, "read", report(keys=keys, args=args), nothing)
            break
