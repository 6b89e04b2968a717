"""What the ledger leaves in Redis: every index holds what it should and nothing that is gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from proxy.core.ledger import State
from proxy.edges.redis_ledger import RedisLedger
from tests.ledger.entries import UP, told, write

RETENTION = 0.1
LEASE = 30.0
INDEXES = ("unknown", "leases", "latest")


class Rig:
    def __init__(self, client: Redis, most_unknown: int = 100) -> None:
        self.client = client
        self.store = RedisLedger(
            client, prefix="t", timeout_seconds=2.0, retention_seconds=RETENTION, most_unknown=most_unknown
        )

    async def ended(self, state: State, id_: str = "a", owner: str = "r1/1") -> None:
        await self.store.claim(write(id_), owner, LEASE)
        await self.store.settle(UP, [told(state, owner, id_=id_)])

    async def indexes(self) -> dict[str, list[str]]:
        names: dict[str, Any] = {part: await self.client.zrange(f"t:{{mock}}:ledger:{part}", 0, -1) for part in INDEXES}
        return {part: [id_.decode() for id_ in ids] for part, ids in names.items()}

    async def entries(self) -> list[str]:
        keys: Any = await self.client.keys("t:{mock}:ledger:entry:*")
        return sorted(key.decode().rpartition(":")[2] for key in keys)


@pytest.mark.parametrize(("state", "unknown"), [(State.FINAL, []), (State.NOT_SENT, []), (State.UNKNOWN, ["a"])])
async def test_a_call_is_owned_until_it_has_ended(redis_client: Redis, state: State, unknown: list[str]) -> None:
    rig = Rig(redis_client)
    await rig.store.claim(write(), "r1/1", LEASE)
    assert await rig.indexes() == {"unknown": [], "leases": ["a"], "latest": []}
    await rig.store.settle(UP, [told(state)])
    assert await rig.indexes() == {"unknown": unknown, "leases": [], "latest": ["a"]}


async def test_a_dead_call_is_unknown_and_nobody_s(redis_client: Redis) -> None:
    rig = Rig(redis_client)
    await rig.store.claim(write(), "dead/1", 0.0)
    await asyncio.sleep(0.003)
    await rig.store.count(UP)
    assert await rig.indexes() == {"unknown": ["a"], "leases": [], "latest": []}


async def test_what_is_resolved_is_unknown_no_more(redis_client: Redis) -> None:
    rig = Rig(redis_client)
    await rig.ended(State.UNKNOWN)
    await rig.store.settle(UP, [told(State.FINAL, "r9/1")])
    assert (await rig.indexes())["unknown"] == []


async def test_what_is_forgotten_for_lack_of_room_is_in_no_index(redis_client: Redis) -> None:
    rig = Rig(redis_client, most_unknown=1)
    await rig.ended(State.UNKNOWN, "a")
    await rig.store.claim(write("a"), "r2/1", LEASE)
    await asyncio.sleep(0.003)
    await rig.ended(State.UNKNOWN, "b")
    assert await rig.indexes() == {"unknown": ["b"], "leases": [], "latest": ["b"]}
    assert await rig.entries() == ["b"]


async def test_what_has_expired_is_taken_out_of_the_list_by_its_next_reader(redis_client: Redis) -> None:
    rig = Rig(redis_client)
    await rig.ended(State.FINAL)
    await asyncio.sleep(RETENTION + 0.05)
    assert await rig.entries() == []
    assert (await rig.indexes())["latest"] == ["a"]
    assert list(await rig.store.entries(UP, None, 9)) == []
    assert (await rig.indexes())["latest"] == []


async def test_the_latest_are_listed_by_when_they_were_heard_of_last(redis_client: Redis) -> None:
    rig = Rig(redis_client)
    for id_ in "ab":
        await rig.ended(State.UNKNOWN, id_)
        await asyncio.sleep(0.003)
    await rig.store.settle(UP, [told(State.UNKNOWN, "r9/1", id_="a")])
    assert await rig.indexes() == {"unknown": ["a", "b"], "leases": [], "latest": ["b", "a"]}


async def test_a_restored_one_is_unknown_and_listed(redis_client: Redis) -> None:
    rig = Rig(redis_client)
    await rig.store.restore(UP, [told(State.UNKNOWN)])
    assert await rig.indexes() == {"unknown": ["a"], "leases": [], "latest": ["a"]}


async def test_only_who_writes_marks_the_beginning(redis_client: Redis) -> None:
    rig = Rig(redis_client)
    assert (await rig.store.count(UP)).began == ""
    began = (await rig.store.restore(UP, [])).tracked.began
    assert began != ""
    await asyncio.sleep(0.003)
    assert (await rig.store.claim(write(), "r1/1", LEASE)).tracked.began == began
    await redis_client.flushall()
    assert (await rig.store.settle(UP, [])).began not in {began, ""}
