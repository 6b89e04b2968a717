"""The books on disk: one SQLite row per settled payment, committed before anyone is answered."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY,
    key BLOB,
    mark BLOB,
    charge TEXT
)
"""


@dataclass(frozen=True, slots=True)
class Charge:
    """Money taken; `at` is in seconds since 1970."""

    id: str
    key: str | None
    reference: str | None
    amount: int
    currency: str
    at: float

    def document(self) -> dict[str, Any]:
        """Return the charge as JSON takes it."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Entry:
    """One settled payment: the charge, or None for a decline, and the key it answers for good."""

    key: str | None
    mark: bytes | None
    charge: Charge | None


class Journal:
    """Append entries so that they survive the death of the process; raises sqlite3.Error if it cannot."""

    def __init__(self, path: Path) -> None:
        """Open or create the file."""
        self._db = sqlite3.connect(path, isolation_level=None)
        # WAL with NORMAL loses nothing when the process dies, only when the machine does.
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(_SCHEMA)

    def append(self, entry: Entry) -> None:
        """Commit one entry."""
        charge = json.dumps(entry.charge.document()) if entry.charge else None
        row = (_to_bytes(entry.key), entry.mark, charge)
        self._db.execute("INSERT INTO entries (key, mark, charge) VALUES (?, ?, ?)", row)

    def entries(self) -> Iterator[Entry]:
        """Yield every entry in the order it was appended."""
        for key, mark, charge in self._db.execute("SELECT key, mark, charge FROM entries ORDER BY number"):
            yield Entry(_to_text(key), mark, Charge(**json.loads(charge)) if charge else None)

    def clear(self) -> None:
        """Remove every entry."""
        self._db.execute("DELETE FROM entries")

    def close(self) -> None:
        """Close the file."""
        self._db.close()


# A header may hold bytes that are no UTF-8; aiohttp escapes them as surrogates, which SQLite text refuses.
def _to_bytes(key: str | None) -> bytes | None:
    return None if key is None else key.encode("utf-8", "surrogateescape")


def _to_text(key: bytes | None) -> str | None:
    return None if key is None else key.decode("utf-8", "surrogateescape")
