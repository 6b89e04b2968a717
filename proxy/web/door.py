"""How many client connections are open, and what becomes of those beyond the limit."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from proxy.core.descriptors import RESERVE


class Entry(Enum):
    """How a new connection is received."""

    SERVED = "served"
    HEARD = "heard"
    """Beyond the limit: it may ask for the control plane, a payment is answered 503."""
    TURNED_AWAY = "turned away"
    """Beyond the reserve as well: 503 without being heard."""


class Door:
    """Counts the connections of one listener; `most` gives the limit in force, `reserve` those heard beyond it."""

    def __init__(self, most: Callable[[], int], reserve: int = RESERVE) -> None:
        self._most = most
        self._reserve = reserve
        self.open = 0

    def enter(self) -> Entry:
        """Count one connection more."""
        self.open += 1
        most = self._most()
        if self.open <= most:
            return Entry.SERVED
        return Entry.HEARD if self.open <= most + self._reserve else Entry.TURNED_AWAY

    def leave(self) -> None:
        """Count one less."""
        self.open -= 1
