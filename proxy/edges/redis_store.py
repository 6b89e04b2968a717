"""The breaker store on Redis, shared by all replicas: four scripts, one channel, Redis's clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from importlib import resources
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from proxy.core.breaker import Record
from proxy.edges.redis_client import translated, within
from proxy.edges.redis_record import encode, view
from proxy.ports import Lease, Shared, Tally

_READ_EPOCH = -1
_IDLE_SECONDS = 1.0


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
        self._scripts: Mapping[str, AsyncScript] = {name: _script(client, name) for name in _SCRIPTS}

    async def read(self, upstream: str, window: float) -> Shared:
        return view(await self._run("report", "read", upstream, window, _READ_EPOCH, 0, 0, 0, 0, ""))

    async def report(self, upstream: str, epoch: int, tally: Tally, window: float) -> Shared:
        counts = (tally.successes, tally.failures, tally.trailing, round(tally.retry_after * 1000))
        return view(await self._run("report", "report", upstream, window, epoch, *counts, self._keys.channel(upstream)))

    async def install(self, upstream: str, record: Record, *, expected: int | None, window: float) -> Shared:
        channel = self._keys.channel(upstream)
        known = -1 if expected is None else expected
        return view(
            await self._run("install", "install", upstream, window, known, record.epoch, encode(record), channel)
        )

    async def lease(
        self, upstream: str, record: Record, *, expected: int, owner: str, limit: int, seconds: float, window: float
    ) -> Lease:
        change = (expected, record.epoch, encode(record), self._keys.channel(upstream))
        place = (owner, limit, round(seconds * 1000))
        granted, retry_in_ms, reply = await self._run("lease", "lease", upstream, window, *change, *place)
        return Lease(granted=bool(granted), retry_in=retry_in_ms / 1000, shared=view(reply))

    async def settle_probe(self, upstream: str, epoch: int, owner: str, *, passed: bool, window: float) -> Shared:
        channel = self._keys.channel(upstream)
        return view(await self._run("settle", "settle_probe", upstream, window, epoch, owner, int(passed), channel))

    async def changes(self, upstreams: Iterable[str]) -> AsyncIterator[tuple[str, Shared] | None]:
        channels = {self._keys.channel(name): name for name in upstreams}
        async with translated("subscribe"), self._client.pubsub(ignore_subscribe_messages=True) as subscription:
            await within(self._timeout, "subscribe", subscription.subscribe(*channels))
            while True:
                message = await subscription.get_message(timeout=_IDLE_SECONDS)
                yield None if message is None else _change(channels, message)

    async def _run(self, script: str, operation: str, upstream: str, window: float, *args: bytes | str | float) -> Any:
        arguments = (round(window * 1000), *args)
        command = self._scripts[script](keys=self._keys.of(upstream), args=arguments)
        return await within(self._timeout, operation, command)


def _change(channels: Mapping[str, str], message: Mapping[str, Any]) -> tuple[str, Shared]:
    return channels[message["channel"].decode()], view(orjson.loads(message["data"]))


_SCRIPTS = ("report", "install", "lease", "settle")


def _script(client: Redis, name: str) -> AsyncScript:
    folder = resources.files("proxy.edges") / "lua"
    return client.register_script("".join((folder / f"{part}.lua").read_text() for part in ("view", name)))
