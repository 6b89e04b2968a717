"""The ledger's entries on Redis, shared by all replicas: five scripts, Redis's clock, one round trip each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from proxy.core.ledger import Entry, Ground, Settlement, State, Write
from proxy.edges.redis_client import within
from proxy.ports import Claimed, Restored, Tracked

LATEST = 1000
"""Settled entries that can be listed, per upstream; any other one is still found by its id."""
_SCRIPTS = ("claim_entry", "settle_entry", "renew_entry", "restore_entries", "list_entries")
_FOREVER_MS = 10**15
"""A key that is kept for ever, in a number that Lua still counts exactly."""


class RedisLedger:
    """LedgerStore on one Redis. The client belongs to the caller."""

    def __init__(
        self, client: Redis, *, prefix: str, timeout_seconds: float, retention_seconds: float, most_unknown: int
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._timeout = timeout_seconds
        self._limits = (round(retention_seconds * 1000), most_unknown, LATEST)
        self._scripts: Mapping[str, AsyncScript] = {name: _script(client, name) for name in _SCRIPTS}

    async def claim(self, write: Write, owner: str, lease_seconds: float, trusted_seconds: float = math.inf) -> Claimed:
        trusted = round(min(trusted_seconds * 1000, _FOREVER_MS))
        place = (write.id, owner, round(lease_seconds * 1000), trusted, *_columns(write))
        tracked, held, now, *before = await self._run("claim_entry", "claim", write.upstream, *place)
        prior = _prior(write, *before) if before[0] else None
        return Claimed(bool(held), now / 1000, _tracked(tracked), prior)

    async def settle(self, upstream: str, told: Sequence[Settlement]) -> Tracked:
        rows = orjson.dumps([_row(one) for one in told])
        return _tracked(await self._run("settle_entry", "settle", upstream, rows))

    async def renew(self, upstream: str, held: Sequence[tuple[str, str]], lease_seconds: float) -> frozenset[str]:
        pairs = [part for pair in held for part in pair]
        lost = await self._run("renew_entry", "renew", upstream, round(lease_seconds * 1000), *pairs)
        return frozenset(id_.decode() for id_ in lost)

    async def restore(self, upstream: str, unknown: Sequence[Settlement]) -> Restored:
        rows = orjson.dumps([[one.write.id, one.attempts, *_columns(one.write)] for one in unknown])
        tracked, missing, resolved = await self._run("restore_entries", "restore", upstream, rows)
        return Restored(
            _tracked(tracked), frozenset(id_.decode() for id_ in missing), frozenset(id_.decode() for id_ in resolved)
        )

    async def entries(self, upstream: str, state: State | None, limit: int) -> Sequence[Entry]:
        _, rows = await self._run("list_entries", "entries", upstream, "", state or "", limit)
        return [_entry(upstream, row) for row in rows]

    async def entry(self, upstream: str, id_: str) -> Entry | None:
        _, rows = await self._run("list_entries", "entries", upstream, id_, "", 1)
        return _entry(upstream, rows[0]) if rows else None

    async def count(self, upstream: str) -> Tracked:
        tracked, _ = await self._run("list_entries", "count", upstream, "", "", 0)
        return _tracked(tracked)

    async def upstreams(self, known: Iterable[str]) -> frozenset[str]:
        key = f"{self._prefix}:ledgers"
        if names := list(known):
            await within(self._timeout, "upstreams", self._client.sadd(key, *names))
        found: Iterable[Any] = await within(self._timeout, "upstreams", self._client.smembers(key))
        return frozenset(name.decode() for name in found)

    async def _run(self, script: str, operation: str, upstream: str, *args: bytes | str | float) -> Any:
        base = f"{self._prefix}:{{{upstream}}}:ledger"  # the upstream is the hash tag: one Cluster slot
        keys = [f"{base}:{part}" for part in ("entry:", "unknown", "leases", "latest", "began")]
        command = self._scripts[script](keys=keys, args=[*self._limits, *args])
        return await within(self._timeout, operation, command)


def _script(client: Redis, name: str) -> AsyncScript:
    folder = resources.files("proxy.edges") / "lua"
    return client.register_script("".join((folder / f"{part}.lua").read_text() for part in ("ledger", name)))


def _tracked(reply: Sequence[Any]) -> Tracked:
    unknown, trimmed, began = reply
    return Tracked(unknown, trimmed, began.decode())


def _columns(write: Write) -> tuple[str, str, str, str, int, str, str]:
    reference = write.reference or ""
    return (write.method, write.route, write.request_id, reference, int(write.keyed), write.body, write.rule)


def _row(told: Settlement) -> list[object]:
    result = [told.state, told.ground or "", told.attempts, told.status or "", told.provider_request_id or ""]
    return [told.write.id, told.owner, *result, *_columns(told.write)]


def _prior(
    write: Write, state: bytes, ground: bytes, status: bytes, since: bytes, changed: bytes, body: bytes, rule: bytes
) -> Entry:
    """What a claim needs to know of the entry before it; the rest is the same payment's anyway."""
    was = replace(write, request_id="", reference=None, body=body.decode(), rule=rule.decode())
    code, ms = int(status) if status else None, int(changed or since)
    what = State(state.decode())
    return Entry(was, what, int(since) / 1000, ms / 1000, status=code, ground=_ground(what, ground.decode()))


def _ground(state: State, text: str) -> Ground | None:
    """A final entry that does not say what made it so, by an earlier version, is one that settles nothing."""
    if text:
        return Ground(text)
    return Ground.OTHER if state is State.FINAL else None


def _entry(upstream: str, row: Sequence[bytes]) -> Entry:
    id_, *pairs = (part.decode() for part in row)
    fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
    state = State(fields["state"])
    write = Write(
        id_,
        upstream,
        fields["method"],
        fields["route"],
        fields["request_id"],
        fields["reference"] or None,
        fields["keyed"] == "1",
        fields["body"],
        fields.get("rule", ""),
    )
    return Entry(
        write,
        state,
        since=int(fields["since"]) / 1000,
        changed=int(fields["changed"]) / 1000,
        owner=fields.get("owner", ""),
        lease=int(fields.get("lease", 0)) / 1000,
        lapsed=fields.get("lapsed") == "1",
        calls=int(fields["calls"]),
        attempts=int(fields.get("attempts", 0)),
        status=int(fields["status"]) if "status" in fields else None,
        provider_request_id=fields.get("provider_request_id"),
        ground=_ground(state, fields.get("ground", "")),
    )
