"""The providers' journals as evidence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from prove.acquirer import JOURNAL
from prove.story import Arrival, Evidence
from prove.till import read_lines


def read_journals(folder: Path, providers: Iterable[int]) -> Evidence:
    """What all providers saw and charged, in the order of time."""
    lines = [line for provider in providers for line in read_lines(folder / JOURNAL.format(provider))]
    arrivals: dict[str, tuple[str, Arrival]] = {}
    charges: list[Mapping[str, object]] = []
    charged_by: dict[str, str] = {}
    for line in sorted(lines, key=lambda line: line["at"]):
        if line["e"] == "arrival":
            arrivals[line["n"]] = line["mark"], _arrival(line)
        elif line["e"] == "left":
            mark, arrival = arrivals[line["n"]]
            arrivals[line["n"]] = mark, _left(arrival, line)
        elif line["charge"]:
            charges.append({**line, "id": line["charge"]})
            charged_by[line["charge"]] = line["mark"]
    by_mark: dict[str, list[Arrival]] = defaultdict(list)
    for mark, arrival in arrivals.values():
        by_mark[mark].append(arrival)
    return Evidence(tuple(charges), {mark: tuple(those) for mark, those in by_mark.items()}, charged_by)


def _arrival(line: Mapping[str, Any]) -> Arrival:
    return Arrival(line["key"], line["at"], line["n"], line["place"], line["provider"], fault=line["fault"])


def _left(arrival: Arrival, line: Mapping[str, Any]) -> Arrival:
    names = ("status", "coding", "settles", "clear")
    return replace(arrival, left=line["at"], **{name: line[name] for name in names})
