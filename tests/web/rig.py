"""One replica without a network behind it: real gates, fleet and corridor on memory stores, and its control plane."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from aiohttp import web

from proxy.bookkeeper import Bookkeeper
from proxy.core.breaker import Record
from proxy.core.budget import Budget
from proxy.core.config import Config, Upstream
from proxy.core.errors import StoreUnavailable
from proxy.core.events import Event
from proxy.core.ledger import Entry
from proxy.core.model import Answer, Certainty, Headers, Payment, Response, Result, TransportFailure, WireError
from proxy.core.profiles import Profile
from proxy.core.routes import RouteTable
from proxy.core.totals import Totals
from proxy.edges.memory_ledger import MemoryLedger
from proxy.edges.memory_store import MemoryBreakerStore, MemoryJournal
from proxy.failover import FailoverStore
from proxy.fleet import Chronicle, Fleet
from proxy.forward import Caller, Forwarder
from proxy.gate import Gate
from proxy.ports import EventSink, Shared, Tally, Tracked
from proxy.runtime import Replica, Runtime
from proxy.web.operations import Operations

STARTED = 1_700_000_000.0
TOKEN = "correct horse"  # a token with a blank: only the scheme ends at the first one
TIMEOUT = TransportFailure(Certainty.NO_ANSWER, WireError.TIMEOUT)
PAYMENT = Payment("req-1", "/api/payment", "POST", b"/api/payment", (), b"{}", 2)


def answered(status: int) -> Response:
    return Response(status, b"", (), b"{}")


class FakeClock:
    """Time that moves when told to, and by every sleep."""

    def __init__(self) -> None:
        self.passed = 100.0

    def now(self) -> float:
        return self.passed

    def wall(self) -> float:
        return STARTED + self.passed

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds


class FakeTransport:
    """Answers what is scripted, in order."""

    def __init__(self) -> None:
        self.script: list[Result] = []

    async def send(
        self, payment: Payment, *, timeout: float, extra: Headers = (), max_idle_age: float | None = None
    ) -> Result:
        return self.script.pop(0)

    def give_up(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


class SharedStore(MemoryBreakerStore):
    """A store several rigs can share, and that can go away; `contended` lets another replica win every race."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock.wall)
        self.away = False
        self.contended = False

    async def read(self, upstream: str, window: float) -> Shared:
        self._check("read")
        return await super().read(upstream, window)

    async def report(self, upstream: str, epoch: int, tally: Tally, window: float) -> Shared:
        self._check("report")
        return await super().report(upstream, epoch, tally, window)

    async def install(self, upstream: str, record: Record, *, expected: int | None, window: float) -> Shared:
        self._check("install")
        if self.contended:
            now = await super().read(upstream, window)
            await super().install(upstream, Record(epoch=now.record.epoch + 1), expected=None, window=window)
        return await super().install(upstream, record, expected=expected, window=window)

    async def changes(self, upstreams: Iterable[str]) -> AsyncIterator[tuple[str, Shared] | None]:
        for upstream in upstreams:
            yield upstream, await self.read(upstream, 1.0)

    async def aclose(self) -> None:
        pass

    def _check(self, operation: str) -> None:
        if self.away:
            raise StoreUnavailable(operation, "it is away")


class AwayLedger(MemoryLedger):
    """Entries that can go away."""

    away = False

    async def count(self, upstream: str) -> Tracked:
        self._check()
        return await super().count(upstream)

    async def entry(self, upstream: str, id_: str) -> Entry | None:
        self._check()
        return await super().entry(upstream, id_)

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("entries", "it is away")


class FakeMetrics:
    """Renders the Accept field it was given."""

    def render(self, accept: str) -> tuple[bytes, str]:
        return f"# {accept}\n".encode(), "text/plain; version=0.0.4; charset=utf-8"


class _Fan:
    def __init__(self, *sinks: EventSink) -> None:
        self._sinks = sinks

    def publish(self, event: Event) -> None:
        for sink in self._sinks:
            sink.publish(event)


@dataclass
class Rig:
    """A replica with the one upstream `mock`. `store` None: it is alone."""

    clock: FakeClock
    store: SharedStore | None = None
    name: str = "r1"
    token: str | None = TOKEN
    mode: str = "enforce"
    draining: bool = False
    with_ledger: bool = False

    def _journal(self, upstream: Upstream) -> MemoryJournal:
        journal = MemoryJournal(self.name, self.clock.now)
        journal.budget_windows({upstream.name: upstream.retry.budget.window})
        return journal

    def __post_init__(self) -> None:
        self.transport = FakeTransport()
        self.totals = Totals()
        config = self._config()
        upstream = config.upstreams[0]
        chronicle = Chronicle(self.clock)
        events = _Fan(self.totals, chronicle)
        failover = self._failover(events)
        local = MemoryBreakerStore(self.clock.wall)
        self.ledger = self._ledger(events)
        self.gate = Gate(
            upstream, failover or local, replica=self.name, clock=self.clock, draw=lambda: 0.0, events=events
        )
        self.forwarder = Forwarder(
            upstream,
            Profile(name="generic", source="", safe_methods=frozenset({"GET"})),
            gate=self.gate,
            budget=Budget(upstream.retry.budget),
            transport=self.transport,
            clock=self.clock,
            draw=lambda: 0.0,
            new_key=lambda: "key",
            events=events,
            ledger=self.ledger,
        )
        self.fleet = Fleet(
            {upstream.name: self.gate},
            {upstream.name: self.forwarder.budget},
            store=failover,
            journal=self._journal(upstream),
            local_journal=self._journal(upstream),
            chronicle=chronicle,
            clock=self.clock,
            events=events,
            poll_seconds=1.0,
        )
        routes = RouteTable(config.routes)
        self.runtime = Runtime(config, routes, {upstream.name: self.forwarder}, self.fleet, self.ledger)
        self.operations = Operations(
            lambda: self.runtime,
            Replica(self.name, "9.8.7", STARTED),
            metrics=FakeMetrics(),
            totals=self.totals,
            clock=self.clock,
            draining=lambda: self.draining,
        )

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(self.operations.routes())
        return app

    async def pay(self, *results: Result) -> Answer:
        """One payment whose attempts end like this; what the gate and the fleet learn of it is told at once."""
        self.transport.script = list(results)
        answer = await self.forwarder.forward(PAYMENT, Caller(self.clock.now(), lambda: False))
        await self.gate.drain()
        await self.fleet.beat()
        if self.ledger is not None:
            await self.ledger.drain(0)
        return answer

    def _config(self) -> Config:
        return Config.model_validate(
            {
                "upstreams": {"mock": {"url": "http://127.0.0.1:4000", "breaker": {"mode": self.mode}}},
                "routes": [{"path": "/api/payment", "upstream": "mock"}],
                "admin": {"token": self.token},
            }
        )

    def _ledger(self, events: EventSink) -> Bookkeeper | None:
        if not self.with_ledger:
            return None
        self.entries = AwayLedger(self.clock.wall, retention_seconds=3600, most_unknown=10)
        unique = iter(map(str, range(1000)))
        return Bookkeeper(
            self.entries,
            b"secret",
            lease_seconds=5,
            replica=self.name,
            clock=self.clock,
            unique=lambda: next(unique),
            events=events,
            up=lambda: True,
        )

    def _failover(self, events: EventSink) -> FailoverStore | None:
        if self.store is None:
            return None
        return FailoverStore(self.store, MemoryBreakerStore, clock=self.clock, events=events)
