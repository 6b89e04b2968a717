"""The proof's provider on a socket: what each misfortune puts on the wire, and what the journal says of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from prove.acquirer import JOURNAL, Acquirer
from prove.market import BY_NAME
from prove.misfortune import Fault, drawn
from prove.story import MARK, Arrival
from prove.till import Till
from prove.witness import read_journals

SEED, RATE = 5, 0.9


def reference(fault: Fault) -> str:
    """A payment whose first arrival meets it, written plainly."""
    names = (f"c{number}" for number in range(100_000))
    return next(name for name in names if (lot := drawn(SEED, name, 0, RATE)).fault is fault and lot.coding == "plain")


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    with closing(Till(tmp_path / JOURNAL.format(1), 1)) as till:
        acquirer = Acquirer(till, SEED, RATE)
        server = await asyncio.start_server(acquirer.connected, "127.0.0.1", 0)
        yield server.sockets[0].getsockname()[1]
        server.close()
        await asyncio.gather(*acquirer._work)


async def said(port: int, name: str, place: str = "stripe", *, patience: float = 2.0) -> bytes | None:
    """All that came back; None for a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"reference": name}).encode()
    head = f"POST {BY_NAME[place].path} HTTP/1.1\r\n{MARK}: {name}/1\r\nIdempotency-Key: k-{name}\r\n"
    writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    came = b""
    try:
        async with asyncio.timeout(patience):
            while part := await reader.read(4096):
                came += part
                if b"\r\n\r\n" in came and len(came.partition(b"\r\n\r\n")[2]) == length(came):
                    break
    except TimeoutError:
        pass
    except ConnectionError:
        return None
    finally:
        writer.close()
    return came


def length(came: bytes) -> int:
    fields = came.partition(b"\r\n\r\n")[0].decode("latin-1").lower().split("\r\n")
    return next((int(field.split(":")[1]) for field in fields if field.startswith("content-length:")), -1)


async def arrival(folder: Path, name: str) -> tuple[Arrival, list[Any]]:
    """What the journal says of it once it has left."""
    async with asyncio.timeout(5):
        while True:
            evidence = read_journals(folder, (1,))
            (one,) = evidence.arrivals[f"{name}/1"]
            if one.left < float("inf"):
                return one, [each["id"] for each in evidence.charges]
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("fault", "status", "whole", "charged", "clear"),
    [
        (Fault.OK, 201, True, 1, False),
        (Fault.LIMITED, 429, True, 0, True),
        (Fault.FORBIDDEN, 403, True, 0, True),
        (Fault.REFUSED, 400, True, 0, True),
        (Fault.UNAVAILABLE, 503, True, 0, False),
        (Fault.FAILED_BEFORE, 500, True, 0, False),
        (Fault.FAILED_AFTER, 500, True, 1, False),
        (Fault.CUT_FAILED, 500, False, 1, False),
        (Fault.CUT_AFTER, 201, False, 1, False),
    ],
)
async def test_an_answer_whole_or_cut(
    tmp_path: Path, port: int, fault: Fault, status: int, whole: bool, charged: int, clear: bool
) -> None:
    name = reference(fault)
    came = await said(port, name)
    assert came is not None
    assert came.startswith(b"HTTP/1.1 %d " % status)
    assert (len(came.partition(b"\r\n\r\n")[2]) == length(came)) is whole
    one, charges = await arrival(tmp_path, name)
    assert (one.fault, one.status, one.clear, one.settles) == (fault, status, clear, fault is Fault.OK)
    assert len(charges) == charged


@pytest.mark.parametrize(
    ("fault", "charged"), [(Fault.RESET_BEFORE, 0), (Fault.RESET_AFTER, 1), (Fault.UNSEEN_FAILED, 1)]
)
async def test_a_reset_leaves_doubt(tmp_path: Path, port: int, fault: Fault, charged: int) -> None:
    name = reference(fault)
    assert await said(port, name) is None
    one, charges = await arrival(tmp_path, name)
    assert (one.doubtful, one.status, len(charges)) == (True, 0, charged)


@pytest.mark.parametrize(("fault", "charged"), [(Fault.HANG_BEFORE, 0), (Fault.HANG_AFTER, 1)])
async def test_silence_lasts_until_the_other_side_gives_up(
    tmp_path: Path, port: int, fault: Fault, charged: int
) -> None:
    name = reference(fault)
    assert await said(port, name, patience=0.3) == b""
    one, charges = await arrival(tmp_path, name)
    assert (one.doubtful, len(charges)) == (True, charged)
    assert one.left - one.at > 0.2


async def test_a_front_that_met_its_own_first_try_charges_later(tmp_path: Path, port: int) -> None:
    name = reference(Fault.BUSY)
    came = await said(port, name, "adyen")
    assert came is not None
    assert came.startswith(b"HTTP/1.1 422 ")
    assert b'"704"' in came
    one, charges = await arrival(tmp_path, name)
    assert (one.doubtful, charges) == (True, [])
    async with asyncio.timeout(5):
        while not charges:
            charges = (await arrival(tmp_path, name))[1]
            await asyncio.sleep(0.01)


async def test_who_goes_away_does_not_stop_the_work(tmp_path: Path, port: int) -> None:
    name = reference(Fault.SLOW)
    assert await said(port, name, patience=0.1) == b""
    one, charges = await arrival(tmp_path, name)
    assert (one.coding, one.doubtful, charges) == ("gone", True, [])
    async with asyncio.timeout(5):
        while not charges:
            charges = (await arrival(tmp_path, name))[1]
            await asyncio.sleep(0.01)
