"""The Lua scripts say what proxy/core/ledger.py says: the same random calls on both leave the same entries."""

from __future__ import annotations

import math
import random
import time

import pytest
from redis.asyncio import Redis

from proxy.core.ledger import FOLLOWS, Ground, State
from proxy.edges.memory_ledger import MemoryLedger
from proxy.edges.redis_ledger import RedisLedger
from proxy.ports import LedgerStore
from tests.ledger.entries import UP, told, write

BOUNDS = {"retention_seconds": 600.0, "most_unknown": 100}


async def act(store: LedgerStore, dice: random.Random) -> object:
    """One random operation; what it answered, but for times."""
    id_, owner = dice.choice("abc"), f"r/{dice.randrange(4)}"
    if dice.random() < 0.1:
        return await store.renew(UP, [(id_, owner), ("z", owner)], 60.0)
    if dice.random() < 0.1:
        restored = await store.restore(UP, [told(State.UNKNOWN, id_=one) for one in dice.sample("abc", 2)])
        return restored.missing, restored.resolved, restored.tracked.unknown
    if dice.random() < 0.4:
        lease = dice.choice([60.0, 0.0])  # 0: the owner is dead at once
        trusted = dice.choice([math.inf, 0.0])  # 0: the provider has forgotten the key
        answer = await store.claim(write(id_, body=dice.choice("xy")), owner, lease, trusted)
        prior = answer.prior
        known = prior and (prior.state, prior.ground, prior.status, prior.write.body)
        return answer.held, known, answer.tracked.unknown
    state = dice.choice([State.FINAL, State.UNKNOWN, State.NOT_SENT])
    one = told(state, owner, id_=id_, ground=dice.choice(list(Ground)), status=dice.choice([None, 201, 402]))
    tracked = await store.settle(UP, [one])
    return tracked.unknown, tracked.trimmed


async def picture(store: LedgerStore) -> list[object]:
    entries = [await store.entry(UP, id_) for id_ in "abc"]
    return [
        entry
        and (
            entry.write,
            entry.state,
            entry.owner,
            entry.lapsed,
            entry.calls,
            entry.attempts,
            entry.status,
            entry.ground,
        )
        for entry in entries
    ]


@pytest.mark.parametrize("seed", range(40))
async def test_both_stores_come_to_the_same(redis_client: Redis, seed: int) -> None:
    memory = MemoryLedger(time.time, **BOUNDS)  # type: ignore[arg-type]
    redis = RedisLedger(redis_client, prefix="t", timeout_seconds=2.0, **BOUNDS)  # type: ignore[arg-type]
    one, two = random.Random(seed), random.Random(seed)
    before: dict[str, State] = {}
    for _ in range(60):
        ours, theirs = await act(memory, one), await act(redis, two)
        assert ours == theirs
        seen = await picture(memory)
        assert seen == await picture(redis)
        for id_ in "abc":
            entry = await memory.entry(UP, id_)
            if entry is not None and id_ in before and before[id_] is not entry.state:
                steps = FOLLOWS[before[id_]]
                assert entry.state in steps | {step for other in steps for step in FOLLOWS[other]}
            if entry is not None:
                before[id_] = entry.state
