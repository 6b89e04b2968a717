"""What the store must keep for the ledger's promise, and what is unsafe about one that does not.

Facts in, warnings out; docs/redis.md says the same in prose. Sources: redis.io "Redis persistence" (what each setting
of `appendonly`, `appendfsync` and `save` may lose) and "Key eviction" (what each `maxmemory-policy` may take away).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Warnings = tuple[tuple[str, str], ...]
"""What is unsafe, and what mends it, in pairs."""

KEEP = "set appendonly yes and appendfsync everysec (or always)"
_SILENT = "let this user run INFO, or see to it that appendonly is yes and maxmemory-policy noeviction"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """What the store says of itself; None is what it would not say. `max_memory` is in bytes, 0: no limit."""

    append_only: bool | None = None
    append_works: bool | None = None
    append_fsync: str | None = None
    snapshots: bool | None = None
    max_memory: int | None = None
    eviction: str | None = None


def warnings_of(facts: StoreFacts | None) -> Warnings:
    """What may lose entries of the ledger; without facts there is no store but this process's memory."""
    return tuple(_unsafe(facts))


def _unsafe(facts: StoreFacts | None) -> Iterator[tuple[str, str]]:
    if facts is None:
        yield "the ledger lives in this process alone: unknown outcomes are forgotten when it ends", "set redis.url"
        return
    if facts.append_only is None:
        yield "whether the store keeps the ledger over a restart could not be checked", _SILENT
    elif not facts.append_only:
        yield _without_log(facts), KEEP
    else:
        yield from _of_log(facts)
    if facts.max_memory and facts.eviction not in {None, "noeviction"}:
        yield (
            f"the store evicts keys when its memory is full (maxmemory-policy {facts.eviction}): entries may vanish",
            "set maxmemory-policy noeviction, or give the ledger a store of its own",
        )


def _without_log(facts: StoreFacts) -> str:
    match facts.snapshots:
        case True:
            return "the store keeps only snapshots: a restart loses the unknown outcomes since the last one"
        case False:
            return "the store keeps nothing: a restart loses every unknown outcome"
        case None:
            return "the store keeps no append-only file: a restart loses unknown outcomes"


def _of_log(facts: StoreFacts) -> Iterator[tuple[str, str]]:
    if facts.append_works is False:
        yield "the store could not write its append-only file lately", "look at its disk and its log"
    if facts.append_fsync == "no":
        yield (
            "the store leaves it to the system when its append-only file reaches the disk (appendfsync no)",
            "set appendfsync everysec (or always)",
        )
