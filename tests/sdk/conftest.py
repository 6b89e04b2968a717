"""The SDKs' stages, and the table that the run leaves behind."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.store import free_port
from tests.sdk.cases import VARIANTS, Variant
from tests.sdk.stage import ROOT, Provider, Stage, set_up
from tests.sdk.stubs.engine import Stub
from tests.sdk.table import Table

PYTHON = "HOLDFAST_SDK_PYTHON"
TABLE = "HOLDFAST_SDK_TABLE"
COLLECTED = Table()


def sdk_python(package: str) -> str:
    """The interpreter that has the SDK; skips, saying what to do, where there is none."""
    python = os.environ.get(PYTHON, sys.executable)
    if python == sys.executable:
        found = importlib.util.find_spec(package) is not None
    else:
        asked = [python, "-c", f"import importlib.util as u, sys; sys.exit(u.find_spec({package!r}) is None)"]
        found = subprocess.run(asked, check=False, timeout=60).returncode == 0
    if not found:
        pytest.skip(f"{package} is not installed for {python}: run `make sdk`, or set {PYTHON}")
    return python


@contextlib.contextmanager
def open_stage(variant: Variant, folder: Path, given: tuple[Provider, int] | None = None) -> Iterator[Stage]:
    """Everything of one variant, up and answering; gone afterwards. `given`: another provider than the stub."""
    python = sdk_python(variant.package)
    with contextlib.ExitStack() as ends:
        provider, behind = given or _stub(variant, ends)
        example = ROOT / "examples" / f"{variant.profile}_payment.py"
        command = [python, str(ROOT / "tests/sdk/drive.py"), str(example)]
        yield set_up(variant.profile, provider, behind, command, folder, ends)


def _stub(variant: Variant, ends: contextlib.ExitStack) -> tuple[Stub, int]:
    port = free_port()
    stub = Stub(variant.api(), port)
    ends.callback(stub.close)
    return stub, port


class Stages:
    """One stage at a time, kept for as long as the next test wants the same profile."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._profile: str | None = None
        self._stage: Stage | None = None
        self._ends = contextlib.ExitStack()

    def of(self, variant: Variant) -> Stage:
        """The stage of a variant, warm: the first call fetches tokens and loads what SDKs load late."""
        if self._stage is None or variant.profile != self._profile:
            self.close()
            self._stage = self._ends.enter_context(open_stage(variant, self._folders.mktemp("sdk")))
            self._profile = variant.profile
            self._stage.pay(key=variant.keyed)
        return self._stage

    def close(self) -> None:
        """End the one there is."""
        self._stage = None
        self._ends.close()


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    stages = Stages(tmp_path_factory)
    yield stages
    stages.close()


@pytest.fixture
def stage(request: pytest.FixtureRequest, stages: Stages) -> Stage:
    """The stage of the variant that the test is parametrised with."""
    return stages.of(VARIANTS[request.param])


@pytest.fixture(scope="session")
def table() -> Table:
    """Collects what was seen, for docs/providers.md."""
    return COLLECTED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the table where HOLDFAST_SDK_TABLE says, and say so."""
    if path := os.environ.get(TABLE):
        terminalreporter.write_line(COLLECTED.write(Path(path)))
