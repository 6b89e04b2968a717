"""The shapes of the control plane's smaller answers; the large ones are in core/status.py and core/overview.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from proxy.core.status import ReplicaStatus, StoreStatus, UpstreamStatus
from proxy.core.traffic import Traffic


@dataclass(frozen=True, slots=True)
class SummaryReply:
    """The last minutes in words, with the facts the words were made from. `traffic` is by upstream."""

    summary: str
    window_seconds: float
    generated_at: str
    traffic: dict[str, Traffic]
    replica: ReplicaStatus
    store: StoreStatus
    shared: bool
    replicas: tuple[str, ...]
    upstreams: dict[str, UpstreamStatus]


@dataclass(frozen=True, slots=True)
class Alive:
    """The process answers."""

    status: Literal["alive"]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether to send traffic here; a degraded replica is still ready."""

    status: Literal["ready", "draining"]
    degraded: Literal["breaker"] | None
