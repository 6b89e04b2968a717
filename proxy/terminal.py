"""A replica's documents as text for a terminal. Pure; whatever is missing from a document is shown as a dash."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.client import Document
from proxy.core.units import format_duration

DASH = "-"


def status_text(document: Document) -> str:
    """The fleet on one screen: replica and store, then each upstream."""
    lines = [_replica_line(_section(document, "replica")), _store_line(document), *_store_warnings(document)]
    for name, upstream in _section(document, "upstreams").items():
        if isinstance(upstream, dict):
            lines += ["", *_upstream_lines(str(name), upstream)]
    return "\n".join(_plain(line) for line in lines)


def summary_text(document: Document) -> str:
    """The summary's text."""
    summary = document.get("summary")
    return _plain(summary) if isinstance(summary, str) else DASH


def outcomes_text(document: Document) -> str:
    """The ledger, a line for each payment, and how many are unknown in all."""
    listed = document.get("outcomes")
    rows = [_outcome_row(one) for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    lines = _columns([_OUTCOME_HEAD, *rows]) if rows else []
    return "\n".join(_plain(line) for line in [*lines, f"unknown in all: {_word(document, 'unknown')}"])


_OUTCOME_HEAD = ("STATE", "UPSTREAM", "REQUEST ID", "REFERENCE", "STATUS", "SINCE", "TRIES", "ID")


def _outcome_row(one: Document) -> tuple[str, ...]:
    names = ("state", "upstream", "request_id", "reference", "status", "since", "attempts", "id")
    return tuple(_word(one, name) for name in names)


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _replica_line(replica: Document) -> str:
    draining = ", draining" if replica.get("draining") else ""
    version, uptime = _word(replica, "version"), _time(replica, "uptime_seconds")
    return f"replica  {_word(replica, 'id')}  holdfast {version}, up {uptime}{draining}"


def _store_warnings(document: Document) -> list[str]:
    warnings = _section(document, "store").get("warnings")
    return [f"         warning: {one}" for one in warnings] if isinstance(warnings, list) else []


def _store_line(document: Document) -> str:
    store = _section(document, "store")
    facts = [_word(store, "kind"), "up" if store.get("up") else "DOWN"]
    facts.append("shared" if store.get("shared") else "not shared: this replica only")
    if store.get("degraded"):
        facts.append("DEGRADED")
    replicas = document.get("replicas")
    alive = len(replicas) if isinstance(replicas, list) else DASH
    return f"store    {', '.join(facts)}; replicas alive: {alive}"


def _upstream_lines(name: str, upstream: Document) -> Iterator[str]:
    breaker = _section(upstream, "breaker")
    budget = _section(upstream, "budget")
    counts = _section(breaker, "counts")
    yield f"{name}  {_word(upstream, 'url')}  profile {_word(upstream, 'profile')}"
    yield f"  breaker   {_breaker(breaker)}"
    failures = f"{_word(counts, 'failures')} of {_word(counts, 'calls')} calls"
    yield f"  failures  {failures}, {_word(counts, 'consecutive')} in a row"
    yield f"  last {_time(upstream, 'window_seconds')}"
    yield f"    attempts  {_pairs(_section(upstream, 'attempts'))}"
    yield f"    payments  {_pairs(_section(upstream, 'payments'))}; rejected {_word(upstream, 'rejected')}"
    spent = f"{_word(budget, 'retries')} retries of {_word(budget, 'requests')} requests"
    yield f"  budget    {spent}, {_word(budget, 'left')} left"
    yield f"  in flight {_word(upstream, 'in_flight')}"
    if upstream.get("unknown_outcomes") is not None:
        yield f"  unknown   {_word(upstream, 'unknown_outcomes')}"


def _breaker(breaker: Document) -> str:
    text = f"{_word(breaker, 'state').upper()} for {_time(breaker, 'since_seconds')}"
    if breaker.get("cause"):
        text += f" ({breaker['cause']})"
    if breaker.get("retry_after") is not None:
        text += f", next try in {_time(breaker, 'retry_after')}"
    if breaker.get("mode") == "shadow":
        text += ", shadow mode: blocks nothing"
    override = _section(breaker, "override")
    return f"{text}{_override(override)}" if override else text


def _override(override: Document) -> str:
    until = "until taken back"
    if override.get("expires_in_seconds") is not None:
        until = f"for another {_time(override, 'expires_in_seconds')}"
    return f"; forced {_word(override, 'forced')} by {_word(override, 'actor')}: {_word(override, 'reason')}, {until}"


def _section(document: Document, key: str) -> Document:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _word(document: Document, key: str) -> str:
    value = document.get(key)
    return DASH if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _time(document: Document, key: str) -> str:
    value = document.get(key)
    return format_duration(value) if isinstance(value, int | float) else DASH


def _pairs(counts: Document) -> str:
    return ", ".join(f"{name} {_word(counts, name)}" for name in counts if counts[name]) or "none"


def _plain(line: str) -> str:
    """Without control characters: a reason somebody typed must not drive the reader's terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in line)
