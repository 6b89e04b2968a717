"""Read what PUT /admin/faults names.

The last place a dict is seen. A document is either wholly understood or refused with the field's name.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from mock_provider.faults import Fault, Latency, Settings


class FaultsError(ValueError):
    """A field of a faults document that is unknown or ill-typed."""

    def __init__(self, name: str, reason: str) -> None:
        """Keep the field's name apart from what is wrong with it."""
        super().__init__(f"{name}: {reason}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Patch:
    """The changes one document names; `None` means not named."""

    plain: Mapping[str, Any] = field(default_factory=dict)
    kinds: Mapping[Fault, float] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    seed: int | None = None
    script: tuple[Fault, ...] | None = None
    schedule: tuple["Step", ...] | None = None

    def apply(self, settings: Settings) -> Settings:
        """Return `settings` with the named fields changed and all others kept."""
        return replace(
            settings,
            kinds=MappingProxyType({**settings.kinds, **self.kinds}),
            latency_ms=replace(settings.latency_ms, **self.latency_ms),
            **self.plain,
        )


@dataclass(frozen=True, slots=True)
class Step:
    """A patch to apply `after_s` seconds after its PUT; `document` is how it was written."""

    after_s: float
    patch: Patch
    document: Mapping[str, Any]


def read_patch(document: object, where: str = "") -> Patch:
    """Return the patch written in `document`, or raise FaultsError naming the first wrong field."""
    fields = _object(document, where.rstrip(".") or "body")
    if unknown := fields.keys() - _PLAIN.keys() - {"kinds", "latency_ms", "seed", "next", "schedule"}:
        raise FaultsError(where + min(unknown), "unknown field")

    def named(name: str, read: Callable[[object, str], Any], otherwise: object = None) -> Any:
        return read(fields[name], where + name) if name in fields else otherwise

    return Patch(
        plain={name: read(fields[name], where + name) for name, read in _PLAIN.items() if name in fields},
        kinds=named("kinds", _weights, {}),
        latency_ms=named("latency_ms", _percentiles, {}),
        seed=named("seed", _integer),
        script=named("next", _script),
        schedule=named("schedule", _schedule),
    )


def read_rate(value: object, name: str) -> float:
    """Return a share between 0 and 1."""
    number = _not_negative(value, name)
    if number > 1:
        raise FaultsError(name, f"must be in [0, 1], got {value!r}")
    return number


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FaultsError(name, "must be a JSON object")
    return value


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise FaultsError(name, f"must be a list, got {value!r}")
    return value


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise FaultsError(name, f"must be true or false, got {value!r}")
    return value


def _integer(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise FaultsError(name, f"must be an integer, got {value!r}")
    return value


def _seconds(value: object, name: str) -> int:
    _not_negative(value, name)
    return _integer(value, name)


def _not_negative(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise FaultsError(name, f"must be a number of at least 0, got {value!r}")
    return value


def _weights(value: object, name: str) -> dict[Fault, float]:
    named = ((kind, weight, f"{name}.{kind}") for kind, weight in _object(value, name).items())
    return {_fault(kind, full, ok=False): _not_negative(weight, full) for kind, weight, full in named}


def _percentiles(value: object, name: str) -> dict[str, float]:
    fields = _object(value, name)
    if unknown := fields.keys() - Latency.__slots__:
        raise FaultsError(f"{name}.{min(unknown)}", "unknown field")
    return {key: _not_negative(number, f"{name}.{key}") for key, number in fields.items()}


def _fault(value: object, name: str, *, ok: bool = True) -> Fault:
    if not isinstance(value, str) or value not in Fault.__members__.values() or (value == Fault.OK and not ok):
        raise FaultsError(name, f"unknown fault {value!r}")
    return Fault(value)


def _script(value: object, name: str) -> tuple[Fault, ...]:
    return tuple(_fault(fault, f"{name}[{at}]") for at, fault in enumerate(_list(value, name)))


def _schedule(value: object, name: str) -> tuple[Step, ...]:
    steps = (_step(step, f"{name}[{at}]") for at, step in enumerate(_list(value, name)))
    return tuple(sorted(steps, key=lambda step: step.after_s))


def _step(value: object, name: str) -> Step:
    document = _object(value, name)
    changes = {key: change for key, change in document.items() if key != "after_s"}
    if "schedule" in changes:
        raise FaultsError(f"{name}.schedule", "a step cannot hold a schedule")
    after_s = _not_negative(document.get("after_s"), f"{name}.after_s")
    return Step(after_s, read_patch(changes, f"{name}."), document)


_PLAIN: Mapping[str, Callable[[object, str], Any]] = {
    "failure_rate": read_rate,
    "outage": _flag,
    "retry_after_s": _seconds,
    "slow_s": _not_negative,
    "hang_s": _not_negative,
}
