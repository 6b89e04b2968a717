"""The ledger as the corridor sees it: a claim is one round trip, everything else happens in the background.

A store that is away costs one payment its timeout, and the others nothing until the next try. What became of their
calls is kept here until it is back; what it never learns, it finds out by the lease.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count
from operator import attrgetter

from proxy.core.errors import StoreUnavailable, Unreadable
from proxy.core.events import LedgerTrimmed, StoreFailed, TurnFailed
from proxy.core.fingerprint import Destination, describe
from proxy.core.idempotency import Keyed
from proxy.core.ledger import UNTRACKED, Claim, Entry, Settlement, State, Write, aware, granted
from proxy.ports import Clock, EventSink, LedgerStore, Tracked
from proxy.recovery import Recovery

FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.01, 0.2
"""How long a call waits before it looks again whether the one before it has ended."""
REST_SECONDS = 1.0
"""After a failure the store is left alone for so long, so that a frozen one does not cost every payment its timeout."""
GATHER_SECONDS = 0.002
"""Settlements are gathered for a moment: one command for many, and none beside the answer it could hold up."""
MOST_AT_ONCE = 200
MOST_WAITING = 10_000


class NullLedger:
    """Where there is no ledger: every call is granted and forgotten."""

    async def claim(
        self,
        keyed: Keyed,  # noqa: ARG002
        destination: Destination,  # noqa: ARG002
        *,
        patience: Callable[[], float],  # noqa: ARG002
    ) -> Claim | None:
        return UNTRACKED

    def holds(self, claim: Claim) -> bool:  # noqa: ARG002
        """Nobody else is known of."""
        return True

    def settle(self, told: Settlement) -> None:
        """Nobody asks."""


@dataclass(slots=True)
class Hold:
    """A call under way: since when its lease runs, whether it has held it without a break, and when the first call
    with its key began (monotonic seconds). `elsewhere`: the same payment, unknown in books under other names.
    """

    write: Write
    since: float
    first: float
    unbroken: bool = True
    elsewhere: tuple[Write, ...] = ()


class Bookkeeper:
    """A Ledger over a LedgerStore. `up` says whether the shared store is known to answer."""

    def __init__(
        self,
        store: LedgerStore,
        secret: bytes,
        *,
        lease_seconds: float,
        replica: str,
        clock: Clock,
        unique: Callable[[], str],
        events: EventSink,
        up: Callable[[], bool],
    ) -> None:
        self.store = store
        self._secret = secret
        self._lease = lease_seconds
        self._replica = replica
        self._clock = clock
        self._unique = unique
        self._events = events
        self._up = up
        self.recovery = Recovery(store, clock=clock, events=events)
        self._calls = count(1)
        self._held: dict[str, Hold] = {}
        self._waiting: dict[str, deque[Settlement]] = {}
        self._unknown: dict[str, int] = {}
        self._registered = False
        self._resting_until = 0.0
        self._rest_of_turn = 0.0
        self._wake = asyncio.Event()

    def know(self, upstreams: Iterable[str]) -> None:
        """Keep count of these upstreams' unknown outcomes from now on, and of those before them: they stay listed."""
        self._unknown |= {name: self._unknown.get(name, 0) for name in upstreams}
        self._registered = False

    @property
    def upstreams(self) -> frozenset[str]:
        """All upstreams that there are books of, those that a reload or a restart took away included."""
        return frozenset(self._unknown)

    def unknown(self, upstream: str) -> int:
        """How many outcomes of an upstream are unknown, as last heard."""
        return self._unknown.get(upstream, 0)

    async def claim(self, keyed: Keyed, destination: Destination, *, patience: Callable[[], float]) -> Claim | None:
        if not keyed.write:
            return UNTRACKED
        write = describe(self._secret, destination, keyed, unique=self._unique())
        owner = f"{self._replica}/{next(self._calls)}"
        if not self._reachable():
            return self._unheard(write, owner, keyed)
        try:
            return await self._take(write, owner, keyed, patience)
        except StoreUnavailable as trouble:
            self._rest(trouble)
            return self._unheard(write, owner, keyed)
        except BaseException:
            self._held[owner] = Hold(write, self._clock.now(), self._clock.now())
            self.settle(Settlement(write, owner, State.NOT_SENT, ground=None, attempts=0))
            raise

    def holds(self, claim: Claim) -> bool:
        held = self._held.get(claim.owner)
        if held is None:
            return claim.write is None
        return held.unbroken and self._clock.now() < held.since + self._lease

    def settle(self, told: Settlement) -> None:
        held = self._held.pop(told.owner, None)
        if held is not None:
            told = replace(told, age=self._clock.now() - held.first)
        if held is None and told.state is State.NOT_SENT:  # the store has never heard of this call
            return
        self._tell(told)
        if held is not None and told.settles:
            for write in held.elsewhere:
                self._tell(replace(told, write=write, attempts=0))

    def _tell(self, told: Settlement) -> None:
        self.recovery.note(told)
        waiting = self._waiting.setdefault(told.write.upstream, deque())
        if len(waiting) >= MOST_WAITING:
            _make_room(waiting)
        waiting.append(told)
        self._wake.set()

    async def run(self) -> None:
        """Write down, renew and count until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._forever(self._write_down))
            tasks.create_task(self._forever(self._look_after))

    async def drain(self, seconds: float) -> int:
        """Write down what waits, trying again for so long; how many could not be."""
        deadline = self._clock.now() + seconds
        while not await self._flush() and self._clock.now() < deadline:
            await self._clock.sleep(FIRST_LOOK_SECONDS)
        return sum(map(len, self._waiting.values()))

    async def count(self, upstream: str) -> int:
        """How many outcomes of an upstream are unknown now. StoreUnavailable if the store cannot answer."""
        self._learn(upstream, await self.store.count(upstream))
        return self.unknown(upstream)

    async def entries(self, upstreams: Iterable[str], state: State | None, limit: int) -> list[Entry]:
        """Entries of several upstreams, in the store's order. StoreUnavailable if it cannot answer."""
        lists = await asyncio.gather(*(self.store.entries(name, state, limit) for name in upstreams))
        newest_first = state not in {State.UNKNOWN, State.IN_FLIGHT}
        return sorted((one for some in lists for one in some), key=attrgetter("changed"), reverse=newest_first)[:limit]

    async def entry(self, upstreams: Iterable[str], id_: str) -> Entry | None:
        """One entry, whichever upstream's it is. StoreUnavailable if the store cannot answer."""
        found = await asyncio.gather(*(self.store.entry(name, id_) for name in upstreams))
        return next((entry for entry in found if entry is not None), None)

    def _reachable(self) -> bool:
        return self._up() and self._clock.now() >= self._resting_until

    def _rest(self, trouble: StoreUnavailable) -> None:
        self._events.publish(StoreFailed(trouble.operation, trouble.cause))
        if not isinstance(trouble, Unreadable):  # that is one payment's trouble, and the store is well
            self._resting_until = self._clock.now() + REST_SECONDS
        for upstream in self._unknown:
            self.recovery.at_once(upstream)

    def _unheard(self, write: Write, owner: str, keyed: Keyed) -> Claim:
        """A claim that nobody answered. Of a key of the client's own an earlier call may have left something unknown.

        The store may have heard it all the same, and where it did not, it is told as soon as it can be: should this
        replica die in mid-call, there is a trace.
        """
        self._held[owner] = Hold(write, -math.inf, self._clock.now(), unbroken=False)
        return Claim(write, owner, doubt=keyed.clients_key, degraded=True)

    async def _take(self, write: Write, owner: str, keyed: Keyed, patience: Callable[[], float]) -> Claim | None:
        """Ask until it is ours. Only what was granted is held: a waiter takes nothing from the call it waits for."""
        pause = FIRST_LOOK_SECONDS
        trusted = math.inf if keyed.rule is None else keyed.rule.trusted_seconds
        while True:
            asked = self._clock.now()
            answer = None if self._renamed(write) else await self.store.claim(write, owner, self._lease, trusted)
            if answer is not None:
                self._learn(write.upstream, answer.tracked)
            if answer is not None and not answer.held:
                claim = self.recovery.recall(granted(write, owner, answer.prior, answer.now))
                others = await self._elsewhere(write) if keyed.clients_key and not claim.settled else []
                claim = aware(claim, others, write.rule, answer.now)
                unknown = tuple(one.write for one in others if one.state is State.UNKNOWN and claim.same_rule)
                self._held[owner] = Hold(write, asked, asked - claim.age, elsewhere=unknown)
                return claim
            if patience() <= pause:
                return None
            await self._clock.sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK_SECONDS)

    def _renamed(self, write: Write) -> bool:
        """Whether the same payment is under way here by another name of its upstream, as before a reload."""
        return any(hold.write.id == write.id for hold in self._held.values() if hold.write.upstream != write.upstream)

    async def _elsewhere(self, write: Write) -> list[Entry]:
        """The same payment in books under other names, where anything is unknown."""
        names = [name for name, unknown in self._unknown.items() if unknown and name != write.upstream]
        found = await asyncio.gather(*(self.store.entry(name, write.id) for name in names))
        return [entry for entry in found if entry is not None]

    def _learn(self, upstream: str, tracked: Tracked) -> None:
        self.recovery.heard(upstream, tracked, self._unknown.get(upstream, 0))
        self._unknown[upstream] = tracked.unknown
        if tracked.trimmed:
            self._events.publish(LedgerTrimmed(upstream, tracked.trimmed))

    async def _write_down(self) -> None:
        await self._wake.wait()
        await self._clock.sleep(GATHER_SECONDS)
        self._wake.clear()
        if not await self._flush():
            await self._clock.sleep(REST_SECONDS)
            self._wake.set()

    async def _flush(self) -> bool:
        """Tell the store what waits; False if it cannot be told now."""
        for upstream, waiting in list(self._waiting.items()):
            while waiting:
                batch = [waiting.popleft() for _ in range(min(len(waiting), MOST_AT_ONCE))]
                try:
                    self._learn(upstream, await self.store.settle(upstream, batch))
                except BaseException as trouble:
                    waiting.extendleft(reversed(batch))
                    if not isinstance(trouble, StoreUnavailable):
                        raise
                    self._rest(trouble)
                    return False
                for told in batch:
                    self.recovery.written(told)
        return True

    async def _look_after(self) -> None:
        """Renew the leases of long calls, count, and compare; counting also finds what the dead have left."""
        await self._clock.sleep(self._rest_of_turn)  # the first one at once: a new replica has to learn what was before
        self._rest_of_turn = min(REST_SECONDS, self._lease / 3)
        if not self._reachable():
            return
        try:
            await self._register()
            for upstream in list(self._unknown):
                await self._renew(upstream)
                await self.count(upstream)
                if (tracked := await self.recovery.compare(upstream)) is not None:
                    self._learn(upstream, tracked)
        except StoreUnavailable as trouble:
            self._rest(trouble)

    async def _register(self) -> None:
        """Learn of the books that were kept before: what is unknown in them stays listed."""
        if not self._registered:
            found = await self.store.upstreams(self._unknown)
            self._unknown |= {name: self._unknown.get(name, 0) for name in found}
            self._registered = True

    async def _renew(self, upstream: str) -> None:
        """Lengthen what is due; what the store lost or never heard is claimed now, so that a crash leaves a trace."""
        now = self._clock.now()
        due = {o: h for o, h in self._held.items() if h.write.upstream == upstream and h.since + self._lease / 3 <= now}
        if not due:
            return
        lost = await self.store.renew(upstream, [(hold.write.id, owner) for owner, hold in due.items()], self._lease)
        for owner, hold in due.items():
            if hold.write.id not in lost:
                hold.since = now
            elif owner in self._held:
                await self._claim_again(owner, hold)

    async def _claim_again(self, owner: str, hold: Hold) -> None:
        """Others may have been there meanwhile, unless the store says that nobody was."""
        unbroken, hold.unbroken, hold.since = hold.unbroken, False, self._clock.now()  # until it has said so
        answer = await self.store.claim(hold.write, owner, self._lease)
        nobody = answer.prior is None or answer.prior.state is State.NOT_SENT
        hold.unbroken = unbroken and nobody and not answer.held

    async def _forever(self, turn: Callable[[], Awaitable[None]]) -> None:
        """Take turns until cancelled; a bug costs its turn and is told (compare Fleet._forever)."""
        task = asyncio.current_task()
        while task is None or not task.cancelling():
            try:
                await turn()
            except Exception as bug:  # noqa: BLE001
                self._events.publish(TurnFailed(getattr(turn, "__name__", repr(turn)), repr(bug)))
                await self._clock.sleep(REST_SECONDS)


def _make_room(waiting: deque[Settlement]) -> None:
    """Forget the oldest that is not UNKNOWN: of those the lease says no worse than that they are unknown."""
    for place, told in enumerate(waiting):
        if told.state is not State.UNKNOWN:
            del waiting[place]
            return
    waiting.popleft()
