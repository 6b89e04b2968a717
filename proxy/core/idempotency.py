"""Which kind of request this is, and the key that makes a write repeatable."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from proxy.core.model import SAFE_METHODS, Kind, Payment

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.key_terms import KeyTerms
    from proxy.core.profiles import Profile

OVERRIDES = frozenset({b"x-http-method-override", b"x-http-method", b"x-method-override"})
"""Header fields by which many servers take a request for one with another method."""
OVERRIDE_PARAMETER = b"_method"
"""The same in the query."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """A payment with its kind settled; `injected` is the key we added, None if we added none.

    `rule` (the terms of its key) and `key` are what makes it KEYED, None for every other kind. `write`: it may change
    something, whatever the profile says of repeating it: every method but the safe ones of RFC 9110, and every request
    that asks to be taken for one with another method.
    """

    payment: Payment
    kind: Kind
    injected: str | None = None
    rule: KeyTerms | None = None
    key: bytes | None = None

    @property
    def clients_key(self) -> bool:
        """Whether it came with a key of the client's own, so that another call may come with the same."""
        return self.key is not None and self.injected is None

    @property
    def write(self) -> bool:
        """Whether it may change something at the provider."""
        return self.payment.method not in SAFE_METHODS or overridden(self.payment)


def settle_kind(
    payment: Payment, profile: Profile, *, inject: bool, new_key: Callable[[], str], base_path: bytes = b""
) -> Keyed:
    """Decide the kind once, before the first attempt; add a key where the profile honours one and the client sent none.

    The client's own key is never touched, and a body is never written to (payments.md section 6, rules 1 and 2).
    Whatever may be read in two ways has no kind that lets it go out again: several keys, a method that a field
    overrides, a path that a server may read as another. `base_path` is what stands before the target at the provider.
    """
    if overridden(payment):
        return Keyed(payment, Kind.UNKEYED)
    if payment.method in SAFE_METHODS:
        return Keyed(payment, Kind.READ if profile.repeats_freely(payment.method) else Kind.UNKEYED)
    terms = _terms(payment, profile, base_path)
    if terms is None:
        return Keyed(payment, Kind.READ if profile.repeats_freely(payment.method) else Kind.UNKEYED)
    given = terms.keys_of(payment)
    if given:  # what protects nothing is still not ours to change
        honoured = len(given) == 1 and terms.honours(given[0])
        return Keyed(payment, Kind.KEYED, None, terms, given[0]) if honoured else Keyed(payment, Kind.UNKEYED)
    if not inject or terms.header is None or terms.mandatory:
        return Keyed(payment, Kind.UNKEYED)
    return _with_key(payment, terms, terms.header, new_key())


def _terms(payment: Payment, profile: Profile, base_path: bytes) -> KeyTerms | None:
    """By the path as the client wrote it, or as it is at the provider, where the upstream's URL has a part of it."""
    path = payment.target.partition(b"?")[0]
    found = profile.terms_for(payment.method, path.decode("latin-1"))
    return found or (profile.terms_for(payment.method, (base_path + path).decode("latin-1")) if base_path else None)


def overridden(payment: Payment) -> bool:
    """Whether the request asks to be taken for one with another method than its own."""
    asked = [value for field, value in payment.headers if field.lower() in OVERRIDES]
    query = payment.target.partition(b"?")[2]
    if OVERRIDE_PARAMETER in query or b"%" in query:
        asked += [value for name, value in parse_qsl(query, keep_blank_values=True) if name == OVERRIDE_PARAMETER]
    return any(value.strip().upper() != payment.method.encode() for value in asked)


def _with_key(payment: Payment, terms: KeyTerms, name: str, value: str) -> Keyed:
    key = value.encode()
    if not terms.honours(key):
        return Keyed(payment, Kind.UNKEYED)
    line = (name.encode(), key)
    return Keyed(replace(payment, headers=(*payment.headers, line)), Kind.KEYED, value, terms, key)


def kind_at_age(kind: Kind, terms: KeyTerms | None, age_seconds: float) -> Kind:
    """A key older than the provider keeps it protects nothing: the write counts as unkeyed (row 24).

    `terms` is the request's own; a keyed request without any counts as unkeyed, too.
    """
    if kind is Kind.KEYED and (terms is None or age_seconds >= terms.trusted_seconds):
        return Kind.UNKEYED
    return kind
