"""What an attempt's result is: the row of the decision table it falls in (payments.md section 6)."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from proxy.core.model import Certainty, Kind, Response, Result, TransportFailure, WireError, header
from proxy.core.reading import Document
from proxy.core.signs import seen

if TYPE_CHECKING:
    from proxy.core.profiles import KeyRule, Profile, WaitHeader


class Row(StrEnum):
    """Rows of the decision table, by the name they have in metrics and logs. Numbers are payments.md's."""

    CONNECT_FAILED = "connect_failed"  # 2
    CERTIFICATE = "certificate"  # 3
    NO_ANSWER = "no_answer"  # 4
    TIMEOUT = "timeout"  # 5
    CUT = "cut"  # 6
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
    DECLINE = "decline"  # 20
    REJECTED = "rejected"  # 20
    SUCCESS = "success"  # 21
    REDIRECT = "redirect"  # 22
    INNER_NOT_SENT = "inner_not_sent"  # 2, told by a Holdfast behind us
    INNER_REFUSED = "inner_refused"  # the same, where asking again would change nothing


class Advice(StrEnum):
    """What a hint header says of trying again."""

    STOP = "stop"
    SAME_KEY = "same_key"
    NOTHING_DONE = "nothing_done"


LONGEST_RETRY_AFTER_SECONDS = 86_400.0
"""A provider that asks for more is taken to mean a day: nobody should have to restart a fleet over a wrong header."""

_GATEWAY = frozenset({502, 504, *range(520, 527)})
_BY_STATUS = {408: Row.REQUEST_TIMEOUT, 421: Row.MISDIRECTED, 429: Row.RATE_LIMITED, 503: Row.UNAVAILABLE}


def row_of(result: Result, kind: Kind, profile: Profile, rule: KeyRule | None = None) -> Row:
    """The table row of one attempt's result; total over every status and failure.

    `rule` is the key rule in force for this request; without it, the profile's first.
    """
    if isinstance(result, TransportFailure):
        return _failure_row(result)
    if kind is Kind.READ and result.status < 300:  # noqa: PLR2004 - what a lookup finds is no result of a payment
        return _class_row(result.status)
    document = Document(result.body, result.headers)
    own_rule = (rule or profile.key) if kind is Kind.KEYED else None
    return (
        _busy_row(result.status, document, own_rule)
        or _stated_row(result.status, document, kind, profile)
        or _mismatch_row(result.status, document, own_rule)
        or _BY_STATUS.get(result.status)
        or _class_row(result.status)
    )


def _busy_row(status: int, document: Document, rule: KeyRule | None) -> Row | None:
    """The same key is being worked on."""
    if rule is None:
        return None
    if status in rule.in_flight_statuses or seen(rule.in_flight, status, document):
        return Row.IN_FLIGHT
    return Row.CONCURRENT if seen(rule.in_flight_429, status, document) else None


def _stated_row(status: int, document: Document, kind: Kind, profile: Profile) -> Row | None:
    """What this provider says in ways of its own."""
    if kind is not Kind.READ and seen(profile.conflict_replays, status, document):
        return Row.REPLAY
    if seen(profile.duplicates, status, document):
        return Row.REJECTED
    if status in profile.decline_statuses or seen(profile.declines, status, document):
        return Row.DECLINE
    if status < 500 and seen(profile.provider_failures, status, document):  # noqa: PLR2004
        return Row.SERVER_ERROR
    if seen(profile.rate_limit.signs, status, document):
        return Row.RATE_LIMITED
    return Row.METHOD_OUTAGE if status in profile.method_outage_statuses else None


def _mismatch_row(status: int, document: Document, rule: KeyRule | None) -> Row | None:
    if rule is None:
        return None
    mismatched = status in rule.mismatch_statuses or seen(rule.mismatch, status, document)
    return Row.KEY_MISMATCH if mismatched else None


def _failure_row(failure: TransportFailure) -> Row:
    match failure.certainty:
        case Certainty.NOT_SENT:
            return Row.CERTIFICATE if failure.error is WireError.CERTIFICATE else Row.CONNECT_FAILED
        case Certainty.NO_ANSWER:
            return Row.TIMEOUT if failure.error is WireError.TIMEOUT else Row.NO_ANSWER
        case Certainty.CUT:
            return Row.CUT
    assert_never(failure.certainty)


def _class_row(status: int) -> Row:
    if status >= 500:  # noqa: PLR2004 - the classes of RFC 9110 section 15
        return Row.BAD_GATEWAY if status in _GATEWAY else Row.SERVER_ERROR
    if status >= 400:  # noqa: PLR2004
        return Row.REJECTED
    return Row.REDIRECT if status >= 300 else Row.SUCCESS  # noqa: PLR2004


def hint_of(result: Result, profile: Profile) -> Advice | None:
    """What the provider itself says of trying again (row 7). A head whose body was cut off can only say no."""
    value = header(result.headers, profile.hint.header.lower().encode()) if profile.hint is not None else None
    match (value or b"").strip().lower():
        case b"false":
            return Advice.STOP
        case b"true" if isinstance(result, Response):
            without_key = profile.hint is not None and profile.hint.on_true == "retry_without_key_too"
            return Advice.NOTHING_DONE if without_key else Advice.SAME_KEY
    return None


def retry_after_seconds(result: Result, wall_now: float, profile: Profile | None = None) -> float | None:
    """`Retry-After` of an answer in seconds from now (RFC 9110 section 10.2.3), at most a day; None if unreadable.

    A rate limiter's answer may say it in fields of its own; the longest wait counts.
    """
    if not isinstance(result, Response):
        return None
    value = header(result.headers, b"retry-after")
    wait = None if value is None else _parse_retry_after(value.decode("latin-1").strip(), wall_now)
    if profile is None or result.status != 429:  # noqa: PLR2004
        return wait
    more = (_own_wait(result, one, wall_now) for one in profile.rate_limit.wait_headers)
    return max((one for one in (wait, *more) if one is not None), default=None)


def _own_wait(response: Response, one: WaitHeader, wall_now: float) -> float | None:
    """The wait in a field of the provider's own; where it may be a date or a number, both are read."""
    text = (header(response.headers, one.header.lower().encode()) or b"").decode("latin-1").strip()
    if one.unit in {"seconds", "date"}:
        return _parse_retry_after(text, wall_now)
    if not (text.isascii() and text.isdecimal()):
        return None
    wait = float(text) / 1000 if one.unit == "milliseconds" else float(text) - wall_now
    return min(max(0.0, wait), LONGEST_RETRY_AFTER_SECONDS)


def _parse_retry_after(text: str, wall_now: float) -> float | None:
    if text.isascii() and text.isdecimal():
        return min(float(text), LONGEST_RETRY_AFTER_SECONDS)
    try:
        date = parsedate_to_datetime(text)
        wait = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - wall_now
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, wait), LONGEST_RETRY_AFTER_SECONDS)
