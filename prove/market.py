"""The providers that the clients pay at: one for each profile of the mix, with an upstream and a route of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

ATTEMPT_SECONDS, TOTAL_SECONDS = 0.5, 4.0
LEASE_SECONDS = 1.5
SLOW_SECONDS = 0.8
"""Longer than an attempt's patience: what comes next meets the first one in flight."""
PATIENT_SECONDS = 3.2
"""What the patient provider takes at times: more than two leases of the ledger."""
QUICK: Mapping[str, object] = MappingProxyType(
    {"connect": "300ms", "attempt": f"{ATTEMPT_SECONDS}s", "total": f"{TOTAL_SECONDS:g}s"}
)
UNHURRIED: Mapping[str, object] = MappingProxyType({"connect": "300ms", "attempt": "4s", "total": "6s"})
CREDENTIAL = "Bearer of the proof"


@dataclass(frozen=True, slots=True)
class Place:
    """One upstream of the mix. `honours`: a key protects here. `reexecutes`: only a stored 2xx does, nothing else."""

    name: str
    profile: str
    path: str
    key_header: str = "Idempotency-Key"
    honours: bool = True
    reexecutes: bool = False
    weight: int = 4
    """How often clients pay here, in proportion."""
    timeouts: Mapping[str, object] = field(default_factory=lambda: QUICK)


PLACES = (
    Place("checkout", "checkout_com", "/payments", "Cko-Idempotency-Key", reexecutes=True),
    Place("stripe", "stripe", "/v1/payment_intents"),
    Place("adyen", "adyen", "/v71/payments"),
    Place("generic", "generic", "/generic/payments", weight=5),
    Place("none", "none", "/none/payments", honours=False),
    Place("patient", "generic", "/patient/payments", weight=1, timeouts=UNHURRIED),
)
BY_NAME = {place.name: place for place in PLACES}
BY_PATH = {place.path: place for place in PLACES}
MOVED = frozenset({"adyen", "generic"})
"""Upstreams that SIGHUP sends to the second provider in the middle of the run."""
