"""What a replica remembers over outages: the next one goes on from the last that was known, whoever found it out."""

from __future__ import annotations

import pytest

from proxy.core.breaker import Closed, HalfOpen, Record
from proxy.core.errors import StoreUnavailable
from proxy.core.events import StoreChanged, StoreFailed
from proxy.core.retry import Signal
from proxy.gate import Permit
from tests.corridor.test_failover import SKEW, WINDOW, WINDOWS, Rig
from tests.fakes import settled


async def half_open_locally() -> Rig:
    """An outage, in which this replica alone goes from open to half-open."""
    rig = Rig()
    await rig.fail(5)
    rig.shared.mode = "refuse"
    await rig.gate.refresh()
    rig.clock.advance(10.0)
    permit = await rig.gate.admit()
    assert isinstance(permit, Permit)
    assert permit.probe is not None
    return rig


async def test_a_lease_taken_alone_is_remembered_for_the_fleet() -> None:
    rig = await half_open_locally()
    rig.shared.mode = "up"
    assert await rig.store.recover(WINDOWS)
    stored = (await rig.stored()).record
    assert isinstance(stored.state, HalfOpen)
    assert stored == rig.gate.view.record


async def test_what_was_heard_at_the_recovery_is_where_the_next_outage_begins() -> None:
    rig = Rig()
    await rig.gate.refresh()
    rig.shared.mode = "refuse"
    await rig.gate.refresh()
    theirs = rig.opened(7)
    await rig.shared.store.install("mock", theirs, expected=None, window=WINDOW)
    rig.shared.mode = "up"
    assert await rig.store.recover(WINDOWS)
    rig.shared.mode = "refuse"
    assert (await rig.store.read("mock", WINDOW)).record == theirs


async def test_a_lease_of_the_shared_store_is_where_the_next_outage_begins() -> None:
    rig = Rig()
    record = Record(3, HalfOpen(10.0), 0.0, 1, "because")
    await rig.store.lease("mock", record, expected=0, owner="r1/1", limit=1, seconds=9.0, window=WINDOW)
    rig.shared.mode = "refuse"
    assert (await rig.store.read("mock", WINDOW)).record == record


async def test_a_failed_recovery_is_told_with_its_operation_and_changes_nothing() -> None:
    rig = Rig()
    rig.shared.mode = "refuse"
    await rig.store.read("mock", WINDOW)
    told = len(rig.sink.of(StoreFailed))
    assert not await rig.store.recover(WINDOWS)
    assert [event.operation for event in rig.sink.of(StoreFailed)[told:]] == ["read"]
    assert [event.up for event in rig.sink.of(StoreChanged)] == [False]


async def test_a_push_is_where_the_clock_and_the_next_outage_go_on() -> None:
    rig = Rig()
    view = await rig.shared.store.install("mock", Record(3, Closed(), 0.0), expected=None, window=WINDOW)
    rig.shared.pushes.put_nowait(("mock", view))
    rig.shared.pushes.put_nowait(StoreUnavailable("subscribe", "connection lost"))
    assert [name async for name, _ in rig.store.changes(["mock"])] == ["mock"]
    assert rig.store.now() == pytest.approx(rig.clock.wall() + SKEW)
    rig.shared.mode = "refuse"
    assert (await rig.store.read("mock", WINDOW)).record.epoch == 3


async def test_a_probe_settled_alone_closes_the_breaker_for_the_fleet() -> None:
    rig = await half_open_locally()
    rig.gate.settle(Permit(rig.gate.view.record.epoch, probe="r1/1"), Signal.SUCCESS)
    await settled()
    rig.shared.mode = "up"
    assert await rig.store.recover(WINDOWS)
    assert isinstance((await rig.stored()).record.state, Closed)
