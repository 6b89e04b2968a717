"""The command line as a person uses it: a process, what it prints, how it ends."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from proxy.terminal import status_text, summary_text

ROOT = Path(__file__).parents[1]
STATUS: dict[str, object] = {
    "replica": {"id": "r-1", "version": "1.2.3", "started": "x", "uptime_seconds": 90.0, "draining": False},
    "store": {"kind": "redis", "up": False, "shared": True, "degraded": True},
    "replicas": ["r-1", "r-2"],
    "upstreams": {
        "mock": {
            "url": "http://a",
            "profile": "generic",
            "breaker": {
                "state": "forced_open",
                "since_seconds": 30.0,
                "epoch": 3,
                "cause": "5 failures in a row",
                "retry_after": 8.0,
                "snapshot_age_seconds": 0.1,
                "mode": "shadow",
                "counts": {"consecutive": 5, "calls": 9, "failures": 6},
                "override": {"forced": "open", "actor": "ann", "reason": "drill\x1b[2J", "expires_in_seconds": 900.0},
            },
            "window_seconds": 600.0,
            "attempts": {"success": 3, "timeout": 6, "cut": 0},
            "payments": {"not_sent": 1, "unknown": 0, "final": 4},
            "rejected": 2,
            "budget": {"requests": 9, "retries": 4, "left": 96.4},
            "in_flight": 1,
        }
    },
}
SUMMARY = {"summary": "All is well."}
TOKEN = "t0ken"
OPEN = ["breaker", "open", "mock", "--reason"]


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), **environ},
    )


class Replica(BaseHTTPRequestHandler):
    """Answers like a replica's control plane and remembers what arrived."""

    arrived: list[tuple[str, object]]

    def do_GET(self) -> None:
        document = {"/api/status": STATUS, "/api/status/summary": SUMMARY}.get(self.path)
        self._answer(200 if document else 404, document or {"detail": "no such page"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._answer(403, {})
        elif "mock" not in self.path:
            self._answer(404, {"detail": "no upstream other"})
        else:
            type(self).arrived.append((self.path, body))
            self._answer(200, {})

    def _answer(self, status: int, document: object) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def replica() -> Iterator[str]:
    Replica.arrived = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Replica) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_check_says_ok_and_how_much_there_is() -> None:
    done = run("check", "config.yaml")
    assert (done.returncode, done.stdout, done.stderr) == (0, "config.yaml: ok, 1 upstream, 1 route\n", "")


def test_check_warns_of_a_known_provider_under_another_profile_and_is_content(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("upstreams: {pay: {url: 'https://api.stripe.com'}}\nroutes: [{path: /, upstream: pay}]")
    done = run("check", str(path))
    assert (done.returncode, done.stdout) == (0, f"{path}: ok, 1 upstream, 1 route\n")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{path}: warning: upstreams.pay: api.stripe.com is a host of stripe")
    assert run("check", str(path), UPSTREAM_PROFILE="stripe").stderr == ""


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "upstreams: {a: {url: http://a, retry: {max_retries: many}}}\nroutes: [{path: /, upstream: a}]\nx: 1",
            [
                'FILE: upstreams.a.retry.max_retries: "many" is not valid: expected a whole number',
                (
                    "FILE: x: unknown key; known here: admin, drain, ledger, limits, listen, listen_tls, log, redis, "
                    "routes, summary, upstreams"
                ),
            ],
        ),
        (
            "upstreams: {a: {url: http://a, profile: gone.yaml}}\nroutes: [{path: /, upstream: a}]",
            ["FILE: upstreams.a.profile: DIR/gone.yaml: cannot be read: No such file or directory"],
        ),
        (
            "upstreams: {a: {url: http://a}}\nroutes: [{path: /, upstream: a}]\nlisten_tls: {cert: a, key: b}",
            ["FILE: listen_tls.cert: DIR/a cannot be read: No such file or directory"],
        ),
        ("[", ["FILE: line 1, column 2: not YAML: expected the node content, but found '<stream end>'"]),
    ],
)
def test_check_tells_each_problem_on_a_line_and_ends_with_2(tmp_path: Path, text: str, lines: list[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    done = run("check", str(path))
    told = done.stderr.replace(str(path), "FILE").replace(str(tmp_path), "DIR").splitlines()
    assert (done.returncode, done.stdout, told) == (2, "", lines)


def test_check_sees_the_environment_serve_would_see() -> None:
    done = run("check", "config.yaml", PAYMENT_MAX_RETRIES="many")
    assert (done.returncode, done.stderr) == (
        2,
        'environment PAYMENT_MAX_RETRIES: "many" is not valid: expected a whole number of 0 or more\n',
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check"], "FILE"),
        (["dance"], "invalid choice: 'dance'"),
        (["serve", "--listen", "here"], "'here': expected HOST:PORT, like 0.0.0.0:3000"),
        (["--listen", "here"], "'here': expected HOST:PORT, like 0.0.0.0:3000"),
        (["breaker", "burn", "mock", "--reason", "x"], "invalid choice: 'burn'"),
        (["breaker", "open", "mock"], "--reason"),
        ([*OPEN, "x", "--for", "15"], "'15': expected a duration with its unit, like 15m"),
        ([*OPEN, "x"], "HOLDFAST_ADMIN_TOKEN is not set"),
        (["status", "not-a-url"], "the replica's URL must be like http://127.0.0.1:3000"),
    ],
)
def test_a_mistake_is_named_and_ends_with_2(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_version() -> None:
    assert run("--version").stdout.startswith("holdfast ")


@pytest.mark.parametrize("command", [["status"], ["summary"], [*OPEN, "x"]])
def test_a_replica_that_is_not_there_is_one_clear_line(command: list[str]) -> None:
    done = run(*command, HOLDFAST_URL="http://127.0.0.1:1", HOLDFAST_ADMIN_TOKEN=TOKEN)
    assert (done.returncode, done.stderr) == (1, "holdfast: cannot reach http://127.0.0.1:1: Connection refused\n")


def test_status_and_summary_are_asked_and_shown(replica: str) -> None:
    assert run("status", replica).stdout == status_text(STATUS) + "\n"
    assert run("summary", HOLDFAST_URL=replica).stdout == "All is well.\n"
    assert json.loads(run("status", replica, "--json").stdout) == STATUS


def test_an_answer_that_is_no_status_is_told(replica: str) -> None:
    done = run("status", f"{replica}/elsewhere")
    assert (done.returncode, done.stderr) == (
        1,
        f"holdfast: {replica}/elsewhere/api/status answered 404: no such page\n",
    )


def test_an_override_is_sent_with_token_reason_and_time(replica: str) -> None:
    done = run(
        "breaker", "open", "mock", "--reason", "drill", "--for", "15m", "--url", replica, HOLDFAST_ADMIN_TOKEN=TOKEN
    )
    assert (done.returncode, done.stdout) == (0, "mock: open for 15m\n")
    ((path, body),) = Replica.arrived
    assert path == "/api/breakers/mock/open"
    assert isinstance(body, dict)
    assert (body["reason"], body["for"]) == ("drill", "15m")
    assert "@" in body["actor"]


@pytest.mark.parametrize(
    ("upstream", "token", "said"),
    [("mock", "wrong", "refused the admin token (403)"), ("other", TOKEN, "answered 404: no upstream other")],
)
def test_a_refused_override_is_one_line(replica: str, upstream: str, token: str, said: str) -> None:
    done = run("breaker", "auto", upstream, "--reason", "x", "--url", replica, HOLDFAST_ADMIN_TOKEN=token)
    assert done.returncode == 1
    assert said in done.stderr
    assert token not in done.stderr
    assert Replica.arrived == []


@pytest.mark.parametrize(
    "fact",
    [
        "r-1  holdfast 1.2.3, up 90 s",
        "redis, DOWN, shared, DEGRADED; replicas alive: 2",
        "FORCED_OPEN for 30 s (5 failures in a row), next try in 8 s, shadow mode: blocks nothing",
        "forced open by ann: drill?[2J, for another 15 min",
        "6 of 9 calls, 5 in a row",
        "last 10 min",
        "success 3, timeout 6\n",
        "not_sent 1, final 4; rejected 2",
        "4 retries of 9 requests, 96.4 left",
        "in flight 1",
    ],
)
def test_the_view_tells_the_facts(fact: str) -> None:
    assert fact in status_text(STATUS) + "\n"


def test_the_view_survives_missing_facts() -> None:
    assert "OPEN" not in status_text({"upstreams": {"mock": {}}})
    assert summary_text({}) == "-"
