"""What was said of a payment, against what may have become of it; and who was invited to pay again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prove.docket import Docket, Seen
from prove.story import Payment, Try, Word

HIDDEN = "said not_sent with a charge made by that request"
ARRIVED = "said not_sent and it had arrived"
FORGOT = "said not_sent for a key that may have been charged"
BLIND = "said so of a client's own key while the ledger was away"
DENIED = "said final and no success with a charge"
HASTY = "said final, which settles nothing, for a key that may have been charged"
ABETTED = "a 5xx of its own for an injected key that may have been charged"
NOT_SENT_RULES = frozenset({HIDDEN, ARRIVED, FORGOT, BLIND})
WORD_RULES = (HIDDEN, ARRIVED, FORGOT, BLIND, DENIED, HASTY, ABETTED)

Told = Iterator[tuple[str, str]]
"""A broken rule, and what was seen of it."""


def of_words(payment: Payment, charges: Sequence[str], docket: Docket) -> Told:
    """All rules of this file, for each answer of a payment."""
    for one in payment.tries:
        if one.trouble is None:
            yield from _of_not_sent(payment, one, docket)
            yield from _of_final(payment, one, charges, docket)
            yield from _of_invitation(one)


def _of_not_sent(payment: Payment, one: Try, docket: Docket) -> Told:
    if one.outcome != Word.NOT_SENT:
        return
    if docket.evidence.arrivals.get(one.mark):
        yield (HIDDEN if one.mark in docket.evidence.charged_by.values() else ARRIVED), str(one)
        return
    if one.key is None:
        return
    # What came in while this was being answered may not have been known yet; what was before it must have been.
    yield from _of_doubts(FORGOT, payment, one, docket, one.started)


def _of_doubts(rule: str, payment: Payment, one: Try, docket: Docket, moment: float) -> Told:
    """`rule` is broken by a doubt that the ledger knew. Without it nobody knows, so that only `unknown` is true."""
    identity, blind = docket.identity(payment, one), "ledger" in one.degraded
    found = [*docket.doubts(identity, moment)] if blind else docket.known_doubts(identity, moment)
    found = [doubt for doubt in found if doubt.mark == one.mark or doubt.arrival.left <= one.started]
    if found:
        own = any(doubt.mark == one.mark for doubt in found)
        yield (BLIND if blind and not own else rule), f"{one}; {_seen(found)}"


def _of_final(payment: Payment, one: Try, charges: Sequence[str], docket: Docket) -> Told:
    if one.outcome != Word.FINAL or one.succeeded:
        return
    declined_yet_charged = one.status == 402 and charges  # noqa: PLR2004
    if declined_yet_charged or one.mark in docket.evidence.charged_by.values():
        yield DENIED, str(one)
        return
    if any(arrival.settles and arrival.status == one.status for arrival in docket.evidence.arrivals.get(one.mark, ())):
        return
    yield from _of_doubts(HASTY, payment, one, docket, one.ended)


def _of_invitation(one: Try) -> Told:
    """A client without a key of its own repeats a 5xx under a new one; 424 is what it does not repeat."""
    keyless = one.key is None and one.told_key is not None
    if keyless and one.ours and one.status >= 500 and one.outcome == Word.UNKNOWN:  # noqa: PLR2004
        yield ABETTED, str(one)


def _seen(doubts: Sequence[Seen]) -> str:
    last = doubts[-1]
    return f"{last.mark} arrived at {last.arrival.at:.3f}: {last.arrival.fault}"
