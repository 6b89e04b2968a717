"""What happens to each arrival. Pure: the same seed and payment meet the same misfortunes, whatever the clock does."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from prove.codings import CODINGS


class Fault(StrEnum):
    """One arrival's misfortune; "after" is after the charge."""

    OK = "ok"
    SLOW = "slow"
    LIMITED = "limited"  # 429 before the key layer
    FORBIDDEN = "forbidden"  # 403, so too
    REFUSED = "refused"  # what this provider says to a malformed request
    UNAVAILABLE = "unavailable"  # 503 before the key layer
    UNAVAILABLE_HINT = "unavailable, with the hint to try again"
    RESET_BEFORE = "reset before"
    HANG_BEFORE = "hang before"
    FAILED_BEFORE = "500 before"
    FAILED_AFTER = "500 after"
    CUT_FAILED = "500 after, cut"
    STALLED_FAILED = "500 after, stalled"
    UNSEEN_FAILED = "500 after, unseen"
    RESET_AFTER = "reset after"
    HANG_AFTER = "hang after"
    CUT_AFTER = "success cut"
    JUNK = "junk"
    BUSY = "in flight within"  # its own front retried, and met the first try at work


AT_THE_EDGE = frozenset(
    {Fault.LIMITED, Fault.FORBIDDEN, Fault.REFUSED, Fault.UNAVAILABLE, Fault.UNAVAILABLE_HINT}
    | {Fault.RESET_BEFORE, Fault.HANG_BEFORE}
)
"""The key layer never hears of these."""
FAILED = frozenset(
    {Fault.FAILED_BEFORE, Fault.FAILED_AFTER, Fault.CUT_FAILED, Fault.STALLED_FAILED, Fault.UNSEEN_FAILED}
)
"""Executed, and ended in a 500."""
RESET = frozenset({Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.UNSEEN_FAILED})
HANG = frozenset({Fault.HANG_BEFORE, Fault.HANG_AFTER})

_LOST = (Fault.RESET_AFTER, Fault.HANG_AFTER, Fault.UNSEEN_FAILED, Fault.CUT_AFTER)
SCRIPTS = (
    (Fault.FORBIDDEN, *_LOST),  # a refusal, and then a charge whose answer is lost, again and again
    (*(Fault.LIMITED,) * 4, *_LOST),
    (Fault.RESET_AFTER, Fault.FORBIDDEN, Fault.REFUSED),  # a charge, and then refusals
    (Fault.HANG_AFTER, Fault.REFUSED, Fault.LIMITED, Fault.FORBIDDEN),
    (Fault.RESET_AFTER, Fault.LIMITED, Fault.LIMITED, Fault.LIMITED),
    (Fault.CUT_FAILED,),
    (Fault.STALLED_FAILED,),
    (Fault.UNSEEN_FAILED,),
    (Fault.BUSY,),
    _LOST,
)
"""What chance alone would bring together too seldom."""
SCRIPTED_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Lot:
    """What one arrival meets: its fault, how its body is written, and seconds of work."""

    fault: Fault
    coding: str
    work: float


def drawn(seed: int, reference: str, arrival: int, failure_rate: float) -> Lot:
    """The lot of a payment's arrival, counted from 0, at one provider. No failures: everything is well and plain."""
    chance = random.Random(f"{seed}/{reference}/{arrival}")  # noqa: S311 - to be repeatable
    work = chance.uniform(0.005, 0.06)
    if not failure_rate:
        return Lot(Fault.OK, "plain", work)
    coding = chance.choice(list(CODINGS)) if chance.random() < failure_rate else "plain"
    script = _script(seed, reference)
    if arrival < len(script):
        return Lot(script[arrival], coding, work)
    fault = chance.choice(list(Fault)) if chance.random() < failure_rate else Fault.OK
    return Lot(fault, coding, work)


def _script(seed: int, reference: str) -> tuple[Fault, ...]:
    chance = random.Random(f"{seed}/{reference}")  # noqa: S311
    return chance.choice(SCRIPTS) if chance.random() < SCRIPTED_SHARE else ()
