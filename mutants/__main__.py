"""`python -m mutants [FILE ...]`: how many small mutants of the rules the tests notice. 0 enough, 1 not, 2 no result.

Without files: those that hold the rules, the corridor, the ledger and their Lua; the beginning of a path stands for all
below it. Without --all: some mutants of each file, the same ones for the same seed. At least 95 % have to be killed, of
each layer, or with --all of each file; those in equivalent.toml do not count.
"""

from __future__ import annotations

import argparse
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from mutants import equivalent, lua, python
from mutants.mutant import Mutant, sample
from mutants.report import LEAST, layers, scores, survivors, table
from mutants.stand import ROOT, Unsound, Verdict, stand
from mutants.table import files

SAMPLE = 5
"""Mutants of each file by default: a few minutes on two cores."""
TOO_FEW, NO_RESULT = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Look at the mutants asked for; the exit code."""
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    reasons = equivalent.load(equivalent.FILE.read_text())
    every = {file: _mutants(ROOT, file) for file in files(ROOT, given.files)}
    chosen = [
        one
        for mutants in every.values()
        for one in (mutants if given.all else sample(mutants, given.sample, given.seed))
        if given.find in f"{one.was} => {one.now}"
    ]
    if not chosen:
        sys.stderr.write("mutants: no such file, or none with a mutant in it\n")
        return NO_RESULT
    known = [Verdict(one, "equivalent") for one in chosen if one.key in reasons]
    began = time.monotonic()
    try:
        verdicts = known + judged([one for one in chosen if one.key not in reasons], given.jobs, given.without)
    except Unsound as problem:
        sys.stderr.write(f"mutants: {problem}\n")
        return NO_RESULT
    verdicts.sort(key=lambda one: (one.mutant.file, one.mutant.start, one.mutant.text))
    stale = equivalent.stale(reasons, [one for mutants in every.values() for one in mutants])
    return _tell(verdicts, stale, time.monotonic() - began, by_file=given.all)


def _mutants(root: Path, file: str) -> list[Mutant]:
    source = (root / file).read_bytes()
    if file.endswith(".lua"):
        return lua.mutants_of(file, source)
    modules = [path.read_text() for path in sorted(root.glob("proxy/**/*.py"))]
    return python.mutants_of(file, source, python.enums(modules))


def judged(mutants: Sequence[Mutant], jobs: int, without: Sequence[str] = ()) -> list[Verdict]:
    """A verdict on each; Unsound if the tests do not pass without any. A file's mutants stay with one worker."""
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for one in mutants:
        waiting.put(one)
    found: list[Verdict] = []
    problems: list[BaseException] = []

    def work() -> None:
        try:
            with stand(without=without) as place:
                while not problems:
                    found.append(place.judge(waiting.get_nowait()))
                    _progress(found[-1], len(found), len(mutants))
        except queue.Empty:
            return
        except Exception as problem:  # noqa: BLE001 - told by whoever waits for the threads
            problems.append(problem)

    threads = [threading.Thread(target=work) for _ in range(min(jobs, len(mutants)))]
    for thread in threads:
        thread.start()
    try:
        _join(threads)
    except (KeyboardInterrupt, SystemExit) as end:
        problems.append(end)  # the others stop after the mutant they are at, and take their copies along
        _join(threads)
    if problems:
        raise problems[0]
    return found


def _join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


def _progress(verdict: Verdict, done: int, total: int) -> None:
    one = verdict.mutant
    if verdict.result == "survived" or done % 25 == 0:
        sys.stderr.write(f"{done}/{total} {verdict.result} {one.file}:{one.line} {one.was} => {one.now}\n")


def _tell(verdicts: Sequence[Verdict], stale: Sequence[equivalent.Key], seconds: float, *, by_file: bool) -> int:
    found = scores(verdicts)
    print(*table(found), sep="\n")
    print(f"\n{len(verdicts)} mutants in {seconds:.0f} s")
    for text in survivors(verdicts):
        print(f"\n{text}")
    for file, function, was, _ in stale:
        print(f"\nno longer a mutant, but in equivalent.toml: {file} {function}: {was}")
    return TOO_FEW if any(one.share < LEAST for one in (found if by_file else layers(found))) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__, allow_abbrev=False)
    parser.add_argument("files", nargs="*", metavar="FILE", help="e.g. proxy/core/ledger.py, proxy/edges/lua")
    parser.add_argument("--all", action="store_true", help="every mutant, not a sample")
    parser.add_argument("--sample", type=int, default=SAMPLE, metavar="N", help=f"so many of each file ({SAMPLE})")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the sample (1)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="workers at once (2)")
    parser.add_argument("--without", action="append", default=[], metavar="TEST", help="leave out tests, by their id")
    parser.add_argument(
        "--find", default="", metavar="TEXT", help="only those with TEXT in their line, before or after"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
