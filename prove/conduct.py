"""What Holdfast itself sent: when, where, how often, and under which key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from prove.docket import Docket, Seen
from prove.market import BY_NAME, Place
from prove.misfortune import Fault
from prove.story import Arrival, Move, Payment, Try
from prove.tongues import FAILED, UNAVAILABLE

RESENT = "sent again after what forbids it"
KEYLESS_TWICE = "a write without a key sent twice"
TWO_KEYS = "attempts of one payment under different keys"
TOGETHER = "two requests of one key at the provider at once"
MOVED_ON = "sent to the second provider what was the first one's"
AFTER_END = "arrived after its replica's end"
CONDUCT_RULES = (RESENT, KEYLESS_TWICE, TWO_KEYS, TOGETHER, MOVED_ON, AFTER_END)

SLACK_SECONDS = 0.5
OVERLAP_SECONDS = 0.25
"""Less than this is two connections' news read in one turn, not two requests at once."""
LONGEST_CALL_SECONDS = 10.0

Told = Iterator[tuple[str, str]]
REST_SECONDS = 30.0
"""After so long Checkout.com lets the same key come again when there was no answer."""


def of_conduct(payment: Payment, docket: Docket, move: Move) -> Told:
    """All rules of this file for one payment."""
    for one in payment.tries:
        arrivals = docket.evidence.arrivals.get(one.mark, ())
        yield from _of_attempts(payment, one, arrivals)
        yield from _of_end(one, arrivals, docket)
        yield from _of_move(one, arrivals, move)
    for identity in {docket.identity(payment, one) for one in payment.tries}:
        yield from _together(docket.seen.get(identity, []), docket)


def _of_attempts(payment: Payment, one: Try, arrivals: Sequence[Arrival]) -> Told:
    keys = {arrival.key for arrival in arrivals}
    if len(keys) > 1:
        yield TWO_KEYS, f"keys {sorted(map(str, keys))}: {one}"
    if len(arrivals) > 1 and None in keys:
        yield KEYLESS_TWICE, str(one)
    place = BY_NAME.get(payment.place)
    for before, after in pairwise(arrivals):
        if place is not None and forbids(place, before, after.at - before.at):
            yield RESENT, f"{before.fault} at {before.at:.3f}, again at {after.at:.3f}: {one}"


def forbids(place: Place, before: Arrival, seconds: float) -> bool:
    """Whether the provider's own words forbid the same key so many seconds after this: it may be executed again.

    A 5xx counts whether its body was whole or not. Where only a 2xx is kept, an answer that nobody saw may have been
    any, so silence counts as well.
    """
    failed, unavailable = before.status == FAILED.status, before.status == UNAVAILABLE.status
    match place.profile:
        case "checkout_com":
            return failed or unavailable or (before.status == 0 and seconds < REST_SECONDS)
        case "adyen":
            return failed or (unavailable and before.fault != Fault.UNAVAILABLE_HINT)
        case "stripe":
            return failed
        case _:
            return False


def _of_end(one: Try, arrivals: Sequence[Arrival], docket: Docket) -> Told:
    for kill in docket.kills:
        if kill.replica != one.replica or one.started > kill.at:
            continue
        for late in (arrival for arrival in arrivals if arrival.at > kill.end + SLACK_SECONDS):
            yield AFTER_END, f"arrived at {late.at:.3f}, ended at {kill.end:.3f}: {one}"


def _of_move(one: Try, arrivals: Sequence[Arrival], move: Move) -> Told:
    providers = {arrival.provider for arrival in arrivals}
    early = one.started < move.at - SLACK_SECONDS and 2 in providers  # noqa: PLR2004
    if len(providers) > 1 or early:
        yield MOVED_ON, f"SIGHUP at {move.at:.3f}: {one}"


def _together(seen: Sequence[Seen], docket: Docket) -> Told:
    """A key that nobody honours protects nothing, so that there is nothing to keep apart."""
    for first, second in pairwise(seen):
        apart = first.arrival.left - OVERLAP_SECONDS
        if second.arrival.at < apart and not _alone(first, second, docket):
            yield TOGETHER, f"{first.mark} {first.arrival.at:.3f}-{first.arrival.left:.3f}, {second.mark}"


def _alone(first: Seen, second: Seen, docket: Docket) -> bool:
    """Whether the second could not know of the first: its replica was dead, or the store that tells was away."""
    one = docket.tries.get(first.mark)
    dead = one is not None and any(
        kill.replica == one.replica and first.arrival.at <= kill.until and kill.at <= second.arrival.at
        for kill in docket.kills
    )
    since = first.arrival.at - LONGEST_CALL_SECONDS
    asked = not any(docket.could_not_ask(each, since, second.arrival.at) for each in (first, second))
    return dead or first.arrival.left == float("inf") or not asked
