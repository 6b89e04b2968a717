"""The gate in front of one provider: breaker and concurrency limit, asked before every attempt.

Asking costs no round trip while the breaker is closed or open: the gate decides on this replica's view of the shared
record. Only a probe asks the store first, for its place among the fleet's probes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Literal

from proxy.breaker_view import BreakerView, GateStore
from proxy.core import breaker
from proxy.core.breaker import NeedsProbe, Record, Refuse
from proxy.core.config import Upstream
from proxy.core.events import CallRejected
from proxy.core.retry import Signal
from proxy.ports import Clock, EventSink, Shared

LEASE_MARGIN_SECONDS = 1.0
"""A lease outlives the longest attempt by this much, so that no second probe starts beside a slow first one."""
UNKNOWN_WAIT_SECONDS = 1.0
SECOND_LOOKS = 2
"""How often a call that found the record changed while it asked for a probe looks at the new one."""


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave for one attempt, bound to the epoch it was given in. `probe` is the lease's owner if it is a probe."""

    epoch: int
    counted: bool = True
    probe: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """No attempt now; there may be a way in `retry_after` seconds."""

    reason: Literal["breaker", "concurrency"]
    retry_after: float


class Gate(BreakerView):
    """One upstream's gate on this replica: a view of its breaker that calls have to pass."""

    def __init__(
        self,
        upstream: Upstream,
        store: GateStore,
        *,
        replica: str,
        clock: Clock,
        draw: Callable[[], float],
        events: EventSink,
    ) -> None:
        super().__init__(upstream, store, clock=clock, draw=draw, events=events)
        self.in_flight = 0
        self._limit = upstream.max_concurrency
        self._lease_seconds = upstream.timeouts.attempt + LEASE_MARGIN_SECONDS
        self._replica = replica
        self._asking = 0
        self._full_until = 0.0
        self._leases = 0
        self._settling: set[asyncio.Task[None]] = set()

    async def admit(self) -> Permit | Refusal:
        """Leave for one attempt, or the reason why not. Every Permit must be settled or released."""
        if self.in_flight >= self._limit:
            return self._refuse("concurrency", UNKNOWN_WAIT_SECONDS)
        verdict = await self._breaker_says()
        if isinstance(verdict, Permit):
            self.in_flight += 1
            return verdict
        if self.policy.mode == "enforce":
            return self._refuse("breaker", verdict.retry_after)
        self._events.publish(CallRejected(self.name, "breaker", shadow=True))
        self.in_flight += 1
        return Permit(self._view.record.epoch, counted=False)

    def settle(
        self, permit: Permit, signal: Signal, retry_after: float | None = None, *, reading: bool = False
    ) -> None:
        """Say what the attempt found out about the provider; `retry_after` is what the provider asked for.

        `reading`: its answer is still being read, so that its place is not free before `leave`.
        """
        if not reading:
            self.leave()
        if permit.probe is not None:
            self._in_background(self._settle_probe(permit, permit.probe, signal, retry_after or 0.0))
        elif permit.counted and permit.epoch == self._view.record.epoch and signal is not Signal.NEUTRAL:
            self.count(signal, retry_after or 0.0)

    def leave(self) -> None:
        """Free a place."""
        self.in_flight -= 1

    def release(self, permit: Permit) -> None:
        """Give back a Permit whose attempt was cancelled: it counts for nothing and frees its probe."""
        self.settle(permit, Signal.NEUTRAL)

    async def drain(self) -> None:
        """Report everything that is left, give-backs of probes included."""
        await self.flush()
        while self._settling:
            await asyncio.wait(self._settling)

    async def _breaker_says(self) -> Permit | Refuse:
        if self.tripping:
            return Refuse(self.policy.cooldown)
        if (fixed := self._store.fixed) is not None:
            return Permit(-1, counted=False) if fixed == "closed" else Refuse(UNKNOWN_WAIT_SECONDS)
        for _ in range(1 + SECOND_LOOKS):
            match breaker.admit(self._view.record, self.now()):
                case Refuse() as refuse:
                    return refuse
                case NeedsProbe(record=record):
                    if (verdict := await self._ask_for_probe(record)) is not None:
                        return verdict
                case admitted:
                    return Permit(self._view.record.epoch, counted=admitted.counted)
        return Refuse(UNKNOWN_WAIT_SECONDS)

    async def _ask_for_probe(self, record: Record) -> Permit | Refuse | None:
        """A probe's permit, or when to ask again; None if the record moved on meanwhile and deserves another look."""
        wait = self._full_until - self._clock.now()
        if wait > 0 or self._asking >= self.policy.probes:
            return Refuse(max(wait, UNKNOWN_WAIT_SECONDS))
        self._asking += 1
        asking = asyncio.ensure_future(self._lease(record, self._view.record.epoch))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(self._give_back)
            raise
        finally:
            self._asking -= 1

    def _give_back(self, asking: asyncio.Task[Permit | Refuse | None]) -> None:
        if not asking.cancelled() and asking.exception() is None and isinstance(permit := asking.result(), Permit):
            self.in_flight += 1
            self.release(permit)

    async def _lease(self, record: Record, expected: int) -> Permit | Refuse | None:
        self._leases += 1
        owner = f"{self._replica}/{self._leases}"
        lease = await self._store.lease(
            self.name,
            record,
            expected=expected,
            owner=owner,
            limit=self.policy.probes,
            seconds=self._lease_seconds,
            window=self.window,
        )
        self._take(lease.shared)
        if self._view.record.epoch != record.epoch:
            return None  # a place taken under an epoch that is over went with it
        if lease.granted:
            return Permit(record.epoch, probe=owner)
        self._full_until = self._clock.now() + lease.retry_in
        return Refuse(max(lease.retry_in, UNKNOWN_WAIT_SECONDS))

    async def _settle_probe(self, permit: Permit, owner: str, signal: Signal, retry_after: float) -> None:
        record = self._view.record
        if signal is Signal.FAILURE and record.epoch == permit.epoch:
            await self._move(breaker.reopen(record, self.policy, self.now(), self._draw, retry_after))
            return
        passed = signal is Signal.SUCCESS
        self._take(await self._store.settle_probe(self.name, permit.epoch, owner, passed=passed, window=self.window))
        view = self._view
        if view.record.epoch == permit.epoch:
            await self._move(breaker.close(view.record, view.passes, self.policy, view.now))

    def _take(self, view: Shared) -> None:
        self._full_until = 0.0  # news may be that a place is free
        super()._take(view)

    def _refuse(self, reason: Literal["breaker", "concurrency"], retry_after: float) -> Refusal:
        self._events.publish(CallRejected(self.name, reason, shadow=False))
        return Refusal(reason, retry_after)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
