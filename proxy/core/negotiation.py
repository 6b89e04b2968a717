"""Which of our media types a client likes best (RFC 9110 section 12.5.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Range:
    """One media range of an Accept field with its weight, 0 to 1."""

    main: str
    sub: str
    weight: float

    def fits(self, main: str, sub: str) -> bool:
        return self.main in {"*", main} and self.sub in {"*", sub}

    @property
    def precision(self) -> int:
        return (self.main != "*") + (self.sub != "*")


def prefer(accept: str, offers: tuple[str, ...]) -> str:
    """The offer the client weighs highest; the earlier one on a tie, and the first where it accepts none of them.

    The first is sent then rather than a 406: whoever asks for a status in the wrong type still wants the status.
    """
    ranges = tuple(_ranges(accept))
    return max(offers, key=lambda offer: _weight(offer, ranges)) if ranges else offers[0]


def _weight(offer: str, ranges: tuple[_Range, ...]) -> float:
    main, _, sub = offer.partition("/")
    fitting = [one for one in ranges if one.fits(main, sub)]
    return max(fitting, key=lambda one: one.precision).weight if fitting else 0.0


def _ranges(accept: str) -> Iterator[_Range]:
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        main, slash, sub = media.partition("/")
        if slash:
            yield _Range(main, sub, _q(parameters))


def _q(parameters: list[str]) -> float:
    """The weight among a range's parameters; 1 if there is none, 0 if nobody can read it."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return _weight_of(value.strip())
    return 1.0


def _weight_of(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0
