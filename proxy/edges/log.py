"""Events as log lines: one per payment and per state change; attempts, retries and rejections at debug.

Owns which fields are logged. Each is taken by name, so that a new field of an event is not logged by accident.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from structlog.typing import FilteringBoundLogger

from proxy.core.events import (
    AttemptFinished,
    BreakerChanged,
    CallRejected,
    Event,
    FollowedUp,
    LedgerTrimmed,
    PaymentFinished,
    RetryDenied,
    RetryScheduled,
    StoreChanged,
    TurnFailed,
)
from proxy.core.model import Outcome
from proxy.edges.log_setup import configure
from proxy.edges.scrub import mask_library_text

__all__ = ["LogSink", "configure"]


class LogSink:
    """An EventSink that writes a line for each event the level lets through."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self._log = logger
        self._info = logger.is_enabled_for(logging.INFO)
        self._lines: dict[type, Callable[[Any], None]] = {
            PaymentFinished: self._payment,
            BreakerChanged: self._breaker,
            StoreChanged: self._store,
            TurnFailed: self._turn,
            FollowedUp: self._followed_up,
            LedgerTrimmed: self._trimmed,
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

    def _payment(self, event: PaymentFinished) -> None:
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
        if event.up:
            self._log.info("store.up", cause=event.cause)
        else:
            self._log.warning("store.down", cause=event.cause)

    def _turn(self, event: TurnFailed) -> None:
        self._log.error("turn.failed", loop=event.loop, cause=mask_library_text(event.cause))

    def _followed_up(self, event: FollowedUp) -> None:
        say = self._log.debug if event.result == "unknown" else self._log.info
        say("outcome.followed_up", request_id=event.request_id, upstream=event.upstream, result=event.result)

    def _trimmed(self, event: LedgerTrimmed) -> None:
        self._log.error("ledger.trimmed", upstream=event.upstream, count=event.count)

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
