"""What a provider's API promises, as facts read from data: keys, safe methods, what its answers mean.

Facts only; what is done about them is core/outcome.py and core/retry.py. docs/profiles.md explains every key.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from proxy.core.config import Positive, Section, Switch, Whole
from proxy.core.envelopes import Envelope
from proxy.core.hosts import HostPattern
from proxy.core.model import Payment, header
from proxy.core.reading import Document
from proxy.core.signs import HeaderName, Place, Sign, Status
from proxy.core.units import Seconds

UNKNOWN_RETENTION_SECONDS = 3600.0
"""How long a key is trusted where the provider publishes no retention (payments.md section 6, row 24)."""

After5xx = Literal["safe", "replays_stored_result", "only_with_hint", "reexecutes", "never"]
"""What the same key does after a *received* 5xx. Only `safe` makes every one of them worth another attempt."""

_DEVIOUS = re.compile(r"//|\\|/\.{1,2}(?:/|$)|%(?:2e|2f|5c)", re.IGNORECASE)
"""Paths that a server may read as another one."""


def _character_class(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"expected a class of characters like [A-Za-z0-9_-]: {error}") from None
    return text


class AppliesTo(Section):
    """Methods and path patterns (`*` matches any run of characters) on which the provider honours a key."""

    methods: tuple[str, ...]
    paths: tuple[str, ...]
    retention: Seconds | None = None
    """How long a key is kept on these paths, where that is not what the rule says."""

    def covers(self, method: str, path: str) -> bool:
        """Whether a request is one the provider protects by its key."""
        if method not in self.methods:
            return False
        if "*" in self.paths:
            return True
        return _DEVIOUS.search(path) is None and any(fnmatchcase(path, pattern) for pattern in self.paths)


class Marker(Section):
    """A header field of an answer that is a replay of an earlier one; any `value` where none is named."""

    header: HeaderName
    value: str | None = None


class KeyRule(Section):
    """Where the idempotency key travels, how long it is kept, and how the provider answers its misuse.

    A key in a `header` may be injected; one in the `body` is read, so that the request counts as keyed, and never
    written. `*_statuses` match whatever the body says; the signs beside them look into it.
    """

    source: str | None = None
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
    timeout_wait: Positive | None = None
    """How long to wait before the same key goes out again after a timeout."""
    in_flight_statuses: tuple[Status, ...] = ()
    in_flight: tuple[Sign, ...] = ()
    in_flight_429: tuple[Sign, ...] = ()
    """429s that mean "the same is being worked on" and not "too many" (payments.md section 6, row 15)."""
    in_flight_wait: Positive | None = None
    mismatch_statuses: tuple[Status, ...] = ()
    mismatch: tuple[Sign, ...] = ()
    replay_marker: Marker | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.header is None) == (not self.body):
            raise ValueError("expected either header (a field name) or body (places where the key may stand)")
        return self

    @property
    def trusted_seconds(self) -> float:
        """Age up to which a key still makes a resend safe."""
        return UNKNOWN_RETENTION_SECONDS if self.retention is None else self.retention

    def covers(self, method: str, path: str) -> bool:
        """Whether a key on this request is honoured."""
        return any(rule.covers(method, path) for rule in self.applies_to)

    def on(self, method: str, path: str) -> KeyRule | None:
        """The rule as it stands for this request; None where it does not apply."""
        scope = next((one for one in self.applies_to if one.covers(method, path)), None)
        if scope is None:
            return None
        return self if scope.retention is None else self.model_copy(update={"retention": scope.retention})

    def key_of(self, payment: Payment) -> bytes | None:
        """The client's key as it sent it; None if it sent none, or more than one within the body."""
        if self.header is not None:
            return header(payment.headers, self.header.lower().encode())
        document = Document(payment.body, payment.headers)
        keys = {key for place in self.body for key in place.values_in(document)}
        return keys.pop().encode("utf-8", "surrogatepass") if len(keys) == 1 else None

    def honours(self, key: bytes) -> bool:
        """Whether the provider takes this key for one; what it would refuse, or cut off, protects nothing."""
        if not key.strip() or len(key) < self.min_length or len(key) > (self.max_length or len(key)):
            return False
        return self.charset is None or re.fullmatch(f"(?:{self.charset})*", key.decode("latin-1")) is not None


class Hint(Section):
    """A header field by which the provider itself says whether to try again. Absent, or another value: no hint."""

    source: str | None = None
    header: HeaderName
    on_true: Literal["retry_same_key", "retry_without_key_too"] = "retry_same_key"
    """`retry_without_key_too`: true also says that nothing was carried out."""
    on_false: Literal["stop"] = "stop"


class WaitHeader(Section):
    """A header field of a rate limiter's answer that says how long to wait, besides `Retry-After`."""

    header: HeaderName
    unit: Literal["seconds", "milliseconds", "epoch", "date"]


class RateLimit(Section):
    """What else than a 429 is a rate limit, and where it tells the wait."""

    source: str | None = None
    signs: tuple[Sign, ...] = ()
    wait_headers: tuple[WaitHeader, ...] = ()


class Profile(Section):
    """One provider's facts; policy over them is core/retry.py. Sources: payments.md and provider_profiles.yaml."""

    name: str
    source: str
    hosts: tuple[HostPattern, ...] = ()
    """Where this provider's API is; under another profile than this one such a host is warned about."""
    safe_methods: frozenset[str]
    key: KeyRule | None = None
    more_keys: tuple[KeyRule, ...] = ()
    """Further rules, for a provider with another key for another call."""
    received_5xx_then_same_key: After5xx = "never"
    hint: Hint | None = None
    decline_statuses: frozenset[Status] = frozenset({402})
    declines: tuple[Sign, ...] = ()
    duplicates: tuple[Sign, ...] = ()
    """Refusals because the same payment seems to exist: they say nothing of what an earlier attempt did."""
    conflict_replays: tuple[Sign, ...] = ()
    """Refusals that are the earlier result of the same key (GoCardless)."""
    provider_failures: tuple[Sign, ...] = ()
    """Answers below 500 that are the provider's own failure."""
    method_outage_statuses: frozenset[Status] = frozenset()
    """5xx of one payment method's supplier: the breaker, which covers all methods, does not learn from them."""
    rate_limit: RateLimit = RateLimit()
    request_id_headers: tuple[HeaderName, ...] = ()
    client_reference_fields: tuple[str, ...] = ()
    """Fields of a request by which its payment can be found again at the provider."""
    envelope: Envelope | None = None
    max_retry_after: Annotated[Seconds, Field(gt=0)] = 60.0

    def rule_for(self, method: str, path: str) -> KeyRule | None:
        """The key rule of this request; None where the provider honours no key."""
        rules = (self.key, *self.more_keys) if self.key is not None else self.more_keys
        return next((found for rule in rules if rule is not None and (found := rule.on(method, path))), None)

    def after_5xx(self, rule: KeyRule | None) -> After5xx:
        """What the same key does after a received 5xx, by the rule if it says so."""
        own = None if rule is None else rule.received_5xx_then_same_key
        return own or self.received_5xx_then_same_key
