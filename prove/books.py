"""Holdfast's own ledger against the provider's, where the replicas have one (`GET /api/outcomes`).

The store is flushed and killed during a run, so entries may be missing; what is there must be true. A request's mark
is also its X-Request-Id, by which an entry names the call it speaks of.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prove.docket import Docket
from prove.market import PLACES
from prove.stage import Stage
from prove.story import Payment, Try, Word
from prove.verdict import Breach, Case

PATH = "/api/outcomes"
MOST = 1000
LEASE_SECONDS = 30.0
STATES = ("in_flight", "unknown", "not_sent", "final")

FINAL_UNCHARGED = "ledger says final success without a charge"
NOT_SENT_ARRIVED = "ledger says not_sent and it had arrived"
REFUSED_YET_OPEN = "ledger says final by a refusal, and the key may have been charged"
UNLISTED = "unknown to a client, and not in the ledger"
STILL_IN_FLIGHT = "ledger says in flight when all was over"
BOOK_RULES = (FINAL_UNCHARGED, NOT_SENT_ARRIVED, REFUSED_YET_OPEN, UNLISTED, STILL_IN_FLIGHT)


@dataclass(frozen=True, slots=True)
class Books:
    """What Holdfast's ledger held; `skipped` says why it could not be asked."""

    skipped: str | None = None
    figures: dict[str, int] = field(default_factory=dict)
    breaches: list[Breach] = field(default_factory=list)


async def compare_books(stage: Stage, case: Case, *, complete: bool) -> Books:
    """Hold Holdfast's ledger against the provider's. `complete`: the store was well, so no payment may be missing."""
    entries = await _entries(stage)
    if entries is None:
        return Books(skipped=f"these replicas have no {PATH}, or it is off")
    return Books(None, _figures(entries, case), judged(entries, case, complete=complete))


def judged(entries: list[Mapping[str, object]], case: Case, *, complete: bool) -> list[Breach]:
    """Every broken rule of this file. Pure."""
    docket = case.docket()
    found = [breach for entry in entries for breach in _of_entry(entry, case, docket)]
    return [*found, *_missing(entries, case, docket)] if complete else found


async def _entries(stage: Stage) -> list[Mapping[str, object]] | None:
    """The newest of every state, once no call is under way by the leases; None if there is no ledger to ask."""
    deadline = time.monotonic() + LEASE_SECONDS
    while True:
        lists = [await _of_state(stage, state, place.name) for place in PLACES for state in STATES]
        if not any(lists[:: len(STATES)]) or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.5)
    return None if None in lists else [entry for some in lists for entry in some or ()]


async def _of_state(stage: Stage, state: str, upstream: str) -> list[Mapping[str, object]] | None:
    document = await stage.get(stage.replicas[0], f"{PATH}?upstream={upstream}&state={state}&limit={MOST}")
    listed = document.get("outcomes") if isinstance(document, dict) else None
    return listed if isinstance(listed, list) else None


def _missing(entries: list[Mapping[str, object]], case: Case, docket: Docket) -> Iterator[Breach]:
    """Requests that are unknown to their client and in doubt by the provider, and that nobody could find in a list."""
    counts = Counter((entry.get("upstream"), entry.get("state")) for entry in entries)
    if any(number >= MOST for number in counts.values()):
        return  # more than can be listed, so that nothing can be said of what is not
    listed = {str(entry.get("request_id")) for entry in entries if entry.get("state") == "unknown"}
    for payment in case.payments:
        for identity, tries in _by_identity(payment, docket).items():
            doubts = docket.known_doubts(identity, math.inf)
            last = max(tries, key=lambda one: one.ended)
            if last.unknown and doubts and not listed & {one.mark for one in tries}:
                yield Breach(UNLISTED, payment.reference, f"{last}; {docket.evidence.of(doubts[-1].mark)}")


def _by_identity(payment: Payment, docket: Docket) -> dict[str, list[Try]]:
    found: dict[str, list[Try]] = defaultdict(list)
    for one in payment.tries:
        found[docket.identity(payment, one)].append(one)
    return found


def _of_entry(entry: Mapping[str, object], case: Case, docket: Docket) -> Iterator[Breach]:
    """What an entry says that the provider's side contradicts."""
    mark = str(entry.get("request_id"))
    reference = mark.partition("/")[0]  # its own field of the entry is where the profile looks for it
    state, status = entry.get("state"), entry.get("status")
    payment = next((each for each in case.payments if each.reference == reference), None)
    succeeded = isinstance(status, int) and 200 <= status < 300  # noqa: PLR2004
    declined = payment is not None and payment.declined
    if state == "final" and succeeded and not declined and reference not in case.charges_of():
        yield Breach(FINAL_UNCHARGED, reference, str(dict(entry)))
    if state == "not_sent" and case.evidence.arrivals.get(mark):
        yield Breach(NOT_SENT_ARRIVED, reference, str(dict(entry)))
    if state == "in_flight":
        yield Breach(STILL_IN_FLIGHT, reference, str(dict(entry)))
    one = docket.tries.get(mark)
    if state == "final" and not succeeded and payment is not None and one is not None:
        doubts = docket.known_doubts(docket.identity(payment, one), math.inf)
        if doubts:
            yield Breach(REFUSED_YET_OPEN, reference, f"{dict(entry)}; {docket.evidence.of(doubts[-1].mark)}")


def _figures(entries: list[Mapping[str, object]], case: Case) -> dict[str, int]:
    counts = Counter(str(entry.get("state")) for entry in entries)
    listed = _references(entries, "unknown")
    left = {payment.reference for payment in case.payments if payment.word() is Word.UNKNOWN}
    return {
        **{f"entries {state}": counts[state] for state in STATES},
        "unknown to a client, listed as unknown": len(left & listed),
        "listed as unknown, final to a client": len(listed - left),
        "unknown to a client, known to the ledger": len(left & _references(entries, "final")),
    }


def _references(entries: list[Mapping[str, object]], state: str) -> set[str]:
    return {str(entry.get("request_id")).partition("/")[0] for entry in entries if entry.get("state") == state}
