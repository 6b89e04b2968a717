"""Idempotency keys as a profile states them."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from proxy.core.config import Positive, Switch, Whole
from proxy.core.evidence import Fact, Ground, inherit
from proxy.core.signs import HeaderName, Place, Sign, Status
from proxy.core.units import Seconds

UNKNOWN_RETENTION_SECONDS = 3600.0
"""How long a key is trusted where the provider publishes no retention (payments.md section 6, row 24)."""

After5xx = Literal["safe", "replays_stored_result", "only_with_hint", "reexecutes", "never"]
"""What the same key does after a *received* 5xx. Only `safe` makes every one of them worth another attempt."""
Unseen = Literal["safe", "unsafe"]
"""What the same key does after an answer that nobody saw, which may have been a 5xx."""
PlainKeyFact = Literal[
    "retention",
    "min_length",
    "max_length",
    "charset",
    "mandatory",
    "received_5xx_then_same_key",
    "unseen_then_same_key",
    "stores_declines",
    "timeout_wait",
    "in_flight_statuses",
    "in_flight_wait",
    "mismatch_statuses",
]

_DEVIOUS = re.compile(
    r"^(?!/)|//|[^\x21-\x7e]|[\\;#?]|/\.{1,2}(?:/|$)|%(?:2e|2f|5c|3b|23|3f|25|00|0a|0d|[^0-9a-f]|.[^0-9a-f]|.?$)",
    re.IGNORECASE,
)
"""Paths that a server may read as another one: it may decode, cut off, or walk up."""


def _character_class(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"expected a class of characters like [A-Za-z0-9_-]: {error}") from None
    return text


class AppliesTo(Fact):
    """Methods and path patterns (`*` matches any run of characters) on which the provider honours a key."""

    methods: tuple[str, ...]
    paths: tuple[str, ...]
    retention: Seconds | None = None
    """How long a key is kept on these paths, where that is not what the rule says."""

    @property
    def everywhere(self) -> bool:
        """Whether it does not matter at which path a request arrives."""
        return "*" in self.paths

    def covers(self, method: str, path: str) -> bool:
        """Whether a request is one the provider protects by its key."""
        if method not in self.methods:
            return False
        return self.everywhere or (not devious(path) and any(fnmatchcase(path, one) for one in self.paths))


def devious(path: str) -> bool:
    """Whether a server may read the path as another one."""
    return _DEVIOUS.search(path) is not None


class Marker(Fact):
    """A header field of an answer that is a replay of an earlier one; any `value` where none is named."""

    header: HeaderName
    value: str | None = None


class KeyRule(Fact):
    """Where the idempotency key travels, how long it is kept, and how the provider answers its misuse.

    A key in a `header` may be injected; one in the `body` is read, so that the request counts as keyed, and never
    written. `*_statuses` match whatever the body says; the signs beside them look into it.
    """

    grounds: dict[PlainKeyFact, Ground] = Field(default={})
    """Of single facts in here that are from somewhere else, or less sure, than the rest."""
    header: HeaderName | None = None
    body: tuple[Place, ...] = ()
    applies_to: tuple[AppliesTo, ...]
    retention: Seconds | None = None
    min_length: Annotated[Whole, Field(ge=1)] = 1
    max_length: Annotated[Whole, Field(ge=1)] | None = None
    charset: Annotated[str, AfterValidator(_character_class)] | None = None
    mandatory: Switch = False
    """The provider refuses a request without key; that is its answer to give, so none is injected."""
    received_5xx_then_same_key: After5xx | None = None
    """Where it is not what the profile says."""
    unseen_then_same_key: Unseen | None = None
    """Where it is not what the profile says."""
    stores_declines: Switch = False
    """A business no is kept under the key, so that one that comes back is the answer to every earlier attempt."""
    timeout_wait: Positive | None = None
    """How long to wait before the same key goes out again after an answer that did not come, or broke off."""
    in_flight_statuses: tuple[Status, ...] = ()
    in_flight: tuple[Sign, ...] = ()
    in_flight_429: tuple[Sign, ...] = ()
    """429s that mean "the same is being worked on" and not "too many" (payments.md section 6, row 15)."""
    in_flight_wait: Positive | None = None
    mismatch_statuses: tuple[Status, ...] = ()
    mismatch: tuple[Sign, ...] = ()
    replay_marker: Marker | None = None

    @model_validator(mode="before")
    @classmethod
    def _evidence(cls, tree: Any) -> Any:
        return inherit(tree, "applies_to", "in_flight", "in_flight_429", "mismatch", "replay_marker")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.header is None) == (not self.body):
            raise ValueError("expected either header (a field name) or body (places where the key may stand)")
        return self

    @property
    def in_flight_proven(self) -> bool:
        """Whether `in_flight_statuses` are known to mean it."""
        return self.is_proven("in_flight_statuses")

    @property
    def mismatch_proven(self) -> bool:
        """Whether `mismatch_statuses` are known to mean it."""
        return self.is_proven("mismatch_statuses")

    def is_proven(self, fact: PlainKeyFact) -> bool:
        """Whether a plain fact of this rule is more than assumed."""
        ground = self.grounds.get(fact)
        return self.proven if ground is None else ground.evidence != "assumed"
