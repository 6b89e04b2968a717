"""Stand-ins for the outside: a clock that a test moves, a transport that follows a script, a sink that remembers.

They can fail on cue, and they record what reached them, so that tests assert on what arrived.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from proxy.breaker_view import GateStore
from proxy.core.breaker import Record
from proxy.core.budget import Budget
from proxy.core.config import Upstream
from proxy.core.errors import StoreUnavailable
from proxy.core.events import Event
from proxy.core.model import (
    Answer,
    Body,
    Certainty,
    Headers,
    Payment,
    Response,
    Result,
    TransportFailure,
    WireError,
)
from proxy.core.profiles import Profile
from proxy.edges.config_file import load_profile
from proxy.edges.memory_store import MemoryBreakerStore
from proxy.followup import Followup
from proxy.forward import Caller, Forwarder
from proxy.gate import Gate
from proxy.ports import Lease, Ledger, Shared, Tally

WALL = 1_700_000_000.0
GENERIC = load_profile("generic", Path())
NO_KEYS = load_profile("none", Path())

E = TypeVar("E")


class FakeClock:
    """Time that moves when a test says so. `auto`: sleeping moves it too; else a sleeper waits for `advance`."""

    def __init__(self, *, auto: bool = True) -> None:
        self._now = 1000.0
        self._auto = auto
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self.slept: list[float] = []

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return WALL + self._now

    def advance(self, seconds: float) -> None:
        """Move time on and wake who waited for it."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            waiting = heapq.heappop(self._sleepers)[2]
            if not waiting.done():
                waiting.set_result(None)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self._auto:
            self.advance(seconds)
            await asyncio.sleep(0)
            return
        self._count += 1
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, self._count, waiting))
        await waiting


class FakeStream:
    """A streamed body that knows whether it was given up."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk

    async def aclose(self) -> None:
        self.closed = True


class RecordingSink:
    """Keeps every event, and calls `watch` with it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.watch: Callable[[Event], None] = lambda _: None

    def publish(self, event: Event) -> None:
        self.events.append(event)
        self.watch(event)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one type, in order."""
        return [event for event in self.events if isinstance(event, kind)]


@dataclass(frozen=True, slots=True)
class Sent:
    """One attempt as it reached the transport."""

    payment: Payment
    timeout: float
    extra: Headers
    max_idle_age: float | None
    at: float


@dataclass(frozen=True, slots=True)
class Step:
    """What the provider does with one attempt, and how long it takes over it. An exception is raised."""

    result: Result | BaseException
    takes: float = 0.0


HANG = Step(asyncio.CancelledError())
"""An attempt that ends only by being cancelled or given up."""


class ScriptedTransport:
    """Follows its script attempt by attempt; one more attempt than scripted is an error of the test's."""

    def __init__(self, script: Iterable[Step | Result], clock: FakeClock) -> None:
        self._script = [step if isinstance(step, Step) else Step(step) for step in script]
        self._clock = clock
        self.sent: list[Sent] = []
        self.started = asyncio.Event()
        self._expired = asyncio.Event()
        self.closed = False

    async def send(
        self, payment: Payment, *, timeout: float, extra: Headers = (), max_idle_age: float | None = None
    ) -> Result:
        self.sent.append(Sent(payment, timeout, extra, max_idle_age, self._clock.now()))
        self.started.set()
        assert len(self.sent) <= len(self._script), "an attempt more than the script has"
        step = self._script[len(self.sent) - 1]
        if step is HANG:
            await self._expired.wait()
            return TIMEOUT
        self._clock.advance(step.takes)
        await asyncio.sleep(0)
        if isinstance(step.result, BaseException):
            raise step.result
        return step.result

    def give_up(self) -> None:
        """Who hangs, times out."""
        self._expired.set()

    async def aclose(self) -> None:
        self.closed = True


def response(status: int, *headers: tuple[bytes, bytes], body: Body = b"{}") -> Response:
    return Response(status, b"Reason", headers, body)


def failure(
    certainty: Certainty, error: WireError, status: int | None = None, headers: Headers = ()
) -> TransportFailure:
    return TransportFailure(certainty, error, "because", status, headers)


DNS = failure(Certainty.NOT_SENT, WireError.DNS)
REFUSED = failure(Certainty.NOT_SENT, WireError.REFUSED)
CONNECT_TIMEOUT = failure(Certainty.NOT_SENT, WireError.CONNECT_TIMEOUT)
TLS = failure(Certainty.NOT_SENT, WireError.TLS)
CERTIFICATE = failure(Certainty.NOT_SENT, WireError.CERTIFICATE)
RESET = failure(Certainty.NO_ANSWER, WireError.RESET)
JUNK = failure(Certainty.NO_ANSWER, WireError.JUNK)
TIMEOUT = failure(Certainty.NO_ANSWER, WireError.TIMEOUT)
CUT = failure(Certainty.CUT, WireError.CUT, 200, ((b"Request-Id", b"req_1"),))


def payment(
    method: str = "POST", *headers: tuple[bytes, bytes], target: bytes = b"/api/payment?a=%2F", body: Body = b'{"a":1}'
) -> Payment:
    length = len(body) if isinstance(body, bytes) else None
    return Payment("req-1", "/api/payment", method, target, headers, body, length)


KEY = (b"Idempotency-Key", b"k-1")
READ, KEYED, UNKEYED = payment("GET"), payment("POST", KEY), payment("PUT")


def upstream(**settings: object) -> Upstream:
    """An upstream as a config file would give it; durations as text."""
    return Upstream.model_validate({"name": "mock", "url": "http://provider.test:4000", **settings})


def profile(base: Profile = GENERIC, *, key: dict[str, object] | None = None, **settings: object) -> Profile:
    """A built-in profile with some facts changed; durations as text."""
    facts = base.model_dump(mode="json")
    facts["max_retry_after"] = f"{base.max_retry_after}s"
    if key is not None:
        facts["key"] |= key
    return Profile.model_validate(facts | settings)


def keys(*values: str) -> Callable[[], str]:
    """A source of keys that runs dry: one key more than expected is an error."""
    left = iter(values)
    return lambda: next(left)


def constant(value: float) -> Callable[[], float]:
    """A draw that always gives the same."""
    return lambda: value


@dataclass(slots=True)
class ScriptedStore:
    """A shared store in memory that refuses, executes without answering, is flushed, or fails over to an old copy."""

    now: Callable[[], float]
    mode: str = "up"
    calls: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda _: None
    pushes: asyncio.Queue[tuple[str, Shared] | StoreUnavailable | None] = field(default_factory=asyncio.Queue)
    store: MemoryBreakerStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = MemoryBreakerStore(self.now)

    def flush(self) -> None:
        """Forget everything, as FLUSHALL does."""
        self.store = MemoryBreakerStore(self.now)

    async def go_back_to(self, upstream: str, record: Record) -> None:
        """Fail over to a copy that lags behind."""
        self.flush()
        await self.store.install(upstream, record, expected=None, window=0)

    async def read(self, upstream: str, window: float) -> Shared:
        self._come("read")
        return self._leave("read", await self.store.read(upstream, window))

    async def report(self, upstream: str, epoch: int, tally: Tally, window: float) -> Shared:
        self._come("report")
        return self._leave("report", await self.store.report(upstream, epoch, tally, window))

    async def install(self, upstream: str, record: Record, *, expected: int | None, window: float) -> Shared:
        self._come("install")
        return self._leave("install", await self.store.install(upstream, record, expected=expected, window=window))

    async def lease(
        self, upstream: str, record: Record, *, expected: int, owner: str, limit: int, seconds: float, window: float
    ) -> Lease:
        self._come("lease")
        place = await self.store.lease(
            upstream, record, expected=expected, owner=owner, limit=limit, seconds=seconds, window=window
        )
        return self._leave("lease", place)

    async def settle_probe(self, upstream: str, epoch: int, owner: str, *, passed: bool, window: float) -> Shared:
        self._come("settle_probe")
        view = await self.store.settle_probe(upstream, epoch, owner, passed=passed, window=window)
        return self._leave("settle_probe", view)

    async def changes(self, upstreams: Iterable[str]) -> AsyncIterator[tuple[str, Shared] | None]:
        while True:
            change = await self.pushes.get()
            if isinstance(change, StoreUnavailable):
                raise change
            yield change

    def _come(self, operation: str) -> None:
        self.calls.append(operation)
        self.before(operation)
        if self.mode == "refuse":
            raise StoreUnavailable(operation, "refused")

    def _leave(self, operation: str, reply: E) -> E:
        if self.mode == "silent":
            raise StoreUnavailable(operation, "timed out")
        return reply


class GatedStore(MemoryBreakerStore):
    """A memory store whose leases answer only when the test opens the door; `asked` says that one waits."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.door = asyncio.Event()
        self.asked = asyncio.Event()

    async def lease(
        self, upstream: str, record: Record, *, expected: int, owner: str, limit: int, seconds: float, window: float
    ) -> Lease:
        place = await super().lease(
            upstream, record, expected=expected, owner=owner, limit=limit, seconds=seconds, window=window
        )
        self.asked.set()
        await self.door.wait()
        return place


def new_gate(
    config: Upstream,
    store: GateStore,
    clock: FakeClock,
    sink: RecordingSink | None = None,
    *,
    replica: str = "r1",
    draw: float = 0.0,
) -> Gate:
    return Gate(config, store, replica=replica, clock=clock, draw=constant(draw), events=sink or RecordingSink())


async def settled() -> None:
    """Let everything that can run, run."""
    for _ in range(20):
        await asyncio.sleep(0)


class Corridor:
    """A Forwarder among fakes; jitter draws 0.5, so that waits are 50, 150, 450, 450 ms by default."""

    def __init__(
        self,
        *script: Step | Result,
        config: Upstream | None = None,
        facts: Profile = GENERIC,
        new_keys: Sequence[str] = ("new-key",),
        store: GateStore | None = None,
        clock: FakeClock | None = None,
        draw: float = 0.5,
        ledger: Ledger | None = None,
        followup: Followup | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.sink = RecordingSink()
        self.config = config or upstream()
        self.store = store or MemoryBreakerStore(self.clock.wall)
        self.gate = new_gate(self.config, self.store, self.clock, self.sink, draw=draw)
        self.budget = Budget(self.config.retry.budget)
        self.transport = ScriptedTransport(script, self.clock)
        self.gone = False
        self.forwarder = Forwarder(
            self.config,
            facts,
            gate=self.gate,
            budget=self.budget,
            transport=self.transport,
            clock=self.clock,
            draw=constant(draw),
            new_key=keys(*new_keys),
            events=self.sink,
            ledger=ledger,
            followup=followup,
        )

    async def pay(self, one: Payment = KEYED, *, started: float | None = None) -> Answer:
        caller = Caller(self.clock.now() if started is None else started, lambda: self.gone, "trace-1")
        return await self.forwarder.forward(one, caller)
