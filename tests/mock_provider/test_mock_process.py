"""The real process: arguments, signals, and what outlives a kill."""

import asyncio
import signal
import socket
from pathlib import Path

import pytest

from tests.mock_provider.provider_harness import DEADLINE_S, ORDER, program, start


async def finish(*arguments: str, rate: str = "0") -> tuple[int | None, bytes, bytes]:
    process = await start(*arguments, rate=rate)
    try:
        async with asyncio.timeout(DEADLINE_S):
            stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, stdout, stderr


@pytest.mark.parametrize(
    ("arguments", "rate", "named"),
    [
        (["--port", "x"], "0", "--port"),
        (["--port", "65536"], "0", "--port"),
        (["--failure-rate", "1.5"], "0", "--failure-rate"),
        (["--failure-rate", "nan"], "0", "--failure-rate"),
        (["--seed", "1.5"], "0", "--seed"),
        (["--wat"], "0", "--wat"),
        ([], "often", "FLAKY_PAYMENT_FAILURE_RATE"),
        (["--ledger", "/nowhere/at/all.db"], "0", "/nowhere/at/all.db"),
    ],
)
async def test_a_bad_value_is_one_clear_line_and_exit_2(arguments: list[str], rate: str, named: str) -> None:
    code, stdout, stderr = await finish(*arguments, rate=rate)
    assert (code, stdout, stderr.count(b"\n")) == (2, b"", 1)
    assert named in stderr.decode()


async def test_a_ledger_that_is_no_database_is_one_clear_line_and_exit_2(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("this is not a database, " * 100)
    code, _, stderr = await finish("--port", "0", "--ledger", str(path))
    assert (code, stderr.count(b"\n")) == (2, 1)


async def test_a_taken_port_is_one_clear_line_and_exit_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, stdout, stderr = await finish("--port", str(taken.getsockname()[1]))
    assert (code, stdout, stderr.count(b"\n")) == (1, b"", 1)
    assert b"cannot listen on 127.0.0.1:" in stderr


async def test_rate_and_seed_come_from_the_command_line_and_the_rate_else_from_the_environment() -> None:
    async with program("--failure-rate", "0.25", "--seed", "42") as running:
        faults = (await running.client.ask("GET", "/admin/faults")).json
        assert (faults["failure_rate"], faults["seed"]) == (0.25, 42)
    async with program() as running:
        assert (await running.client.ask("GET", "/admin/faults")).json["failure_rate"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_at_once_though_a_request_hangs(number: signal.Signals) -> None:
    async with program() as running:
        await running.client.put(next=["hang", "slow"], hang_s=600, slow_s=600)
        writers = [(await running.client.open_payment(key))[1] for key in ("a", "b")]
        await running.client.until_in_flight(2)
        running.process.send_signal(number)
        async with asyncio.timeout(1):
            assert await running.process.wait() == 0
        assert running.process.stdout
        assert running.process.stderr
        assert await running.process.stdout.read() == b""
        assert await running.process.stderr.read() == b""
        for writer in writers:
            writer.close()


async def test_resets_are_real_on_this_loop_too() -> None:
    async with program() as running:
        await running.client.put(next=["reset_before", "reset_after"])
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await running.client.raw_payment()
        assert await running.client.charges() == 1


async def test_charges_and_answers_survive_kill_9(tmp_path: Path) -> None:
    ledger = ["--ledger", str(tmp_path / "books.db")]
    declined = {**ORDER, "source": "tok_declined"}
    async with program(*ledger) as running:
        await running.client.put(next=["ok", "ok", "reset_after"])
        paid = await running.client.pay(key="paid")
        refused = await running.client.pay(declined, key="declined")
        with pytest.raises(ConnectionResetError):
            await running.client.raw_payment("lost")
        running.process.kill()
        assert await running.process.wait() == -signal.SIGKILL
    async with program(*ledger) as running:
        again = await running.client.pay(key="paid")
        assert (again.status, again.replayed, again.json) == (201, True, paid.json)
        still = await running.client.pay(declined, key="declined")
        assert (still.status, still.replayed, still.json) == (402, True, refused.json)
        charges = (await running.client.books())["charges"]
        assert [charge["key"] for charge in charges] == ["paid", "lost"]
        looked_up = await running.client.ask("GET", f"/api/payment/{charges[1]['id']}")
        assert looked_up.status == 200


async def test_the_same_seed_gives_the_same_run() -> None:
    async def run() -> list[int]:
        async with program("--failure-rate", "0.5", "--seed", "11") as running:
            await running.client.put(kinds={"hang": 0, "reset_before": 0, "reset_after": 0})
            return [(await running.client.pay()).status for _ in range(40)]

    first = await run()
    assert set(first) == {201, 500, 503}
    assert await run() == first
