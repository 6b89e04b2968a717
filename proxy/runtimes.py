"""The runtime in force, and those before it that still have payments to finish."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress

from proxy.followup import Followup
from proxy.runtime import Runtime

STEP_SECONDS = 0.02
LAST_TRY_SECONDS = 5.0


class Runtimes:
    """Which runtime serves now, and what becomes of the ones that a reload replaced."""

    def __init__(self) -> None:
        self._serving: list[Runtime] = []
        self._loops: dict[int, asyncio.Task[None]] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def current(self) -> Runtime:
        """The runtime in force."""
        return self._serving[-1]

    def under_way(self, upstream: str | None = None) -> int:
        """Payments not yet answered, to one upstream or to all, whatever configuration they came in under."""
        return sum(
            forwarder.under_way
            for runtime in self._serving
            for name, forwarder in runtime.forwarders.items()
            if upstream is None or name == upstream
        )

    def put_in_force(self, runtime: Runtime) -> None:
        """Serve by this runtime from now on; its breakers go on from where the old one's are."""
        if self._serving:
            for name, gate in runtime.fleet.gates.items():
                if name in self.current.fleet.gates:
                    gate.inherit(self.current.fleet.gates[name])
        self._serving.append(runtime)

    async def start(self) -> None:
        """Learn what the fleet knows, then keep the runtime in force in step with it."""
        fleet = self.current.fleet
        await asyncio.gather(*(gate.refresh() for gate in fleet.gates.values()))
        self._loops[id(fleet)] = asyncio.create_task(fleet.run())

    def replace(self, runtime: Runtime) -> None:
        """Put a runtime in force and let the old one's payments end before its loops and connections do."""
        old = self.current
        self.put_in_force(runtime)
        retiring = asyncio.ensure_future(self._retire(old))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    async def _retire(self, old: Runtime) -> None:
        await self.start()
        await _until_idle(lambda: _payments(old), math.inf)  # each payment has its deadline; the end has one, too
        self._serving.remove(old)
        await self._close(old)

    async def finish(self, seconds: float, followup: Followup | None = None) -> int:
        """Wait for payments to end; after `seconds` end them as their timeout would. How many had to be ended so.

        What is left to follow up is tried once more meanwhile.
        """
        await _until_idle(self.under_way, seconds)
        left = self.under_way()
        if followup is not None:
            await followup.last_try(min(seconds, LAST_TRY_SECONDS))
        for runtime in self._serving:
            for forwarder in runtime.forwarders.values():
                forwarder.end()
        return left

    async def leave(self) -> None:
        """Tell the fleet what is left to tell and close everything."""
        for retiring in self._retiring:
            retiring.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        for runtime in self._serving:
            await self._close(runtime)
            await runtime.fleet.leave()

    async def _close(self, runtime: Runtime) -> None:
        loops = self._loops.pop(id(runtime.fleet), None)
        if loops is not None:
            loops.cancel()
            with suppress(asyncio.CancelledError):
                await loops
        for forwarder in runtime.forwarders.values():
            await forwarder.aclose()


def _payments(runtime: Runtime) -> int:
    return sum(forwarder.under_way for forwarder in runtime.forwarders.values())


async def _until_idle(count: Callable[[], int], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while count() and loop.time() < deadline:
        await asyncio.sleep(STEP_SECONDS)  # once in a life: an event on every settled payment would cost more
