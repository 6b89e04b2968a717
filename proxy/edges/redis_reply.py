"""The few kinds of value that a reply may hold. What is none of them is refused, never guessed at."""

from __future__ import annotations

import re
from typing import Any

MOST = 2**53
"""Lua's numbers are doubles: beyond it they are no longer whole."""
MOST_MS = 10**14
"""A time later than the year 5000 is no time of ours."""
_DIGITS = re.compile(r"[0-9]{1,17}", re.ASCII)


def whole(value: Any, most: int = MOST) -> int:
    """A whole number from 0 to `most`: an integer, one that Lua's JSON wrote as a float, or decimal digits."""
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise TypeError("expected a whole number")
    return value


def seconds(milliseconds: Any) -> float:
    """A time or span told in milliseconds."""
    return whole(milliseconds, MOST_MS) / 1000


def text(value: Any) -> str:
    """UTF-8 text."""
    if not isinstance(value, bytes):
        raise TypeError("expected text")
    return value.decode()


def listed(value: Any, length: int | None = None) -> list[Any]:
    """A list, of exactly `length` parts where that is given."""
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise TypeError("expected a list" if length is None else f"expected a list of {length}")
    return value
