"""A provider that answers raw bytes, request by request, and keeps what arrived; and replicas configured for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from demo.store import StoreServer, free_port
from tests.e2e.rig import HOST, Process, Rig

SECRET = "a secret of the whole fleet"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as it came: its first line, its fields by lower-case name, its body, and when (monotonic seconds)."""

    line: str
    fields: Mapping[str, str]
    body: bytes
    at: float


@dataclass(slots=True)
class Raw:
    """What a provider was sent. `script` says what it does with one request: bytes to answer, or None to hang up."""

    script: Callable[[Arrival], Awaitable[bytes | None]]
    port: int = 0
    arrivals: list[Arrival] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with closing(writer):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *lines = head.rstrip().split("\r\n")
                fields = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
                body = await reader.readexactly(int(fields.get("content-length", "0")))
                self.arrivals.append(Arrival(line, fields, body, time.monotonic()))
                answer = await self.script(self.arrivals[-1])
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                if b"Connection: close" in answer:
                    break


@contextlib.asynccontextmanager
async def closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Close a connection however its use ends; that the peer has gone is no error."""
    try:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            yield
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def raw_provider(script: Callable[[Arrival], Awaitable[bytes | None]]) -> AsyncIterator[Raw]:
    """A provider that runs `script`; what it still does ends with the test."""
    raw = Raw(script)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(raw.serve(reader, writer))
        tasks.add(task)

    server = await asyncio.start_server(accept, HOST, 0)
    raw.port = server.sockets[0].getsockname()[1]
    try:
        yield raw
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answer(status: int, body: bytes = b"{}", *lines: str) -> bytes:
    """A whole answer."""
    head = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def config(
    url: str, *, profile: str = "generic", upstream: Mapping[str, Any] | None = None, **rest: Any
) -> dict[str, Any]:
    """One upstream `psp` for every path but the control plane's, that is never opened by the breaker."""
    patience = {"connect": "1s", "attempt": "1s", "total": "4s"}
    calm = {"consecutive_failures": 1000, "failure_rate": None}
    own = {"url": url, "profile": profile, "timeouts": patience, "retry": {"max_retries": 0}, "breaker": calm}
    return {
        "upstreams": {"psp": {**own, **(upstream or {})}},
        "routes": [{"path": "/", "upstream": "psp"}],
        "drain": {"grace": "0s", "timeout": "10s"},
        **rest,
    }


async def start(rig: Rig, document: Mapping[str, Any], store: StoreServer | None, **settings: str) -> Process:
    """A replica of its own config file, with the ledger on."""
    port = free_port()
    path = rig.folder / f"config-{port}.yaml"
    write(rig, port, document)
    environment = {"HOLDFAST_LEDGER_SECRET": SECRET, **settings}
    if store is not None:
        environment["REDIS_URL"] = store.url
    command = ["-m", "proxy", "serve", "--config", str(path), "--listen", f"{HOST}:{port}"]
    return await rig.start("replica", port, command, environment, "/readyz")


def write(rig: Rig, port: int, document: Mapping[str, Any]) -> None:
    """What the replica on that port reads next; JSON is YAML as well."""
    (rig.folder / f"config-{port}.yaml").write_text(json.dumps(document))


@dataclass(frozen=True, slots=True)
class Told:
    """What a client heard; status 0: its connection ended without an answer."""

    status: int
    outcome: str
    attempts: int
    fields: Mapping[str, str]
    body: bytes


async def call(
    replica: Process,
    path: str = "/v1/pay",
    *,
    key: str | None = None,
    method: str = "POST",
    body: bytes = b"{}",
    lines: tuple[str, ...] = (),
) -> Told:
    """One request on a connection of its own, read to its end."""
    reader, writer = await asyncio.open_connection(HOST, replica.port)
    own = [f"Idempotency-Key: {key}"] if key else []
    head = [
        f"{method} {path} HTTP/1.1",
        "Host: shop",
        "Connection: close",
        f"Content-Length: {len(body)}",
        *own,
        *lines,
    ]
    data = b""
    async with closing(writer), asyncio.timeout(40):
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        while chunk := await reader.read(65536):
            data += chunk
    if not data:
        return Told(0, "", 0, {}, b"")
    text, _, content = data.partition(b"\r\n\r\n")
    line, *rest = text.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
    attempts = int(fields.get("x-proxy-attempts", "-1"))
    return Told(int(line.split()[1]), fields.get("x-payment-outcome", ""), attempts, fields, content)


async def states(rig: Rig, replica: Process, query: str = "") -> list[tuple[str, int | None]]:
    """State and status of what is listed."""
    document = await rig.get(replica, f"/api/outcomes{query}")
    return [(one["state"], one["status"]) for one in document["outcomes"]]
