"""A bookkeeper on a store that says what it was asked, can be away, and can be wrong."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from proxy.bookkeeper import Bookkeeper
from proxy.core.errors import StoreUnavailable
from proxy.core.fingerprint import Destination
from proxy.core.idempotency import Keyed, settle_kind
from proxy.core.ledger import Claim, Entry, Settlement, State, Write
from proxy.core.model import Payment
from proxy.edges.memory_ledger import MemoryLedger
from proxy.ports import Claimed, Restored, Tracked
from tests.fakes import GENERIC, KEYED, FakeClock, RecordingSink, settled
from tests.ledger.entries import UP

LEASE = 6.0
DESTINATION = Destination(UP, "http://provider.test:4000", "generic")


class Store(MemoryLedger):
    """Everything it was asked is in `asked`, with what it was asked for; `trouble` is raised instead of an answer."""

    def __init__(self, clock: FakeClock, most_unknown: int = 100) -> None:
        super().__init__(clock.wall, retention_seconds=3600, most_unknown=most_unknown)
        self.asked: list[tuple[str, object]] = []
        self.trouble: Callable[[str], Exception | None] = lambda _: None

    def times(self, operation: str) -> int:
        """How often it was asked so."""
        return sum(name == operation for name, _ in self.asked)

    def away(self, *operations: str) -> None:
        """Answer none of these, or nothing at all."""
        self.trouble = lambda name: StoreUnavailable(name, "away") if not operations or name in operations else None

    def back(self) -> None:
        self.trouble = lambda _: None

    async def claim(self, write: Write, owner: str, lease_seconds: float, trusted_seconds: float = math.inf) -> Claimed:
        self._come("claim", owner)
        return await super().claim(write, owner, lease_seconds, trusted_seconds)

    async def settle(self, upstream: str, told: Sequence[Settlement]) -> Tracked:
        self._come("settle", [(one.write.id, one.state) for one in told])
        return await super().settle(upstream, told)

    async def renew(self, upstream: str, held: Sequence[tuple[str, str]], lease_seconds: float) -> frozenset[str]:
        self._come("renew", [owner for _, owner in held])
        return await super().renew(upstream, held, lease_seconds)

    async def restore(self, upstream: str, unknown: Sequence[Settlement]) -> Restored:
        self._come("restore", [one.write.id for one in unknown])
        return await super().restore(upstream, unknown)

    async def entries(self, upstream: str, state: State | None, limit: int) -> Sequence[Entry]:
        self._come("entries", upstream)
        return await super().entries(upstream, state, limit)

    async def count(self, upstream: str) -> Tracked:
        self._come("count", upstream)
        return await super().count(upstream)

    async def upstreams(self, known: Iterable[str]) -> frozenset[str]:
        self._come("upstreams", sorted(known))
        return await super().upstreams(known)

    def _come(self, operation: str, what: object) -> None:
        self.asked.append((operation, what))
        if (trouble := self.trouble(operation)) is not None:
            raise trouble


class Desk:
    """One replica's bookkeeper; time moves when `pass_` says so, or (auto) whenever somebody sleeps."""

    def __init__(self, *, auto: bool = False, lease: float = LEASE, most_unknown: int = 100) -> None:
        self.clock = FakeClock(auto=auto)
        self.store = Store(self.clock, most_unknown)
        self.sink = RecordingSink()
        self.up = True
        unique = iter(map(str, range(1000)))
        self.keeper = Bookkeeper(
            self.store,
            b"the fleet's own secret",
            lease_seconds=lease,
            replica="r1",
            clock=self.clock,
            unique=lambda: next(unique),
            events=self.sink,
            up=lambda: self.up,
        )
        self.keeper.know([UP])

    async def claim(self, one: Payment = KEYED, patience: float = 0.0) -> Claim | None:
        return await self.keeper.claim(keyed(one), DESTINATION, patience=lambda: patience)

    async def granted(self, one: Payment = KEYED) -> tuple[Write, str]:
        """The write and the owner of a claim that has to be granted."""
        claim = await self.claim(one)
        assert claim is not None
        assert claim.write is not None
        assert not claim.degraded
        return claim.write, claim.owner

    async def pass_(self, seconds: float, step: float = 0.1) -> None:
        """Let time pass, and everybody do what falls due."""
        for _ in range(round(seconds / step)):
            await settled()
            self.clock.advance(step)
        await settled()

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """With the background loops running."""
        running = asyncio.create_task(self.keeper.run())
        await settled()
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def keyed(one: Payment = KEYED) -> Keyed:
    return settle_kind(one, GENERIC, inject=True, new_key=lambda: "a-key-of-ours")
