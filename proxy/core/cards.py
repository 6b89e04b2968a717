"""Card numbers by shape: 13 to 19 digits that pass the Luhn check. A second net; the first is not to log them."""

from __future__ import annotations

import re
from collections.abc import Sequence

MASK = "[masked]"
SHORTEST, LONGEST = 13, 19
"""Digits of a card number (ISO/IEC 7812-1 allows up to 19)."""

_RUN = re.compile(r"\d(?:[ -]{0,2}\d){12,}")
_DIGITS = re.compile(r"\d+")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
"""Twice a digit, as the sum of its two digits."""
_OWN_ID = re.compile(r"(?=.*[a-f])(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
"""A trace id or UUID: masking one in a few hundred by chance would lose the very thing a person looks for.

One without a letter is too rare to be told from digits.
"""


def mask_cards(text: str) -> str:
    """The text with every run of 13 to 19 digits that passes Luhn masked; spaces and dashes may stand between them."""
    if _OWN_ID.fullmatch(text) is not None or _RUN.search(text) is None:
        return text
    return _RUN.sub(lambda run: _mask_run(run[0]), text)


def looks_like_card_number(text: str) -> bool:
    """Whether some run of digits in `text` could be a card number."""
    return mask_cards(text) != text


def _mask_run(run: str) -> str:
    """The run with its card numbers masked; a number may begin and end at any group, as in `4242 4242 4242 4242 12`."""
    groups = list(_DIGITS.finditer(run))
    parts: list[str] = []
    done = first = 0
    while first < len(groups):
        last = _end_of_card(groups, first)
        if last is not None:
            parts += [run[done : groups[first].start()], MASK]
            done, first = groups[last].end(), last
        first += 1
    return "".join([*parts, run[done:]])


def _end_of_card(groups: Sequence[re.Match[str]], first: int) -> int | None:
    """The last group of the card number that begins with the group `first`, if one does."""
    if len(groups[first][0]) > LONGEST:  # too long for one card, long enough for two
        return first
    digits = ""
    for last in range(first, len(groups)):
        digits += groups[last][0]
        if len(digits) > LONGEST:
            break
        if len(digits) >= SHORTEST and luhn(digits):
            return last
    return None


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1 annex B)."""
    doubled = sum(_DOUBLED[digit] for digit in map(int, digits[-2::-2]))
    return (sum(map(int, digits[-1::-2])) + doubled) % 10 == 0
