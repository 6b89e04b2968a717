"""What the corridor tells of an attempt and of a payment: facts for log, metrics and journal, and no payment data."""

from __future__ import annotations

from proxy.core.events import AttemptFinished, PaymentFinished
from proxy.core.idempotency import Keyed
from proxy.core.model import Answer, Result, TransportFailure
from proxy.core.outcome import Row


def attempt_finished(
    upstream: str, keyed: Keyed, number: int, result: Result, row: Row, *, seconds: float, probe: bool
) -> AttemptFinished:
    """One request to the provider."""
    failure = result if isinstance(result, TransportFailure) else None
    return AttemptFinished(
        upstream=upstream,
        request_id=keyed.payment.request_id,
        number=number,
        row=row,
        status=result.status,
        error=failure.error if failure else None,
        detail=(failure.detail or None) if failure else None,
        seconds=seconds,
        probe=probe,
    )


def payment_finished(
    upstream: str, keyed: Keyed, answer: Answer, *, seconds: float, trace_id: str | None
) -> PaymentFinished:
    """One answered payment."""
    return PaymentFinished(
        route=keyed.payment.route,
        upstream=upstream,
        request_id=keyed.payment.request_id,
        trace_id=trace_id,
        method=keyed.payment.method,
        kind=keyed.kind,
        status=answer.status,
        outcome=answer.outcome,
        attempts=answer.attempts,
        seconds=seconds,
        error=answer.error,
        detail=answer.detail,
    )
