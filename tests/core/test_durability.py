"""What is unsafe about a store for the ledger, fact by fact."""

from __future__ import annotations

import pytest

from proxy.core.durability import StoreFacts, warnings_of

SAFE: dict[str, object] = {
    "append_only": True,
    "append_works": True,
    "append_fsync": "everysec",
    "snapshots": False,
    "max_memory": 0,
    "eviction": "noeviction",
}


def problems(**change: object) -> list[str]:
    return [problem for problem, _ in warnings_of(StoreFacts(**{**SAFE, **change}))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"append_fsync": "always"},
        {"append_fsync": None},  # CONFIG is refused, as managed ones do
        {"append_works": None},
        {"snapshots": True},
        {"max_memory": 1 << 30},
        {"eviction": "allkeys-lru"},  # nothing is evicted without a limit
        {"max_memory": None, "eviction": None},
    ],
)
def test_a_store_that_keeps_what_it_is_told_is_not_warned_about(change: dict[str, object]) -> None:
    assert problems(**change) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"append_only": False, "snapshots": False}, "keeps nothing"),
        ({"append_only": False, "snapshots": True}, "only snapshots"),
        ({"append_only": False, "snapshots": None}, "no append-only file"),
        ({"append_only": None}, "could not be checked"),
        ({"append_works": False}, "could not write"),
        ({"append_fsync": "no"}, "appendfsync no"),
        *(
            ({"max_memory": 1, "eviction": policy}, f"maxmemory-policy {policy}")
            for policy in ("allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-ttl")
        ),
    ],
)
def test_each_danger_is_one_warning_with_a_remedy(change: dict[str, object], says: str) -> None:
    (problem,) = problems(**change)
    assert says in problem
    ((_, remedy),) = warnings_of(StoreFacts(**{**SAFE, **change}))  # type: ignore[arg-type]
    assert remedy


def test_dangers_add_up() -> None:
    assert len(problems(append_only=False, max_memory=1, eviction="allkeys-lru")) == 2
    assert len(problems(append_works=False, append_fsync="no", max_memory=1, eviction="volatile-lru")) == 3


def test_a_ledger_without_a_store_is_warned_about() -> None:
    ((problem, remedy),) = warnings_of(None)
    assert "this process alone" in problem
    assert "redis.url" in remedy
