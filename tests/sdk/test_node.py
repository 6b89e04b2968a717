"""Node's SDKs, unmodified; Adyen's and Mollie's refuse plain HTTP, so they come in by TLS."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.store import free_port
from tests.certificates import write_certificate
from tests.sdk.node_cases import SDKS
from tests.sdk.stage import ROOT, Stage, set_up
from tests.sdk.stubs.engine import Stub
from tests.sdk.table import Table
from tests.sdk.test_sdks import act

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

NODE = "HOLDFAST_SDK_NODE"
"""A folder with node_modules in it: `npm install stripe @adyen/api-library @mollie/api-client`."""


CASES = [(name, case) for name, sdk in SDKS.items() for case in sdk.rows]


def node_modules(package: str) -> Path:
    """The folder that has the package; skips, saying what to do, where there is none."""
    folder = Path(os.environ.get(NODE, "/nonexistent")) / "node_modules"
    if shutil.which("node") is None or not (folder / package).is_dir():
        pytest.skip(f"node or its package {package} is not here: run `make sdk` with node on PATH, or set {NODE}")
    return folder


@pytest.fixture(scope="module")
def node_stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Stage]]:
    """Filled as the tests need them; all are ended with the module."""
    stages: dict[str, Stage] = {}
    with contextlib.ExitStack() as ends:
        for name, sdk in SDKS.items():
            modules = node_modules(sdk.package)
            folder, behind = tmp_path_factory.mktemp(name), free_port()
            authority, _ = write_certificate(folder)
            stub = Stub(sdk.api(), behind)
            ends.callback(stub.close)
            trusting = ["--require", str(ROOT / "examples/trust_ca.js")] if sdk.own_list else []
            command = ["node", *trusting, str(ROOT / "tests/sdk/drive.js"), str(ROOT / f"examples/{name}_payment.js")]
            environment = {
                "NODE_PATH": str(modules),
                "NODE_EXTRA_CA_CERTS": str(authority),
                "HOLDFAST_CA": str(authority),
            }
            stages[name] = set_up(name, stub, behind, command, folder, ends, environment=environment, tls=sdk.tls)
            stages[name].pay()
        yield stages


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}: {case}" for name, case in CASES])
def test_a_node_sdk_through_holdfast(node_stages: dict[str, Stage], name: str, case: str, table: Table) -> None:
    charges, calls, outcome, error = SDKS[name].rows[case]
    seen = act(node_stages[name], case, keyed=True)
    table.add(f"{name}, Node", case, seen)
    told = (seen.charges, seen.calls, seen.outcome, seen.kinds[:1])
    assert told == (charges, calls, outcome, [error] if error else []), seen
    assert len(set(seen.keys)) <= 1


def test_without_a_key_of_the_shops_own(node_stages: dict[str, Stage]) -> None:
    for name, stage in node_stages.items():
        seen = stage.pay(key=False)
        assert (seen.charges, seen.outcome, len([key for key in seen.keys if key])) == (1, "final", 1), name


@pytest.mark.parametrize("name", SDKS)
def test_an_example_as_a_person_would_run_it(node_stages: dict[str, Stage], name: str) -> None:
    stage, order = node_stages[name], f"order-{os.urandom(4).hex()}"
    command = [word if "drive.js" not in word else "" for word in stage.command]
    environment = {"PATH": os.environ["PATH"], "HOLDFAST_URL": stage.url, **stage.environment}
    run = [*filter(None, command), order]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (done.returncode, done.stderr, len(done.stdout.split())) == (0, "", 2)
    assert (stage.stub.charges(order), len(stage.stub.calls(order))) == (1, 1)
