"""The corridor: one payment's way, top to bottom.

    settle its kind → claim → admit → send → classify → settle with the gate → again, or answer → settle the claim

A failure in here is a value; only a refused request and cancellation are raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from proxy.bookkeeper import NullLedger
from proxy.core import answers, retry
from proxy.core.answers import Told
from proxy.core.budget import Budget
from proxy.core.chained import Chain, inner_row
from proxy.core.config import Upstream
from proxy.core.errors import RequestRefused, where
from proxy.core.events import RetryDenied, RetryScheduled, TurnFailed
from proxy.core.fingerprint import Destination
from proxy.core.idempotency import Keyed, kind_at_age, settle_kind
from proxy.core.ledger import Claim
from proxy.core.model import (
    Answer,
    Certainty,
    Ending,
    Headers,
    Kind,
    Outcome,
    Payment,
    Response,
    Result,
    TransportFailure,
    WatchedStream,
    WireError,
)
from proxy.core.outcome import Row, hint_of, retry_after_seconds, row_of
from proxy.core.profiles import Profile
from proxy.core.retry import TABLE, Again, Denied, Signal
from proxy.followup import FIRST_WAIT_SECONDS, Case, Followup
from proxy.gate import Gate, Permit, Refusal
from proxy.pause import pause
from proxy.ports import Clock, EventSink, Ledger, Transport
from proxy.story import Story
from proxy.telling import attempt_finished, payment_finished

NO_CHAIN = Chain("holdfast", b"alone")
EARLIER_CALL = "an earlier call with this key may have been carried out: look it up before paying again"


@dataclass(frozen=True, slots=True)
class Caller:
    """What the corridor knows of the one who waits: since when (monotonic seconds), and whether they still do."""

    started: float
    gone: Callable[[], bool]
    trace_id: str | None = None
    key_age: float = 0.0
    """Seconds between the first call with this key and this one, as far as the ledger knows."""


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
        ledger: Ledger | None = None,
        followup: Followup | None = None,
        chain: Chain = NO_CHAIN,
    ) -> None:
        url = urlsplit(upstream.url)
        self.upstream = upstream
        self.profile = profile
        self.host = url.netloc.encode("idna" if not url.netloc.isascii() else "ascii")
        self.base_path = url.path.rstrip("/").encode()
        self.destination = Destination(
            upstream.name, upstream.url.rstrip("/"), profile.name, tuple(profile.client_reference_fields)
        )
        self.under_way = 0
        self._ending = asyncio.Event()
        self.gate = gate
        self.budget = budget
        self._transport = transport
        self._clock = clock
        self._draw = draw
        self._new_key = new_key
        self._events = events
        self._ledger = ledger or NullLedger()
        self._followup = followup
        self._chain = chain

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.now()

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
        keyed = settle_kind(payment, self.profile, inject=inject, new_key=self._new_key, base_path=self.base_path)
        self.budget.request()
        self.under_way += 1
        try:
            claim = await self.claim(keyed, lambda: self._remaining(caller) - self.upstream.timeouts.attempt / 2)
            answer = self._busy(keyed) if claim is None else await self._attempts(keyed, caller, claim)
        except BaseException:
            self._leave()
            raise
        seconds = self._clock.now() - caller.started
        self._events.publish(
            payment_finished(self.upstream.name, keyed, answer, seconds=seconds, trace_id=caller.trace_id)
        )
        return self._until_read(answer)

    def _until_read(self, answer: Answer) -> Answer:
        """A payment is under way until its answer has been read."""
        if isinstance(answer.body, bytes):
            self._leave()
            return answer
        return replace(answer, body=WatchedStream(answer.body, self._leave))

    def _leave(self, _: Ending = Ending.WHOLE) -> None:
        self.under_way -= 1

    async def _attempts(self, keyed: Keyed, caller: Caller, claim: Claim) -> Answer:
        """The answer, with the claim settled: at once, or when an answer that is streamed has been read."""
        if claim.degraded and keyed.injected is not None:  # nobody but us would know this key (payments.md section 6)
            keyed = replace(keyed, kind=Kind.UNKEYED)
        caller = replace(caller, key_age=claim.age) if claim.age else caller
        story = Story(keyed.write, claim, holds=lambda: not keyed.clients_key or self._ledger.holds(claim))
        try:
            answer = await self._rounds(keyed, caller, story)
        except BaseException as trouble:
            await discard(story)
            self._conclude(keyed, caller, story)
            if isinstance(trouble, RequestRefused) or not isinstance(trouble, Exception):
                raise
            return self._bug(keyed, story, trouble)
        if isinstance(answer.body, bytes):
            self._conclude(keyed, caller, story)
            return answer
        watched = WatchedStream(answer.body, lambda ending: self._was_read(keyed, caller, story, ending))
        return replace(answer, body=watched)

    async def _rounds(self, keyed: Keyed, caller: Caller, story: Story) -> Answer:
        """Attempts until there is no more to mend, or no more time."""
        while self._remaining(caller) > 0:
            permit = await self.gate.admit()
            if isinstance(permit, Refusal):
                return self._refused(keyed, caller, story, permit)
            if self._remaining(caller) <= 0:  # a probe's place may take a moment to get
                self.gate.release(permit)
                break
            await self.attempt(keyed, caller, story, permit)
            again = self._next(keyed, caller, story)
            if not isinstance(again, Again):
                break
            await pause(self._clock, again.delay, self._ending)
        return self._answer(keyed, caller, story)

    def _conclude(self, keyed: Keyed, caller: Caller, story: Story) -> None:
        """What is known is asked while the claim is held, and then told."""
        self._follow_up(keyed, caller, story)
        self.settle(story)

    def _was_read(self, keyed: Keyed, caller: Caller, story: Story, ending: Ending) -> None:
        """An answer that broke off after its head was told is as unknown as one that broke off before (row 6)."""
        if ending is Ending.CUT and story.last is not None:
            head = story.last[0]
            cut = TransportFailure(Certainty.CUT, WireError.CUT, "cut while streamed", head.status, head.headers)
            story.answer_cut(cut, row_of(cut, keyed.kind, self.profile, keyed.rule))
        self._conclude(keyed, caller, story)

    def _bug(self, keyed: Keyed, story: Story, bug: Exception) -> Answer:
        """A fault of ours is told with what is truly known: once an attempt has begun, nothing less than unknown."""
        self._events.publish(TurnFailed("forward", where(bug)))
        told = self._told(keyed, story, story.outcome)
        return answers.problem(500, "proxy_internal_error", "Holdfast met an internal error.", told)

    async def attempt(self, keyed: Keyed, caller: Caller, story: Story, permit: Permit) -> None:
        """Send once, tell the gate what it showed of the provider, and the story what came of it."""
        started = self._clock.now()
        try:
            await discard(story)
            story.begin()
            result = self._held(await self._send(keyed, story, permit, self._remaining(caller)))
            row = row_of(result, keyed.kind, self.profile, keyed.rule)
            row = inner_row(result, keyed.payment, self._chain, trusted=self.upstream.trust_outcome, usual=row)
        except BaseException as cut:
            story.break_off(cut)
            self.gate.release(permit)
            raise
        expired = keyed.rule is not None and caller.key_age + started - caller.started >= keyed.rule.trusted_seconds
        story.add(result, row, settles=_settles(row, keyed, story.claim) and not expired)
        signal = Signal.NEUTRAL if self._ending.is_set() else TABLE[row].signal  # our end is not the provider's failure
        self.gate.settle(permit, signal, self._retry_after(result), reading=_streamed(result))
        seconds, probe = self._clock.now() - started, permit.probe is not None
        self._events.publish(
            attempt_finished(self.upstream.name, keyed, story.attempts, result, row, seconds=seconds, probe=probe)
        )

    def _held(self, result: Result) -> Result:
        """A streamed answer keeps its place in `max_concurrency` until it has been read."""
        if not isinstance(result, Response) or isinstance(result.body, bytes):
            return result
        return replace(result, body=WatchedStream(result.body, lambda _: self.gate.leave()))

    async def claim(self, keyed: Keyed, patience: Callable[[], float]) -> Claim | None:
        """Take the payment in the ledger; None if a call with the same key is still under way."""
        return await self._ledger.claim(keyed, self.destination, patience=patience)

    async def known_of(self, payment: Payment) -> Outcome:
        """What is known under the client's key of a request that is refused before it is sent."""
        keyed = settle_kind(payment, self.profile, inject=False, new_key=self._new_key, base_path=self.base_path)
        if not keyed.clients_key:
            return Outcome.NOT_SENT
        claim = await self.claim(keyed, lambda: 0.0)
        if claim is None:
            return Outcome.UNKNOWN
        story = Story(keyed.write, claim)
        self.settle(story)
        return story.outcome

    def settle(self, story: Story) -> None:
        """Tell the ledger what became of the call."""
        if story.claim.write is not None:
            self._ledger.settle(story.settlement(story.claim.write, story.claim.owner, self.profile))

    def _follow_up(self, keyed: Keyed, caller: Caller, story: Story) -> None:
        """Find out later what became of a write that is unknown now, where a resend will still be safe then."""
        rule, write = keyed.rule, story.claim.write
        if self._followup is None or write is None or rule is None or not isinstance(keyed.payment.body, bytes):
            return
        if story.outcome is not Outcome.UNKNOWN or story.last is None or story.broken or self._ending.is_set():
            return
        if keyed.injected is not None and not self._followup.injected_keys:
            return
        result, row = story.last
        rest = self.rest_after(keyed, row, result)
        wait = max(FIRST_WAIT_SECONDS, rest)
        if self.may_repeat(keyed, caller, row, result, wait):
            age = caller.key_age + self._clock.now() - caller.started
            safe_for = rule.trusted_seconds - age - self.upstream.timeouts.total
            self._followup.offer(Case(write.id, self.destination, self.profile, keyed, safe_for, wait, rest))

    def _busy(self, keyed: Keyed) -> Answer:
        """A call with the same key did not end in time: its outcome is not ours to guess."""
        detail = "Another call with this key is still under way; what becomes of it is not known yet. Ask again later."
        told = self._told(keyed, Story(), Outcome.UNKNOWN)
        return answers.problem(409, "http_request_denied", detail, told)

    async def _send(self, keyed: Keyed, story: Story, permit: Permit, remaining: float) -> Result:
        timeouts = self.upstream.timeouts
        extra: Headers = ()
        if timeouts.header is not None:
            extra = ((timeouts.header.encode(), b"%d" % round(remaining * 1000)),)
        return await self._transport.send(
            keyed.payment,
            timeout=min(timeouts.attempt, remaining),
            extra=extra,
            max_idle_age=_max_idle_age(keyed.kind, story, permit, self.upstream.unkeyed_idle),
        )

    def _next(self, keyed: Keyed, caller: Caller, story: Story) -> Again | Denied | None:
        """Whether to send again: the table first, then patience, then the fleet's budget. None: nothing to mend."""
        if story.last is None or not retry.wants_retry(story.last[1], hint_of(story.last[0], self.profile)):
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
        if not self.may_repeat(keyed, caller, row, result):
            return Denied.UNSAFE
        if not isinstance(keyed.payment.body, bytes):
            return Denied.STREAMED_BODY
        if not keyed.write and caller.gone():
            return Denied.CLIENT_GONE
        again = retry.next_attempt(
            self.upstream.retry,
            retries_done,
            retry_after=self.rest_after(keyed, row, result),
            remaining=self._remaining(caller),
            attempt_timeout=self.upstream.timeouts.attempt,
            draw=self._draw,
        )
        if not isinstance(again, Again):
            return again
        if not self.may_repeat(keyed, caller, row, result, again.delay):
            return Denied.UNSAFE
        return again if self.budget.spend() else Denied.BUDGET

    def may_repeat(self, keyed: Keyed, caller: Caller, row: Row, result: Result, in_seconds: float = 0.0) -> bool:
        kind, advice = self._kind(keyed, caller, in_seconds), hint_of(result, self.profile)
        return retry.may_repeat(row, kind, keyed.rule, advice=advice)

    def rest_after(self, keyed: Keyed, row: Row, result: Result) -> float:
        """Seconds that the same key must not go out again for, whatever the backoff says."""
        return max(self._retry_after(result) or 0.0, retry.shortest_wait(row, keyed.rule))

    def _retry_after(self, result: Result) -> float | None:
        return retry_after_seconds(result, self._clock.wall(), self.profile)

    def _refused(self, keyed: Keyed, caller: Caller, story: Story, refusal: Refusal) -> Answer:
        """The gate is shut: the last answer if there was one, else 503 with nothing sent."""
        request_id = keyed.payment.request_id
        if story.last is not None:
            self._events.publish(RetryDenied(self.upstream.name, request_id, Denied(refusal.reason)))
            return self._answer(keyed, caller, story)
        told = self._told(keyed, story, story.outcome)
        known = "nothing was sent" if told.outcome is Outcome.NOT_SENT else EARLIER_CALL
        detail = f"The {self.upstream.name} provider is not being called ({refusal.reason}); {known}."
        return answers.refused(refusal.retry_after, self.profile.max_retry_after, detail, told)

    def _answer(self, keyed: Keyed, caller: Caller, story: Story) -> Answer:
        told = self._told(keyed, story, story.outcome)
        if story.last is None:
            return self._too_late(told)
        result, row = story.last
        kind = self._kind(keyed, caller)
        return answers.answer_for(result, row, kind, self.upstream.unknown_status, told, write=keyed.write)

    def _too_late(self, told: Told) -> Answer:
        """There was no time for even one attempt."""
        if told.outcome is Outcome.UNKNOWN:
            return answers.problem(504, "connection_timeout", f"The deadline is over; {EARLIER_CALL}.", told)
        if self._ending.is_set():
            detail = "This replica is ending, and nothing was sent; another one takes the payment."
            return answers.refused(1.0, self.profile.max_retry_after, detail, told)
        raise RequestRefused(408, "The request did not arrive within its deadline; nothing was sent.")

    def _told(self, keyed: Keyed, story: Story, outcome: Outcome) -> Told:
        missing = ", ".join(filter(None, [self.gate.degraded, "ledger" if story.claim.degraded else None])) or None
        return Told(keyed.payment.request_id, story.attempts, outcome, keyed.injected, missing, self.profile)

    def _kind(self, keyed: Keyed, caller: Caller, in_seconds: float = 0.0) -> Kind:
        age = caller.key_age + self._clock.now() - caller.started + in_seconds
        return kind_at_age(keyed.kind, keyed.rule, age)

    def _remaining(self, caller: Caller) -> float:
        if self._ending.is_set():
            return 0.0
        return caller.started + self.upstream.timeouts.total - self._clock.now()


def _max_idle_age(kind: Kind, story: Story, permit: Permit, unkeyed_idle: float) -> float | None:
    if permit.probe is not None or (story.last is not None and story.last[1] in retry.FRESH_CONNECTION):
        return 0.0  # a probe asks how the provider is, not how an old connection is
    return unkeyed_idle if kind is Kind.UNKEYED else None


def _settles(row: Row, keyed: Keyed, claim: Claim) -> bool:
    """Whether the answer speaks for earlier attempts and calls too.

    A write without a key is settled by its success alone. A replay that was asked for with another body may be that of
    another payment.
    """
    if not TABLE[row].settles or not claim.same_rule or (row is Row.REPLAY and not claim.same_body):
        return False
    return keyed.kind is not Kind.READ or row is Row.SUCCESS


def _streamed(result: Result) -> bool:
    return isinstance(result, Response) and not isinstance(result.body, bytes)


async def discard(story: Story) -> None:
    """Give up the answer that the next attempt replaces."""
    if story.last is None:
        return
    result, _ = story.last
    if isinstance(result, Response) and not isinstance(result.body, bytes):
        await result.body.aclose()
