"""The fleet's memory on Redis: who is alive, what was spent on retries, what came of every attempt.

Buckets are named by wall time, so replicas' clocks are expected to agree within a second or so (NTP); only figures for
people and the retry budget depend on it, never the breaker.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from proxy.core.budget import Spent
from proxy.core.events import AttemptFinished
from proxy.edges.redis_client import nothing, within
from proxy.edges.redis_reply import listed, text, whole
from proxy.ports import Beat, FleetView

RESULT_BUCKET_SECONDS = 10
KEEP_SECONDS = 3700
ALIVE_SECONDS = 3.5
FORGET_SECONDS = 60


class RedisJournal:
    """Journal shared by all replicas; each sync is one pipeline."""

    def __init__(
        self,
        client: Redis,
        replica: str,
        budget_window: Mapping[str, float],
        *,
        prefix: str,
        timeout_seconds: float,
        log_length: int,
        log_ttl_seconds: float,
        wall: Callable[[], float],
    ) -> None:
        self._client = client
        self._replica = replica
        self._budget_window = budget_window
        self._prefix = prefix
        self._timeout = timeout_seconds
        self._log_length = log_length
        self._log_ttl = round(log_ttl_seconds)
        self._wall = wall

    async def sync(self, beat: Beat) -> FleetView:
        now = self._wall()
        pipe = self._client.pipeline(transaction=False)
        for upstream, spent in beat.spent.items():
            self._add_spending(pipe, upstream, spent, now)
        for upstream, results in beat.results.items():
            self._add_results(pipe, upstream, results, now)
        self._add_attempts(pipe, beat.attempts)
        self._add_presence(pipe, now)
        buckets = self._ask_spending(pipe, now)
        return await within(self._timeout, "sync", pipe.execute(), partial(self._understood, buckets))

    async def history(self, upstream: str, seconds: float) -> Mapping[str, int]:
        last = int(self._wall() // RESULT_BUCKET_SECONDS)
        pipe = self._client.pipeline(transaction=False)
        for bucket in range(last - int(seconds // RESULT_BUCKET_SECONDS) + 1, last + 1):
            pipe.hgetall(self._results_key(upstream, bucket))
        return await within(self._timeout, "history", pipe.execute(), _totals)

    async def goodbye(self) -> None:
        await within(self._timeout, "goodbye", self._client.zrem(f"{self._prefix}:replicas", self._replica), nothing)

    def _add_spending(self, pipe: Pipeline, upstream: str, spent: Spent, now: float) -> None:
        if spent == Spent():
            return
        key = self._budget_key(upstream, int(now))
        pipe.hincrby(key, "requests", spent.requests)
        pipe.hincrby(key, "retries", spent.retries)
        pipe.expire(key, round(self._budget_window[upstream]) + 5)

    def _add_results(self, pipe: Pipeline, upstream: str, results: Mapping[str, int], now: float) -> None:
        key = self._results_key(upstream, int(now // RESULT_BUCKET_SECONDS))
        for name, count in results.items():
            pipe.hincrby(key, name, count)
        pipe.expire(key, KEEP_SECONDS)

    def _add_attempts(self, pipe: Pipeline, attempts: tuple[tuple[float, AttemptFinished], ...]) -> None:
        """One stream entry a beat, holding its attempts: at full load that is ten commands a second, not thousands."""
        if not attempts or not self._log_length:
            return
        key = f"{self._prefix}:attempts"
        told = orjson.dumps([_told(at, attempt) for at, attempt in attempts])
        entry: dict[Any, Any] = {"replica": self._replica, "attempts": told}
        pipe.xadd(key, entry, maxlen=self._log_length, approximate=True)
        pipe.expire(key, self._log_ttl)

    def _add_presence(self, pipe: Pipeline, now: float) -> None:
        key = f"{self._prefix}:replicas"
        pipe.zadd(key, {self._replica: now})
        pipe.zremrangebyscore(key, "-inf", now - FORGET_SECONDS)

    def _ask_spending(self, pipe: Pipeline, now: float) -> list[str]:
        """Queue the questions; the upstream that each budget bucket asked for belongs to, in order."""
        pipe.zrangebyscore(f"{self._prefix}:replicas", now - ALIVE_SECONDS, "+inf")
        asked: list[str] = []
        for upstream, window in self._budget_window.items():
            for second in range(int(now) - math.ceil(window), int(now) + 1):  # a second too much rather than too little
                pipe.hmget(self._budget_key(upstream, second), "requests", "retries")
                asked.append(upstream)
        return asked

    def _understood(self, buckets: list[str], replies: Any) -> FleetView:
        replicas, *counts = listed(replies)[-len(buckets) - 1 :]
        spent = dict.fromkeys(self._budget_window, Spent())
        for upstream, count in zip(buckets, counts, strict=True):
            requests, retries = listed(count, 2)
            spent[upstream] += Spent(whole(requests or 0), whole(retries or 0))
        return FleetView(spent, tuple(sorted(text(name) for name in listed(replicas))))

    def _budget_key(self, upstream: str, second: int) -> str:
        return f"{self._prefix}:{{{upstream}}}:budget:{second}"

    def _results_key(self, upstream: str, bucket: int) -> str:
        return f"{self._prefix}:{{{upstream}}}:results:{bucket}"


def _totals(replies: Any) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for reply in listed(replies):
        total.update({text(name): whole(count) for name, count in reply.items()})
    return total


def _told(at: float, attempt: AttemptFinished) -> dict[str, Any]:
    return {
        "at": round(at, 3),
        "upstream": attempt.upstream,
        "request_id": attempt.request_id,
        "number": attempt.number,
        "result": attempt.row,
        "status": attempt.status,
        "ms": round(attempt.seconds * 1000, 1),
        "probe": attempt.probe,
        **({} if attempt.detail is None else {"detail": attempt.detail}),
    }
