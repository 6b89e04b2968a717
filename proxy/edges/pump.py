"""Writes a streamed request body no faster than the connection takes it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.edges.wire import RequestCut

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.model import ByteStream


class Pump:
    """The transport pauses and resumes it; it never writes more or less than was announced without saying so."""

    __slots__ = ("_resumed",)

    def __init__(self) -> None:
        self._resumed: asyncio.Future[None] | None = None

    async def run(self, body: ByteStream, length: int, write: Callable[[bytes], None]) -> None:
        """Write all of `body`. Raises RequestCut unless it is exactly `length` bytes long."""
        async for chunk in body:
            length -= len(chunk)
            if length < 0:
                raise RequestCut("request stream exceeds its Content-Length")
            write(chunk)
            if self._resumed is not None:
                await self._resumed
        if length:
            raise RequestCut("request stream ended short of its Content-Length")

    def pause(self) -> None:
        if self._resumed is None:
            self._resumed = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)


async def stop(task: asyncio.Task[None]) -> BaseException | None:
    """End `task`, wait until it has ended, and return what it failed with of its own accord."""
    task.cancel()
    await asyncio.wait({task})
    return None if task.cancelled() else task.exception()
