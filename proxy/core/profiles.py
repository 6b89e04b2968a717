"""What a provider's API promises, as facts read from data: keys, safe methods, what its answers mean.

Facts only; what is done about them is core/outcome.py and core/retry.py. docs/profiles.md explains every key.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from proxy.core.config import Section
from proxy.core.envelopes import Envelope
from proxy.core.evidence import DEFAULT, Evidence, Fact, Ground, inherit
from proxy.core.hosts import HostPattern
from proxy.core.key_rules import After5xx, AppliesTo, KeyRule, Unseen, devious
from proxy.core.key_terms import KeyTerms
from proxy.core.model import SAFE_METHODS
from proxy.core.signs import HeaderName, Sign, Status
from proxy.core.units import Seconds

PlainFact = Literal[
    "safe_methods",
    "received_5xx_then_same_key",
    "unseen_then_same_key",
    "decline_statuses",
    "method_outage_statuses",
    "request_id_headers",
    "client_reference_fields",
    "max_retry_after",
]
_SAFE_UNSEEN: frozenset[After5xx] = frozenset({"safe", "replays_stored_result"})


class Hint(Fact):
    """A header field by which the provider itself says whether to try again. Absent, or another value: no hint."""

    header: HeaderName
    on_true: Literal["retry_same_key", "retry_without_key_too"] = "retry_same_key"
    """`retry_without_key_too`: true also says that nothing was carried out."""
    on_false: Literal["stop"] = "stop"


class WaitHeader(Section):
    """A header field of a rate limiter's answer that says how long to wait, besides `Retry-After`."""

    header: HeaderName
    unit: Literal["seconds", "milliseconds", "epoch", "date"]


class RateLimit(Fact):
    """What else than a 429 is a rate limit, and where it tells the wait."""

    signs: tuple[Sign, ...] = ()
    wait_headers: tuple[WaitHeader, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _evidence(cls, tree: Any) -> Any:
        return inherit(tree, "signs")


class Profile(Section):
    """One provider's facts; policy over them is core/retry.py. Sources: payments.md and provider_profiles.yaml."""

    name: str
    source: str
    hosts: tuple[HostPattern, ...] = ()
    """Where this provider's API is; under another profile than this one such a host is warned about."""
    evidence: Evidence = DEFAULT
    """How sure the facts in here are that do not say it of themselves."""
    grounds: dict[PlainFact, Ground] = Field(default={})
    """Of single facts in here: where they are from and how sure they are."""
    safe_methods: frozenset[str]
    key: KeyRule | None = None
    more_keys: tuple[KeyRule, ...] = ()
    """Further rules, for a provider with another key for another call."""
    received_5xx_then_same_key: After5xx = "never"
    unseen_then_same_key: Unseen | None = None
    """The same key after an answer that nobody saw. None: `safe` where it is so after every 5xx, or replays it."""
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
    rate_limit: RateLimit = RateLimit(evidence="assumed")
    """None stated: nothing is known of what a limiter lets through before it says no."""
    request_id_headers: tuple[HeaderName, ...] = ()
    client_reference_fields: tuple[str, ...] = ()
    """Fields of a request by which its payment can be found again at the provider."""
    envelope: Envelope | None = None
    max_retry_after: Annotated[Seconds, Field(gt=0)] = 60.0

    @model_validator(mode="before")
    @classmethod
    def _evidence(cls, tree: Any) -> Any:
        lists = ("more_keys", "declines", "duplicates", "conflict_replays", "provider_failures")
        return inherit(tree, "key", "hint", "rate_limit", "envelope", *lists)

    @model_validator(mode="after")
    def _unseen_as_seen(self) -> Self:
        for rule in self._rules:
            own = rule.received_5xx_then_same_key
            claims = rule.unseen_then_same_key or (self.unseen_then_same_key if own is None else None)
            if claims == "safe" and (own or self.received_5xx_then_same_key) == "reexecutes":
                raise ValueError(
                    "unseen_then_same_key cannot be safe where a 5xx makes the same key pay anew (reexecutes): "
                    "an answer that nobody saw may have been one"
                )
        return self

    @property
    def _rules(self) -> tuple[KeyRule, ...]:
        return (*(() if self.key is None else (self.key,)), *self.more_keys)

    @cached_property
    def terms(self) -> tuple[KeyTerms, ...]:
        """What is promised of keys, place by place; a place where that is only assumed is left out."""
        return tuple(
            self._terms_of(rule, scope)
            for rule in self._rules
            if rule.proven
            for scope in rule.applies_to
            if scope.proven
        )

    def terms_for(self, method: str, path: str) -> KeyTerms | None:
        """What is promised of the key of this request; None where the provider honours none.

        A path that a server may read as another one is covered only where no path makes a difference.
        """
        if devious(path) and not all(one.scope.everywhere for one in self.terms):
            return None
        return next((one for one in self.terms if one.scope.covers(method, path)), None)

    def _terms_of(self, rule: KeyRule, scope: AppliesTo) -> KeyTerms:
        after = self._after_5xx(rule)
        return KeyTerms(rule, scope, after, self._unseen_safe(rule, after), limiter_proven=self.rate_limit.proven)

    def _after_5xx(self, rule: KeyRule) -> After5xx:
        if rule.received_5xx_then_same_key is not None:
            return rule.received_5xx_then_same_key if rule.is_proven("received_5xx_then_same_key") else "never"
        return self.received_5xx_then_same_key if self.is_proven("received_5xx_then_same_key") else "never"

    def _unseen_safe(self, rule: KeyRule, after: After5xx) -> bool:
        if rule.unseen_then_same_key is not None:
            return rule.unseen_then_same_key == "safe" and rule.is_proven("unseen_then_same_key")
        if self.unseen_then_same_key is not None and rule.received_5xx_then_same_key is None:
            return self.unseen_then_same_key == "safe" and self.is_proven("unseen_then_same_key")
        return after in _SAFE_UNSEEN

    def is_proven(self, fact: PlainFact) -> bool:
        """Whether a plain fact of this profile is more than assumed."""
        ground = self.grounds.get(fact)
        return (self.evidence if ground is None else ground.evidence) != "assumed"

    def repeats_freely(self, method: str) -> bool:
        """Whether a request with this method may go out again whatever came back."""
        return method in self.safe_methods and (method in SAFE_METHODS or self.is_proven("safe_methods"))
