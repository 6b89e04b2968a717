"""Waiting that a replica's end cuts short."""

from __future__ import annotations

import asyncio

from proxy.ports import Clock


async def pause(clock: Clock, seconds: float, ending: asyncio.Event) -> None:
    """Wait so long, or until `ending` is set, whichever comes first."""
    waits = [asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(ending.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
