"""`python -m mutants.worker ROOT`: runs tests in ROOT, each time in a fork of a process that has the libraries loaded.

Orders come as lines of JSON on standard input, answers leave as such on standard output; it ends with its input.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

LIBRARIES = (
    *("pytest", "hypothesis", "hypothesis.stateful", "aiohttp", "aiohttp.web", "redis.asyncio", "pydantic", "yaml"),
    *("orjson", "prometheus_client", "structlog", "httptools", "uvloop", "fakeredis", "jsonschema", "cryptography"),
    *("pytest_asyncio", "pytest_aiohttp", "pytest_timeout", "asyncio", "sqlite3"),
)
"""Whatever the tests use that is not ours; what is not there is left out."""
TEST_SECONDS = 15
"""For one test. The slowest takes two."""
LOOK_SECONDS = 0.01
OPTIONS = (
    *("-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=line", "-o", f"timeout={TEST_SECONDS}"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
PASSED, FAILED, TIMEOUT, LOST = "passed", "failed", "timeout", "lost"
_WRONG_TREE = 77


def main(root: str) -> None:
    """Take orders until there are no more."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        verdict, told = run(Path(root), order["arguments"], order["seconds"], cache=order["cache"])
        sys.stdout.write(json.dumps({"verdict": verdict, "told": told}) + "\n")
        sys.stdout.flush()


def run(root: Path, arguments: Sequence[str], seconds: float, *, cache: bool) -> tuple[str, str]:
    """The verdict of one pytest run, and the end of what it said. `cache`: the byte code may be kept for later runs."""
    with tempfile.TemporaryFile() as said:
        pid = os.fork()
        if pid == 0:
            _test(root, arguments, said.fileno(), cache=cache)
        status = _wait(pid, seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # the run's own group: what its tests have left behind
        if status is None:
            os.waitpid(pid, 0)
            return TIMEOUT, f"not done after {seconds:.0f} s"
        said.seek(0)
        text = said.read().decode(errors="replace")
    return _verdict(os.waitstatus_to_exitcode(status), text), text[-3000:]


def _verdict(code: int, text: str) -> str:
    if code == 0:
        return PASSED
    if code == _WRONG_TREE:
        return LOST
    return TIMEOUT if re.search(r"Timeout \(?>", text) else FAILED


def _wait(pid: int, seconds: float) -> int | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(LOOK_SECONDS)
    return None


def _test(root: Path, arguments: Sequence[str], output: int, *, cache: bool) -> None:
    """In the fork: run the tests of `root` against the product of `root`, and end."""
    code = _WRONG_TREE
    try:
        os.setsid()
        for number, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
            os.dup2(number, target)
        os.chdir(root)
        sys.dont_write_bytecode = not cache
        os.environ["PYTHONDONTWRITEBYTECODE"] = "" if cache else "1"
        sys.path[:] = [str(root), *_elsewhere(root)]
        code = _pytest([*OPTIONS, "--rootdir", str(root), *arguments])
        product = sys.modules.get("proxy")
        if product is not None and not str(product.__file__).startswith(str(root)):
            code = _WRONG_TREE
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _elsewhere(root: Path) -> Iterator[str]:
    """The import path without any tree that holds a Holdfast of its own."""
    return (name for name in sys.path if not (Path(name or ".") / "proxy" / "core").is_dir() and name != str(root))


def _pytest(arguments: list[str]) -> int:
    import hypothesis  # noqa: PLC0415 - loaded before the fork; named here where it is set up
    import pytest  # noqa: PLC0415

    shown = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile(
        "mutants", database=None, deadline=None, max_examples=20, derandomize=True, phases=shown
    )
    hypothesis.settings.load_profile("mutants")
    return int(pytest.main(arguments))


if __name__ == "__main__":
    main(sys.argv[1])
