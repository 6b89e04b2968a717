"""For how long a host may be trusted to keep an idle connection, learnt from when it closed some."""

from __future__ import annotations

import math
from collections import deque

REMEMBERED = 16
"""Closings that are remembered, the latest ones."""
ENOUGH = 3
"""So many closings make a habit; fewer are chance."""
MARGIN = 0.8
"""Share of a host's habitual patience that is still safe to use."""
SHORTEST_SECONDS = 0.05
"""Where less than this would be safe, no idle connection is."""
FORGET_SECONDS = 600.0
ONE_EVENT_SECONDS = 0.005
"""Connections closed within this of each other were closed by one cause: a restart is not a habit."""


class KeepAlive:
    """What one host has taught about its idle connections. Times in seconds; `now` is monotonic.

    It closes one after `idle` seconds unannounced: from the third time on, nothing idle for as long is used. It keeps
    one for longer than it once did not: one such closing is forgotten, and so is each after ten minutes.
    """

    __slots__ = ("_closings", "_last")

    def __init__(self) -> None:
        self._closings: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)
        self._last = -math.inf

    def closed(self, idle: float, now: float) -> None:
        """The host closed a connection that had been idle for so long."""
        if now - self._last >= ONE_EVENT_SECONDS:
            self._closings.append((now, idle))
            self._last = now

    def kept(self, idle: float) -> None:
        """A connection that had been idle for so long was still good."""
        if not self._closings:
            return
        belied = next((closing for closing in self._closings if closing[1] <= idle), None)
        if belied is not None:
            self._closings.remove(belied)

    def safe_for(self, now: float) -> float:
        """Seconds for which an idle connection may be trusted; infinite while nothing speaks against it, 0: never."""
        if len(self._closings) < ENOUGH:
            return math.inf
        while self._closings and now - self._closings[0][0] >= FORGET_SECONDS:
            self._closings.popleft()
        if len(self._closings) < ENOUGH:
            return math.inf
        safe = MARGIN * sorted(idle for _, idle in self._closings)[ENOUGH - 1]
        return safe if safe >= SHORTEST_SECONDS else 0.0
