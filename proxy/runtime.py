"""What one configuration amounts to while it is in force. A reload makes a new one beside the old."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proxy.bookkeeper import Bookkeeper
from proxy.core.config import Config
from proxy.core.durability import Warnings
from proxy.core.routes import RouteTable
from proxy.fleet import Fleet
from proxy.forward import Forwarder


@dataclass(frozen=True, slots=True)
class Replica:
    """Who we are: a name unique in the fleet, our version, and when we started (seconds since 1970 UTC)."""

    id: str
    version: str
    started: float


@dataclass(frozen=True, slots=True)
class Runtime:
    """A configuration at work: its routes, the corridor of each upstream, and this replica's part in the fleet."""

    config: Config
    routes: RouteTable
    forwarders: Mapping[str, Forwarder]
    fleet: Fleet
    ledger: Bookkeeper | None = None
    unsafe: Callable[[], Warnings] = tuple
    """What is unsafe about the ledger's store, as last seen."""

    @property
    def books(self) -> list[str]:
        """Upstreams that the ledger may have entries of, those that a reload took away included."""
        return sorted({*self.forwarders, *(() if self.ledger is None else self.ledger.upstreams)})

    def unknown(self, upstream: str) -> int | None:
        """How many outcomes of an upstream are unknown; None where there is no ledger to ask."""
        return None if self.ledger is None else self.ledger.unknown(upstream)
