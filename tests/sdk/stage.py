"""One SDK, a Holdfast process and a stub provider, set up once and used for case after case."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from demo.store import free_port
from tests.sdk.stubs.api import Order
from tests.sdk.stubs.engine import Fault
from tests.sdk.wire import Said, Wire

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
START_SECONDS = 20.0
ANSWER_SECONDS = 40.0
QUIET_SECONDS = 0.1
TOKEN = "sdk-tests"
TOKENS = "/v1/oauth2"
Events = list[dict[str, Any]]


class Provider(Protocol):
    """A provider as a stage needs it."""

    def plan(self, reference: str, *faults: Fault) -> None: ...
    def charges(self, reference: str) -> int: ...
    def calls(self, reference: str) -> list[Order]: ...
    def settled(self) -> bool: ...
    def up(self) -> None: ...
    def down(self) -> None: ...


@dataclass(frozen=True)
class Seen:
    """What one call of the SDK led to."""

    charges: int
    calls: int
    outcome: str
    """What the last answer that the SDK received says in `X-Payment-Outcome`."""
    status: int
    asked: int
    """How often the SDK called Holdfast."""
    value: str | None
    kinds: list[str]
    """The class of the SDK's error and its bases, nearest first."""
    text: str
    request_id: str
    keys: list[str | None]
    """The key of every call that reached the provider."""


@dataclass
class Stage:
    """The SDK's side (`driver`), the proxy's (`holdfast`), the provider's (`stub`)."""

    name: str
    stub: Provider
    holdfast: subprocess.Popen[bytes]
    log: Path
    wire: Wire
    """Between the SDK and Holdfast."""
    url: str
    """Holdfast's own, past the wire."""
    admin: str
    driver: subprocess.Popen[str]
    command: list[str]
    environment: Mapping[str, str]
    """How the driver was started, beside what everybody's is."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def pay(self, *faults: Fault, key: bool = True, settings: Mapping[str, object] | None = None) -> Seen:
        """One call of the example's `pay`, under a reference of its own; `settings` of the SDK hold for it alone."""
        reference = f"order-{next(self._numbers)}-{os.urandom(4).hex()}"
        self.stub.plan(reference, *faults)
        before, heard = len(self._payments()), len(self._heard())
        wish = {"reference": reference, "key": f"key-{reference}" if key else None, "settings": settings or {}}
        told = self._drive(wish)
        finished = self._wait_for(before, told)
        outcomes = [said.outcome for said in self._heard()[heard:]]
        logged = [line["outcome"] for line in finished]
        assert outcomes == logged, f"X-Payment-Outcome was {outcomes}, and Holdfast's log says {logged}"
        wait_until(self.stub.settled, "the end of the call that was in flight")
        calls = self.stub.calls(reference)
        return Seen(
            charges=self.stub.charges(reference),
            calls=len(calls),
            outcome=outcomes[-1] or "",
            status=finished[-1]["status"],
            asked=len(finished),
            value=told["value"],
            kinds=told["kinds"],
            text=told["text"],
            request_id=finished[-1]["request_id"],
            keys=[call.key for call in calls],
        )

    @contextlib.contextmanager
    def breaker_open(self) -> Iterator[None]:
        """The breaker forced open meanwhile."""
        self._override("open")
        yield
        self._override("auto")

    @contextlib.contextmanager
    def provider_down(self) -> Iterator[None]:
        """Nobody listens at the provider's address meanwhile."""
        self.stub.down()
        time.sleep(0.05)  # what Holdfast kept in its pool has to see the end of its connection first
        yield
        self.stub.up()

    def _drive(self, wish: Mapping[str, object]) -> dict[str, Any]:
        assert self.driver.stdin is not None
        self.driver.stdin.write(json.dumps(wish) + "\n")
        self.driver.stdin.flush()
        return read_line(self.driver, ANSWER_SECONDS)

    def _payments(self) -> Events:
        """Holdfast's own account of the writes so far; tokens and look-ups are not among them."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [
            line
            for line in lines
            if line["event"] == "payment.finished" and line["route"] == "/" and line["method"] == "POST"
        ]

    def _heard(self) -> list[Said]:
        """The same writes as the SDK saw them."""
        return [said for said in self.wire.posts() if not said.path.startswith(TOKENS)]

    def _wait_for(self, before: int, told: object) -> Events:
        wait_until(lambda: len(self._payments()) > before, f"a line in Holdfast's log; the SDK says {told}", 5)
        time.sleep(QUIET_SECONDS)  # the log's writer collects lines for a moment, and an SDK may have asked again
        return self._payments()[before:]

    def _override(self, action: str) -> None:
        wish = json.dumps({"reason": "sdk tests", "actor": "tests"}).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        url = f"{self.admin}/api/breakers/{self.name}/{action}"
        asked = urllib.request.Request(url, wish, headers, method="POST")
        with urllib.request.urlopen(asked, timeout=5) as answer:
            assert answer.status == 200
        state = "forced_open" if action == "open" else "closed"
        wait_until(lambda: self._state() == state, f"a breaker that is {state}, not {self._state()}")

    def _state(self) -> str:
        with urllib.request.urlopen(f"{self.admin}/api/status", timeout=5) as answer:
            return str(json.load(answer)["upstreams"][self.name]["breaker"]["state"])


def wait_until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Look until it is so; fails, naming `what`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def read_line(process: subprocess.Popen[str], seconds: float) -> dict[str, Any]:
    """The next line of a driver, which has to come in time."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    line = process.stdout.readline() if ready else ""
    assert line, f"the SDK did not answer within {seconds} s or ended: {process.args!r}"
    answer: dict[str, Any] = json.loads(line)
    return answer


def configuration(name: str, profile: str, port: int, admin: int, provider: int) -> dict[str, object]:
    """Short timeouts, two retries, and a breaker that opens only when told: cases must not touch one another."""
    upstream = {
        "url": f"http://{HOST}:{provider}",
        "profile": profile,
        "timeouts": {"connect": "500ms", "attempt": "700ms", "total": "5s"},
        "retry": {"max_retries": 2, "backoff_ms": [250], "jitter": "none"},
        "breaker": {"consecutive_failures": 1000, "failure_rate": None},
    }
    paths = ["/", TOKENS]  # the second only keeps the calls for a token apart in the log
    return {
        "listen": f"{HOST}:{port}",
        "admin": {"listen": f"{HOST}:{admin}", "token": TOKEN},
        "upstreams": {name: upstream},
        "routes": [{"path": path, "upstream": name} for path in paths],
        "drain": {"grace": "0s"},
    }


def start_holdfast(folder: Path, document: dict[str, object], log: Path) -> subprocess.Popen[bytes]:
    """A replica that serves."""
    (folder / "config.yaml").write_text(json.dumps(document))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "proxy"], stdout=out, stderr=out, cwd=folder, env=environment)
    wait_until(lambda: "replica.started" in log.read_text() or process.poll() is not None, "Holdfast")
    assert process.poll() is None, log.read_text()
    return process


def start_driver(command: list[str], environment: Mapping[str, str], noise: Path) -> subprocess.Popen[str]:
    """An SDK's process that is ready for wishes; what it prints besides goes to `noise`."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(noise.parent), "NO_PROXY": "*", **environment}
    with noise.open("w") as err:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True, bufsize=1, env=clean
        )
    try:
        read_line(process, START_SECONDS)
    except AssertionError:
        process.kill()
        raise AssertionError(f"the SDK did not start: {noise.read_text()[-2000:]}") from None
    return process


def set_up(
    profile: str,
    provider: Provider,
    behind: int,
    command: list[str],
    folder: Path,
    ends: contextlib.ExitStack,
    *,
    environment: Mapping[str, str] | None = None,
    tls: bool = False,
) -> Stage:
    """Holdfast in front of the provider that listens on port `behind`, and the SDK's process in front of Holdfast.

    `tls`: the data port shows the certificate that lies in the folder, and so does the wire in front of it.
    """
    port, admin, front = free_port(), free_port(), free_port()
    scheme = "https" if tls else "http"
    log, url = folder / "holdfast.log", f"{scheme}://{HOST}:{port}"
    document = configuration(profile, profile, port, admin, behind)
    if tls:
        document["listen_tls"] = {"cert": "tls.crt", "key": "tls.key"}
    holdfast = start_holdfast(folder, document, log)
    ends.callback(holdfast.wait, 10)
    ends.callback(holdfast.kill)
    extra = environment or {}
    wire = Wire(front, port, _contexts(folder) if tls else (None, None))
    ends.callback(wire.close)
    driver = start_driver(command, {"HOLDFAST_URL": f"{scheme}://{HOST}:{front}", **extra}, folder / "driver.log")
    ends.callback(driver.communicate)
    return Stage(profile, provider, holdfast, log, wire, url, f"http://{HOST}:{admin}", driver, command, extra)


def _contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For the wire: to be Holdfast to the SDK, and to trust Holdfast."""
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return inside, ssl.create_default_context(cafile=str(folder / "tls.crt"))
