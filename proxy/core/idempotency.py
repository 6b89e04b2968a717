"""Which kind of request this is, and the key that makes a write repeatable."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from proxy.core.model import Kind, Payment

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.profiles import KeyRule, Profile


SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


@dataclass(frozen=True, slots=True)
class Keyed:
    """A payment with its kind settled; `injected` is the key we added, None if we added none.

    `rule` and `key` are what makes it KEYED, None for every other kind.
    """

    payment: Payment
    kind: Kind
    injected: str | None = None
    rule: KeyRule | None = None
    key: bytes | None = None

    @property
    def clients_key(self) -> bool:
        """Whether it came with a key of the client's own, so that another call may come with the same."""
        return self.key is not None and self.injected is None

    @property
    def write(self) -> bool:
        """Whether the request may change something, however safe it is to repeat (RFC 9110 section 9.2.1)."""
        return self.payment.method not in SAFE_METHODS


def settle_kind(payment: Payment, profile: Profile, *, inject: bool, new_key: Callable[[], str]) -> Keyed:
    """Decide the kind once, before the first attempt; add a key where the profile honours one and the client sent none.

    The client's own key is never touched, and a body is never written to (payments.md section 6, rules 1 and 2).
    """
    if payment.method in profile.safe_methods:
        return Keyed(payment, Kind.READ)
    path = payment.target.partition(b"?")[0].decode("latin-1")
    rule = profile.rule_for(payment.method, path)
    if rule is None:
        return Keyed(payment, Kind.UNKEYED)
    given = rule.key_of(payment)
    if given is not None:  # one that protects nothing is still not ours to change
        honoured = rule.honours(given)
        return Keyed(payment, Kind.KEYED, None, rule, given) if honoured else Keyed(payment, Kind.UNKEYED)
    if not inject or rule.header is None or rule.mandatory:
        return Keyed(payment, Kind.UNKEYED)
    return _with_key(payment, rule, rule.header, new_key())


def _with_key(payment: Payment, rule: KeyRule, name: str, value: str) -> Keyed:
    key = value.encode()
    if not rule.honours(key):
        return Keyed(payment, Kind.UNKEYED)
    line = (name.encode(), key)
    return Keyed(replace(payment, headers=(*payment.headers, line)), Kind.KEYED, value, rule, key)


def kind_at_age(kind: Kind, profile: Profile, age_seconds: float, rule: KeyRule | None = None) -> Kind:
    """A key older than the provider keeps it protects nothing: the write counts as unkeyed (row 24).

    `rule` is the one in force for this request; without it, the profile's first.
    """
    rule = rule or profile.key
    if kind is Kind.KEYED and rule is not None and age_seconds >= rule.trusted_seconds:
        return Kind.UNKEYED
    return kind
