"""A copy of the project and a worker that tests it. The working tree itself is never touched."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mutants.mutant import Mutant
from mutants.table import Stage, stages
from mutants.worker import LOST, PASSED, TIMEOUT

ROOT = Path(__file__).parent.parent
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "*_cache", ".hypothesis", "*.egg-info", "node_modules", "build", "dist"
)
FIRST_SECONDS = 240.0
LIMIT_FACTOR, LEAST_LIMIT_SECONDS = 5.0, 20.0
"""How much longer than the unmutated run a stage may take; generous, for a machine that does other things too."""


class Unsound(RuntimeError):
    """The tests do not pass, or not on the copy, as they are: nothing can be said of mutants."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one mutant: killed, timeout (a kill too), survived or equivalent; `told`: pytest's last words."""

    mutant: Mutant
    result: str
    told: str = ""


@dataclass(slots=True)
class Stand:
    """One copy and its worker. `without`: tests to leave out. `took`: seconds of each stage without a mutant."""

    root: Path
    worker: subprocess.Popen[str]
    without: Sequence[str] = ()
    took: dict[Stage, float] = field(default_factory=dict)
    _changes: int = 0

    def judge(self, mutant: Mutant) -> Verdict:
        """Put a mutant in, meet its file's stages until one notices, and take it out again."""
        for stage in stages(self.root, mutant.file):
            self._measure(stage)
            with self._changed(mutant):
                verdict, told = self._run(stage, max(LEAST_LIMIT_SECONDS, LIMIT_FACTOR * self.took[stage]))
            if verdict == LOST:
                raise Unsound(f"the tests ran on another tree than the copy, or not at all: {told}")
            if verdict != PASSED:
                return Verdict(mutant, "timeout" if verdict == TIMEOUT else "killed", told)
        return Verdict(mutant, "survived")

    @contextlib.contextmanager
    def _changed(self, mutant: Mutant) -> Iterator[None]:
        path = self.root / mutant.file
        source, changed = path.read_bytes(), path.stat().st_mtime
        path.write_bytes(mutant.applied(source))
        self._changes += 1
        os.utime(path, (changed, changed + self._changes))  # never the time of some byte code that is kept
        try:
            yield
        finally:
            path.write_bytes(source)
            os.utime(path, (changed, changed))

    def _measure(self, stage: Stage) -> None:
        if stage in self.took:
            return
        for _ in range(2):  # a flaky test may cost one try and no more
            began = time.monotonic()
            verdict, told = self._run(stage, FIRST_SECONDS, cache=True)
            if verdict == PASSED:
                break
        else:
            raise Unsound(f"without any mutant, pytest {' '.join(stage)} is {verdict}:\n{told}")
        self.took[stage] = time.monotonic() - began

    def _run(self, stage: Stage, seconds: float, *, cache: bool = False) -> tuple[str, str]:
        arguments = [*stage, *(f"--deselect={test}" for test in self.without)]
        assert self.worker.stdin is not None
        assert self.worker.stdout is not None
        self.worker.stdin.write(json.dumps({"arguments": arguments, "seconds": seconds, "cache": cache}) + "\n")
        self.worker.stdin.flush()
        line = self.worker.stdout.readline()
        if not line:
            raise Unsound("the worker has ended")
        answer = json.loads(line)
        return answer["verdict"], answer["told"]


@contextlib.contextmanager
def stand(project: Path = ROOT, *, without: Sequence[str] = ()) -> Iterator[Stand]:
    """A stand with a copy of `project`, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="holdfast-mutants-", ignore_cleanup_errors=True) as folder:
        root = Path(folder).resolve() / "project"
        shutil.copytree(project, root, ignore=_LEFT_OUT)
        rubbish = Path(folder) / "tmp"
        rubbish.mkdir()
        environment = {**os.environ, "TMPDIR": str(rubbish)}
        command = [sys.executable, "-m", "mutants.worker", str(root)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes) as worker:  # type: ignore[call-overload]
            yield Stand(root, worker, without)
