"""Keeps an eye on what the ledger's store promises: looks at the start and whenever it is back, tells of changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from proxy.core.durability import StoreFacts, Warnings, warnings_of
from proxy.core.errors import StoreUnavailable
from proxy.core.events import Event, StoreChanged, StoreFailed, StoreInspected
from proxy.ports import Clock, EventSink

TRIES = 5
AGAIN_SECONDS = 1.0


class Inspection:
    """An EventSink. `ask` gives the store's facts (None: there is no store); it never holds anybody up."""

    def __init__(self, ask: Callable[[], Awaitable[StoreFacts | None]], *, clock: Clock, events: EventSink) -> None:
        self._ask = ask
        self._clock = clock
        self._events = events
        self._looking: asyncio.Task[None] | None = None
        self.warnings: Warnings = ()

    def publish(self, event: Event) -> None:
        if isinstance(event, StoreChanged) and event.up:
            self.look()

    def look(self) -> None:
        """Look in the background, at what is there now."""
        if self._looking is not None:
            self._looking.cancel()
        self._looking = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        for _ in range(TRIES):  # a store that is away longer is looked at when it is back
            try:
                facts = await self._ask()
            except StoreUnavailable as trouble:
                self._events.publish(StoreFailed(trouble.operation, trouble.cause))
                await self._clock.sleep(AGAIN_SECONDS)
            else:
                self._learn(warnings_of(facts))
                return

    def _learn(self, warnings: Warnings) -> None:
        if warnings != self.warnings:
            self.warnings = warnings
            self._events.publish(StoreInspected(warnings))
