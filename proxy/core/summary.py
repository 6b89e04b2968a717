"""The natural-language summary by rules: the status document in, plain sentences out.

Every number in the text stands in the document, or is a sum, share or rounding of what stands there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from proxy.core.outcome import Row
from proxy.core.retry import Signal
from proxy.core.status import BreakerStatus, OverrideStatus, Status, StoreStatus, UpstreamStatus
from proxy.core.traffic import SIGNALS, Traffic, traffic
from proxy.core.units import format_duration

LARGE_SHARE = 0.2
"""Declines (and 429s) are mentioned from this share of the attempts on: below it they are everyday business."""
MOST_REASONS = 3

_REASONS = {
    Row.CONNECT_FAILED: "could not connect",
    Row.CERTIFICATE: "met a certificate that is not valid",
    Row.NO_ANSWER: "got no answer",
    Row.TIMEOUT: "timed out",
    Row.CUT: "got an answer that broke off",
    Row.CUT_SERVER_ERROR: "got a server error that broke off",
    Row.CUT_BAD_GATEWAY: "got a gateway error that broke off",
    Row.CUT_UNAVAILABLE: "found the provider unavailable, in an answer that broke off",
    Row.SERVER_ERROR: "got a server error",
    Row.BAD_GATEWAY: "got a gateway error",
    Row.UNAVAILABLE: "found the provider unavailable",
    Row.REQUEST_TIMEOUT: "arrived too slowly for the provider",
}


def summarize(status: Status) -> str:
    """What a person on call needs to know now; one paragraph per upstream, named where there are several."""
    paragraphs = [" ".join(_upstream(one)) for one in status.upstreams.values()]
    if len(paragraphs) == 1:
        return " ".join([*paragraphs, *_store(status.store)])
    named = [f"{name}: {text}" for name, text in zip(status.upstreams, paragraphs, strict=True)]
    return "\n\n".join([*named, *_together(status.store)])


def _together(store: StoreStatus) -> Iterator[str]:
    if sentences := list(_store(store)):
        yield " ".join(sentences)


def _upstream(one: UpstreamStatus) -> Iterator[str]:
    seen = traffic(one.attempts)
    yield f"In the last {spoken(one.window_seconds)}, {_result(seen)}."
    yield from _breaker(one.breaker, one.window_seconds)
    yield from _reasons(one, seen)
    yield from _no_failures(one, seen)
    yield from _consequences(one)


def _result(seen: Traffic) -> str:
    """The clause that says how the attempts went."""
    if seen.attempts == 0:
        return "no payments were attempted"
    if seen.failed == 0:
        return _none_failed(seen)
    if seen.attempts == 1:
        return "the only payment attempt failed"
    return f"{_percent(seen.failed, seen.attempts)} of payment attempts failed"


def _none_failed(seen: Traffic) -> str:
    """`succeeded` would be too much to say of declines, and of results that are neutral."""
    clean = seen.succeeded == seen.attempts and seen.declined == 0
    if seen.attempts == 1:
        return f"the only payment attempt {'succeeded' if clean else 'did not fail'}"
    return f"all {seen.attempts} payment attempts succeeded" if clean else _none_of(seen.attempts)


def _none_of(attempts: int) -> str:
    return f"none of the {attempts} payment attempts failed"


def _percent(part: int, total: int) -> str:
    """A share as people say it: never 0% of something, never 100% of not quite all."""
    share = 100 * part / total
    if share < 1:
        return "fewer than 1%"
    return "more than 99%" if 99 < share < 100 else f"{share:.0f}%"  # noqa: PLR2004


def _breaker(breaker: BreakerStatus, window: float) -> Iterator[str]:
    if breaker.override is not None:
        yield _overridden(breaker.override, breaker)
    elif breaker.state == "open":
        yield f"The circuit breaker is currently open, {_blocking(breaker)}."
        yield _opened(breaker)
        yield _next_probe(breaker)
    elif breaker.state == "half_open":
        yield f"The circuit breaker is half-open, {_probing(breaker)}."
        yield f"It opened because of this: {breaker.cause}."
    else:
        yield "The circuit breaker is closed."
        yield from _closed_lately(breaker, window)


def _blocking(breaker: BreakerStatus) -> str:
    return "blocking new attempts" if breaker.mode == "enforce" else "but in shadow mode it blocks nothing"


def _probing(breaker: BreakerStatus) -> str:
    if breaker.mode == "enforce":
        return "letting only probes through to see whether the provider is back"
    return "but in shadow mode it blocks nothing"


def _opened(breaker: BreakerStatus) -> str:
    again = f" for the {_ordinal(breaker.opens)} time in a row" if breaker.opens > 1 else ""
    return f"It opened {_ago(breaker.since_seconds)}{again} because of this: {breaker.cause}."


def _next_probe(breaker: BreakerStatus) -> str:
    if not breaker.retry_after:
        return "It will let the next payment through as a probe."
    return f"It will let a probe through in {format_duration(math.ceil(breaker.retry_after))}."


def _closed_lately(breaker: BreakerStatus, window: float) -> Iterator[str]:
    if breaker.opens > 0 and breaker.since_seconds < window:
        yield f"It closed {_ago(breaker.since_seconds)}: {breaker.cause}."


def _overridden(override: OverrideStatus, breaker: BreakerStatus) -> str:
    left = override.expires_in_seconds
    until = "until it is set back to automatic" if left is None else f"for another {format_duration(math.ceil(left))}"
    effect = _blocking(breaker) if override.forced == "open" else "so failures do not open it"
    return (
        f"The circuit breaker is forced {override.forced} by {override.actor} {until}, {effect}. "
        f"The reason given: {_sentence(override.reason)}"
    )


def _reasons(one: UpstreamStatus, seen: Traffic) -> Iterator[str]:
    """Which failures, most frequent first."""
    if seen.failed == 0:
        return
    failed = sorted(
        ((n, row) for row, n in one.attempts.items() if n and SIGNALS.get(row) is Signal.FAILURE),
        key=lambda pair: (-pair[0], pair[1]),
    )
    parts = [f"{n} {_REASONS[Row(row)]}" for n, row in failed[:MOST_REASONS]]
    if rest := sum(n for n, _ in failed[MOST_REASONS:]):
        parts.append(f"{rest} failed otherwise")
    yield f"Of {_count(seen.attempts, 'attempt')}, {_joined(parts)}."


def _no_failures(one: UpstreamStatus, seen: Traffic) -> Iterator[str]:
    """Results that look like trouble and are not the provider's failure."""
    if seen.declined and seen.declined >= LARGE_SHARE * seen.attempts:
        declined = _were(seen.declined, "attempt", "declined")
        yield f"{declined}; a decline is an answer, so it does not count as a failure."
    limited = one.attempts.get(Row.RATE_LIMITED, 0)
    if limited and limited >= LARGE_SHARE * seen.attempts:
        yield f"{_were(limited, 'attempt', 'turned down by the provider as too many')}."


def _consequences(one: UpstreamStatus) -> Iterator[str]:
    """What it has meant for payments, most urgent first."""
    yield from _unknown(one)
    if one.rejected:
        yield f"{_were(one.rejected, 'call', 'rejected')} without being sent."
    if one.budget.left == 0 and one.budget.retries > 0:
        yield "The retry budget is used up: failed attempts are not repeated for now."


def _unknown(one: UpstreamStatus) -> Iterator[str]:
    """What the ledger still does not know; without one, what ended so in the window."""
    unknown = one.payments.unknown if one.unknown_outcomes is None else one.unknown_outcomes
    if unknown:
        them, have = ("it", "has") if unknown == 1 else ("them", "have")
        verb = "ended with" if one.unknown_outcomes is None else have
        yield f"{_count(unknown, 'payment')} {verb} an unknown outcome: look {them} up before paying again."


_WITHOUT_STORE = {
    "local": "this replica decides alone.",
    "closed": "as configured, every call is let through.",
    "open": "as configured, every call is refused.",
}


def _store(store: StoreStatus) -> Iterator[str]:
    if store.degraded is None:
        return
    yield f"The shared store is unavailable: {_WITHOUT_STORE[store.on_outage or 'local']}"
    yield "The numbers are this replica's own."


def spoken(seconds: float) -> str:
    """A window as it follows `in the last`: `10 minutes`, `hour`, `45 seconds`."""
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds % length == 0:
            return unit if seconds == length else f"{seconds / length:.0f} {unit}s"
    return f"{seconds:g} seconds"


def _ago(seconds: float) -> str:
    return f"{format_duration(max(1.0, seconds))} ago"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _were(number: int, noun: str, what: str) -> str:
    return f"{_count(number, noun)} {'was' if number == 1 else 'were'} {what}"


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in {11, 12, 13} else ending}"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
