"""The cases of a replica: how many, how large, how often, and how they end. How one is sent is scripted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from proxy.core.config import Followup as Limits
from proxy.core.events import FollowedUp, TurnFailed
from proxy.core.idempotency import settle_kind
from proxy.core.model import Body, Outcome
from proxy.followup import Case, Followup
from tests.fakes import GENERIC, KEY, FakeClock, FakeStream, RecordingSink, payment, settled
from tests.ledger.desk import DESTINATION

UNKNOWN, FINAL, NOT_SENT = Outcome.UNKNOWN, Outcome.FINAL, Outcome.NOT_SENT


def case(
    id_: str = "a", *, body: Body = b"12345", seconds: float = 3600.0, wait: float = 1.0, rest: float = 0.0
) -> Case:
    keyed = settle_kind(payment("POST", KEY, body=body), GENERIC, inject=True, new_key=str)
    return Case(id_, DESTINATION, GENERIC, keyed, seconds, wait, rest)


class Rig:
    """A follow-up whose resends say what `script` says, and hang when it is at its end."""

    def __init__(self, *script: Outcome | Exception | None, draw: float = 0.0, limits: dict[str, object] | None = None):
        self.clock = FakeClock(auto=False)
        self.sink = RecordingSink()
        self.script = list(script)
        self.tried: list[tuple[str, float]] = []
        self.hanging = 0
        self.cancelled = 0
        self.release = asyncio.Event()
        self.followup = Followup(
            Limits.model_validate({"for": "1h"} | (limits or {})),
            self.resend,
            clock=self.clock,
            draw=lambda: draw,
            events=self.sink,
        )

    async def resend(self, one: Case) -> Outcome | None:
        self.tried.append((one.id, self.clock.now() - 1000))
        if not self.script:
            await self.hang()
            return FINAL
        told = self.script.pop(0)
        if isinstance(told, Exception):
            raise told
        return told

    async def hang(self) -> None:
        self.hanging += 1
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.hanging -= 1

    async def pass_(self, seconds: float, step: float = 0.5) -> None:
        for _ in range(round(seconds / step)):
            await settled()
            self.clock.advance(step)
        await settled()

    def offer(self, cases: Iterable[Case]) -> None:
        for one in cases:
            self.followup.offer(one)

    def results(self) -> list[str]:
        return [event.result for event in self.sink.of(FollowedUp)]

    def times(self) -> list[float]:
        return [at for _, at in self.tried]


async def test_four_are_tried_at_once_and_the_others_wait_their_turn() -> None:
    rig = Rig(limits={"max_entries": 10})
    rig.offer(case(str(number)) for number in range(6))
    await rig.pass_(3.0)
    assert rig.hanging == 4
    rig.release.set()
    await rig.pass_(1.0)
    assert len(rig.tried) == 6
    assert rig.results() == ["resolved"] * 6
    assert len(rig.followup) == 0


async def test_each_case_is_looked_after_once() -> None:
    rig = Rig(FINAL)
    rig.offer([case("a"), case("a")])
    assert len(rig.followup) == 1
    await rig.pass_(2.0)
    assert len(rig.tried) == 1
    rig.offer([case("a")])
    assert len(rig.followup) == 1, "another time it is another case"
    await rig.followup.last_try(0.01)


@pytest.mark.parametrize(
    ("limits", "bodies", "taken"),
    [
        ({"max_bytes": 10}, [b"123456", b"12345", b"1234"], [True, False, True]),
        ({"max_bytes": 10}, [b"1234", b"123456", b"", b"1"], [True, True, True, False]),
        ({"max_bytes": 5}, [FakeStream(b"123456"), b"12345"], [True, True]),
        ({"max_entries": 2}, [b"", b"", b""], [True, True, False]),
        ({"max_entries": 0}, [b""], [False]),
    ],
)
async def test_number_and_bytes_are_bounded_together(
    limits: dict[str, object], bodies: list[Body], taken: list[bool]
) -> None:
    rig = Rig(limits=limits)
    known = 0
    for number, (body, there_is_room) in enumerate(zip(bodies, taken, strict=True)):
        rig.offer([case(str(number), body=body)])
        known += there_is_room
        assert len(rig.followup) == known
    assert rig.results() == ["no_room"] * (len(taken) - known)
    assert await rig.followup.last_try(0.01) == known


async def test_waits_double_up_to_a_minute_with_half_as_much_again_by_chance() -> None:
    rig = Rig(*[UNKNOWN] * 9, FINAL, draw=1.0)
    rig.offer([case()])
    await rig.pass_(600.0)
    waits = [b - a for a, b in zip([0.0, *rig.times()], rig.times(), strict=False)]
    assert waits == pytest.approx([1.5 * wait for wait in (1, 2, 4, 8, 16, 32, 60, 60, 60, 60)])
    assert rig.results() == ["unknown"] * 9 + ["resolved"]


async def test_a_try_that_could_not_be_made_is_made_again_after_the_same_wait() -> None:
    rig = Rig(UNKNOWN, NOT_SENT, NOT_SENT, UNKNOWN, FINAL)
    rig.offer([case()])
    await rig.pass_(20.0)
    assert rig.times() == pytest.approx([1, 3, 5, 7, 11])
    assert rig.results() == ["unknown", "unknown", "resolved"]


async def test_what_the_provider_asks_for_is_the_least() -> None:
    rig = Rig(UNKNOWN, UNKNOWN, FINAL)
    rig.offer([case(wait=90.0, rest=90.0)])
    await rig.pass_(400.0)
    assert rig.times() == pytest.approx([90, 180, 270])


@pytest.mark.parametrize(("seconds", "limit"), [(5.0, "1h"), (3600.0, "5s")])
async def test_the_shorter_of_both_times_ends_it(seconds: float, limit: str) -> None:
    rig = Rig(*[UNKNOWN] * 5, limits={"for": limit})
    rig.offer([case(seconds=seconds)])
    await rig.pass_(60.0)
    assert rig.times() == pytest.approx([1, 3])
    assert rig.results() == ["unknown", "unknown", "expired"]
    assert len(rig.followup) == 0


async def test_a_case_whose_time_is_over_before_it_begins_is_never_tried() -> None:
    rig = Rig()
    rig.offer([case(seconds=0.0), case("b", seconds=-5.0), case("c", seconds=0.9)])
    await rig.pass_(3.0)
    assert (rig.tried, rig.results()) == ([], ["expired"] * 3)


async def test_a_case_may_be_tried_at_the_very_end_of_its_time() -> None:
    rig = Rig(UNKNOWN)
    rig.offer([case(seconds=1.0)])
    await rig.pass_(3.0)
    assert rig.results() == ["unknown", "expired"]


async def test_who_waits_for_a_place_beyond_his_time_is_not_tried() -> None:
    rig = Rig()
    rig.offer(case(str(number), seconds=10.0) for number in range(5))
    await rig.pass_(12.0)
    rig.release.set()
    await rig.pass_(1.0)
    assert len(rig.tried) == 4
    assert sorted(rig.results()) == ["expired", *["resolved"] * 4]


@pytest.mark.parametrize(
    ("told", "result", "bugs"), [(None, "stopped", 0), (FINAL, "resolved", 0), (ValueError("a bug"), "stopped", 1)]
)
async def test_how_a_case_ends_is_told_once(told: Outcome | Exception | None, result: str, bugs: int) -> None:
    rig = Rig(told)
    rig.offer([case()])
    await rig.pass_(10.0)
    assert (rig.results(), len(rig.followup), len(rig.tried)) == ([result], 0, 1)
    assert [event.loop for event in rig.sink.of(TurnFailed)] == ["followup"] * bugs
    (event,) = rig.sink.of(FollowedUp)
    assert (event.upstream, event.request_id) == ("mock", "req-1")


async def test_the_last_try_of_nothing_is_nothing() -> None:
    assert await Rig().followup.last_try(5.0) == 0


async def test_the_last_try_is_now_and_counts_what_stays_unknown() -> None:
    rig = Rig(UNKNOWN, FINAL, NOT_SENT)
    rig.offer(case(id_, wait=1000.0) for id_ in "abc")
    await settled()
    assert await rig.followup.last_try(5.0) == 2
    assert rig.times() == [0.0] * 3
    assert rig.results() == ["resolved"], "of the others the next replica may find out"


async def test_the_last_try_ends_in_time_and_takes_what_hangs_along() -> None:
    rig = Rig(FINAL)
    rig.offer([case("a"), case("b"), case("c")])
    await settled()
    async with asyncio.timeout(5.0):
        assert await rig.followup.last_try(0.05) == 2
    assert (rig.cancelled, rig.hanging) == (2, 0)
    await rig.pass_(5.0)
    assert len(rig.tried) == 3


async def test_the_last_try_undercuts_no_wait() -> None:
    rig = Rig()
    rig.offer([case("a", wait=30.0, rest=30.0), case("b", wait=30.0)])
    await rig.pass_(10.0)
    rig.script = [FINAL]
    assert await rig.followup.last_try(5.0) == 1
    assert [id_ for id_, _ in rig.tried] == ["b"]


@pytest.mark.parametrize("allowed", [True, False])
async def test_whether_keys_of_ours_are_looked_after_is_a_setting(allowed: bool) -> None:
    assert Rig(limits={"injected_keys": allowed}).followup.injected_keys is allowed
