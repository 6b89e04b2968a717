"""The decision table of payments.md section 6, as data, and the wait before the next attempt.

Default is to stop: an attempt goes out again only where its row says so for its kind of request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from proxy.core.config import Retry
from proxy.core.model import Kind, Outcome
from proxy.core.outcome import Advice, Row
from proxy.core.profiles import After5xx, KeyRule, Profile

ALL = frozenset(Kind)
READ_OR_KEYED = frozenset({Kind.READ, Kind.KEYED})
READ = frozenset({Kind.READ})
NONE: frozenset[Kind] = frozenset()


class Signal(StrEnum):
    """What a result tells the breaker about the provider's health."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: which kinds may be sent again, what is then known of the payment, what the breaker learns.

    `settles` is whether this answer also settles an earlier attempt of the same request whose outcome was unknown:
    only the layer that knows the key can do that, so a rate limiter's 429 or a gateway's 401 does not.
    """

    again: frozenset[Kind]
    outcome: Outcome
    signal: Signal
    settles: bool = False


TABLE: dict[Row, Rule] = {
    Row.CONNECT_FAILED: Rule(ALL, Outcome.NOT_SENT, Signal.FAILURE),
    Row.CERTIFICATE: Rule(NONE, Outcome.NOT_SENT, Signal.FAILURE),
    Row.NO_ANSWER: Rule(READ_OR_KEYED, Outcome.UNKNOWN, Signal.FAILURE),
    Row.TIMEOUT: Rule(READ_OR_KEYED, Outcome.UNKNOWN, Signal.FAILURE),
    Row.CUT: Rule(READ_OR_KEYED, Outcome.UNKNOWN, Signal.FAILURE),
    Row.SERVER_ERROR: Rule(READ_OR_KEYED, Outcome.UNKNOWN, Signal.FAILURE),
    Row.BAD_GATEWAY: Rule(READ_OR_KEYED, Outcome.UNKNOWN, Signal.FAILURE),
    Row.UNAVAILABLE: Rule(READ_OR_KEYED, Outcome.UNKNOWN, Signal.FAILURE),
    Row.METHOD_OUTAGE: Rule(READ_OR_KEYED, Outcome.UNKNOWN, Signal.NEUTRAL),
    Row.RATE_LIMITED: Rule(READ_OR_KEYED, Outcome.FINAL, Signal.NEUTRAL),
    Row.CONCURRENT: Rule(READ_OR_KEYED, Outcome.UNKNOWN, Signal.NEUTRAL),
    Row.REQUEST_TIMEOUT: Rule(READ_OR_KEYED, Outcome.UNKNOWN, Signal.FAILURE),
    Row.MISDIRECTED: Rule(ALL, Outcome.FINAL, Signal.NEUTRAL),
    Row.IN_FLIGHT: Rule(READ_OR_KEYED, Outcome.UNKNOWN, Signal.NEUTRAL),
    Row.REPLAY: Rule(NONE, Outcome.FINAL, Signal.SUCCESS, settles=True),
    Row.KEY_MISMATCH: Rule(NONE, Outcome.FINAL, Signal.NEUTRAL, settles=True),
    Row.DECLINE: Rule(NONE, Outcome.FINAL, Signal.SUCCESS, settles=True),
    Row.REJECTED: Rule(NONE, Outcome.FINAL, Signal.SUCCESS),
    Row.SUCCESS: Rule(NONE, Outcome.FINAL, Signal.SUCCESS, settles=True),
    Row.REDIRECT: Rule(NONE, Outcome.FINAL, Signal.NEUTRAL),
    Row.INNER_NOT_SENT: Rule(ALL, Outcome.NOT_SENT, Signal.NEUTRAL),  # the inner breaker is the one that learns
    Row.INNER_REFUSED: Rule(NONE, Outcome.NOT_SENT, Signal.NEUTRAL),
}

RECEIVED_5XX = frozenset({Row.SERVER_ERROR, Row.BAD_GATEWAY, Row.UNAVAILABLE, Row.METHOD_OUTAGE})
SAME_KEY_AFTER: dict[After5xx, frozenset[Row]] = {
    "safe": RECEIVED_5XX,  # 8
    "replays_stored_result": RECEIVED_5XX - {Row.SERVER_ERROR},  # 9, 12
    "only_with_hint": frozenset(),  # 10
    "reexecutes": frozenset(),  # 11
    "never": frozenset(),
}
"""After which received 5xx a keyed request goes out again, by what the provider does with the key."""

OBEYED: dict[Advice, frozenset[Kind]] = {Advice.STOP: NONE, Advice.SAME_KEY: READ_OR_KEYED, Advice.NOTHING_DONE: ALL}
"""Which kinds a hint lets go out again (row 7)."""
SETTLED = frozenset({Row.SUCCESS, Row.DECLINE, Row.REPLAY, Row.KEY_MISMATCH, Row.REDIRECT})
"""Rows that no hint reopens: there is nothing to mend, or only the client can."""
FRESH_CONNECTION = frozenset({Row.REQUEST_TIMEOUT, Row.MISDIRECTED, Row.NO_ANSWER})
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


def may_repeat(
    row: Row, kind: Kind, profile: Profile, *, rule: KeyRule | None = None, advice: Advice | None = None
) -> bool:
    """Whether the table allows the same request to go out again after `row`.

    `rule` is the key rule in force for this request, `advice` what the provider's hint header said.
    """
    if advice is not None and row not in SETTLED:
        return kind in OBEYED[advice]
    if kind is Kind.KEYED and row in RECEIVED_5XX and row not in SAME_KEY_AFTER[profile.after_5xx(rule)]:
        return False
    return kind in TABLE[row].again


def shortest_wait(row: Row, rule: KeyRule | None) -> float:
    """Seconds that must pass before the same key goes out again, whatever the backoff says (rows 5, 15 and 17)."""
    if rule is None:
        return 0.0
    if row in {Row.IN_FLIGHT, Row.CONCURRENT}:
        return rule.in_flight_wait or 0.0
    return (rule.timeout_wait or 0.0) if row is Row.TIMEOUT else 0.0


def outcome_after(row: Row, *, doubtful: bool, sent: bool = False) -> Outcome:
    """What is known when the answer leaves.

    `doubtful`: an earlier attempt may have been carried out. `sent`: one was sent at all, so that failing to connect
    now no longer says that nothing was (row 2).
    """
    rule = TABLE[row]
    if rule.outcome is Outcome.NOT_SENT and (sent or doubtful):
        return Outcome.UNKNOWN
    return Outcome.UNKNOWN if doubtful and not rule.settles else rule.outcome


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
