"""Every example as a person would run it: one file, one environment variable, one charge."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.sdk.cases import VARIANTS
from tests.sdk.conftest import sdk_python
from tests.sdk.stage import ROOT, Stage

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

EXAMPLES = sorted((ROOT / "examples").glob("*_payment.py"))
STAGES = {path: next(name for name, it in VARIANTS.items() if path.name.startswith(it.profile)) for path in EXAMPLES}


def test_there_is_an_example_for_every_profile() -> None:
    assert {path.name.removesuffix("_payment.py") for path in EXAMPLES} == {it.profile for it in VARIANTS.values()}


def test_the_docs_name_every_example() -> None:
    text = (ROOT / "docs/sdk.md").read_text() + (ROOT / "docs/sdk/tls.md").read_text()
    assert [path.name for path in (ROOT / "examples").iterdir() if path.is_file() and path.name not in text] == []


@pytest.mark.parametrize(
    ("stage", "path"),
    [(name, path) for path, name in STAGES.items()],
    ids=[path.stem for path in EXAMPLES],
    indirect=["stage"],
)
def test_an_example(stage: Stage, path: Path) -> None:
    order = f"order-{os.urandom(4).hex()}"
    python = sdk_python(VARIANTS[STAGES[path]].package)
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "NO_PROXY": "*", "HOLDFAST_URL": stage.url}
    command = [python, "-W", "ignore::DeprecationWarning", str(path), order]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.split()) >= 2
    assert (stage.stub.charges(order), len(stage.stub.calls(order))) == (1, 1)
