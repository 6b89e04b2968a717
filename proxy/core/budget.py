"""The retry budget: a share of the fleet's requests, held locally so that asking it costs no round trip.

At every sync a replica learns the fleet's totals and takes an equal share of what is left; between syncs it spends
only that share, plus the ratio of the requests it has seen itself. So the fleet as a whole cannot overspend.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.core.config import RetryBudget


@dataclass(frozen=True, slots=True)
class Spent:
    """Requests and retries over a time; waiting retries are already counted."""

    requests: int = 0
    retries: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.requests + other.requests, self.retries + other.retries)


class Budget:
    """One upstream's retry budget as this replica holds it."""

    def __init__(self, policy: RetryBudget) -> None:
        self._policy = policy
        self._share = policy.min_per_second * policy.window
        self._since_sync = Spent()
        self._in_sync = Spent()
        self.fleet = Spent()

    @property
    def left(self) -> float:
        """Retries this replica may still start before the next sync."""
        mine = self._since_sync + self._in_sync
        return self._share + self._policy.ratio * mine.requests - mine.retries

    def request(self) -> None:
        """Count one payment."""
        self._since_sync = Spent(self._since_sync.requests + 1, self._since_sync.retries)

    def spend(self) -> bool:
        """Take one retry from the budget; False if there is none."""
        if self.left < 1:
            return False
        self._since_sync = Spent(self._since_sync.requests, self._since_sync.retries + 1)
        return True

    def report(self) -> Spent:
        """What was spent since the last report, to be told to the fleet; follow with `learn`."""
        self._in_sync, self._since_sync = self._in_sync + self._since_sync, Spent()
        return self._in_sync

    def learn(self, fleet: Spent, replicas: int) -> None:
        """Take a share of what the fleet (this replica's report included) has left over the window."""
        policy = self._policy
        allowed = policy.ratio * fleet.requests + policy.min_per_second * policy.window
        self._share = (allowed - fleet.retries) / max(1, replicas)
        self._in_sync = Spent()
        self.fleet = fleet
