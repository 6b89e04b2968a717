"""Which kind of request this is, and the key that makes a write repeatable."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from proxy.core.model import Kind, Payment, header

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.profiles import Profile


@dataclass(frozen=True, slots=True)
class Keyed:
    """A payment with its kind settled; `injected` is the key we added, None if we added none."""

    payment: Payment
    kind: Kind
    injected: str | None = None


def settle_kind(payment: Payment, profile: Profile, *, inject: bool, new_key: Callable[[], str]) -> Keyed:
    """Decide the kind once, before the first attempt; add a key where the profile honours one and the client sent none.

    The client's own key is never touched (payments.md section 6, rules 1 and 2).
    """
    if payment.method in profile.safe_methods:
        return Keyed(payment, Kind.READ)
    key = profile.key
    path = payment.target.partition(b"?")[0].decode("latin-1")
    if key is None or not key.covers(payment.method, path):
        return Keyed(payment, Kind.UNKEYED)
    given = header(payment.headers, key.header.lower().encode())
    if given is not None:  # an empty one protects nothing, and is still not ours to change
        return Keyed(payment, Kind.KEYED if given.strip() else Kind.UNKEYED)
    if not inject:
        return Keyed(payment, Kind.UNKEYED)
    value = new_key()
    line = (key.header.encode(), value.encode())
    return Keyed(replace(payment, headers=(*payment.headers, line)), Kind.KEYED, value)


def kind_at_age(kind: Kind, profile: Profile, age_seconds: float) -> Kind:
    """A key older than the provider keeps it protects nothing: the write counts as unkeyed (row 24)."""
    if kind is Kind.KEYED and profile.key is not None and age_seconds >= profile.key.trusted_seconds:
        return Kind.UNKEYED
    return kind
