"""The mutants that nobody can notice, with the reason for each: what `equivalent.toml` says."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from mutants.mutant import Mutant

FILE = Path(__file__).with_name("equivalent.toml")
Key = tuple[str, str, str, str]
Reasons = Mapping[Key, str]
"""Why, by Mutant.key; lines may move, but once one is changed its mutants are looked at anew."""
_FIELDS = ("file", "function", "was", "now", "why")


def load(text: str) -> Reasons:
    """The reasons in a TOML document; ValueError if an entry lacks one, or stands there twice."""
    found: dict[Key, str] = {}
    for entry in tomllib.loads(text).get("equivalent", []):
        if sorted(entry) != sorted(_FIELDS) or not all(
            isinstance(part, str) and part.strip() for part in entry.values()
        ):
            raise ValueError(f"an entry of equivalent.toml needs exactly {', '.join(_FIELDS)}: {entry}")
        key = (entry["file"], entry["function"], entry["was"], entry["now"])
        if key in found:
            raise ValueError(f"twice in equivalent.toml: {entry}")
        found[key] = entry["why"]
    return found


def stale(reasons: Reasons, mutants: Sequence[Mutant]) -> list[Key]:
    """Entries for the files of these mutants that are none of them: the code has moved on."""
    files, keys = {one.file for one in mutants}, {one.key for one in mutants}
    return sorted(key for key in reasons if key[0] in files and key not in keys)
