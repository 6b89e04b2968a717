"""Asks Redis what it keeps and what it evicts. A user without the right to ask learns less, and that is told."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from proxy.core.durability import StoreFacts
from proxy.edges.redis_client import within
from proxy.edges.redis_reply import listed, text


class RedisInspector:
    """The client belongs to the caller."""

    def __init__(self, client: Redis, timeout_seconds: float) -> None:
        self._client = client
        self._timeout = timeout_seconds

    async def facts(self) -> StoreFacts:
        """What it says now. StoreUnavailable if it cannot answer in time."""
        pipe = self._client.pipeline(transaction=False)
        pipe.execute_command("INFO", "persistence")
        pipe.execute_command("INFO", "memory")
        pipe.execute_command("CONFIG", "GET", "appendfsync")
        pipe.execute_command("CONFIG", "GET", "save")
        return await within(self._timeout, "inspect", pipe.execute(raise_on_error=False), _facts)


def _facts(replies: Any) -> StoreFacts:
    persistence, memory, fsync, save = listed(replies, 4)
    kept, room = _section(persistence), _section(memory)
    snapshots = _setting(save)
    return StoreFacts(
        append_only=None if "aof_enabled" not in kept else kept["aof_enabled"] == 1,
        append_works=None if "aof_last_write_status" not in kept else kept["aof_last_write_status"] == "ok",
        append_fsync=_setting(fsync),
        snapshots=None if snapshots is None else snapshots != "",
        max_memory=room["maxmemory"] if isinstance(room.get("maxmemory"), int) else None,
        eviction=str(room["maxmemory_policy"]) if "maxmemory_policy" in room else None,
    )


def _section(reply: Any) -> dict[str, Any]:
    """A section of INFO; empty where it is refused."""
    if _refused(reply):
        return {}
    if not isinstance(reply, dict):
        raise TypeError("expected a section of INFO")
    return reply


def _setting(reply: Any) -> str | None:
    """The value CONFIG GET gives; None where it is refused, or there is no such setting."""
    if _refused(reply) or not (pair := listed(reply)):
        return None
    return text(listed(pair, 2)[1])


def _refused(reply: Any) -> bool:
    """Whether this user, or this kind of server, gets no answer to such a question. Any other error is raised."""
    if not isinstance(reply, Exception):
        return False
    if isinstance(reply, NoPermissionError) or (isinstance(reply, ResponseError) and "unknown" in str(reply).lower()):
        return True
    raise reply
