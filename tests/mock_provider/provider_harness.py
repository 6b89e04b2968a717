"""A provider on a real socket, and the few ways tests talk to it."""

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession, web

from mock_provider.app import build_app
from mock_provider.faults import Settings
from mock_provider.injector import Injector
from mock_provider.ledger import Ledger

ORDER: Mapping[str, Any] = {"amount": 1250, "currency": "EUR", "reference": "order-1"}
DEADLINE_S = 5


class FakeClock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    json: Any

    @property
    def replayed(self) -> bool:
        return self.headers.get("Idempotent-Replayed") == "true"


class Provider:
    """A client of one running provider; `clock` moves its schedule, if it has one of ours."""

    def __init__(self, session: ClientSession, port: int, clock: FakeClock) -> None:
        self.session = session
        self.port = port
        self.clock = clock

    async def ask(self, method: str, path: str, **options: Any) -> Reply:
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.request(method, url, **options) as response:
            return Reply(response.status, dict(response.headers), await response.json(content_type=None))

    async def pay(self, order: Mapping[str, Any] = ORDER, *, key: str | None = None) -> Reply:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.ask("POST", "/api/payment", json=order, headers=headers)

    async def put(self, **fields: Any) -> Reply:
        return await self.ask("PUT", "/admin/faults", json=fields)

    async def books(self) -> dict[str, Any]:
        document: dict[str, Any] = (await self.ask("GET", "/admin/ledger")).json
        return document

    async def charges(self) -> int:
        return len((await self.books())["charges"])

    async def open_payment(self, key: str = "k") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send a payment on a connection of its own, and read nothing yet."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        body = json.dumps(ORDER)
        head = f"POST /api/payment HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {key}\r\nContent-Length: {len(body)}"
        writer.write(f"{head}\r\n\r\n{body}".encode())
        await writer.drain()
        return reader, writer

    async def raw_payment(self, key: str = "k") -> bytes:
        """Return every byte answered until the provider closes; a reset raises ConnectionResetError."""
        reader, writer = await self.open_payment(key)
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await reader.read()
        finally:
            writer.close()

    async def until_settled(self, arrivals: int) -> None:
        """Wait until so many requests have come and all of them have ended."""

        async def reached() -> bool:
            books = await self.books()
            return (books["arrivals"], books["in_flight"]) == (arrivals, 0)

        await until(reached)

    async def until_in_flight(self, count: int) -> None:
        async def reached() -> bool:
            return bool((await self.books())["in_flight"] == count)

        await until(reached)


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a fact, however long it takes within the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not await reached():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def provider(**settings: Any) -> AsyncIterator[Provider]:
    """Run a provider without faults unless told, in memory, with a fake clock."""
    clock = FakeClock()
    ids = (f"pay_{number}" for number in itertools.count(1))
    ledger = Ledger(now=clock, new_id=lambda: next(ids))
    injector = Injector(Settings(**{"failure_rate": 0, **settings}), seed=7, now=clock)
    runner = web.AppRunner(build_app(ledger, injector), access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with ClientSession() as session:
            yield Provider(session, runner.addresses[0][1], clock)
    finally:
        await runner.cleanup()


@dataclass(frozen=True)
class Program:
    """The real thing: `python -m mock_provider` as a process."""

    process: asyncio.subprocess.Process
    client: Provider


async def start(*arguments: str, rate: str = "0") -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mock_provider",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"FLAKY_PAYMENT_FAILURE_RATE": rate},
    )


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[Program]:
    """Run the process on a free port, from its first line on; kill it if it is still there at the end."""
    process = await start("--port", "0", *arguments)
    assert process.stdout
    try:
        async with asyncio.timeout(DEADLINE_S), ClientSession() as session:
            line = (await process.stdout.readline()).decode().strip()
            yield Program(process, Provider(session, int(line.rpartition(":")[2]), FakeClock()))
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
