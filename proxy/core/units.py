"""Durations (`250ms`, `10s`, `5m`) and sizes (`1MiB`) as people write them, as seconds and bytes."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|kB|MB)?")
_BYTES = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 1000, "MB": 1_000_000}


def parse_duration(value: object) -> float:
    """Seconds in `value`; a bare number is refused because its unit would be a guess."""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a duration with its unit, like 250ms, 10s, 5m or 1h")
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(value: object) -> int:
    """Bytes in `value`, a whole number or a text like 1MiB."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("expected a size in bytes, or with a unit like 64KiB or 1MiB")
    return int(match[1]) * _BYTES[match[2]]


Seconds = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds, written with a unit."""
Bytes = Annotated[int, BeforeValidator(parse_size)]
"""Bytes, written as a number or with a unit."""


def format_duration(seconds: float) -> str:
    """A short human text: `400 ms`, `8 s`, `2 min`, `3 h`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:  # noqa: PLR2004 - below two minutes, seconds read better
        return f"{seconds:.0f} s"
    if seconds < 7200:  # noqa: PLR2004
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
