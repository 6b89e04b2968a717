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

from demo.store import StoreServer, start_store
from prove.stage import FAULTS, Stage
from prove.story import Kill

REPLICAS, STORE, PROVIDER = "replicas", "store", "provider"
ALL = frozenset({REPLICAS, STORE, PROVIDER})

Trick = Callable[[random.Random], Awaitable[None]]


@dataclass(slots=True)
class Chaos:
    """Breaks things until it is told to stop; `done` counts what it did."""

    stage: Stage
    seed: int
    pause: float
    """Mean seconds of peace between two tricks of one course."""
    victims: frozenset[str] = ALL
    done: Counter[str] = field(default_factory=Counter)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """All courses, until `stopped`; each ends when what it broke is whole again."""
        tricks: dict[str, tuple[float, Sequence[Trick]]] = {
            PROVIDER: (2.0, [self.outage, self.restart_provider]),
            REPLICAS: (1.0, [self.kill_replica]),
            STORE: (1.0, [self.freeze_store, self.flush_store, self.restart_store]),
        }
        courses = [
            self._course(name, played, rest * self.pause)
            for name, (rest, played) in tricks.items()
            if name in self.victims
        ]
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
        number = chance.randrange(len(self.stage.replicas))
        at, place = time.time(), len(self.stage.kills)
        self.stage.kills.append(Kill(number, at, math.inf))
        self.stage.replicas[number].kill()
        self.done["replicas killed"] += 1
        await asyncio.sleep(0.5 * chance.random())
        await self.stage.replicas[number].start(self.stage.session)
        self.stage.kills[place] = Kill(number, at, time.time())

    async def freeze_store(self, chance: random.Random) -> None:
        """It accepts, and never answers."""
        pid = self._store.pid
        os.kill(pid, signal.SIGSTOP)
        self.done["store frozen"] += 1
        await asyncio.sleep(0.3 + chance.random())
        os.kill(pid, signal.SIGCONT)

    async def flush_store(self, _: random.Random) -> None:
        """It forgets everything."""
        with contextlib.suppress(RedisError):
            async with Redis.from_url(self._store.url) as client:
                await client.flushall()
                self.done["store flushed"] += 1

    async def restart_store(self, chance: random.Random) -> None:
        """It dies, refuses for a while, and comes back empty."""
        store = self._store
        os.kill(store.pid, signal.SIGKILL)
        self.done["store killed"] += 1
        await asyncio.sleep(0.5 * chance.random())
        await asyncio.to_thread(store.stop)
        self.stage.store = await asyncio.to_thread(start_store, store.port)

    async def outage(self, chance: random.Random) -> None:
        """The provider answers everything with 503."""
        await self.stage.faults({"outage": True})
        self.done["provider outages"] += 1
        await asyncio.sleep(0.3 + 0.7 * chance.random())
        await self.stage.faults({"outage": False})

    async def restart_provider(self, chance: random.Random) -> None:
        """The provider dies in the middle of its payments, and comes back with the books it had."""
        self.stage.provider.kill()
        self.done["provider killed"] += 1
        await asyncio.sleep(0.3 * chance.random())
        await self.stage.provider.start(self.stage.session)
        await self.stage.faults(FAULTS)

    @property
    def _store(self) -> StoreServer:
        if self.stage.store is None:
            raise RuntimeError("this stage has no store")
        return self.stage.store


def _shuffled(chance: random.Random, tricks: Sequence[Trick]) -> Iterator[Trick]:
    while True:
        yield from chance.sample(tricks, len(tricks))
