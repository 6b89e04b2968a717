"""The provider's books: charges, first answers under their keys, keys in flight, arrivals.

Every state change of a key is here, and none of them awaits, so no request can see half of one.
"""

import hashlib
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from mock_provider.journal import Charge, Entry, Journal
from mock_provider.order import Order


class Refusal(Enum):
    """Why a key cannot be used now."""

    IN_FLIGHT = auto()
    OTHER_BODY = auto()


def fingerprint(body: bytes) -> bytes:
    """Return what decides whether two bodies under one key are the same: their very bytes."""
    return hashlib.sha256(body).digest()


class Ledger:
    """Remember every charge, and answer each key once."""

    def __init__(self, *, now: Callable[[], float], new_id: Callable[[], str], journal: Journal | None = None) -> None:
        """Continue the books in `journal`, or keep them in memory only."""
        self._now = now
        self._new_id = new_id
        self._journal = journal
        self._in_flight = 0
        self._max_in_flight = 0
        self._held: dict[str, bytes] = {}
        self._forget()
        for entry in journal.entries() if journal else ():
            self._remember(entry)

    def enter(self) -> None:
        """Count one request's arrival; `leave` must follow."""
        self._arrivals += 1
        self._in_flight += 1
        self._max_in_flight = max(self._max_in_flight, self._in_flight)

    def leave(self) -> None:
        """Count one request's end."""
        self._in_flight -= 1

    def claim(self, key: str, mark: bytes) -> Entry | Refusal | None:
        """Return the stored first answer, why there can be none now, or None: held, `release` must follow."""
        if entry := self._entries.get(key):
            return entry if entry.mark == mark else Refusal.OTHER_BODY
        if held := self._held.get(key):
            return Refusal.IN_FLIGHT if held == mark else Refusal.OTHER_BODY
        self._held[key] = mark
        return None

    def release(self, key: str) -> None:
        """Take a claimed key out of flight; what was settled under it stays."""
        del self._held[key]

    def settle(self, order: Order, key: str | None = None, mark: bytes | None = None) -> Entry:
        """Charge or decline `order`, once and for all if it came under a key."""
        charge = None if order.declined else self._charge(order, key)
        entry = Entry(key, mark, charge)
        # First on disk: a charge the journal refused was never made.
        if self._journal and (charge or key is not None):
            self._journal.append(entry)
        self._remember(entry)
        return entry

    def find(self, charge_id: str) -> Charge | None:
        """Return the charge with that id."""
        return self._charges.get(charge_id)

    def clear(self) -> None:
        """Empty the books; keys in flight stay in flight."""
        if self._journal:
            self._journal.clear()
        self._forget()

    def document(self, *, summary: bool = False) -> dict[str, Any]:
        """Return the books as JSON takes them; a summary leaves the lists empty, however long they are."""
        charges = () if summary else self._charges.values()
        duplicates = () if summary else self._duplicates
        return {
            "charges": [charge.document() for charge in charges],
            "duplicates": [charge.document() for charge in duplicates],
            "arrivals": self._arrivals,
            "in_flight": self._in_flight,
            "max_in_flight": self._max_in_flight,
            "summary": {"charges": len(self._charges), "duplicates": len(self._duplicates)},
        }

    def _forget(self) -> None:
        self._arrivals = 0
        self._max_in_flight = self._in_flight
        self._charges: dict[str, Charge] = {}
        self._duplicates: list[Charge] = []
        self._entries: dict[str, Entry] = {}
        self._charged_keys: set[str] = set()
        self._charged_references: set[str] = set()

    def _charge(self, order: Order, key: str | None) -> Charge:
        return Charge(self._new_id(), key, order.reference, order.amount, order.currency, self._now())

    def _remember(self, entry: Entry) -> None:
        if entry.key is not None:
            self._entries.setdefault(entry.key, entry)
        if entry.charge:
            self._book(entry.charge)

    def _book(self, charge: Charge) -> None:
        if self._is_second(charge):
            self._duplicates.append(charge)
        self._charges[charge.id] = charge
        if charge.key is not None:
            self._charged_keys.add(charge.key)
        if charge.reference is not None:
            self._charged_references.add(charge.reference)

    def _is_second(self, charge: Charge) -> bool:
        # Without a key, an earlier charge of the reference counts whether it had a key or not:
        # a proxy that loses the key on its second attempt must not look innocent.
        if charge.key is not None:
            return charge.key in self._charged_keys
        return charge.reference is not None and charge.reference in self._charged_references
