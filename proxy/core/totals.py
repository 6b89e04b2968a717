"""What this replica has done since it started, by upstream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from proxy.core.events import AttemptFinished, CallRejected, Event, PaymentFinished, RetryDenied, RetryScheduled
from proxy.core.model import Kind


class Totals:
    """An EventSink that only counts. Names are the journal's, plus `retries` and `retries_denied`."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def publish(self, event: Event) -> None:
        match event:
            case AttemptFinished():
                self._count(event.upstream, f"attempt:{event.row}")
            case PaymentFinished() if event.kind is not Kind.READ:
                self._count(event.upstream, f"payment:{event.outcome}")
            case CallRejected(shadow=False):
                self._count(event.upstream, "rejected")
            case RetryScheduled():
                self._count(event.upstream, "retries")
            case RetryDenied():
                self._count(event.upstream, "retries_denied")
            case _:
                pass

    def of(self, upstream: str) -> Mapping[str, int]:
        """What was counted for one upstream."""
        return self._counts.get(upstream, {})

    def _count(self, upstream: str, name: str) -> None:
        self._counts.setdefault(upstream, Counter())[name] += 1
