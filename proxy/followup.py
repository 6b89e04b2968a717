"""Finding out what became of writes that ended unknown: the same bytes under the same key, until there is an answer.

Only this replica can do it, since bodies live in memory alone. It owns the cases, their number and their patience;
how one is sent again is resend.py's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from proxy.core.config import Followup as Limits
from proxy.core.errors import where
from proxy.core.events import FollowedUp, TurnFailed
from proxy.core.fingerprint import Destination
from proxy.core.idempotency import Keyed
from proxy.core.model import Outcome
from proxy.core.profiles import Profile
from proxy.pause import pause
from proxy.ports import Clock, EventSink

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0
AT_ONCE = 4
"""Resends under way; the others wait their turn, so that a provider just back is not met by a herd."""


@dataclass(slots=True)
class Case:
    """One write to find out about: which, for how long at most, and how long to wait before the next try (seconds).

    `destination` and `profile` are those it was sent under: elsewhere it would be another payment. `rest` is what the
    provider wants at least, after what it last did.
    """

    id: str
    destination: Destination
    profile: Profile
    keyed: Keyed
    seconds: float
    wait: float = FIRST_WAIT_SECONDS
    rest: float = 0.0

    @property
    def size(self) -> int:
        """Bytes of memory it is charged for."""
        body = self.keyed.payment.body
        return len(body) if isinstance(body, bytes) else 0


Resend = Callable[[Case], Awaitable[Outcome | None]]
"""One try: what is known now, NOT_SENT if it could not be made yet, None if it must not be made again."""


class Followup:
    """The cases of this replica, for all upstreams; their number and bytes are bounded together."""

    def __init__(
        self, limits: Limits, resend: Resend, *, clock: Clock, draw: Callable[[], float], events: EventSink
    ) -> None:
        self._limits = limits
        self._resend = resend
        self._clock = clock
        self._draw = draw
        self._events = events
        self._cases: dict[str, Case] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._hurry = asyncio.Event()

    @property
    def injected_keys(self) -> bool:
        """Whether writes under a key of ours are looked after too."""
        return self._limits.injected_keys

    def __len__(self) -> int:
        return len(self._cases)

    def offer(self, case: Case) -> None:
        """Look after a case, unless that is being done already or there is no room."""
        if case.id in self._cases:
            return
        size = case.size + sum(other.size for other in self._cases.values())
        if len(self._cases) >= self._limits.max_entries or size > self._limits.max_bytes:
            self._tell(case, "no_room")
            return
        self._cases[case.id] = case
        task = asyncio.ensure_future(self._follow(case))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def last_try(self, seconds: float) -> int:
        """Try every case once more, now; how many stay unknown after at most so many seconds."""
        self._hurry.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        left = len(self._cases)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return left

    async def _follow(self, case: Case) -> None:
        try:
            result = await self._find_out(case)
        except Exception as bug:  # noqa: BLE001 - it costs this case, which stays listed, and is told
            self._events.publish(TurnFailed("followup", where(bug)))
            result = "stopped"
        if result is not None:
            del self._cases[case.id]
            self._tell(case, result)

    async def _find_out(self, case: Case) -> str | None:
        """How it ended; None if this replica did first, so that the case is left as it is listed."""
        until = self._clock.now() + min(case.seconds, self._limits.seconds)
        while (left := until - self._clock.now()) > 0:
            wait = case.wait * (1 + self._draw() / 2)  # never less: the provider may have asked for it
            if wait > left:
                break
            rested = self._clock.now() + case.rest
            await pause(self._clock, wait, self._hurry)
            if self._clock.now() < rested:  # the end of this replica is no reason to undercut what was asked for
                return None
            async with self._places:
                if self._clock.now() > until:
                    return "expired"
                outcome = await self._resend(case)
            if outcome is Outcome.FINAL or outcome is None:
                return "resolved" if outcome else "stopped"
            if self._hurry.is_set():
                return None
            if outcome is Outcome.UNKNOWN:
                self._tell(case, "unknown")
                case.wait = max(case.rest, min(2 * case.wait, LONGEST_WAIT_SECONDS))
        return "expired"

    def _tell(self, case: Case, result: str) -> None:
        self._events.publish(FollowedUp(case.destination.upstream, case.keyed.payment.request_id, result))
