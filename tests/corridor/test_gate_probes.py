"""Probes one by one: who asks the store for a place, who does not, and when the gate has told all."""

from __future__ import annotations

import asyncio

import pytest

from proxy.core.breaker import Closed, HalfOpen, Open, Record
from proxy.core.retry import Signal
from proxy.edges.memory_store import MemoryBreakerStore
from proxy.gate import Permit, Refusal
from proxy.ports import Lease, Shared
from tests.fakes import FakeClock, new_gate, settled, upstream

WINDOW = 30.0


class Slow(MemoryBreakerStore):
    """Every answer about probes takes a few turns of the loop; `door` shut, it takes until it is opened."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock.wall)
        self.asked: list[str] = []
        self.door = asyncio.Event()
        self.door.set()

    async def lease(
        self, upstream: str, record: Record, *, expected: int, owner: str, limit: int, seconds: float, window: float
    ) -> Lease:
        self.asked.append(owner)
        await self.door.wait()
        return await super().lease(
            upstream, record, expected=expected, owner=owner, limit=limit, seconds=seconds, window=window
        )

    async def settle_probe(self, upstream: str, epoch: int, owner: str, *, passed: bool, window: float) -> Shared:
        await asyncio.sleep(0.01)
        return await super().settle_probe(upstream, epoch, owner, passed=passed, window=window)


class Rig:
    def __init__(self, probes: int = 1) -> None:
        self.clock = FakeClock()
        self.store = Slow(self.clock)
        self.config = upstream(breaker={"probes": probes})
        self.gate = new_gate(self.config, self.store, self.clock)

    async def half_open(self) -> None:
        record = Record(1, HalfOpen(10.0), self.clock.wall(), 1, "because")
        await self.store.install("mock", record, expected=0, window=WINDOW)
        await self.gate.refresh()

    async def others(self, seconds: float) -> None:
        """Another replica takes a place for so long."""
        record = (await self.store.read("mock", WINDOW)).record
        await self.store.lease("mock", record, expected=1, owner="r2/1", limit=1, seconds=seconds, window=WINDOW)
        self.store.asked.clear()


async def test_no_more_ask_at_once_than_there_are_places() -> None:
    rig = Rig(probes=2)
    await rig.half_open()
    rig.store.door.clear()
    asking = [asyncio.create_task(rig.gate.admit()) for _ in range(5)]
    await settled()
    assert len(rig.store.asked) == 2
    refused = [task.result() for task in asking if task.done()]
    assert [(type(one), getattr(one, "retry_after", None)) for one in refused] == [(Refusal, 1.0)] * 3
    rig.store.door.set()
    assert sum(isinstance(one, Permit) for one in await asyncio.gather(*asking)) == 2


async def test_while_the_places_are_known_to_be_taken_the_store_is_not_asked() -> None:
    rig = Rig()
    await rig.half_open()
    await rig.others(4.0)
    waits = []
    for _ in range(4):
        refusal = await rig.gate.admit()
        assert isinstance(refusal, Refusal)
        waits.append(refusal.retry_after)
        rig.clock.advance(1.0)
    assert waits == pytest.approx([4.0, 3.0, 2.0, 1.0])
    assert rig.store.asked == ["r1/1"]
    permit = await rig.gate.admit()
    assert isinstance(permit, Permit)
    assert permit.probe == "r1/2"


async def test_news_may_be_that_a_place_is_free() -> None:
    rig = Rig()
    await rig.half_open()
    await rig.others(4.0)
    assert isinstance(await rig.gate.admit(), Refusal)
    rig.gate.learn(await MemoryBreakerStore.settle_probe(rig.store, "mock", 1, "r2/1", passed=False, window=WINDOW))
    assert isinstance(await rig.gate.admit(), Permit)


@pytest.mark.parametrize(("signal", "state"), [(Signal.SUCCESS, Closed), (Signal.FAILURE, Open)])
async def test_when_it_is_drained_the_probe_s_result_is_with_the_store(signal: Signal, state: type) -> None:
    rig = Rig()
    await rig.half_open()
    permit = await rig.gate.admit()
    assert isinstance(permit, Permit)
    rig.gate.settle(permit, signal)
    await rig.gate.drain()
    assert isinstance((await rig.store.read("mock", WINDOW)).record.state, state)


async def test_a_neutral_probe_gives_its_place_back_and_decides_nothing() -> None:
    rig = Rig()
    await rig.half_open()
    permit = await rig.gate.admit()
    assert isinstance(permit, Permit)
    rig.gate.release(permit)
    await rig.gate.drain()
    assert isinstance(rig.gate.view.record.state, HalfOpen)
    assert rig.gate.in_flight == 0
    assert isinstance(await rig.gate.admit(), Permit)


async def test_a_call_that_is_cancelled_while_it_asks_gives_the_place_back() -> None:
    rig = Rig()
    await rig.half_open()
    rig.store.door.clear()
    asking = asyncio.create_task(rig.gate.admit())
    await settled()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    rig.store.door.set()
    await settled()
    await rig.gate.drain()
    assert rig.gate.in_flight == 0
    assert isinstance(await rig.gate.admit(), Permit)
