"""The real data plane on port 0 in front of a provider that plays back raw bytes and keeps what it was sent."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from proxy.app import make_parts, make_runtime
from proxy.core.config import Config
from proxy.core.events import Event, PaymentFinished
from proxy.runtime import Runtime
from proxy.runtimes import Runtimes
from proxy.serve import make_runners
from proxy.web.payments import Payments
from proxy.web.server import PaymentRunner
from tests.dataplane.client import Client, Reply, connected
from tests.edges.hostile import Server, answering, serving, until

if TYPE_CHECKING:
    from tests.edges.hostile import Script

E = TypeVar("E")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Recorder:
    """An EventSink that keeps everything."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def publish(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


@dataclass
class Rig:
    """One replica and its provider."""

    provider: Server
    port: int
    runtime: Runtime
    recorder: Recorder
    runner: PaymentRunner
    via: bytes
    """What this replica adds to Via."""
    _ids: Iterator[int] = field(default_factory=itertools.count)

    @property
    def payments(self) -> Payments:
        """The data plane's handler."""
        handler: Any = self.runner._otherwise
        payments: Payments = handler.__self__
        return payments

    @property
    def host(self) -> bytes:
        """The provider's authority, as it has to stand in Host."""
        return b"127.0.0.1:%d" % self.provider.port

    def client(self) -> contextlib.AbstractAsyncContextManager[Client]:
        return connected(self.port)

    async def ask(self, data: bytes, *, bodiless: bool = False) -> Reply:
        """The answer to one request on a connection of its own."""
        async with self.client() as client:
            return await client.ask(data, bodiless=bodiless)

    def server_connections(self) -> list[web.RequestHandler]:
        """The proxy's end of every client connection."""
        assert self.runner.server is not None
        return self.runner.server.connections

    def arriving(
        self, line: bytes, *lines: bytes, host: bytes | None = None, body: bytes = b"", asked: bytes = b"shop"
    ) -> bytes:
        """What has to arrive of a request whose client `asked` for this host: `lines` follow the provider's Host."""
        hop = [b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Proto: http", b"X-Forwarded-Host: " + asked]
        via = b"Via: " + self.via
        return b"\r\n".join([line, b"Host: " + (host or self.host), *lines, *hop, via, b"", body])

    async def finished(self, count: int = 1) -> list[PaymentFinished]:
        """The first `count` payments that were recorded as finished."""
        await until(lambda: len(self.recorder.of(PaymentFinished)) >= count)
        return self.recorder.of(PaymentFinished)

    def request(self, line: bytes = b"POST /api/payment HTTP/1.1", *lines: bytes, body: bytes = b"") -> bytes:
        """A request with a key and an id of its own, so that nothing is added at random on its way."""
        number = next(self._ids)
        fixed = [b"Host: shop", b"X-Request-Id: r%d" % number, b"Idempotency-Key: k%d" % number]
        return b"\r\n".join([line, *fixed, *lines, b"", body])


def configuration(port: int, *, path: str = "", routes: Any = None, limits: Any = None, **upstream: Any) -> Config:
    """One upstream `mock` at `port`; retries without waits unless said otherwise."""
    quick = {"retry": {"max_retries": 3, "backoff_ms": [0]}, "breaker": {"consecutive_failures": 50}}
    return Config.model_validate(
        {
            "listen": "127.0.0.1:0",
            "upstreams": {"mock": {"url": f"http://127.0.0.1:{port}{path}", "profile": "generic", **quick, **upstream}},
            "limits": limits or {},
            "routes": routes or [{"path": "/api/payment", "upstream": "mock"}],
        }
    )


@contextlib.asynccontextmanager
async def proxied(script: Script | bytes = OK, **options: Any) -> AsyncIterator[Rig]:
    """A replica in front of a provider that runs `script`, or always answers with these bytes."""
    run = answering(script) if isinstance(script, bytes) else script
    async with serving(run) as provider, replica(provider, **options) as rig:
        yield rig


@contextlib.asynccontextmanager
async def replica(provider: Server, **options: Any) -> AsyncIterator[Rig]:
    """A replica in front of whatever listens on the provider's port."""
    recorder, runtimes = Recorder(), Runtimes()
    config = configuration(provider.port, **options)
    parts = make_parts(config, recorder, runtimes)
    runtime = make_runtime(config, Path(), parts)
    runtimes.put_in_force(runtime)
    ((runner, address),) = make_runners(lambda: runtime, parts, draining=lambda: False)
    await runner.setup()
    await web.TCPSite(runner, address.host, address.port).start()
    try:
        yield Rig(provider, runner.addresses[0][1], runtime, recorder, runner, parts.chain.via)
    finally:
        await runner.cleanup()
        for forwarder in runtime.forwarders.values():
            await forwarder.aclose()
            await forwarder.gate.drain()
