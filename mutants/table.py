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
    """Files of one layer, and the stages their mutants meet until one notices: the fastest and likeliest first.

    Before these come the tests that bear a file's own name. `rules`: looked at unless files are named.
    """

    layer: str
    files: str
    stages: tuple[Stage, ...]
    rules: bool = True


ROWS = (
    Row("core", "proxy/core/ledger.py", (CONTRACT, CORRIDOR)),
    Row("core", "proxy/core/*.py", (CORRIDOR, CORE)),
    *(Row("corridor", f"proxy/{name}.py", (CORRIDOR,)) for name in ("forward", "story", "telling", "pause")),
    *(Row("corridor", f"proxy/{name}.py", (CORRIDOR,)) for name in ("followup", "resend")),
    *(Row("ledger", f"proxy/{name}.py", (CORRIDOR,)) for name in ("bookkeeper", "recovery")),
    *(Row("ledger", f"proxy/edges/lua/{name}.lua", (CONTRACT, LEDGER)) for name in ("ledger", "*_entry", "*_entries")),
    Row("ledger", "proxy/edges/*_ledger.py", (CONTRACT, LEDGER)),
    *(Row("fleet", f"proxy/{name}.py", (CORRIDOR,)) for name in ("gate", "breaker_view", "failover")),
    Row("fleet", "proxy/edges/lua/*.lua", (BREAKER,)),
    Row(
        "fleet",
        "proxy/fleet.py",
        (("tests/corridor",), ("tests/web",), ("tests/e2e/test_shared_state.py",)),
        rules=False,
    ),
    Row("fleet", "proxy/edges/*_store.py", (BREAKER, ("tests/corridor",)), rules=False),
    Row("fleet", "proxy/edges/redis_record.py", (BREAKER,), rules=False),
    *(
        Row("wire", f"proxy/edges/{name}.py", (WIRE, ("tests/edges", "tests/dataplane")), rules=False)
        for name in ("connection", "response", "upstream", "pool", "pump", "stream", "wire")
    ),
    Row("edges", "proxy/edges/*.py", (("tests/edges",), ("tests/dataplane",)), rules=False),
    Row("web", "proxy/web/*.py", (("tests/web", "tests/dataplane"),), rules=False),
    Row("process", "proxy/*.py", (CORRIDOR, ("tests/web", "tests/test_cli.py"), ("tests/e2e",)), rules=False),
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
