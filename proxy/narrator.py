"""Tells the log, in a sentence or two, what is going on when a breaker opens: the moment somebody will be paged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from structlog.typing import FilteringBoundLogger

from proxy.core.events import BreakerChanged, Event


class Narrator:
    """An EventSink; `summary` gives the text of the moment it is asked."""

    def __init__(self, summary: Callable[[], Awaitable[str]], log: FilteringBoundLogger) -> None:
        self._summary = summary
        self._log = log
        self._telling: set[asyncio.Task[None]] = set()

    def publish(self, event: Event) -> None:
        if not isinstance(event, BreakerChanged) or event.new != "open":
            return
        telling = asyncio.ensure_future(self._tell(event.upstream))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _tell(self, upstream: str) -> None:
        self._log.warning("summary", upstream=upstream, text=await self._summary())
