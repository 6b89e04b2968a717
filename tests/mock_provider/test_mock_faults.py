"""The decision: pure tables, no event loop."""

import random
from collections import Counter
from statistics import quantiles

import pytest

from mock_provider.faults import DEFAULT_WEIGHTS, Draws, Fault, Latency, Plan, Settings, decide, pick

NEVER = Draws(fails=0.999, which=0.0, wait=0.5)
ALWAYS = Draws(fails=0.0, which=0.0, wait=0.5)


@pytest.mark.parametrize(
    ("rate", "draw", "fault"),
    [
        (0.3, 0.299, Fault.HTTP_500),
        (0.3, 0.3, Fault.OK),
        (0, 0.0, Fault.OK),
        (1, 0.999, Fault.HTTP_500),
    ],
)
def test_an_arrival_fails_below_the_failure_rate(rate: float, draw: float, fault: Fault) -> None:
    assert decide(Settings(failure_rate=rate), Draws(draw, 0.0, 0.5)).fault is fault


@pytest.mark.parametrize(
    ("draw", "fault"),
    [(0.0, Fault.HANG), (0.249, Fault.HANG), (0.25, Fault.JUNK), (0.999, Fault.JUNK)],
)
def test_weights_share_out_the_draw(draw: float, fault: Fault) -> None:
    assert pick({Fault.HTTP_500: 0, Fault.HANG: 1, Fault.SLOW: 0, Fault.JUNK: 3}, draw) is fault


def test_without_any_weight_nothing_fails() -> None:
    assert pick(dict.fromkeys(DEFAULT_WEIGHTS, 0), 0.5) is Fault.OK


def test_default_weights_choose_each_weighted_kind_equally_often() -> None:
    chosen = Counter(pick(DEFAULT_WEIGHTS, step / 1000) for step in range(1000))
    assert chosen == {fault: 200 for fault, weight in DEFAULT_WEIGHTS.items() if weight}


def test_the_script_beats_chance_and_an_outage_beats_the_script() -> None:
    assert decide(Settings(failure_rate=1), ALWAYS, Fault.OK).fault is Fault.OK
    assert decide(Settings(failure_rate=0), NEVER, Fault.JUNK).fault is Fault.JUNK
    down = Settings(outage=True, latency_ms=Latency(50, 50))
    assert decide(down, NEVER, Fault.OK) == Plan(Fault.HTTP_503, 0.0)


def test_only_slow_adds_its_seconds_to_the_latency() -> None:
    settings = Settings(latency_ms=Latency(100, 100), slow_s=2)
    assert decide(settings, NEVER, Fault.SLOW).delay_s == pytest.approx(2.1)
    assert decide(settings, NEVER, Fault.OK).delay_s == pytest.approx(0.1)


def test_latency_has_the_percentiles_it_is_named_by() -> None:
    rng = random.Random(1)
    cuts = quantiles((Latency(20, 200).sample_s(rng.random()) for _ in range(20_000)), n=100)
    assert cuts[49] == pytest.approx(0.020, rel=0.05)
    assert cuts[98] == pytest.approx(0.200, rel=0.15)


@pytest.mark.parametrize(
    ("latency", "seconds"),
    [(Latency(), 0.0), (Latency(0, 200), 0.0), (Latency(20), 0.02), (Latency(20, 20), 0.02)],
)
def test_latency_without_spread_is_constant(latency: Latency, seconds: float) -> None:
    assert [latency.sample_s(draw) for draw in (0.0, 0.5, 0.999)] == pytest.approx([seconds] * 3)


def test_exactly_these_kinds_go_wrong_before_the_charge() -> None:
    before = {fault.value for fault in Fault if not fault.reaches_charge}
    assert before == {"http_500", "http_503", "http_429", "hang", "reset_before"}
