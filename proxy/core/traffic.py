"""What a number of attempts amounts to: how many failed, and how many were no more than declined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from proxy.core.outcome import Row
from proxy.core.retry import TABLE, Signal

SIGNALS: dict[str, Signal] = {row.value: rule.signal for row, rule in TABLE.items()}


@dataclass(frozen=True, slots=True)
class Traffic:
    """Attempts by what they say of the provider. A decline is an answer and counts as succeeded; a rate is 0 to 1.

    Neutral results (429, redirects) are neither, so the two rates need not add up to 1.
    """

    attempts: int
    succeeded: int
    failed: int
    declined: int
    success_rate: float | None
    failure_rate: float | None


def traffic(attempts: Mapping[str, int]) -> Traffic:
    """Fold attempts by row. A row this version does not know (a newer replica told of it) counts as neutral."""
    total = sum(attempts.values())
    succeeded = sum(_with(attempts, Signal.SUCCESS))
    failed = sum(_with(attempts, Signal.FAILURE))
    return Traffic(
        attempts=total,
        succeeded=succeeded,
        failed=failed,
        declined=attempts.get(Row.DECLINE, 0) + attempts.get(Row.UNSETTLED_DECLINE, 0),
        success_rate=_share(succeeded, total),
        failure_rate=_share(failed, total),
    )


def _with(attempts: Mapping[str, int], signal: Signal) -> Iterator[int]:
    return (count for row, count in attempts.items() if SIGNALS.get(row) is signal)


def _share(part: int, total: int) -> float | None:
    return round(part / total, 4) if total else None
