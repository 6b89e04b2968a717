"""Facts to build status documents from, with the ordinary as default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from proxy.core.breaker import Counts, Record
from proxy.core.budget import Spent
from proxy.core.config import Upstream
from proxy.core.status import BreakerFacts, Facts, UpstreamFacts

NOW = 1_700_000_000.0


def upstream(
    name: str = "mock",
    *,
    record: Record | None = None,
    history: Mapping[str, int] | None = None,
    spent: Spent | None = None,
    retries_left: float = 100.0,
    mode: str = "enforce",
) -> UpstreamFacts:
    config = {"name": name, "url": "http://127.0.0.1:4000", "breaker": {"mode": mode}}
    return UpstreamFacts(
        config=Upstream.model_validate(config),
        breaker=BreakerFacts(
            record=record or Record(), counts=Counts(2, 20, 7), window_seconds=30.0, now=NOW, age_seconds=0.25
        ),
        history=history or {},
        spent=spent or Spent(),
        retries_left=retries_left,
        in_flight=3,
    )


def facts(*upstreams: UpstreamFacts, **changes: Any) -> Facts:
    alone = Facts(
        replica="r1",
        version="1.2.3",
        started=NOW - 60.0,
        now=NOW,
        draining=False,
        shared=False,
        up=False,
        on_outage="local",
        replicas=(),
        window_seconds=600.0,
        upstreams=upstreams or (upstream(),),
    )
    return replace(alone, **changes)
