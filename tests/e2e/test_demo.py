"""The demo tells its story and leaves nothing behind, however it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess

import pytest

from tests.e2e.demo_process import demo, free_ports

TETHERED = 8  # store, provider and two replicas, each with its tether


async def test_the_tour_shows_retries_the_shared_breaker_and_recovery_and_ctrl_c_ends_everything() -> None:
    async with demo("--payments", "12") as running:
        text = await running.says("Ctrl-C ends it all.")
        first, second, provider = running.ports
        assert re.search(r"201 Created +final +\d+", text)
        assert re.search(r"12 payments took \d+ attempts\.", text)
        assert re.search(r"ledger: \d+ charges for \d+ payments answered as paid, 0 duplicates", text)
        assert f"breaker on {first}: open\n" in text
        assert f"breaker on {second}: open, though it has met none of these failures" in text
        assert re.search(
            rf"through {second}: 503 Service Unavailable, Retry-After: [123], "
            r"X-Payment-Outcome: not_sent, X-Proxy-Attempts: 0",
            text,
        )
        assert f"breaker on {first}: closed, breaker on {second}: closed" in text
        assert "In the last 10 minutes, " in text
        for path in ("/api/status", "/api/status/summary", "/metrics", "/api-docs"):
            assert f"http://127.0.0.1:{first}{path}" in text
            assert f"http://127.0.0.1:{second}{path}" in text
        assert f"http://127.0.0.1:{provider}/admin/ledger" in text

        children = running.children()
        assert len(children) == TETHERED
        running.signal(signal.SIGINT)
        assert await running.ended() == 0
        await running.nothing_left(children)
        assert "Traceback" not in running.text()
        assert [path.name for path in running.output.parent.iterdir()] == ["output"]


async def test_attempts_during_the_outage_are_bounded_by_threshold_and_what_was_in_flight() -> None:
    async with demo("--payments", "1") as running:
        text = await running.says("3. The provider is back")
    asked, arrived = map(int, re.findall(r"(\d+) payments were asked for, (\d+) attempts reached", text)[0])
    assert asked == 36
    assert 1 <= arrived <= 7


async def test_nothing_outlives_a_killed_demo() -> None:
    async with demo("--no-payments") as running:
        await running.says("Ctrl-C ends it all.")
        children = running.children()
        assert len(children) == TETHERED
        running.signal(signal.SIGKILL)
        assert await running.ended() == -signal.SIGKILL
        await running.nothing_left(children)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["Holdfast demo", "through both replicas"])
async def test_a_signal_during_start_or_tour_ends_it_without_a_traceback(number: signal.Signals, moment: str) -> None:
    async with demo() as running:
        await running.says(moment)
        children = running.children()
        running.signal(number)
        assert await running.ended() == 0
        await running.nothing_left(children)
        assert "Traceback" not in running.text()


@pytest.mark.parametrize(("offset", "option"), [(0, "--port N"), (1, "--port N"), (None, "--provider-port N")])
async def test_a_taken_port_is_one_line_that_names_it_and_the_way_out(offset: int | None, option: str) -> None:
    ports = free_ports()
    port = ports[1] if offset is None else ports[0] + offset
    with socket.create_server(("127.0.0.1", port)):
        async with demo(ports=ports) as running:
            assert await running.ended() == 1
            text = running.text()
            assert text.count("\n") == 1
            assert f"port {port} " in text
            assert option in text


async def test_a_replica_that_dies_ends_the_demo_and_its_log_is_shown() -> None:
    async with demo("--no-payments") as running:
        await running.says("Ctrl-C ends it all.")
        children = running.children()
        os.kill(next(pid for pid in children if is_replica(pid)), signal.SIGKILL)
        assert await running.ended() == 1
        await running.nothing_left(children)
        assert "ended by itself" in running.text()
        assert "replica.started" in running.text()


def is_replica(pid: int) -> bool:
    listing = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return "-m proxy serve" in listing and "demo.tether" not in listing
