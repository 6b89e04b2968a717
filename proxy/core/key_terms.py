"""The terms on which one request's key holds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxy.core.key_rules import UNKNOWN_RETENTION_SECONDS, After5xx, AppliesTo, KeyRule
from proxy.core.model import Payment
from proxy.core.reading import Document
from proxy.core.signs import Sign, Status


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a provider promises of the key of one request, with all that is only assumed taken out.

    Made by the profile alone, so that no rule of another call can be asked. Times are seconds.
    """

    rule: KeyRule
    scope: AppliesTo
    after_5xx: After5xx
    unseen_safe: bool
    """The same key is safe after an answer that nobody saw."""
    limiter_proven: bool
    """A 429 is known to come before anything is carried out."""

    @property
    def trusted_seconds(self) -> float:
        """Age up to which a key still makes a resend safe."""
        kept, proven = self.rule.retention, self.rule.is_proven("retention")
        if self.scope.retention is not None:
            kept, proven = self.scope.retention, self.scope.proven
        if kept is None:
            return UNKNOWN_RETENTION_SECONDS
        return kept if proven else min(kept, UNKNOWN_RETENTION_SECONDS)

    @property
    def header(self) -> str | None:
        """The field that carries the key; None where it stands in the body."""
        return self.rule.header

    @property
    def mandatory(self) -> bool:
        """Whether the provider refuses a request without key."""
        return self.rule.mandatory

    @property
    def stores_declines(self) -> bool:
        """Whether a decline is the result that the key stands for."""
        return self.rule.stores_declines and self.rule.is_proven("stores_declines")

    @property
    def timeout_wait(self) -> float:
        """How long the same key must rest after silence."""
        return self.rule.timeout_wait or 0.0

    @property
    def in_flight_wait(self) -> float:
        """How long it must rest while it is in flight."""
        return self.rule.in_flight_wait or 0.0

    @property
    def in_flight_statuses(self) -> tuple[Status, ...]:
        """Statuses that mean the same key is being worked on."""
        return self.rule.in_flight_statuses

    @property
    def in_flight_proven(self) -> bool:
        """Whether these statuses are known to mean it."""
        return self.rule.in_flight_proven

    @property
    def in_flight(self) -> tuple[Sign, ...]:
        """Signs that mean it."""
        return self.rule.in_flight

    @property
    def in_flight_429(self) -> tuple[Sign, ...]:
        """Signs of a 429 that mean it."""
        return self.rule.in_flight_429

    @property
    def mismatch_statuses(self) -> tuple[Status, ...]:
        """Statuses that mean the key was used for another body."""
        return self.rule.mismatch_statuses

    @property
    def mismatch_proven(self) -> bool:
        """Whether these statuses are known to mean it."""
        return self.rule.mismatch_proven

    @property
    def mismatch(self) -> tuple[Sign, ...]:
        """Signs that mean it."""
        return self.rule.mismatch

    def keys_of(self, payment: Payment) -> list[bytes]:
        """Every key of the client's, as it sent them: the field's lines, empty ones too, or what the body holds."""
        if self.rule.header is not None:
            name = self.rule.header.lower().encode()
            return [value for field, value in payment.headers if field.lower() == name]
        document = Document(payment.body, payment.headers)
        keys = {key for place in self.rule.body for key in place.values_in(document)}
        return [key.encode("utf-8", "surrogatepass") for key in keys]

    def honours(self, key: bytes) -> bool:
        """Whether the provider takes this key for one; what it would refuse, or cut off, protects nothing."""
        rule = self.rule
        if not key.strip() or len(key) < rule.min_length or len(key) > (rule.max_length or len(key)):
            return False
        return rule.charset is None or re.fullmatch(f"(?:{rule.charset})*", key.decode("latin-1")) is not None
