"""What clients are told and what is listed, against what really happened at the provider.

Any interleaving of calls with a few keys on two replicas, with every class of answer, lost ones, kills, a store that
goes away or comes back empty, waiters, time, and reloads to another provider.

The rule: while a request under a key may have been carried out and no answer of the layer that knows the key has said
so, no call with that key hears `not_sent` or a `final` that settles nothing, and the key is listed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.bookkeeper import Bookkeeper
from proxy.core.errors import StoreUnavailable
from proxy.core.fingerprint import identity
from proxy.core.ledger import Entry, State, Write
from proxy.core.model import Answer, Headers, Outcome, Payment, Result
from proxy.edges.memory_ledger import MemoryLedger
from proxy.ports import Claimed, Restored, Tracked
from tests.fakes import REFUSED, RESET, TIMEOUT, Corridor, FakeClock, RecordingSink, payment, response, upstream

T = TypeVar("T")
LEASE = 5.0
URLS = ("http://one.test:1", "http://two.test:2")
KEYS = ("a", "b")
SECRET = b"the fleet's own secret"

ANSWERS: dict[str, Result] = {
    "paid": response(201),
    "declined": response(402),
    "limited": response(429),
    "forbidden": response(403),
    "invalid": response(400),
    "redirected": response(302),
    "failed": response(500),
    "lost": RESET,
    "lost when paid": RESET,
    "late": TIMEOUT,
    "unreachable": REFUSED,
}
"""What a provider that honours its keys may answer to a first request; a second one under a stored key is replayed."""
SETTLING = frozenset({"paid", "declined"})
"""Stored under the key, and told."""
CHARGEABLE = frozenset({"failed", "lost", "lost when paid", "late"})
"""After these nobody knows whether it was carried out."""
BEHIND_THE_KEY = frozenset({"paid", "declined", "invalid", "redirected", "failed", "late", "lost", "lost when paid"})
"""Answers that a provider gives only where nothing is stored under the key yet."""


@dataclass
class Truth:
    """One key at one provider. `lost`: requests that nobody heard the end of, by the replica that knows (0: none).

    `stored` is what the provider would replay, `settled` whether anybody has heard it. `forgotten`: nobody could still
    know of the lost ones, since the store was emptied and who sent them is dead.
    """

    lost: list[int] = field(default_factory=list)
    in_flight: int = 0
    stored: str | None = None
    settled: bool = False
    forgotten: bool = False

    @property
    def doubt(self) -> bool:
        return not self.settled and not self.forgotten and bool(self.lost or self.in_flight)

    def lose(self, knower: int) -> None:
        self.lost.append(knower)
        if knower:
            self.forgotten = False


class Provider:
    """A transport that does what the test says next, and keeps the truth."""

    def __init__(self, model: Outcomes, number: int, url: str) -> None:
        self.model, self.number, self.url = model, number, url
        self.next: list[str] = []
        self.door: asyncio.Event | None = None

    async def send(
        self,
        payment: Payment,
        *,
        timeout: float,
        extra: Headers = (),
        max_idle_age: float | None = None,
    ) -> Result:
        truth = self.model.truth_of(payment, self.url)
        what = self.next.pop(0) if self.next else "paid"
        if self.door is not None:
            door, self.door = self.door, None
            truth.in_flight += 1
            try:
                await door.wait()
            finally:
                truth.in_flight -= 1
        if truth.stored is not None and what in BEHIND_THE_KEY:
            what = "lost" if "lost" in what else truth.stored
        if what in SETTLING:
            truth.stored, truth.settled = what, True
        elif what in CHARGEABLE:
            truth.stored = "paid" if what == "lost when paid" else truth.stored
            truth.lose(self.number)
        return ANSWERS[what]

    def give_up(self) -> None:
        """Nothing is under way."""

    async def aclose(self) -> None:
        """Nothing is open."""


class Store(MemoryLedger):
    """A ledger that can be away, or lose everything."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.away = clock, False
        self.lost = 0
        super().__init__(clock.wall, retention_seconds=1e6, most_unknown=1000)

    def lose(self) -> None:
        self.lost += 1
        marked = self.lost
        super().__init__(lambda: self.clock.wall() + marked * 1e-3, retention_seconds=1e6, most_unknown=1000)

    def _come(self) -> None:
        if self.away:
            raise StoreUnavailable("any", "away")

    async def claim(self, write: Write, owner: str, lease_seconds: float, trusted_seconds: float = 1e9) -> Claimed:
        self._come()
        return await super().claim(write, owner, lease_seconds, trusted_seconds)

    async def settle(self, upstream: str, told: Any) -> Tracked:
        self._come()
        return await super().settle(upstream, told)

    async def renew(self, upstream: str, held: Any, lease_seconds: float) -> frozenset[str]:
        self._come()
        return await super().renew(upstream, held, lease_seconds)

    async def restore(self, upstream: str, unknown: Any) -> Restored:
        self._come()
        return await super().restore(upstream, unknown)

    async def count(self, upstream: str) -> Tracked:
        self._come()
        return await super().count(upstream)


@dataclass
class Replica:
    """One process: its books, and the corridor of the configuration in force."""

    number: int
    keeper: Bookkeeper
    corridor: Corridor
    provider: Provider


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    """End them."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Outcomes(RuleBasedStateMachine):
    """Two replicas, two keys, two providers, one ledger."""

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.store = Store(self.clock)
        self.truths: dict[tuple[str, str], Truth] = {}
        self.numbers = 0
        self.url = URLS[0]
        self.under_way: list[tuple[str, int, asyncio.Task[Answer], asyncio.Event]] = []
        self.replicas = [self.new_replica() for _ in range(2)]

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.run(cancelled(*(task for *_, task, _ in self.under_way)))
            self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def new_replica(self) -> Replica:
        self.numbers += 1
        number = self.numbers
        keeper = Bookkeeper(
            self.store,
            SECRET,
            lease_seconds=LEASE,
            replica=f"r{number}",
            clock=self.clock,
            unique=lambda: os.urandom(8).hex(),
            events=RecordingSink(),
            up=lambda: True,
        )
        keeper.know(["mock"])
        return Replica(number, keeper, *self.corridor(keeper, number))

    def corridor(self, keeper: Bookkeeper, number: int) -> tuple[Corridor, Provider]:
        calm = {"consecutive_failures": None, "failure_rate": None}
        config = upstream(url=self.url, retry={"max_retries": 1, "backoff_ms": [0]}, breaker=calm)
        one = Corridor(config=config, clock=self.clock, ledger=keeper)
        provider = Provider(self, number, self.url)
        one.forwarder._transport = provider
        return one, provider

    def truth_of(self, one: Payment, url: str) -> Truth:
        key = dict(one.headers)[b"Idempotency-Key"].decode()
        return self.truth(url, key)

    def truth(self, url: str, key: str) -> Truth:
        return self.truths.setdefault((url, key), Truth())

    async def rounds(self) -> None:
        """Whatever the background would do now."""
        for replica in self.replicas:
            await replica.keeper._flush()
            if not self.store.away and replica.keeper._reachable():
                await replica.keeper._renew("mock")
                await replica.keeper.count("mock")
                await replica.keeper.recovery.compare("mock")

    def check(self, key: str, url: str, before: bool, answer: Answer) -> None:
        truth = self.truth(url, key)
        if before and truth.doubt:
            assert answer.outcome is Outcome.UNKNOWN, (key, answer.status, answer.outcome, truth)
        if truth.doubt:
            assert answer.outcome is not Outcome.NOT_SENT, (key, answer.status, truth)

    @rule(
        which=st.integers(0, 1),
        key=st.sampled_from(KEYS),
        steps=st.lists(st.sampled_from(sorted(ANSWERS)), min_size=1, max_size=2),
    )
    def pay(self, which: int, key: str, steps: list[str]) -> None:
        replica = self.replicas[which]
        replica.provider.next = list(steps)
        before = self.truth(replica.provider.url, key).doubt
        answer = self.run(replica.corridor.pay(payment("POST", (b"Idempotency-Key", key.encode()))))
        self.check(key, replica.provider.url, before, answer)

    @precondition(lambda self: not self.under_way)
    @rule(which=st.integers(0, 1), key=st.sampled_from(KEYS), step=st.sampled_from(sorted(ANSWERS)))
    def begin(self, which: int, key: str, step: str) -> None:
        """A call that stays at the provider until `finish`."""
        replica, door = self.replicas[which], asyncio.Event()
        replica.provider.next, replica.provider.door = [step], door

        async def started() -> asyncio.Task[Answer]:
            task = asyncio.ensure_future(replica.corridor.pay(payment("POST", (b"Idempotency-Key", key.encode()))))
            for _ in range(30):
                await asyncio.sleep(0)
            return task

        task = self.run(started())
        self.under_way.append((key, replica.number, task, door))

    @precondition(lambda self: bool(self.under_way))
    @rule()
    def finish(self) -> None:
        key, number, task, door = self.under_way.pop()
        door.set()
        if task.done() or number in {one.number for one in self.replicas}:
            answer = self.run(asyncio.wait_for(task, 5))
            url = next((one.provider.url for one in self.replicas if one.number == number), self.url)
            self.check(key, url, False, answer)

    @rule(which=st.integers(0, 1))
    def kill(self, which: int) -> None:
        """SIGKILL: nothing that it had to tell is told, and what it remembered is gone."""
        dead = self.replicas[which]
        for key, number, task, _ in self.under_way:
            if number == dead.number:
                self.truth(dead.provider.url, key).lose(0)  # its call may have been carried out
                self.run(cancelled(task))
        self.under_way = [one for one in self.under_way if one[1] != dead.number]
        self.replicas[which] = self.new_replica()
        if self.store.away:
            self.forget()  # what it had not written down dies with it

    @rule()
    def books_are_written(self) -> None:
        self.run(self.rounds())

    @rule(seconds=st.sampled_from([0.5, 2.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            self.run(self.rounds())

    @rule(away=st.booleans())
    def store_goes_or_comes(self, away: bool) -> None:
        self.store.away = away

    @precondition(lambda self: not self.store.away)
    @rule()
    def store_is_emptied(self) -> None:
        """It comes back without its data; what living replicas wrote down they still know."""
        self.run(self.rounds())
        self.forget()
        self.store.lose()
        self.clock.advance(1.1)
        self.run(self.rounds())

    @rule(url=st.sampled_from(URLS))
    def reload(self, url: str) -> None:
        """The operator changes the address: nothing old goes there, nothing old is resolved there."""
        if self.under_way:
            return
        self.url = url
        for replica in self.replicas:
            replica.corridor, replica.provider = self.corridor(replica.keeper, replica.number)

    def forget(self) -> None:
        """What no living replica knows of, nobody does."""
        living = {one.number for one in self.replicas}
        for truth in self.truths.values():
            truth.forgotten = truth.forgotten or (not truth.in_flight and not living & set(truth.lost))

    @invariant()
    def what_is_in_doubt_is_listed(self) -> None:
        if not hasattr(self, "store") or self.store.away:
            return
        self.clock.advance(1.1)
        self.run(self.rounds())
        listed = self.run(self.entries())
        for (url, key), truth in self.truths.items():
            if truth.doubt:
                found = [entry for entry in listed if self.is_about(entry, url, key)]
                assert found, (url, key, truth)
                assert found[0].state in {State.UNKNOWN, State.IN_FLIGHT}, (url, key, truth, found)

    async def entries(self) -> list[Entry]:
        return list(await MemoryLedger.entries(self.store, "mock", None, 100))

    def is_about(self, entry: Entry, url: str, key: str) -> bool:
        one = payment("POST", (b"Idempotency-Key", key.encode()))
        return entry.write.id == identity(SECRET, url, one, key.encode())


TestOutcomes = Outcomes.TestCase
LONG = bool(os.environ.get("HOLDFAST_LONG_MODEL"))
TestOutcomes.settings = settings(
    max_examples=2000 if LONG else 120, stateful_step_count=50 if LONG else 30, deadline=None
)
