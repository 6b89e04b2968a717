"""Which tests hold which file. The one place to touch where code or tests move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

Stage = tuple[str, ...]
"""Arguments of one pytest run."""
_NO_MODELS = "--ignore-glob=*_model.py"
"""The two models take ten seconds each, and what they could see a faster test has always seen first."""
CORE: Stage = ("tests/core", _NO_MODELS)
CORRIDOR: Stage = ("tests/corridor", "tests/ledger", _NO_MODELS)
LEDGER: Stage = ("tests/ledger", _NO_MODELS)
CONTRACT: Stage = ("tests/ledger/test_contract*.py", "tests/ledger/test_twins.py")
BREAKER: Stage = ("tests/edges/test_store*.py",)
WIRE: Stage = ("tests/edges/test_upstream*.py",)


@dataclass(frozen=True, slots=True)
class Row:
    """Files, and the stages their mutants meet until one notices: the fastest and likeliest first.

    Before these come the tests that bear a file's own name. `rules`: looked at unless files are named.
    """

    files: str
    stages: tuple[Stage, ...]
    rules: bool = True


ROWS = (
    Row("proxy/core/ledger.py", (CONTRACT, CORRIDOR)),
    Row("proxy/core/*.py", (CORRIDOR, CORE)),
    Row("proxy/edges/lua/*entry.lua", (CONTRACT, LEDGER)),
    Row("proxy/edges/lua/*entries.lua", (CONTRACT, LEDGER)),
    Row("proxy/edges/lua/ledger.lua", (CONTRACT, LEDGER)),
    Row("proxy/edges/lua/*.lua", (BREAKER,)),
    Row("proxy/edges/*_ledger.py", (CONTRACT, LEDGER)),
    Row("proxy/edges/*_store.py", (BREAKER, ("tests/corridor",)), rules=False),
    Row("proxy/edges/redis_record.py", (BREAKER,), rules=False),
    Row("proxy/edges/connection.py", (WIRE, ("tests/edges", "tests/dataplane", _NO_MODELS)), rules=False),
    Row("proxy/edges/response.py", (WIRE, ("tests/edges", "tests/dataplane", _NO_MODELS)), rules=False),
    Row("proxy/edges/*.py", (("tests/edges", _NO_MODELS), ("tests/dataplane",)), rules=False),
    Row("proxy/fleet.py", (("tests/corridor",), ("tests/web",), ("tests/e2e/test_shared_state.py",)), rules=False),
    *(
        Row(f"proxy/{name}.py", (("tests/corridor", "tests/ledger", _NO_MODELS),))
        for name in (
            "forward",
            "recovery",
            "story",
            "telling",
            "resend",
            "followup",
            "bookkeeper",
            "gate",
            "breaker_view",
            "failover",
        )
    ),
    Row("proxy/pause.py", (CORRIDOR,)),
    Row("proxy/web/*.py", (("tests/web", "tests/dataplane"),), rules=False),
    Row("proxy/*.py", (CORRIDOR, ("tests/web", "tests/test_cli.py"), ("tests/e2e",)), rules=False),
)


def row_of(file: str) -> Row | None:
    """The row of a file, if it has one."""
    return next((row for row in ROWS if fnmatch(file, row.files)), None)


def files(root: Path, wanted: Sequence[str]) -> Iterator[str]:
    """The files to look at, below the project's root: those that match what was asked for, else the rules."""
    for path in sorted([*root.glob("proxy/**/*.py"), *root.glob("proxy/**/*.lua")]):
        name = path.relative_to(root).as_posix()
        row = row_of(name)
        asked = any(fnmatch(name, f"{pattern.rstrip('/')}*") for pattern in wanted) if wanted else row and row.rules
        if row is not None and asked:
            yield name


def stages(root: Path, file: str) -> list[Stage]:
    """The pytest runs that a mutant of a file meets, with every pattern spelled out."""
    row = row_of(file)
    stem = Path(file).stem
    own = [f"tests/**/test_{stem}.py", f"tests/**/test_{stem}_*.py"]
    rows = [tuple(own), *(row.stages if row else ())]
    spelled = (tuple(name for argument in stage for name in _spelled(root, argument)) for stage in rows)
    found: list[Stage] = []
    for stage in spelled:
        if any(not argument.startswith("-") for argument in stage) and stage not in found:
            found.append(stage)
    return found


def _spelled(root: Path, argument: str) -> list[str]:
    if argument.startswith("-"):
        return [argument]
    paths = (path.relative_to(root).as_posix() for path in root.glob(argument))
    return sorted(
        path for path in paths if "*" not in argument or ("/e2e/" not in path and not path.endswith("_model.py"))
    )
