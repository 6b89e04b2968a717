"""What is done to the fleet while the clients pay: three courses at once, each seeded by itself.

A course plays its tricks in a shuffled order, again and again, so that a short run sees every one of them too.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from redis.asyncio import Redis
from redis.exceptions import RedisError

from demo.store import StoreServer
from prove.stage import DRAIN_SECONDS, FAULTS, LAST_TRIES_SECONDS, Stage
from prove.story import Kill, StoreTrouble

REPLICAS, STORE, PROVIDER, RELOAD = "replicas", "store", "provider", "reload"
ALL = frozenset({REPLICAS, STORE, PROVIDER, RELOAD})

Trick = Callable[[random.Random], Awaitable[None]]


@dataclass(slots=True)
class Chaos:
    """Breaks things until it is told to stop; `done` counts what it did."""

    stage: Stage
    seed: int
    pause: float
    """Mean seconds of peace between two tricks of one course."""
    victims: frozenset[str] = ALL
    reload_after: float = 0.0
    """Seconds until the fleet is sent to the second provider."""
    done: Counter[str] = field(default_factory=Counter)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """All courses, until `stopped`; each ends when what it broke is whole again."""
        tricks: dict[str, tuple[float, Sequence[Trick]]] = {
            PROVIDER: (2.0, [self.outage, self.restart_provider]),
            REPLICAS: (1.0, [self.kill_replica, self.stop_replica]),
            STORE: (2.0, [self.freeze_store, self.restart_store, *([] if self.stage.keeps else [self.flush_store])]),
        }
        courses = [
            self._course(name, played, rest * self.pause)
            for name, (rest, played) in tricks.items()
            if name in self.victims
        ]
        if RELOAD in self.victims:
            courses.append(self.reload())
        await asyncio.gather(*courses)

    async def _course(self, name: str, tricks: Sequence[Trick], pause: float) -> None:
        chance = random.Random(f"{self.seed}/{name}")  # noqa: S311 - to be repeatable
        for trick in _shuffled(chance, tricks):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopped.wait(), pause * (0.5 + chance.random()))
            if self.stopped.is_set():
                return
            await trick(chance)

    async def kill_replica(self, chance: random.Random) -> None:
        """SIGKILL one, and start it again a little later."""
        await self._end_replica(chance, gentle=False)
        self.done["replicas killed"] += 1

    async def stop_replica(self, chance: random.Random) -> None:
        """SIGTERM one while payments are under way, and start it again."""
        await self._end_replica(chance, gentle=True)
        self.done["replicas stopped"] += 1

    async def _end_replica(self, chance: random.Random, *, gentle: bool) -> None:
        async with self.stage.fleet_lock:
            number = chance.randrange(len(self.stage.replicas))
            replica = self.stage.replicas[number]
            at, place = time.time(), len(self.stage.kills)
            end = at + DRAIN_SECONDS + LAST_TRIES_SECONDS if gentle else at
            self.stage.kills.append(Kill(number, at, math.inf, gentle, end))
            if gentle:
                await asyncio.to_thread(replica.terminate)
            else:
                replica.kill()
            await asyncio.sleep(0.5 * chance.random())
            await replica.start(self.stage.session)
            self.stage.kills[place] = Kill(number, at, time.time(), gentle, end)

    async def reload(self) -> None:
        """SIGHUP to the second provider, once, in the middle of everything."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), self.reload_after)
            return
        await self.stage.reload_to_second()
        self.done["sent to the second provider"] += 1

    async def freeze_store(self, chance: random.Random) -> None:
        """It accepts, and never answers."""
        pid, at = self._store.pid, time.time()
        os.kill(pid, signal.SIGSTOP)
        self.done["store frozen"] += 1
        await asyncio.sleep(0.3 + chance.random())
        os.kill(pid, signal.SIGCONT)
        self._note_trouble(at)

    async def flush_store(self, _: random.Random) -> None:
        """It forgets everything."""
        at = time.time()
        with contextlib.suppress(RedisError):
            async with Redis.from_url(self._store.url) as client:
                await client.flushall()
                self.done["store flushed"] += 1
                self._note_trouble(at, lost=True)

    async def restart_store(self, chance: random.Random) -> None:
        """It dies, refuses for a while, and comes back: empty, or with what it had."""
        store, at = self._store, time.time()
        os.kill(store.pid, signal.SIGKILL)
        self.done["store killed"] += 1
        await asyncio.sleep(0.5 * chance.random())
        await asyncio.to_thread(store.stop)
        self.stage.store = await asyncio.to_thread(self.stage.new_store, store.port)
        self._note_trouble(at, lost=not self.stage.keeps)

    def _note_trouble(self, at: float, *, lost: bool = False) -> None:
        self.stage.troubles.append(StoreTrouble(at, time.time(), lost))

    async def outage(self, chance: random.Random) -> None:
        """The provider answers everything with 503."""
        await self.stage.faults({"outage": True})
        self.done["provider outages"] += 1
        await asyncio.sleep(0.3 + 0.7 * chance.random())
        await self.stage.faults({"outage": False})

    async def restart_provider(self, chance: random.Random) -> None:
        """The provider dies in the middle of its payments, and comes back with the books it had."""
        provider = chance.choice(self.stage.providers)
        provider.kill()
        self.done["provider killed"] += 1
        await asyncio.sleep(0.3 * chance.random())
        await provider.start(self.stage.session)
        await self.stage.faults(FAULTS)

    @property
    def _store(self) -> StoreServer:
        if self.stage.store is None:
            raise RuntimeError("this stage has no store")
        return self.stage.store


def _shuffled(chance: random.Random, tricks: Sequence[Trick]) -> Iterator[Trick]:
    while True:
        yield from chance.sample(tricks, len(tricks))
