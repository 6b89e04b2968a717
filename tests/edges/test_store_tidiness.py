"""What the breaker leaves in Redis: nothing that does not go away by itself, and nothing that goes too early."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.asyncio import Redis

from proxy.core.breaker import Counts, HalfOpen, Record
from proxy.edges.redis_store import RedisBreakerStore
from proxy.ports import Tally

UP = "mock"
COUNTS, PROBES = "t:{mock}:counts", "t:{mock}:probes"


@pytest.fixture
def store(redis_client: Redis) -> RedisBreakerStore:
    return RedisBreakerStore(redis_client, prefix="t", timeout_seconds=2.0)


async def test_the_counts_of_a_quiet_upstream_outlive_their_window_by_a_bucket(
    store: RedisBreakerStore, redis_client: Redis
) -> None:
    await store.report(UP, 0, Tally(0, 1, 1), 30.0)
    assert 30.0 < await redis_client.pttl(COUNTS) / 1000 <= 33.0


async def test_a_window_too_short_for_ten_buckets_is_counted_all_the_same(store: RedisBreakerStore) -> None:
    assert (await store.report(UP, 0, Tally(0, 1, 1), 0.005)).counts == Counts(1, 1, 1)


async def test_the_counts_of_a_busy_one_hold_no_more_buckets_than_the_window_has(
    store: RedisBreakerStore, redis_client: Redis
) -> None:
    end = time.monotonic() + 0.4
    while time.monotonic() < end:
        await store.report(UP, 0, Tally(0, 1, 1), 0.1)
        await asyncio.sleep(0.003)
    assert await redis_client.hlen(COUNTS) <= 2 * 11


async def test_the_places_of_probers_that_died_go_away_once_their_leases_are_long_over(
    store: RedisBreakerStore, redis_client: Redis
) -> None:
    record = Record(1, HalfOpen(10.0), 1e9, 1, "because")
    await store.lease(UP, record, expected=0, owner="a", limit=1, seconds=20.0, window=30.0)
    assert 35.0 < await redis_client.pttl(PROBES) / 1000 <= 40.0
