"""The running faults: seeds, scripts and schedules, on a fake clock."""

from typing import Any

from mock_provider.faults import Fault, Latency, Settings
from mock_provider.injector import Injector
from mock_provider.patch import read_patch
from tests.mock_provider.provider_harness import FakeClock


def injector(*, seed: int = 7, clock: FakeClock | None = None, **settings: Any) -> Injector:
    return Injector(Settings(**settings), seed=seed, now=clock or FakeClock())


def faults(source: Injector, count: int = 200) -> list[Fault]:
    return [source.plan().fault for _ in range(count)]


def test_the_same_seed_gives_the_same_faults_and_another_seed_others() -> None:
    assert faults(injector(seed=1)) == faults(injector(seed=1))
    assert faults(injector(seed=1)) != faults(injector(seed=2))


def test_putting_the_seed_starts_the_sequence_again() -> None:
    source = injector(seed=7)
    first = faults(source)
    source.put(read_patch({"seed": 7}))
    assert faults(source) == first


def test_latency_does_not_shift_the_faults() -> None:
    assert faults(injector()) == faults(injector(latency_ms=Latency(20, 200)))


def test_neither_script_nor_outage_shifts_the_faults_that_follow() -> None:
    plain = faults(injector(), 50)
    scripted = injector()
    scripted.put(read_patch({"next": ["ok", "junk"]}))
    assert faults(scripted, 50) == [Fault.OK, Fault.JUNK, *plain[2:]]
    down = injector(outage=True)
    faults(down, 10)
    down.put(read_patch({"outage": False}))
    assert faults(down, 40) == plain[10:]


def test_a_new_script_replaces_what_is_left_of_the_old_one() -> None:
    source = injector(failure_rate=0)
    source.put(read_patch({"next": ["junk", "junk"]}))
    source.put(read_patch({"next": ["hang"]}))
    assert faults(source, 2) == [Fault.HANG, Fault.OK]


def test_scheduled_steps_apply_in_time_order_each_once() -> None:
    clock = FakeClock()
    source = injector(clock=clock, failure_rate=0)
    steps = [{"after_s": 20, "outage": False}, {"after_s": 10, "outage": True, "retry_after_s": 9}]
    source.put(read_patch({"schedule": steps}))
    seen = []
    for _ in range(4):
        seen.append((source.settings().outage, source.settings().retry_after_s))
        clock.advance(9.999 if len(seen) == 1 else 5.001)
    assert seen == [(False, 1), (False, 1), (True, 9), (False, 9)]
    assert source.document()["schedule"] == []


def test_a_new_schedule_replaces_the_old_one_and_another_put_keeps_it() -> None:
    clock = FakeClock()
    source = injector(clock=clock)
    source.put(read_patch({"schedule": [{"after_s": 1, "failure_rate": 0.9}]}))
    source.put(read_patch({"schedule": [{"after_s": 2, "hang_s": 4}]}))
    source.put(read_patch({"slow_s": 3}))
    clock.advance(2)
    settings = source.settings()
    assert (settings.failure_rate, settings.hang_s, settings.slow_s) == (0.3, 4, 3)


def test_a_step_can_script_and_seed() -> None:
    clock = FakeClock()
    source = injector(clock=clock, failure_rate=0)
    source.put(read_patch({"schedule": [{"after_s": 1, "next": ["junk"], "seed": 3}]}))
    clock.advance(1)
    assert faults(source, 2) == [Fault.JUNK, Fault.OK]
    assert source.document()["seed"] == 3
