"""`python -m prove`: pay through a fleet that is being broken, then compare everybody's books. 0 holds, 1 does not."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from demo.processes import StartFailure
from demo.store import StoreMissing
from prove.report import say, tell, write_json
from prove.run import DURABLE, SPARED, VOLATILE, Options, prove
from prove.unsafe import MUTANTS

CANNOT_START = 2
BOTH = "both"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proof; the exit code."""
    given = _parser().parse_args(arguments)
    stores = (DURABLE, VOLATILE) if given.store == BOTH else (given.store,)
    code = 0
    for store in stores:
        options = Options(
            given.replicas, given.seconds, given.seed, given.rate, given.clients, given.unsafe or "", store
        )
        code = max(code, _prove(options, given.json))
    return code


def _prove(options: Options, path: Path | None) -> int:
    say(
        f"{options.replicas} replicas, {options.clients} clients, {options.seconds:g} s of chaos, "
        f"a store that is {options.store}, --seed {options.seed}"
    )
    try:
        proof = asyncio.run(prove(options))
    except (StartFailure, StoreMissing) as problem:
        sys.stderr.write(f"prove: {problem}\n")
        return CANNOT_START
    except KeyboardInterrupt:
        return 130
    tell(proof)
    if path is not None:
        write_json(proof, path)
    return 0 if proof.holds else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="prove", description=__doc__, allow_abbrev=False)
    usual = Options()
    parser.add_argument("--replicas", type=_count, default=usual.replicas, metavar="N")
    parser.add_argument("--seconds", type=_positive, default=usual.seconds, metavar="N", help="of chaos, each run (60)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="same seed, same choices")
    parser.add_argument("--rate", type=_positive, default=usual.rate, metavar="N", help="payments a second (100)")
    parser.add_argument("--clients", type=_count, default=usual.clients, metavar="N", help="who pay at once (64)")
    parser.add_argument(
        *("--unsafe",),
        nargs="?",
        const="rash",
        metavar="MUTANT",
        type=_mutants,
        help="a test build without a safety rule: must fail (docs/proof.md names them)",
    )
    parser.add_argument(
        *("--store",),
        choices=(BOTH, DURABLE, VOLATILE, SPARED),
        default=BOTH,
        help="keeps its data when it dies, or comes back empty; both, one run each; spared: nothing is done to it",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="figures, breaches and histories of the last run")
    return parser


def _mutants(text: str) -> str:
    for name in text.split(","):
        if name not in MUTANTS:
            raise argparse.ArgumentTypeError(f"{name}: expected some of {', '.join(sorted(MUTANTS))}")
    return text


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 1")
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e6:  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f"{text}: expected a positive number")
    return number


if __name__ == "__main__":
    sys.exit(main())
