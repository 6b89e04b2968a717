"""What a run found, for people: a row for each file and layer, then the survivors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mutants.stand import Verdict
from mutants.table import row_of

LEAST = 0.95
"""Share of the mutants, without the equivalent ones, that the tests have to notice: of each file if all were looked at,
else of each layer, since a handful says too little of a file."""


@dataclass(frozen=True, slots=True)
class Score:
    """The figures of a file, or of a layer. `timeout` is a part of `killed`."""

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


def layers(found: Sequence[Score]) -> list[Score]:
    """The figures of each layer, summed over its files."""
    by_layer: dict[str, list[Score]] = {}
    for one in found:
        row = row_of(one.file)
        by_layer.setdefault(row.layer if row else "other", []).append(one)
    return [_together(layer, some) for layer, some in by_layer.items()]


def table(found: Sequence[Score]) -> Iterator[str]:
    """The table as Markdown: the files, then the layers."""
    yield "| file or layer | mutants | killed | survived | equivalent | share killed | of these by timeout |"
    yield "|---|---|---|---|---|---|---|"
    for one in [*found, *layers(found)]:
        share = f"{one.share:.1%}{'' if one.share >= LEAST else ' **low**'}"
        figures = (one.file, one.mutants, one.killed, one.survived, one.equivalent, share, one.timeout)
        yield f"| {' | '.join(map(str, figures))} |"


def survivors(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """Every survivor: where it is, and how the code reads with it."""
    for one in (verdict.mutant for verdict in verdicts if verdict.result == "survived"):
        yield f"{one.file}:{one.line} in {one.function} ({one.operator})\n    - {one.was}\n    + {one.now}"


def _together(name: str, found: Sequence[Score]) -> Score:
    columns = zip(*((one.killed, one.survived, one.equivalent, one.timeout) for one in found), strict=True)
    return Score(name, *map(sum, columns))
