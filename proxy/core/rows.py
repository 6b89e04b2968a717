"""The decision table of payments.md section 6, as data: what an attempt's result may be, and what follows from each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from proxy.core.model import Kind, Outcome

ALL = frozenset(Kind)
READ_OR_KEYED = frozenset({Kind.READ, Kind.KEYED})
READ = frozenset({Kind.READ})
NONE: frozenset[Kind] = frozenset()


class Row(StrEnum):
    """Rows of the decision table, by the name they have in metrics and logs. Numbers are payments.md's."""

    CONNECT_FAILED = "connect_failed"  # 2
    CERTIFICATE = "certificate"  # 3
    NO_ANSWER = "no_answer"  # 4
    TIMEOUT = "timeout"  # 5
    CUT = "cut"  # 6, after a head below 500
    CUT_SERVER_ERROR = "cut_server_error"  # 6 and 8: a cut 5xx is that 5xx
    CUT_BAD_GATEWAY = "cut_bad_gateway"  # 6 and 12
    CUT_UNAVAILABLE = "cut_unavailable"  # 6 and 13
    CUT_METHOD_OUTAGE = "cut_method_outage"  # 6 and 13, of one payment method
    SERVER_ERROR = "server_error"  # 8
    BAD_GATEWAY = "bad_gateway"  # 12
    UNAVAILABLE = "unavailable"  # 13
    METHOD_OUTAGE = "method_outage"  # 13, of one payment method
    RATE_LIMITED = "rate_limited"  # 14
    CONCURRENT = "concurrent"  # 15
    REQUEST_TIMEOUT = "request_timeout"  # 16, 408
    MISDIRECTED = "misdirected"  # 16, 421
    IN_FLIGHT = "in_flight"  # 17
    REPLAY = "replay"  # 18
    KEY_MISMATCH = "key_mismatch"  # 19
    DECLINE = "decline"  # 20, the result that the key stands for
    UNSETTLED_DECLINE = "unsettled_decline"  # 20, where nothing says that it is kept under the key
    REJECTED = "rejected"  # 20
    SUCCESS = "success"  # 21
    REDIRECT = "redirect"  # 22
    INNER_NOT_SENT = "inner_not_sent"  # 2, told by a Holdfast behind us
    INNER_REFUSED = "inner_refused"  # the same, where asking again would change nothing
    UNREADABLE = "unreadable"  # the body could have said "in flight" or "failed", and cannot be read
    UNPROVEN = "unproven"  # it says so by a sign that is only assumed to mean it


class Signal(StrEnum):
    """What a result tells the breaker about the provider's health."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: which kinds may be sent again, what is then known of the payment, what the breaker learns.

    `settles` is whether this answer also settles an earlier attempt of the same request whose outcome was unknown:
    only the layer that knows the key can do that, so a limiter's 429, a gateway's 401, a validation error or "another
    body came with this key" does not. `retry.settles` asks it together with the kind.
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
    Row.KEY_MISMATCH: Rule(NONE, Outcome.FINAL, Signal.NEUTRAL),
    Row.DECLINE: Rule(NONE, Outcome.FINAL, Signal.SUCCESS, settles=True),
    Row.UNSETTLED_DECLINE: Rule(NONE, Outcome.FINAL, Signal.SUCCESS),
    Row.REJECTED: Rule(NONE, Outcome.FINAL, Signal.SUCCESS),
    Row.SUCCESS: Rule(NONE, Outcome.FINAL, Signal.SUCCESS, settles=True),
    Row.REDIRECT: Rule(NONE, Outcome.FINAL, Signal.NEUTRAL),
    Row.INNER_NOT_SENT: Rule(ALL, Outcome.NOT_SENT, Signal.NEUTRAL),  # the inner breaker is the one that learns
    Row.INNER_REFUSED: Rule(NONE, Outcome.NOT_SENT, Signal.NEUTRAL),
    Row.UNREADABLE: Rule(NONE, Outcome.UNKNOWN, Signal.NEUTRAL),
    Row.UNPROVEN: Rule(NONE, Outcome.UNKNOWN, Signal.NEUTRAL),
}

CUT_OF: dict[Row, Row] = {
    Row.SERVER_ERROR: Row.CUT_SERVER_ERROR,
    Row.BAD_GATEWAY: Row.CUT_BAD_GATEWAY,
    Row.UNAVAILABLE: Row.CUT_UNAVAILABLE,
    Row.METHOD_OUTAGE: Row.CUT_METHOD_OUTAGE,
}
"""What a 5xx is when its body breaks off: the same in all that follows, so that no status can be forgotten."""
TABLE |= {cut: TABLE[whole] for whole, cut in CUT_OF.items()}
