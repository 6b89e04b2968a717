"""What the decision table allows: another attempt or none, and the wait before it.

Default is to stop: an attempt goes out again only where its row says so for its kind of request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from proxy.core.config import Retry
from proxy.core.key_rules import After5xx
from proxy.core.key_terms import KeyTerms
from proxy.core.model import Kind, Outcome
from proxy.core.outcome import Advice
from proxy.core.rows import ALL, CUT_OF, NONE, READ_OR_KEYED, Row
from proxy.core.rows import TABLE as TABLE  # noqa: PLC0414 - the corridor asks here
from proxy.core.rows import Signal as Signal  # noqa: PLC0414

RECEIVED_5XX = frozenset({*CUT_OF, *CUT_OF.values()})


def _and_cut(*rows: Row) -> frozenset[Row]:
    return frozenset({*rows, *(CUT_OF[row] for row in rows)})


SAME_KEY_AFTER: dict[After5xx, frozenset[Row]] = {
    "safe": RECEIVED_5XX,  # 8
    "replays_stored_result": _and_cut(Row.BAD_GATEWAY, Row.UNAVAILABLE),  # 9, 12
    "only_with_hint": frozenset(),  # 10
    "reexecutes": frozenset(),  # 11
    "never": frozenset(),
}
"""After which received 5xx, whole or cut, a keyed request goes out again, by what the provider does with the key."""

OBEYED: dict[Advice, frozenset[Kind]] = {Advice.STOP: NONE, Advice.SAME_KEY: READ_OR_KEYED, Advice.NOTHING_DONE: ALL}
"""Which kinds a hint lets go out again (row 7)."""
SETTLED = frozenset(
    {
        Row.SUCCESS,
        Row.DECLINE,
        Row.UNSETTLED_DECLINE,
        Row.REPLAY,
        Row.KEY_MISMATCH,
        Row.REDIRECT,
        Row.UNREADABLE,
        Row.UNPROVEN,
    }
)
"""Rows that no hint reopens: there is nothing to mend, or only the client can, or they may be one of those."""
BROKE_OFF = frozenset({Row.NO_ANSWER, Row.TIMEOUT, Row.CUT, *CUT_OF.values(), Row.REQUEST_TIMEOUT})
"""Rows in which the exchange never came to its end."""
FRESH_CONNECTION = BROKE_OFF | {Row.MISDIRECTED}
"""Rows after which the next attempt takes a new connection (RFC 9110 section 15.5.20; a stale one is likely)."""


class Denied(StrEnum):
    """Why no further attempt was made, where one was wanted."""

    UNSAFE = "unsafe"
    MAX_RETRIES = "max_retries"
    STREAMED_BODY = "streamed_body"
    DEADLINE = "deadline"
    BUDGET = "budget"
    BREAKER = "breaker"
    CONCURRENCY = "concurrency"
    CLIENT_GONE = "client_gone"


@dataclass(frozen=True, slots=True)
class Again:
    """Send the same request once more, `delay` seconds from now."""

    delay: float


def may_repeat(row: Row, kind: Kind, terms: KeyTerms | None, *, advice: Advice | None = None) -> bool:
    """Whether the table allows the same request to go out again after `row`.

    `terms` is what the provider promises of this request's key, `advice` what its hint header said.
    """
    if advice is not None and row not in SETTLED:
        return kind in OBEYED[advice]
    if kind is Kind.KEYED and (terms is None or not _protects(terms, row)):
        return False
    return kind in TABLE[row].again


def _protects(terms: KeyTerms, row: Row) -> bool:
    """Whether the key holds after `row`.

    What nobody saw may have been a 5xx: an answer that did not come, one that broke off, a 408, and whatever the
    request that is still in flight will be told. So where a 5xx makes the key worthless, so do these.
    """
    if row in RECEIVED_5XX:
        return row in SAME_KEY_AFTER[terms.after_5xx]
    if row is Row.RATE_LIMITED:
        return terms.unseen_safe or terms.limiter_proven
    return terms.unseen_safe or TABLE[row].outcome is not Outcome.UNKNOWN


def shortest_wait(row: Row, terms: KeyTerms | None) -> float:
    """Seconds that must pass before the same key goes out again, whatever the backoff says (rows 4-6, 15 and 17)."""
    if terms is None:
        return 0.0
    if row in {Row.IN_FLIGHT, Row.CONCURRENT}:
        return terms.in_flight_wait
    return terms.timeout_wait if row in BROKE_OFF else 0.0


def settles(row: Row, kind: Kind) -> bool:
    """Whether the answer also settles an earlier attempt or call with the same key whose outcome was unknown.

    `kind` is the one at the key's present age (`kind_at_age`): under a key that the provider has forgotten, even a
    success is that of a new payment and says nothing of the old one.
    """
    return TABLE[row].settles and kind is not Kind.UNKEYED


def carried_out(row: Row) -> bool:
    """Whether the answer says that the payment exists, whatever its status: GoCardless tells it with a 409."""
    return row in {Row.SUCCESS, Row.REPLAY}


def outcome_after(row: Row, kind: Kind, *, doubtful: bool, sent: bool = False) -> Outcome:
    """What is known when the answer leaves. `kind` is the one at the key's present age.

    `doubtful`: an earlier attempt may have been carried out. `sent`: one was sent at all, so that failing to connect
    now no longer says that nothing was (row 2).
    """
    return known(row, settles=settles(row, kind), doubtful=doubtful, sent=sent)


def known(row: Row, *, settles: bool, doubtful: bool, sent: bool) -> Outcome:
    """The same where it is known already whether the answer settles what is in doubt."""
    outcome = TABLE[row].outcome
    if outcome is Outcome.NOT_SENT and (sent or doubtful):
        return Outcome.UNKNOWN
    return Outcome.UNKNOWN if doubtful and not settles else outcome


def leaves_doubt(row: Row) -> bool:
    """Whether an attempt that ended in `row` may have been carried out by the provider."""
    return TABLE[row].outcome is Outcome.UNKNOWN


def wants_retry(row: Row, advice: Advice | None = None) -> bool:
    """Whether the row is trouble that a retry might mend, safe or not: a decline or a success is not."""
    return bool(TABLE[row].again) or (advice is not None and row not in SETTLED and bool(OBEYED[advice]))


def next_attempt(
    policy: Retry,
    retries_done: int,
    *,
    retry_after: float | None,
    remaining: float,
    attempt_timeout: float,
    draw: Callable[[], float],
) -> Again | Denied:
    """When to send again, in seconds; or why not. Never earlier than the provider's `Retry-After`.

    `draw` gives a number in [0, 1). An attempt "fits" if half of its usual time is left after the wait.
    """
    if retries_done >= policy.max_retries:
        return Denied.MAX_RETRIES
    step = policy.backoff_ms[min(retries_done, len(policy.backoff_ms) - 1)] / 1000
    delay = max(step * draw() if policy.jitter == "full" else step, retry_after or 0.0)
    return Denied.DEADLINE if delay + attempt_timeout / 2 > remaining else Again(delay)
