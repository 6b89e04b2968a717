"""What an attempt's result is: the row of the decision table it falls in (payments.md section 6)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import assert_never

from proxy.core.key_terms import KeyTerms
from proxy.core.model import Certainty, Kind, Outcome, Response, Result, TransportFailure, WireError, header
from proxy.core.profiles import Profile, WaitHeader
from proxy.core.reading import Document
from proxy.core.rows import CUT_OF, TABLE, Rule
from proxy.core.rows import Row as Row  # noqa: PLC0414 - who asks for the row of a result asks here
from proxy.core.signs import Seen, Sign


class Advice(StrEnum):
    """What a hint header says of trying again."""

    STOP = "stop"
    SAME_KEY = "same_key"
    NOTHING_DONE = "nothing_done"


LONGEST_RETRY_AFTER_SECONDS = 86_400.0
"""A provider that asks for more is taken to mean a day: nobody should have to restart a fleet over a wrong header."""

_GATEWAY = frozenset({502, 504, *range(520, 527)})
_BY_STATUS = {408: Row.REQUEST_TIMEOUT, 421: Row.MISDIRECTED, 429: Row.RATE_LIMITED, 503: Row.UNAVAILABLE}


def row_of(result: Result, kind: Kind, profile: Profile, terms: KeyTerms | None) -> Row:
    """The table row of one attempt's result; total over every status and failure.

    `terms` is what the provider promises of this request's key; None for one without. They are read by whether or not
    the key is trusted for a repeat (`kind`): the provider answers to the key that it got.
    """
    if isinstance(result, TransportFailure):
        return _failure_row(result, profile)
    if kind is Kind.READ and result.status < 300:  # noqa: PLR2004 - what a lookup finds is no result of a payment
        return _status_row(result.status, profile)
    document = Document(result.body, result.headers, lenient=True)
    return _row_said(result.status, document, kind, profile, None if kind is Kind.READ else terms)


def _row_said(status: int, document: Document, kind: Kind, profile: Profile, terms: KeyTerms | None) -> Row:
    """The first meaning whose sign the answer shows.

    A sign in a body that cannot be read may be there or not: then the answer is taken for the least that it may say.
    """
    perhaps: list[Row] = []
    for sign, row in _meanings(status, kind, profile, terms):
        if row is Row.UNPROVEN and kind is Kind.READ:
            continue
        seen = Seen.YES if sign is None else sign.seen_in(document)
        if seen is Seen.YES:
            return _least(perhaps, row)
        if seen is Seen.UNREADABLE and kind is not Kind.READ:
            perhaps.append(row)
    raise AssertionError("the last meaning has no sign")


def _least(perhaps: list[Row], row: Row) -> Row:
    """What is known where `row` is sure but for the signs of `perhaps`, which could not be looked for.

    The other meaning itself only where it lets nothing go out that `row` would not.
    """
    said = TABLE[row]
    worse = [one for one in perhaps if _knows_less(TABLE[one], said)]
    if not worse:
        return row
    like_it = all(TABLE[one].again <= said.again and TABLE[one].signal is said.signal for one in worse)
    return worse[0] if like_it else Row.UNREADABLE


def _knows_less(one: Rule, other: Rule) -> bool:
    return other.outcome is Outcome.FINAL and (one.outcome is Outcome.UNKNOWN or (other.settles and not one.settles))


Meaning = tuple[Sign | None, Row]


def _meanings(status: int, kind: Kind, profile: Profile, terms: KeyTerms | None) -> Iterator[Meaning]:
    """What an answer with this status may mean, first things first; the last one needs no sign."""
    if kind is not Kind.READ:
        yield from _signed(profile.conflict_replays, status, Row.REPLAY)
    if terms is not None:
        if status in terms.in_flight_statuses:
            yield None, Row.IN_FLIGHT if terms.in_flight_proven else Row.UNPROVEN
        yield from _signed(terms.in_flight, status, Row.IN_FLIGHT)
        yield from _signed(terms.in_flight_429, status, Row.CONCURRENT)
    yield from _signed(profile.duplicates, status, Row.REJECTED)
    yield from _declined(status, kind, profile, terms)
    if status < 500:  # noqa: PLR2004
        yield from _signed(profile.provider_failures, status, Row.SERVER_ERROR)
    yield from _signed(profile.rate_limit.signs, status, Row.RATE_LIMITED)
    if terms is not None:
        if status in terms.mismatch_statuses:
            yield None, Row.KEY_MISMATCH if terms.mismatch_proven else Row.UNPROVEN
        yield from _signed(terms.mismatch, status, Row.KEY_MISMATCH)
    yield None, _status_row(status, profile)


def _signed(signs: tuple[Sign, ...], status: int, row: Row) -> Iterator[Meaning]:
    for sign in signs:
        if sign.applies(status):
            yield sign, row if sign.proven else Row.UNPROVEN


def _declined(status: int, kind: Kind, profile: Profile, terms: KeyTerms | None) -> Iterator[Meaning]:
    """A business no. It is the key's own result where it is a 2xx, or where the provider keeps declines under the key.

    One that is only assumed to be a decline counts as its status does. An unkeyed write has no earlier attempt.
    """
    kept = status < 300 or kind is Kind.UNKEYED or (terms is not None and terms.stores_declines)  # noqa: PLR2004
    row = Row.DECLINE if kept else Row.UNSETTLED_DECLINE
    if status in profile.decline_statuses and profile.is_proven("decline_statuses"):
        yield None, row
    yield from ((sign, row) for sign in profile.declines if sign.proven and sign.applies(status))


def _failure_row(failure: TransportFailure, profile: Profile) -> Row:
    match failure.certainty:
        case Certainty.NOT_SENT:
            return Row.CERTIFICATE if failure.error is WireError.CERTIFICATE else Row.CONNECT_FAILED
        case Certainty.NO_ANSWER:
            return Row.TIMEOUT if failure.error is WireError.TIMEOUT else Row.NO_ANSWER
        case Certainty.CUT:
            return CUT_OF.get(_status_row(failure.status or 0, profile), Row.CUT)
    assert_never(failure.certainty)


def _status_row(status: int, profile: Profile) -> Row:
    """What the status alone says: a row of its own, or its class (RFC 9110 section 15)."""
    if status in profile.method_outage_statuses and profile.is_proven("method_outage_statuses"):
        return Row.METHOD_OUTAGE
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:  # noqa: PLR2004
        return Row.BAD_GATEWAY if status in _GATEWAY else Row.SERVER_ERROR
    if status >= 400:  # noqa: PLR2004
        return Row.REJECTED
    return Row.REDIRECT if status >= 300 else Row.SUCCESS  # noqa: PLR2004


def hint_of(result: Result, profile: Profile) -> Advice | None:
    """What the provider itself says of trying again (row 7).

    A head whose body was cut off can only say no, and so can a hint that is only assumed to be one, or said twice over.
    """
    hint = profile.hint
    if hint is None:
        return None
    name = hint.header.lower().encode()
    said = {value.strip().lower() for field, value in result.headers if field.lower() == name}
    if b"false" in said:
        return Advice.STOP
    if said != {b"true"} or not isinstance(result, Response) or not hint.proven:
        return None
    return Advice.NOTHING_DONE if hint.on_true == "retry_without_key_too" else Advice.SAME_KEY


def retry_after_seconds(result: Result, wall_now: float, profile: Profile | None = None) -> float | None:
    """`Retry-After` of an answer in seconds from now (RFC 9110 section 10.2.3), at most a day; None if unreadable.

    A rate limiter's answer may say it in fields of its own; the longest wait counts. A head whose body broke off asks
    for its wait all the same.
    """
    value = header(result.headers, b"retry-after")
    wait = None if value is None else _parse_retry_after(value.decode("latin-1").strip(), wall_now)
    if profile is None or result.status != 429:  # noqa: PLR2004
        return wait
    more = (_own_wait(result, one, wall_now) for one in profile.rate_limit.wait_headers)
    return max((one for one in (wait, *more) if one is not None), default=None)


def _own_wait(response: Result, one: WaitHeader, wall_now: float) -> float | None:
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
