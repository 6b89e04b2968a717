"""The corridor: one payment's way, top to bottom.

    settle its kind → admit → send → classify → settle with the gate → again, or answer

A failure in here is a value; only a refused request and cancellation are raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from proxy.core import answers, retry
from proxy.core.answers import Told
from proxy.core.budget import Budget
from proxy.core.config import Upstream
from proxy.core.errors import RequestRefused
from proxy.core.events import AttemptFinished, PaymentFinished, RetryDenied, RetryScheduled
from proxy.core.idempotency import Keyed, kind_at_age, settle_kind
from proxy.core.model import Answer, Headers, Kind, Outcome, Payment, Response, Result, TransportFailure, WatchedStream
from proxy.core.outcome import Row, retry_after_seconds, row_of
from proxy.core.profiles import Profile
from proxy.core.retry import TABLE, Again, Denied, Signal
from proxy.gate import Gate, Permit, Refusal
from proxy.ports import Clock, EventSink, Transport

UNKEYED_IDLE_SECONDS = 1.0
"""An unkeyed write takes a connection idle for less than this: a stale one would leave its outcome unknown."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What the corridor knows of the one who waits: since when (monotonic seconds), and whether they still do."""

    started: float
    gone: Callable[[], bool]
    trace_id: str | None = None


@dataclass(slots=True)
class Story:
    """What has happened to one payment so far.

    Of the attempts before the last: `sent`, one reached the provider; `doubt`, one may have been carried out.
    """

    kind: Kind
    attempts: int = 0
    sent: bool = False
    doubt: bool = False
    last: tuple[Result, Row] | None = None

    def add(self, result: Result, row: Row) -> None:
        """Take in one finished attempt."""
        if self.last is not None:
            before = self.last[1]
            self.sent = self.sent or TABLE[before].outcome is not Outcome.NOT_SENT
            self.doubt = self.doubt or (self.kind is not Kind.READ and retry.leaves_doubt(before))
        self.attempts += 1
        self.last = (result, row)


class Forwarder:
    """Takes payments to one provider."""

    def __init__(
        self,
        upstream: Upstream,
        profile: Profile,
        *,
        gate: Gate,
        budget: Budget,
        transport: Transport,
        clock: Clock,
        draw: Callable[[], float],
        new_key: Callable[[], str],
        events: EventSink,
    ) -> None:
        url = urlsplit(upstream.url)
        self.upstream = upstream
        self.profile = profile
        self.host = url.netloc.encode("idna" if not url.netloc.isascii() else "ascii")
        self.base_path = url.path.rstrip("/").encode()
        self.under_way = 0
        self._ending = asyncio.Event()
        self.gate = gate
        self.budget = budget
        self._transport = transport
        self._clock = clock
        self._draw = draw
        self._new_key = new_key
        self._events = events

    def end(self) -> None:
        """No time is left: attempts end as a timeout would end them, and nothing is sent again."""
        self._ending.set()
        self._transport.give_up()

    async def aclose(self) -> None:
        """Close the connections to the provider."""
        await self._transport.aclose()

    async def forward(self, payment: Payment, caller: Caller) -> Answer:
        """The answer to one payment: the provider's, or ours where there is none. Never two charges."""
        inject = self.upstream.inject_key
        keyed = settle_kind(payment, self.profile, inject=inject, new_key=self._new_key)
        self.budget.request()
        self.under_way += 1
        try:
            answer = await self._attempts(keyed, caller)
        except BaseException:
            self._leave()
            raise
        self._publish_finish(keyed, caller, answer)
        return self._until_read(answer)

    def _until_read(self, answer: Answer) -> Answer:
        """A payment is under way until its answer has been read."""
        if isinstance(answer.body, bytes):
            self._leave()
            return answer
        return replace(answer, body=WatchedStream(answer.body, self._leave))

    def _leave(self) -> None:
        self.under_way -= 1

    async def _attempts(self, keyed: Keyed, caller: Caller) -> Answer:
        story = Story(keyed.kind)
        try:
            while self._remaining(caller) > 0:
                permit = await self.gate.admit()
                if isinstance(permit, Refusal):
                    return self._refused(keyed, caller, story, permit)
                if self._remaining(caller) <= 0:  # a probe's place may take a moment to get
                    self.gate.release(permit)
                    break
                story.add(*await self._attempt(keyed, caller, story, permit))
                again = self._next(keyed, caller, story)
                if not isinstance(again, Again):
                    break
                await self._pause(again.delay)
        except BaseException:
            await _discard(story)
            raise
        return self._answer(keyed, caller, story)

    async def _attempt(self, keyed: Keyed, caller: Caller, story: Story, permit: Permit) -> tuple[Result, Row]:
        """Send once and tell the gate what it showed of the provider."""
        started = self._clock.now()
        try:
            await _discard(story)
            result = await self._send(keyed, story, self._remaining(caller))
        except BaseException:
            self.gate.release(permit)
            raise
        row = row_of(result, keyed.kind, self.profile)
        signal = Signal.NEUTRAL if self._ending.is_set() else TABLE[row].signal  # our end is not the provider's failure
        self.gate.settle(permit, signal, retry_after_seconds(result, self._clock.wall()))
        self._publish_attempt(keyed, story, permit, result, row, started)
        return result, row

    async def _send(self, keyed: Keyed, story: Story, remaining: float) -> Result:
        timeouts = self.upstream.timeouts
        extra: Headers = ()
        if timeouts.header is not None:
            extra = ((timeouts.header.encode(), b"%d" % round(remaining * 1000)),)
        return await self._transport.send(
            keyed.payment,
            timeout=min(timeouts.attempt, remaining),
            extra=extra,
            max_idle_age=_max_idle_age(keyed.kind, story),
        )

    def _next(self, keyed: Keyed, caller: Caller, story: Story) -> Again | Denied | None:
        """Whether to send again: the table first, then patience, then the fleet's budget. None: nothing to mend."""
        if story.last is None or not retry.wants_retry(story.last[1]):
            return None
        result, row = story.last
        again = self._may_send_again(keyed, caller, row, result, story.attempts - 1)
        request_id = keyed.payment.request_id
        if isinstance(again, Again):
            self._events.publish(RetryScheduled(self.upstream.name, request_id, row, again.delay))
        else:
            self._events.publish(RetryDenied(self.upstream.name, request_id, again))
        return again

    def _may_send_again(
        self, keyed: Keyed, caller: Caller, row: Row, result: Result, retries_done: int
    ) -> Again | Denied:
        if not retry.may_repeat(row, self._kind(keyed, caller), self.profile):
            return Denied.UNSAFE
        if not isinstance(keyed.payment.body, bytes):
            return Denied.STREAMED_BODY
        if keyed.kind is Kind.READ and caller.gone():
            return Denied.CLIENT_GONE
        again = retry.next_attempt(
            self.upstream.retry,
            retries_done,
            retry_after=retry_after_seconds(result, self._clock.wall()),
            remaining=self._remaining(caller),
            attempt_timeout=self.upstream.timeouts.attempt,
            draw=self._draw,
        )
        if not isinstance(again, Again):
            return again
        if not retry.may_repeat(row, self._kind(keyed, caller, again.delay), self.profile):
            return Denied.UNSAFE
        return again if self.budget.spend() else Denied.BUDGET

    def _refused(self, keyed: Keyed, caller: Caller, story: Story, refusal: Refusal) -> Answer:
        """The gate is shut: the last answer if there was one, else 503 with nothing sent."""
        request_id = keyed.payment.request_id
        if story.last is not None:
            self._events.publish(RetryDenied(self.upstream.name, request_id, Denied(refusal.reason)))
            return self._answer(keyed, caller, story)
        detail = f"The {self.upstream.name} provider is not being called ({refusal.reason}); nothing was sent."
        told = self._told(keyed, story, Outcome.NOT_SENT)
        return answers.refused(refusal.retry_after, self.profile.max_retry_after, detail, told)

    def _answer(self, keyed: Keyed, caller: Caller, story: Story) -> Answer:
        if story.last is None:
            raise RequestRefused(408, "The request did not arrive within its deadline; nothing was sent.")
        result, row = story.last
        outcome = retry.outcome_after(row, doubtful=story.doubt, sent=story.sent)
        told = self._told(keyed, story, outcome)
        return answers.answer_for(result, row, self._kind(keyed, caller), self.upstream.unknown_status, told)

    def _told(self, keyed: Keyed, story: Story, outcome: Outcome) -> Told:
        return Told(keyed.payment.request_id, story.attempts, outcome, keyed.injected, self.gate.degraded)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not into the end of this replica."""
        waits = [asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(self._ending.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _kind(self, keyed: Keyed, caller: Caller, in_seconds: float = 0.0) -> Kind:
        return kind_at_age(keyed.kind, self.profile, self._clock.now() - caller.started + in_seconds)

    def _remaining(self, caller: Caller) -> float:
        if self._ending.is_set():
            return 0.0
        return caller.started + self.upstream.timeouts.total - self._clock.now()

    def _publish_attempt(
        self, keyed: Keyed, story: Story, permit: Permit, result: Result, row: Row, started: float
    ) -> None:
        self._events.publish(
            AttemptFinished(
                upstream=self.upstream.name,
                request_id=keyed.payment.request_id,
                number=story.attempts + 1,
                row=row,
                status=result.status,
                error=result.error if isinstance(result, TransportFailure) else None,
                seconds=self._clock.now() - started,
                probe=permit.probe is not None,
            )
        )

    def _publish_finish(self, keyed: Keyed, caller: Caller, answer: Answer) -> None:
        self._events.publish(
            PaymentFinished(
                route=keyed.payment.route,
                upstream=self.upstream.name,
                request_id=keyed.payment.request_id,
                trace_id=caller.trace_id,
                method=keyed.payment.method,
                kind=keyed.kind,
                status=answer.status,
                outcome=answer.outcome,
                attempts=answer.attempts,
                seconds=self._clock.now() - caller.started,
                error=answer.error,
            )
        )


def _max_idle_age(kind: Kind, story: Story) -> float | None:
    if story.last is not None and story.last[1] in retry.FRESH_CONNECTION:
        return 0.0
    return UNKEYED_IDLE_SECONDS if kind is Kind.UNKEYED else None


async def _discard(story: Story) -> None:
    """Give up the answer that the next attempt replaces."""
    if story.last is None:
        return
    result, _ = story.last
    if isinstance(result, Response) and not isinstance(result.body, bytes):
        await result.body.aclose()
