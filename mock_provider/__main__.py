"""Arguments and environment in, a running provider out: `python -m mock_provider`."""

import argparse
import os
import secrets
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import NoReturn

from mock_provider.app import build_app
from mock_provider.faults import Settings
from mock_provider.injector import Injector
from mock_provider.journal import Journal
from mock_provider.ledger import Ledger
from mock_provider.server import run

_RATE_VARIABLE = "FLAKY_PAYMENT_FAILURE_RATE"
_LARGEST_PORT = 65535


class _Parser(argparse.ArgumentParser):
    """Complain in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"mock_provider: {message}\n")


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Serve until a signal comes; return the exit code."""
    options = _options(arguments, environment)
    try:
        opened = closing(Journal(options.ledger)) if options.ledger else nullcontext()
    except sqlite3.Error as error:
        return _complain(2, f"--ledger {options.ledger}: {error}")
    with opened as journal:
        return _serve(options, journal)


def _serve(options: argparse.Namespace, journal: Journal | None) -> int:
    try:
        ledger = Ledger(now=time.time, new_id=lambda: "pay_" + secrets.token_hex(12), journal=journal)
    except (sqlite3.Error, ValueError, TypeError) as error:
        return _complain(2, f"--ledger {options.ledger}: {error}")
    injector = Injector(Settings(failure_rate=options.failure_rate), seed=options.seed, now=time.monotonic)
    try:
        run(build_app(ledger, injector), options.host, options.port, _announce)
    except OSError as error:
        return _complain(1, f"cannot listen on {options.host}:{options.port}: {error.strerror or error}")
    return 0


def _options(arguments: Sequence[str] | None, environment: Mapping[str, str]) -> argparse.Namespace:
    parser = _Parser(prog="mock_provider", description=__doc__, allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=4000, help="0 takes any free one (default 4000)")
    parser.add_argument("--failure-rate", type=_rate, help=f"0 to 1 (default ${_RATE_VARIABLE}, else 0.3)")
    parser.add_argument("--seed", type=_seed, help="same seed, same faults (default: a new one)")
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="keep the books in this SQLite file")
    options = parser.parse_args(arguments)
    if options.failure_rate is None:
        options.failure_rate = _rate_from(environment, parser)
    if options.seed is None:
        options.seed = secrets.randbits(32)
    return options


def _rate_from(environment: Mapping[str, str], parser: _Parser) -> float:
    try:
        return _rate(environment.get(_RATE_VARIABLE) or "0.3")
    except argparse.ArgumentTypeError as error:
        parser.error(f"{_RATE_VARIABLE}: {error}")


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 1:
        message = f"must be a number in [0, 1], got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return rate


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        message = f"must be an integer, got {text!r}"
        raise argparse.ArgumentTypeError(message) from None


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _LARGEST_PORT:
        message = f"must be an integer in [0, {_LARGEST_PORT}], got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _announce(url: str) -> None:
    sys.stdout.write(f"mock_provider on {url}\n")
    sys.stdout.flush()


def _complain(code: int, message: str) -> int:
    sys.stderr.write(f"mock_provider: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
