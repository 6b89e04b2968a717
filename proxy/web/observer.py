"""Gathers what one replica knows into the status document; decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from proxy.core.status import (
    BreakerFacts,
    BreakerStatus,
    Facts,
    LedgerStatus,
    Status,
    UpstreamFacts,
    breaker_status,
    build,
    iso,
)
from proxy.forward import Forwarder
from proxy.ports import Clock
from proxy.runtime import Replica, Runtime


class Observer:
    """Asks the runtime in force; `draining` says whether this replica is about to leave."""

    def __init__(
        self, current: Callable[[], Runtime], replica: Replica, clock: Clock, draining: Callable[[], bool]
    ) -> None:
        self.current = current
        self.replica = replica
        self.draining = draining
        self._clock = clock

    @property
    def degraded(self) -> Literal["breaker"] | None:
        """`breaker` while a shared store is away, or keeps a record that nobody here can read."""
        fleet = self.current().fleet
        return "breaker" if fleet.shared and (fleet.apart or not fleet.up) else None

    def wall(self) -> float:
        """Seconds since 1970 UTC."""
        return self._clock.wall()

    async def status(self) -> Status:
        """The status document of this moment."""
        runtime = self.current()
        window = runtime.config.summary.window
        upstreams = await asyncio.gather(*(_upstream(one, runtime, window) for one in runtime.forwarders.values()))
        return build(
            Facts(
                replica=self.replica.id,
                version=self.replica.version,
                started=self.replica.started,
                now=self.wall(),
                draining=self.draining(),
                shared=runtime.fleet.shared,
                up=runtime.fleet.up,
                on_outage=runtime.config.redis.on_outage,
                replicas=runtime.fleet.replicas,
                window_seconds=window,
                upstreams=tuple(upstreams),
                ledger=_ledger(runtime),
                unsafe=runtime.unsafe(),
                apart=runtime.fleet.apart,
            )
        )

    def breaker(self, forwarder: Forwarder) -> BreakerStatus:
        """One breaker, as the status document has it."""
        return breaker_status(forwarder.upstream, _breaker(forwarder), self.replica.started)


async def _upstream(forwarder: Forwarder, runtime: Runtime, window: float) -> UpstreamFacts:
    return UpstreamFacts(
        config=forwarder.upstream,
        history=await runtime.fleet.history(forwarder.upstream.name, window),
        breaker=_breaker(forwarder),
        spent=forwarder.budget.fleet,
        retries_left=forwarder.budget.left,
        in_flight=forwarder.gate.in_flight,
        unknown_outcomes=runtime.unknown(forwarder.upstream.name),
    )


def _ledger(runtime: Runtime) -> LedgerStatus | None:
    if runtime.ledger is None:
        return None
    losses = runtime.ledger.recovery.losses.values()
    last = max((one.last for one in losses if one.last is not None), default=None)
    total, restored = sum(one.times for one in losses), sum(one.restored for one in losses)
    return LedgerStatus(total, restored, None if last is None else iso(last))


def _breaker(forwarder: Forwarder) -> BreakerFacts:
    gate, view = forwarder.gate, forwarder.gate.view
    return BreakerFacts(
        record=view.record,
        counts=view.counts,
        window_seconds=gate.window,
        now=gate.now(),
        age_seconds=gate.age,
    )
