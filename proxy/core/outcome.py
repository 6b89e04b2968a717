"""What an attempt's result is: the row of the decision table it falls in (payments.md section 6)."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from proxy.core.model import Certainty, Kind, Response, Result, TransportFailure, WireError, header

if TYPE_CHECKING:
    from proxy.core.profiles import Profile


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
    RATE_LIMITED = "rate_limited"  # 14
    REQUEST_TIMEOUT = "request_timeout"  # 16, 408
    MISDIRECTED = "misdirected"  # 16, 421
    IN_FLIGHT = "in_flight"  # 17
    KEY_MISMATCH = "key_mismatch"  # 19
    DECLINE = "decline"  # 20
    REJECTED = "rejected"  # 20
    SUCCESS = "success"  # 21
    REDIRECT = "redirect"  # 22


LONGEST_RETRY_AFTER_SECONDS = 86_400.0
"""A provider that asks for more is taken to mean a day: nobody should have to restart a fleet over a wrong header."""

_GATEWAY = frozenset({502, 504, *range(520, 527)})
_BY_STATUS = {408: Row.REQUEST_TIMEOUT, 421: Row.MISDIRECTED, 429: Row.RATE_LIMITED, 503: Row.UNAVAILABLE}


def row_of(result: Result, kind: Kind, profile: Profile) -> Row:
    """The table row of one attempt's result; total over every status and failure."""
    if isinstance(result, TransportFailure):
        return _failure_row(result)
    status = result.status
    if kind is Kind.KEYED and profile.key is not None:
        if status in profile.key.in_flight_statuses:
            return Row.IN_FLIGHT
        if status in profile.key.mismatch_statuses:
            return Row.KEY_MISMATCH
    if status in profile.decline_statuses:
        return Row.DECLINE
    return _BY_STATUS.get(status) or _class_row(status)


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


def retry_after_seconds(result: Result, wall_now: float) -> float | None:
    """`Retry-After` of an answer in seconds from now (RFC 9110 section 10.2.3), at most a day; None if unreadable."""
    if not isinstance(result, Response):
        return None
    value = header(result.headers, b"retry-after")
    return None if value is None else _parse_retry_after(value.decode("latin-1").strip(), wall_now)


def _parse_retry_after(text: str, wall_now: float) -> float | None:
    if text.isascii() and text.isdecimal():
        return min(float(text), LONGEST_RETRY_AFTER_SECONDS)
    try:
        date = parsedate_to_datetime(text)
        wait = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - wall_now
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, wait), LONGEST_RETRY_AFTER_SECONDS)
