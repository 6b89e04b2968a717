"""Events as log lines: one per payment and per state change; attempts, retries and rejections at debug.

Owns which fields are logged. Each is taken by name, so that a new field of an event is not logged by accident.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from structlog.typing import FilteringBoundLogger

from proxy.core.events import (
    AttemptFinished,
    BreakerChanged,
    CallRejected,
    ClientDropped,
    Event,
    FollowedUp,
    LedgerLost,
    LedgerTrimmed,
    PaymentFinished,
    RecordUnreadable,
    RetryDenied,
    RetryScheduled,
    StoreChanged,
    StoreFailed,
    StoreInspected,
    TurnFailed,
)
from proxy.core.model import Outcome
from proxy.core.throttle import Throttle
from proxy.edges.log_setup import configure
from proxy.edges.scrub import mask_library_text

__all__ = ["LogSink", "configure"]


class LogSink:
    """An EventSink that writes a line for each event the level lets through."""

    def __init__(self, logger: FilteringBoundLogger, now: Callable[[], float] = time.monotonic) -> None:
        self._log = logger
        self._malformed_lines = Throttle(now)
        self._dropped_lines = defaultdict[str, Throttle](lambda: Throttle(now, burst=1, per_second=0.2))
        self._info = logger.is_enabled_for(logging.INFO)
        self._store_up = True
        self._troubles: set[tuple[str, str]] = set()
        self._lines: dict[type, Callable[[Any], None]] = {
            PaymentFinished: self._payment,
            ClientDropped: self._dropped,
            BreakerChanged: self._breaker,
            StoreChanged: self._store,
            StoreFailed: self._store_failed,
            StoreInspected: self._store_inspected,
            RecordUnreadable: self._record,
            TurnFailed: self._turn,
            FollowedUp: self._followed_up,
            LedgerTrimmed: self._trimmed,
            LedgerLost: self._lost,
        }
        if logger.is_enabled_for(logging.DEBUG):  # else such an event costs one look-up
            self._lines |= {
                AttemptFinished: self._attempt,
                RetryScheduled: self._retry,
                RetryDenied: self._denied,
                CallRejected: self._rejected,
            }

    def publish(self, event: Event) -> None:
        """Log the event, or nothing; never raises, because a log line is worth less than the payment it tells of."""
        line = self._lines.get(type(event))
        if line is None:
            return
        try:
            line(event)
        except Exception:  # noqa: BLE001 - see above
            return

    def _dropped(self, event: ClientDropped) -> None:
        if (left_out := self._dropped_lines[event.reason].take()) is not None:
            self._log.warning("client.dropped", reason=event.reason, suppressed=left_out)

    def _malformed(self, event: PaymentFinished) -> None:
        """What is at fault itself is no payment; a flood of it may not fill the disk."""
        if not self._info or (left_out := self._malformed_lines.take()) is None:
            return
        self._log.info(
            "request.malformed",
            request_id=event.request_id,
            route=event.route,
            upstream=event.upstream,
            status=event.status,
            reason=event.malformed,
            outcome=event.outcome.value,
            suppressed=left_out,
        )

    def _payment(self, event: PaymentFinished) -> None:
        if event.malformed is not None and event.outcome is Outcome.NOT_SENT:
            self._malformed(event)
            return
        doubtful = event.outcome is Outcome.UNKNOWN
        if not (doubtful or self._info):
            return
        say = self._log.warning if doubtful else self._log.info
        say(
            "payment.finished",
            request_id=event.request_id,
            trace_id=event.trace_id,
            route=event.route,
            upstream=event.upstream,
            method=event.method,
            kind=event.kind.value,
            status=event.status,
            outcome=event.outcome.value,
            attempts=event.attempts,
            duration_ms=round(event.seconds * 1000, 2),
            error=event.error,
            **_detail(event.detail),
        )

    def _breaker(self, event: BreakerChanged) -> None:
        say = self._log.warning if event.new.endswith("open") and event.new != "half_open" else self._log.info
        say(
            "breaker.changed",
            upstream=event.upstream,
            old=event.old,
            new=event.new,
            epoch=event.epoch,
            cause=event.cause,
            open_seconds=event.open_seconds,
        )

    def _store(self, event: StoreChanged) -> None:
        self._store_up = event.up
        self._troubles.clear()
        if event.up:
            self._log.info("store.up", cause=event.cause, store=event.where)
        else:
            self._log.warning("store.down", cause=event.cause, store=event.where)

    def _store_failed(self, event: StoreFailed) -> None:
        """Each kind of trouble once while the store is thought to be up; store.down has told of the others."""
        kind = (event.operation, event.cause)
        if self._store_up and event.cause and kind not in self._troubles:
            self._troubles.add(kind)
            self._log.warning("store.failed", operation=event.operation, cause=event.cause)

    def _store_inspected(self, event: StoreInspected) -> None:
        for problem, remedy in event.warnings:
            self._log.warning("store.unsafe", problem=problem, remedy=remedy)

    def _record(self, event: RecordUnreadable) -> None:
        if event.cause is None:
            self._log.info("store.record_readable", upstream=event.upstream)
        else:
            self._log.warning("store.record_unreadable", upstream=event.upstream, cause=event.cause)

    def _turn(self, event: TurnFailed) -> None:
        self._log.error("turn.failed", loop=event.loop, cause=mask_library_text(event.cause))

    def _followed_up(self, event: FollowedUp) -> None:
        say = self._log.debug if event.result == "unknown" else self._log.info
        say("outcome.followed_up", request_id=event.request_id, upstream=event.upstream, result=event.result)

    def _trimmed(self, event: LedgerTrimmed) -> None:
        self._log.error("ledger.trimmed", upstream=event.upstream, count=event.count)

    def _lost(self, event: LedgerLost) -> None:
        message = "the store came back without unknown outcomes that it held; it must keep its data (docs/ledger.md)"
        known, restored = event.known, event.restored
        self._log.error("ledger.lost", upstream=event.upstream, known=known, restored=restored, message=message)

    def _attempt(self, event: AttemptFinished) -> None:
        self._log.debug(
            "attempt.finished",
            request_id=event.request_id,
            upstream=event.upstream,
            number=event.number,
            result=event.row.value,
            status=event.status,
            error=event.error,
            **_detail(event.detail),
            duration_ms=round(event.seconds * 1000, 2),
            probe=event.probe,
        )

    def _retry(self, event: RetryScheduled) -> None:
        self._log.debug(
            "retry.scheduled",
            request_id=event.request_id,
            upstream=event.upstream,
            reason=event.reason.value,
            delay_ms=round(event.delay * 1000, 2),
        )

    def _denied(self, event: RetryDenied) -> None:
        self._log.debug("retry.denied", request_id=event.request_id, upstream=event.upstream, reason=event.reason.value)

    def _rejected(self, event: CallRejected) -> None:
        self._log.debug("call.rejected", upstream=event.upstream, reason=event.reason, shadow=event.shadow)


def _detail(detail: str | None) -> dict[str, str]:
    """The field of what the wire showed, where there is something to tell."""
    return {} if detail is None else {"detail": detail}
