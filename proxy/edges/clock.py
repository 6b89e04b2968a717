"""Time of the real world."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Monotonic time, wall time and asyncio's sleep."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
