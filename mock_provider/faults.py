"""Which fault meets which arrival.

Pure: chance comes in as three numbers, and nothing here knows of sockets, clocks or charges.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate
from statistics import NormalDist
from types import MappingProxyType

_STANDARD_NORMAL = NormalDist()
_Z99 = _STANDARD_NORMAL.inv_cdf(0.99)
_SMALLEST_DRAW = 2.0**-53


class Fault(StrEnum):
    """What happens to one payment; "before" and "after" are before and after the charge is made."""

    OK = "ok"
    HTTP_500 = "http_500"
    HTTP_503 = "http_503"
    HTTP_429 = "http_429"
    HANG = "hang"
    SLOW = "slow"
    RESET_BEFORE = "reset_before"
    RESET_AFTER = "reset_after"
    CUT_BODY = "cut_body"
    JUNK = "junk"
    HTTP_500_AFTER = "http_500_after"
    HANG_AFTER = "hang_after"

    @property
    def reaches_charge(self) -> bool:
        """Whether the payment is processed at all before it goes wrong."""
        return self not in _BEFORE_CHARGE


_BEFORE_CHARGE = frozenset({Fault.HTTP_500, Fault.HTTP_503, Fault.HTTP_429, Fault.HANG, Fault.RESET_BEFORE})

DEFAULT_WEIGHTS: Mapping[Fault, float] = MappingProxyType(
    {
        Fault.HTTP_500: 1,
        Fault.HTTP_503: 1,
        Fault.HTTP_429: 0,
        Fault.HANG: 1,
        Fault.SLOW: 0,
        Fault.RESET_BEFORE: 1,
        Fault.RESET_AFTER: 1,
        Fault.CUT_BODY: 0,
        Fault.JUNK: 0,
        Fault.HTTP_500_AFTER: 0,
        Fault.HANG_AFTER: 0,
    },
)


@dataclass(frozen=True, slots=True)
class Latency:
    """A log-normal processing time in milliseconds, named by two of its percentiles.

    A p50 of 0 is no latency at all; a p99 below p50 counts as p50, which makes it constant.
    """

    p50: float = 0
    p99: float = 0

    def sample_s(self, draw: float) -> float:
        """Return the seconds at quantile `draw`, in [0, 1)."""
        if not self.p50:
            return 0.0
        sigma = math.log(max(self.p99 / self.p50, 1.0)) / _Z99
        return self.p50 / 1000 * math.exp(sigma * _STANDARD_NORMAL.inv_cdf(max(draw, _SMALLEST_DRAW)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set about the faults, except what is used up: script and schedule."""

    failure_rate: float = 0.3
    outage: bool = False
    kinds: Mapping[Fault, float] = field(default_factory=lambda: DEFAULT_WEIGHTS)
    latency_ms: Latency = Latency()
    retry_after_s: int = 1
    slow_s: float = 2.0
    hang_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Draws:
    """The chance in one arrival: three numbers in [0, 1), always all three, so none shifts another."""

    fails: float
    which: float
    wait: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What one arrival will meet."""

    fault: Fault
    delay_s: float


def decide(settings: Settings, draws: Draws, scripted: Fault | None = None) -> Plan:
    """Return the plan for one arrival; an outage beats the script, the script beats chance."""
    if settings.outage:
        return Plan(Fault.HTTP_503, 0.0)
    fault = scripted or _by_chance(settings, draws)
    slow_s = settings.slow_s if fault is Fault.SLOW else 0.0
    return Plan(fault, settings.latency_ms.sample_s(draws.wait) + slow_s)


def _by_chance(settings: Settings, draws: Draws) -> Fault:
    if draws.fails >= settings.failure_rate:
        return Fault.OK
    return pick(settings.kinds, draws.which)


def pick(weights: Mapping[Fault, float], draw: float) -> Fault:
    """Return the fault at `draw` of the summed weights; all weights 0 means no fault."""
    reached = list(accumulate(weights.values()))
    target = draw * reached[-1]
    return next((fault for fault, top in zip(weights, reached, strict=True) if target < top), Fault.OK)
