"""Card numbers by shape: 13 to 19 digits that pass the Luhn check. A second net; the first is not to log them."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
MASK = "[card number]"


def _luhn(digits: str) -> bool:
    odd = digits[-1::-2]
    even = digits[-2::-2]
    return (sum(map(int, odd)) + sum(sum(divmod(2 * int(digit), 10)) for digit in even)) % 10 == 0


def _masked(match: re.Match[str]) -> str:
    digits = re.sub(r"[ -]", "", match[0])
    return MASK if _luhn(digits) else match[0]


def looks_like_card_number(text: str) -> bool:
    """Whether some run of digits in `text` could be a card number."""
    return scrub(text) != text


def scrub(text: str) -> str:
    """`text` with everything that could be a card number masked."""
    return _DIGITS.sub(_masked, text)
