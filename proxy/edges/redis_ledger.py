"""The ledger's entries on Redis, shared by all replicas: four scripts, Redis's clock, one round trip each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from proxy.core.ledger import Entry, Settlement, State, Write
from proxy.edges.redis_client import within
from proxy.ports import Claimed, Tracked

LATEST = 1000
"""Settled entries that can be listed, per upstream; any other one is still found by its id."""
_SCRIPTS = ("claim_entry", "settle_entry", "renew_entry", "list_entries")


class RedisLedger:
    """LedgerStore on one Redis. The client belongs to the caller."""

    def __init__(
        self, client: Redis, *, prefix: str, timeout_seconds: float, retention_seconds: float, most_unknown: int
    ) -> None:
        self._prefix = prefix
        self._timeout = timeout_seconds
        self._limits = (round(retention_seconds * 1000), most_unknown, LATEST)
        self._scripts: Mapping[str, AsyncScript] = {name: _script(client, name) for name in _SCRIPTS}

    async def claim(self, write: Write, owner: str, lease_seconds: float) -> Claimed:
        place = (write.id, owner, round(lease_seconds * 1000), *_columns(write))
        held, now, unknown, trimmed, *before = await self._run("claim_entry", "claim", write.upstream, *place)
        prior = _prior(write, *before) if before[0] else None
        return Claimed(bool(held), now / 1000, Tracked(unknown, trimmed), prior)

    async def settle(self, upstream: str, told: Sequence[Settlement]) -> Tracked:
        rows = orjson.dumps([_row(one) for one in told])
        return Tracked(*await self._run("settle_entry", "settle", upstream, rows))

    async def renew(self, upstream: str, held: Mapping[str, str], lease_seconds: float) -> None:
        pairs = [part for pair in held.items() for part in pair]
        await self._run("renew_entry", "renew", upstream, round(lease_seconds * 1000), *pairs)

    async def entries(self, upstream: str, state: State | None, limit: int) -> Sequence[Entry]:
        *_, rows = await self._run("list_entries", "entries", upstream, "", state or "", limit)
        return [_entry(upstream, row) for row in rows]

    async def entry(self, upstream: str, id_: str) -> Entry | None:
        *_, rows = await self._run("list_entries", "entries", upstream, id_, "", 1)
        return _entry(upstream, rows[0]) if rows else None

    async def count(self, upstream: str) -> Tracked:
        unknown, trimmed, _ = await self._run("list_entries", "count", upstream, "", "", 0)
        return Tracked(unknown, trimmed)

    async def _run(self, script: str, operation: str, upstream: str, *args: bytes | str | float) -> Any:
        base = f"{self._prefix}:{{{upstream}}}:ledger"  # the upstream is the hash tag: one Cluster slot
        keys = [f"{base}:entry:", f"{base}:unknown", f"{base}:leases", f"{base}:latest"]
        command = self._scripts[script](keys=keys, args=[*self._limits, *args])
        return await within(self._timeout, operation, command)


def _script(client: Redis, name: str) -> AsyncScript:
    folder = resources.files("proxy.edges") / "lua"
    return client.register_script("".join((folder / f"{part}.lua").read_text() for part in ("ledger", name)))


def _columns(write: Write) -> tuple[str, str, str, str, int, str]:
    return (write.method, write.route, write.request_id, write.reference or "", int(write.keyed), write.body)


def _row(told: Settlement) -> list[object]:
    result = [told.state, told.settles, told.attempts, told.status or "", told.provider_request_id or ""]
    return [told.write.id, told.owner, *result, *_columns(told.write)]


def _prior(write: Write, state: bytes, status: bytes, since: bytes, changed: bytes, body: bytes) -> Entry:
    """What a claim needs to know of the entry before it; the rest is the same payment's anyway."""
    was = Write(write.id, write.upstream, write.method, write.route, "", None, write.keyed, body.decode())
    code = int(status) if status else None
    return Entry(was, State(state.decode()), int(since) / 1000, int(changed) / 1000, status=code)


def _entry(upstream: str, row: Sequence[bytes]) -> Entry:
    id_, *pairs = (part.decode() for part in row)
    fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
    write = Write(
        id_,
        upstream,
        fields["method"],
        fields["route"],
        fields["request_id"],
        fields["reference"] or None,
        fields["keyed"] == "1",
        fields["body"],
    )
    return Entry(
        write,
        State(fields["state"]),
        since=int(fields["since"]) / 1000,
        changed=int(fields["changed"]) / 1000,
        owner=fields.get("owner", ""),
        lease=int(fields.get("lease", 0)) / 1000,
        lapsed=fields.get("lapsed") == "1",
        calls=int(fields["calls"]),
        attempts=int(fields.get("attempts", 0)),
        status=int(fields["status"]) if "status" in fields else None,
        provider_request_id=fields.get("provider_request_id"),
    )
