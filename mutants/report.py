"""What a run found, for people: a row for each file, then the survivors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mutants.stand import Verdict

LEAST = 0.95
"""Share of a file's mutants, without the equivalent ones, that its tests have to notice."""


@dataclass(frozen=True, slots=True)
class Score:
    """One file's figures. `timeout` is a part of `killed`."""

    file: str
    killed: int
    survived: int
    equivalent: int
    timeout: int

    @property
    def mutants(self) -> int:
        """All that were looked at."""
        return self.killed + self.survived + self.equivalent

    @property
    def share(self) -> float:
        """Of those that can be noticed; 1 where there are none."""
        real = self.killed + self.survived
        return self.killed / real if real else 1.0


def scores(verdicts: Iterable[Verdict]) -> list[Score]:
    """The figures of each file, in the files' order."""
    by_file: dict[str, Counter[str]] = {}
    for one in verdicts:
        by_file.setdefault(one.mutant.file, Counter())[one.result] += 1
    return [
        Score(file, found["killed"] + found["timeout"], found["survived"], found["equivalent"], found["timeout"])
        for file, found in sorted(by_file.items())
    ]


def table(found: Sequence[Score]) -> Iterator[str]:
    """The table as Markdown."""
    yield "| file | mutants | killed | survived | equivalent | share killed | of these by timeout |"
    yield "|---|---|---|---|---|---|---|"
    for one in [*found, _together(found)]:
        share = f"{one.share:.1%}{'' if one.share >= LEAST else ' **low**'}"
        figures = (one.file, one.mutants, one.killed, one.survived, one.equivalent, share, one.timeout)
        yield f"| {' | '.join(map(str, figures))} |"


def survivors(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """Every survivor: where it is, and how the code reads with it."""
    for one in (verdict.mutant for verdict in verdicts if verdict.result == "survived"):
        yield f"{one.file}:{one.line} in {one.function} ({one.operator})\n    - {one.was}\n    + {one.now}"


def _together(found: Sequence[Score]) -> Score:
    sums = (
        sum(column) for column in zip(*((s.killed, s.survived, s.equivalent, s.timeout) for s in found), strict=True)
    )
    return Score("all", *sums) if found else Score("all", 0, 0, 0, 0)
