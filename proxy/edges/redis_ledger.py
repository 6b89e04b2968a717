"""The ledger's entries on Redis, shared by all replicas: five scripts, Redis's clock, one round trip each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import orjson
from redis.asyncio import Redis

from proxy.core.errors import Unreadable
from proxy.core.ledger import Entry, Ground, Settlement, State, Write
from proxy.edges.redis_client import nothing, readable, within
from proxy.edges.redis_reply import listed, seconds, text, whole
from proxy.edges.redis_script import LEDGER_SCRIPTS, Script
from proxy.ports import Claimed, Restored, Tracked

T = TypeVar("T")

LATEST = 1000
"""Settled entries that can be listed, per upstream; any other one is still found by its id."""
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
        self._scripts: Mapping[str, Script] = {name: Script(client, name) for name in LEDGER_SCRIPTS}

    async def claim(self, write: Write, owner: str, lease_seconds: float, trusted_seconds: float = math.inf) -> Claimed:
        trusted = round(min(trusted_seconds * 1000, _FOREVER_MS))
        place = (write.id, owner, round(lease_seconds * 1000), trusted, *_columns(write))
        return await self._run("claim_entry", "claim", write.upstream, *place, decode=partial(_claimed, write))

    async def settle(self, upstream: str, told: Sequence[Settlement]) -> Tracked:
        rows = orjson.dumps([_row(one) for one in told])
        return await self._run("settle_entry", "settle", upstream, rows, decode=_tracked)

    async def renew(self, upstream: str, held: Sequence[tuple[str, str]], lease_seconds: float) -> frozenset[str]:
        pairs = [part for pair in held for part in pair]
        return await self._run("renew_entry", "renew", upstream, round(lease_seconds * 1000), *pairs, decode=_texts)

    async def restore(self, upstream: str, unknown: Sequence[Settlement]) -> Restored:
        rows = orjson.dumps(
            [[one.write.id, one.attempts, round(one.age * 1000), *_columns(one.write)] for one in unknown]
        )
        return await self._run("restore_entries", "restore", upstream, rows, decode=_restored)

    async def entries(self, upstream: str, state: State | None, limit: int) -> Sequence[Entry]:
        shown = partial(_entries, upstream)
        return await self._run("list_entries", "entries", upstream, "", state or "", limit, decode=shown)

    async def entry(self, upstream: str, id_: str) -> Entry | None:
        return await self._run("list_entries", "entries", upstream, id_, "", 1, decode=partial(_one, upstream))

    async def count(self, upstream: str) -> Tracked:
        return await self._run("list_entries", "count", upstream, "", "", 0, decode=_counted)

    async def upstreams(self, known: Iterable[str]) -> frozenset[str]:
        key = f"{self._prefix}:ledgers"
        if names := list(known):
            await within(self._timeout, "upstreams", self._client.sadd(key, *names), nothing)
        return await within(self._timeout, "upstreams", self._client.smembers(key), _members)

    async def _run(
        self, script: str, operation: str, upstream: str, *args: bytes | str | float, decode: Callable[[Any], T]
    ) -> T:
        base = f"{self._prefix}:{{{upstream}}}:ledger"  # the upstream is the hash tag: one Cluster slot
        keys = [f"{base}:{part}" for part in ("entry:", "unknown", "leases", "latest", "began")]
        command = self._scripts[script](keys=keys, args=[*self._limits, *args])
        return await within(self._timeout, operation, command, decode)


def _claimed(write: Write, reply: Any) -> Claimed:
    tracked, held, now, *before = listed(reply, 10)
    known = text(before[0]) != ""
    prior = readable("this payment's entry", "claim", _prior, write, *before) if known else None
    return Claimed(whole(held, 1) == 1, seconds(now), _tracked(tracked), prior)


def _tracked(reply: Any) -> Tracked:
    unknown, trimmed, began = listed(reply, 3)
    return Tracked(whole(unknown), whole(trimmed), text(began))


def _counted(reply: Any) -> Tracked:
    return _tracked(listed(reply, 2)[0])


def _texts(reply: Any) -> frozenset[str]:
    return frozenset(map(text, listed(reply)))


def _members(reply: Any) -> frozenset[str]:
    if not isinstance(reply, set):
        raise TypeError("expected a set")
    return frozenset(map(text, reply))


def _restored(reply: Any) -> Restored:
    tracked, missing, resolved = listed(reply, 3)
    return Restored(_tracked(tracked), _texts(missing), _texts(resolved))


def _entries(upstream: str, reply: Any) -> list[Entry]:
    _, rows = listed(reply, 2)
    return [_shown(upstream, listed(row)) for row in listed(rows)]


def _one(upstream: str, reply: Any) -> Entry | None:
    return next(iter(_entries(upstream, reply)), None)


def _shown(upstream: str, row: list[Any]) -> Entry:
    """The entry; one that this version cannot read is shown by its id, as UNKNOWN, so that nothing is hidden."""
    try:
        return readable("an entry", "entries", _entry, upstream, row)
    except Unreadable:
        return Entry(Write(text(row[0]), upstream, "", "", "", None, False, ""), State.UNKNOWN, 0.0, 0.0)


def _columns(write: Write) -> tuple[str, str, str, str, int, str, str]:
    reference = write.reference or ""
    return (write.method, write.route, write.request_id, reference, int(write.keyed), write.body, write.rule)


def _row(told: Settlement) -> list[object]:
    result = [told.state, told.ground or "", told.attempts, told.status or "", told.provider_request_id or ""]
    return [told.write.id, told.owner, *result, round(told.age * 1000), *_columns(told.write)]


def _prior(
    write: Write, state: bytes, ground: bytes, status: bytes, since: bytes, changed: bytes, body: bytes, rule: bytes
) -> Entry:
    """What a claim needs to know of the entry before it; the rest is the same payment's anyway."""
    was = replace(write, request_id="", reference=None, body=text(body), rule=text(rule))
    code, what = whole(status) if status else None, State(text(state))
    when = seconds(changed or since)
    return Entry(was, what, seconds(since), when, status=code, ground=_ground(what, text(ground)))


def _ground(state: State, word: str) -> Ground | None:
    """A final entry that does not say what made it so, by an earlier version, is one that settles nothing."""
    if word:
        return Ground(word)
    return Ground.OTHER if state is State.FINAL else None


def _entry(upstream: str, row: Sequence[bytes]) -> Entry:
    id_, *pairs = map(text, row)
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
        since=seconds(fields["since"]),
        changed=seconds(fields["changed"]),
        owner=fields.get("owner", ""),
        lease=seconds(fields.get("lease", 0)),
        lapsed=fields.get("lapsed") == "1",
        calls=whole(fields["calls"]),
        attempts=whole(fields.get("attempts", 0)),
        status=whole(fields["status"]) if "status" in fields else None,
        provider_request_id=fields.get("provider_request_id"),
        ground=_ground(state, fields.get("ground", "")),
    )
