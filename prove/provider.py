"""`python -m prove.provider PORT SEED FOLDER`: the mock provider with a witness.

The provider itself is the one of `mock_provider`, its books in SQLite so that it may be killed as well. The witness
writes a line for every arrival, and for every charge the request that made it; a client's mark travels in a header.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from contextvars import ContextVar
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from mock_provider.app import build_app
from mock_provider.faults import Settings
from mock_provider.injector import Injector
from mock_provider.journal import Journal
from mock_provider.ledger import Ledger
from mock_provider.server import run
from prove.story import MARK, Arrival

LINES = "witness.jsonl"
LEDGER = "provider.sqlite"

_mark: ContextVar[str] = ContextVar("mark", default="?")


class Witness:
    """Appends what it sees to a file, line by line, so that a kill loses nothing it has seen."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def new_charge_id(self) -> str:
        """An id for a charge that is being made by the request under way."""
        name = "pay_" + secrets.token_hex(12)
        self._write({"charge": name, "by": _mark.get()})
        return name

    def middleware(self) -> Middleware:
        """For the provider's application: note who comes, then let it be served."""

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.method == "POST":
                _mark.set(request.headers.get(MARK, "?"))
                key = request.headers.get("Idempotency-Key")
                self._write({"arrival": _mark.get(), "key": key, "at": time.time()})
            return await handler(request)

        return note

    def _write(self, line: dict[str, object]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")


def read_witness(folder: Path) -> tuple[dict[str, tuple[Arrival, ...]], dict[str, str]]:
    """All arrivals by mark, and by charge id the mark that made it."""
    arrivals: dict[str, list[Arrival]] = defaultdict(list)
    charged_by: dict[str, str] = {}
    for text in (folder / LINES).read_text().splitlines():
        line = json.loads(text)
        if "arrival" in line:
            arrivals[line["arrival"]].append(Arrival(line["key"], line["at"]))
        else:
            charged_by[line["charge"]] = line["by"]
    return {mark: tuple(those) for mark, those in arrivals.items()}, charged_by


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal comes; no faults until they are PUT."""
    port, seed, folder = int(arguments[0]), int(arguments[1]), Path(arguments[2])
    witness = Witness(folder / LINES)
    with closing(Journal(folder / LEDGER)) as journal:
        ledger = Ledger(now=time.time, new_id=witness.new_charge_id, journal=journal)
        app = build_app(ledger, Injector(Settings(failure_rate=0), seed=seed, now=time.monotonic))
        app.middlewares.append(witness.middleware())
        run(app, "127.0.0.1", port, lambda _: None)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
