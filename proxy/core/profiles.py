"""What a provider's API promises, as facts read from data: keys, safe methods, what its answers mean."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field

from proxy.core.config import Section
from proxy.core.units import Seconds

UNKNOWN_RETENTION_SECONDS = 3600.0
"""How long a key is trusted where the provider publishes no retention (payments.md section 6, row 24)."""


class AppliesTo(Section):
    """Methods and path patterns (`*` matches any run of characters) on which the provider honours a key."""

    methods: tuple[str, ...]
    paths: tuple[str, ...]

    def covers(self, method: str, path: str) -> bool:
        """Whether a request is one the provider protects by its key."""
        if method not in self.methods:
            return False
        return "*" in self.paths or any(fnmatchcase(path, pattern) for pattern in self.paths)


class KeyRule(Section):
    """Where the idempotency key travels, how long it is kept, and how the provider answers its misuse."""

    header: str
    applies_to: tuple[AppliesTo, ...]
    retention: Seconds | None = None
    in_flight_statuses: tuple[int, ...] = ()
    mismatch_statuses: tuple[int, ...] = ()

    @property
    def trusted_seconds(self) -> float:
        """Age up to which a key still makes a resend safe."""
        return UNKNOWN_RETENTION_SECONDS if self.retention is None else self.retention

    def covers(self, method: str, path: str) -> bool:
        """Whether a key on this request is honoured."""
        return any(rule.covers(method, path) for rule in self.applies_to)


class Profile(Section):
    """One provider's facts; policy over them is core/retry.py. Sources: payments.md and provider_profiles.yaml."""

    name: str
    source: str
    safe_methods: frozenset[str]
    key: KeyRule | None = None
    received_5xx_then_same_key: Literal["safe", "never"] = "never"
    decline_statuses: frozenset[int] = frozenset({402})
    max_retry_after: Annotated[Seconds, Field(gt=0)] = 60.0
