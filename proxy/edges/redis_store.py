"""The breaker store on Redis, shared by all replicas: four scripts, one channel, Redis's clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import orjson
from redis.asyncio import Redis

from proxy.core.breaker import Record
from proxy.core.errors import Unreadable
from proxy.edges.redis_client import nothing, readable, translated, within
from proxy.edges.redis_record import encode, view
from proxy.edges.redis_reply import listed, seconds, text, whole
from proxy.edges.redis_script import BREAKER_SCRIPTS, Script
from proxy.ports import Lease, Shared, Tally

_READ_EPOCH = -1
_IDLE_SECONDS = 1.0

T = TypeVar("T")


class Keys:
    """Names in Redis. The upstream is the hash tag, so that its keys share a Cluster slot."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def of(self, upstream: str) -> list[str]:
        """The breaker's keys, in the order the scripts expect."""
        return [f"{self._prefix}:{{{upstream}}}:{part}" for part in ("breaker", "counts", "probes")]

    def channel(self, upstream: str) -> str:
        """Where changes of the upstream's breaker are published."""
        return f"{self._prefix}:{{{upstream}}}:changes"


class RedisBreakerStore:
    """PushingStore on one Redis. The client belongs to the caller."""

    def __init__(self, client: Redis, *, prefix: str, timeout_seconds: float) -> None:
        self._client = client
        self._keys = Keys(prefix)
        self._timeout = timeout_seconds
        self._scripts: Mapping[str, Script] = {name: Script(client, name) for name in BREAKER_SCRIPTS}

    async def read(self, upstream: str, window: float) -> Shared:
        return await self._view("report", "read", upstream, window, _READ_EPOCH, 0, 0, 0, 0, "")

    async def report(self, upstream: str, epoch: int, tally: Tally, window: float) -> Shared:
        counts = (tally.successes, tally.failures, tally.trailing, round(tally.retry_after * 1000))
        return await self._view("report", "report", upstream, window, epoch, *counts, self._keys.channel(upstream))

    async def install(self, upstream: str, record: Record, *, expected: int | None, window: float) -> Shared:
        channel = self._keys.channel(upstream)
        known = -1 if expected is None else expected
        change = (known, record.epoch, encode(record), channel)
        return await self._view("install", "install", upstream, window, *change)

    async def lease(
        self, upstream: str, record: Record, *, expected: int, owner: str, limit: int, seconds: float, window: float
    ) -> Lease:
        change = (expected, record.epoch, encode(record), self._keys.channel(upstream))
        place = (owner, limit, round(seconds * 1000))
        return await self._run("lease", "lease", upstream, window, *change, *place, decode=_lease)

    async def settle_probe(self, upstream: str, epoch: int, owner: str, *, passed: bool, window: float) -> Shared:
        channel = self._keys.channel(upstream)
        return await self._view("settle", "settle_probe", upstream, window, epoch, owner, int(passed), channel)

    async def changes(self, upstreams: Iterable[str]) -> AsyncIterator[tuple[str, Shared] | None]:
        channels = {self._keys.channel(name): name for name in upstreams}
        async with translated("subscribe"), self._client.pubsub(ignore_subscribe_messages=True) as subscription:
            await within(self._timeout, "subscribe", subscription.subscribe(*channels), nothing)
            while True:
                # No limit of ours: the connection is this loop's own, and _IDLE_SECONDS ends every wait.
                message = await subscription.get_message(timeout=_IDLE_SECONDS)
                yield None if message is None else _change(channels[text(message["channel"])], message["data"])

    async def _view(
        self, script: str, operation: str, upstream: str, window: float, *args: bytes | str | float
    ) -> Shared:
        return await self._run(script, operation, upstream, window, *args, decode=partial(view, operation))

    async def _run(
        self,
        script: str,
        operation: str,
        upstream: str,
        window: float,
        *args: bytes | str | float,
        decode: Callable[[Any], T],
    ) -> T:
        arguments = (round(window * 1000), *args)
        command = self._scripts[script](keys=self._keys.of(upstream), args=arguments)
        return await within(self._timeout, operation, command, decode)


def _lease(reply: Any) -> Lease:
    granted, retry_in_ms, stored = listed(reply, 3)
    return Lease(granted=whole(granted, 1) == 1, retry_in=seconds(retry_in_ms), shared=view("lease", stored))


def _change(upstream: str, data: Any) -> tuple[str, Shared] | None:
    """The pushed view; None for one that cannot be read: whoever polls finds out what it was about."""
    try:
        return upstream, readable("a push", "subscribe", lambda: view("subscribe", orjson.loads(data)))
    except Unreadable:
        return None
