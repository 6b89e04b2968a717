"""One small change to one file: what it is, how it is applied, and a sample of many."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """`text` in place of the bytes from `start` to `end` of `file` (a path below the project's root).

    `was` and `now` are the lines it touches, before and after, with single spaces: with `function` they name
    the mutant wherever in the file it stands.
    """

    file: str
    function: str
    line: int
    operator: str
    start: int
    end: int
    text: str
    was: str
    now: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is called in equivalent.toml."""
        return (self.file, self.function, self.was, self.now)

    def applied(self, source: bytes) -> bytes:
        """The file with this change."""
        return source[: self.start] + self.text.encode() + source[self.end :]


def mutant(file: str, source: bytes, function: str, operator: str, start: int, end: int, text: str) -> Mutant:
    """A Mutant that knows its line and how it reads."""
    head = source.rfind(b"\n", 0, start) + 1
    tail = source.find(b"\n", end)
    tail = len(source) if tail < 0 else tail
    after = source[head:start] + text.encode() + source[end:tail]
    line = source.count(b"\n", 0, start) + 1
    return Mutant(file, function, line, operator, start, end, text, _plain(source[head:tail]), _plain(after))


def _plain(lines: bytes) -> str:
    return " ".join(lines.decode().split())


def distinct(found: Iterable[Mutant]) -> list[Mutant]:
    """Each change once, without those that change nothing, in the order of the file."""
    by_key = {one.key: one for one in found if one.was != one.now}
    return sorted(by_key.values(), key=lambda one: (one.start, one.end, one.text))


def sample(mutants: Sequence[Mutant], most: int, seed: int) -> list[Mutant]:
    """At most so many of one file's; lines that had none yet come first, so that every function gets its turn."""
    if not mutants:
        return []
    dice = random.Random(f"{seed} {mutants[0].file}")
    waiting: dict[int, list[Mutant]] = {}
    for one in mutants:
        waiting.setdefault(one.line, []).append(one)
    for some in waiting.values():
        dice.shuffle(some)
    taken: list[Mutant] = []
    while len(taken) < most and waiting:
        lines = list(waiting)
        dice.shuffle(lines)
        for line in lines[: most - len(taken)]:
            taken.append(waiting[line].pop())
            if not waiting[line]:
                del waiting[line]
    return sorted(taken, key=lambda one: (one.start, one.end, one.text))
