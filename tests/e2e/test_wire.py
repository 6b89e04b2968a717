"""Clients that mean no good, against a replica of its own: what is charged, held in memory, logged and counted."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from demo.store import free_port
from tests.e2e.rig import HOST, Process, Rig, until

CARD = "4242424242424242"


async def ask(port: int, data: bytes, seconds: float = 5.0) -> bytes:
    """Everything that is answered on a connection of its own, up to its end or a second of silence."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(data)
    out = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while chunk := await asyncio.wait_for(reader.read(65536), seconds):
            out, seconds = out + chunk, 1.0
    writer.close()
    return out


def payment(key: bytes, *lines: bytes, reference: bytes = b"r") -> bytes:
    body = b'{"amount":1200,"currency":"EUR","reference":"%b"}' % reference
    head = [b"POST /api/payment HTTP/1.1", b"Host: a", b"Idempotency-Key: " + key, b"Content-Type: application/json"]
    return b"\r\n".join([*head, *lines, b"Content-Length: %d" % len(body), b"", body])


@contextlib.asynccontextmanager
async def raw_provider(answer: bytes) -> AsyncIterator[Any]:
    """A provider that gives the same bytes to everybody."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(answer)
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(one, HOST, 0)
    async with server:
        yield SimpleNamespace(url=f"http://{HOST}:{server.sockets[0].getsockname()[1]}")


OPTIONS = [b"close", b"close, Idempotency-Key", b"close, idempotency-KEY , x-one", b"Idempotency-Key, close"]


async def test_connection_cannot_take_the_key_away_and_a_payment_sent_twice_is_charged_once(rig: Rig) -> None:
    provider = await rig.provider()
    rig.configure(provider, upstream={"profile": "generic"})
    replica = await rig.replica(provider, None)
    for number, options in enumerate(OPTIONS):
        sent = payment(b"k%d" % number, b"Connection: " + options, reference=b"r%d" % number)
        for _ in range(2):
            answer = await ask(replica.port, sent)
            assert b"X-Payment-Outcome: final" in answer
            assert b"X-Proxy-Idempotency-Key" not in answer
    books = await rig.ledger(provider)
    assert sorted(charge["key"] for charge in books["charges"]) == [f"k{n}" for n in range(len(OPTIONS))]
    assert books["duplicates"] == []


MALFORMED = {
    "two hosts": b"POST /api/payment HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two lengths": b"POST /api/payment HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "chunk": b"POST /api/payment HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "version": b"POST /api/payment HTTP/2.0\r\nHost: a\r\n\r\n",
    "method": b"BREW /api/payment HTTP/1.1\r\nHost: a\r\n\r\n",
    "host": b"POST /api/payment HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "dots": b"POST /api/payment/../admin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "coding": b"POST /api/payment HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "head": b"POST /api/payment HTTP/1.1\r\nHost: a\r\n",
}


async def test_nothing_malformed_is_silent_and_a_flood_of_it_fills_no_disk(rig: Rig) -> None:
    provider = await rig.provider()
    rig.configure(provider, limits={"head_timeout": "300ms"})
    replica = await rig.replica(provider, None)
    answers = await asyncio.gather(*(ask(replica.port, wire) for wire in MALFORMED.values()))
    ids = [re.findall(rb"X-Request-Id: ([0-9a-f]{32})\r\n", answer)[0].decode() for answer in answers]

    async def told_of(count: int) -> list[dict[str, Any]]:
        """The lines, once they and the ones they left out come to this many."""
        lines: list[dict[str, Any]] = []

        async def enough() -> bool:
            lines[:] = replica.events("request.malformed")
            return len(lines) + sum(int(line["suppressed"]) for line in lines) >= count

        await until(enough, f"{count} malformed requests in the log", 5)
        return lines

    lines = {line["request_id"]: line for line in await told_of(len(MALFORMED))}
    assert [lines[one]["status"] for one in ids] == [int(answer[9:12]) for answer in answers]
    assert [lines[one]["status"] for one in ids] == [400, 400, 400, 505, 501, 400, 400, 501, 408]
    assert all(lines[one]["reason"] for one in ids)
    assert await rig.metric(replica, "holdfast_requests_total", outcome="not_sent") == len(MALFORMED)
    for _ in range(10):
        await asyncio.gather(*(ask(replica.port, MALFORMED["two hosts"]) for _ in range(30)))
    assert await rig.metric(replica, "holdfast_requests_total", route="none", status="400") >= 300
    await asyncio.sleep(1.0)  # a token of the log's throttle
    await ask(replica.port, MALFORMED["two hosts"])
    told = await told_of(300 + len(MALFORMED) + 1)
    assert len(told) < 100
    assert len(told) + sum(line["suppressed"] for line in told) == 300 + len(MALFORMED) + 1


def resident(process: Process) -> int:
    status = Path(f"/proc/{process.popen.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


async def test_a_hundred_large_uploads_at_once_stay_within_the_bound(rig: Rig) -> None:
    """Without one they took 617 MB. Payments of a usual size are paid meanwhile."""
    provider = await rig.provider()
    rig.configure(provider, limits={"buffered_bodies": "32MiB"}, routes=[{"path": "/api", "upstream": "mock"}])
    replica = await rig.replica(provider, None)
    before = resident(replica)
    head = b"POST /api/upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8f0d18\r\n"
    writers: list[asyncio.StreamWriter] = []
    refused = 0

    async def upload() -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection(HOST, replica.port)
        writers.append(writer)
        writer.write(head + b"x" * 9_000_000)
        with contextlib.suppress(TimeoutError, ConnectionError):
            answer = await asyncio.wait_for(reader.read(65536), 2)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"X-Payment-Outcome: not_sent" in answer
            refused += 1

    uploads = [asyncio.create_task(upload()) for _ in range(100)]
    paid = [await rig.pay(replica) for _ in range(5)]
    await asyncio.gather(*uploads)
    assert [answer.status for answer in paid] == [201] * 5
    assert resident(replica) - before < 160 << 20
    assert refused > 50
    for writer in writers:
        writer.close()


async def test_clients_that_do_not_read_are_cut_off_and_hold_up_no_end(rig: Rig) -> None:
    size = 50 << 20
    async with raw_provider(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size) as provider:
        rig.configure(provider, limits={"write_timeout": "1s"}, drain={"grace": "0s", "timeout": "30s"})
        replica = await rig.replica(provider, None)
        socks = []
        for _ in range(10):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect((HOST, replica.port))
            sock.sendall(b"GET /api/payment HTTP/1.1\r\nHost: a\r\n\r\n")
            socks.append(sock)

        async def all_cut_off() -> bool:
            return await rig.metric(replica, "holdfast_clients_dropped_total", reason="not_reading") == len(socks)

        await until(all_cut_off, "every deaf client cut off", 15)
        assert await rig.metric(replica, "holdfast_inflight_requests") == 0
        assert replica.events("client.dropped")[0]["reason"] == "not_reading"
        for sock in socks:
            sock.close()
        started = time.monotonic()
        assert await asyncio.to_thread(replica.stop) == 0
        assert replica.events("replica.stopped")[0]["unfinished"] == 0
        assert time.monotonic() - started < 10


FEW = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
sys.argv = ["proxy"]
runpy.run_module("proxy", run_name="__main__")
"""


async def test_with_few_descriptors_health_and_payments_are_still_answered(rig: Rig) -> None:
    provider = await rig.provider()
    rig.configure(provider)
    port = free_port()
    settings = {"PORT": str(port), "UPSTREAM_URL": provider.url}
    replica = await rig.start("replica", port, ["-c", FEW], settings, "/readyz")
    inside = await asyncio.open_connection(HOST, port)  # before the flood: it is served all along
    health = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    crowd = [await asyncio.open_connection(HOST, port) for _ in range(200)]

    async def healthy() -> bool:
        return (await ask(port, health)).startswith(b"HTTP/1.1 200 ")

    await until(healthy, "health while there are no more descriptors", 10)
    inside[1].write(payment(b"k"))
    assert (await asyncio.wait_for(inside[0].readuntil(b"\r\n\r\n"), 5)).startswith(b"HTTP/1.1 201 ")
    turned_away = await ask(port, payment(b"k2", b"Connection: close", reference=b"r2"))
    assert turned_away.startswith(b"HTTP/1.1 503 ")
    assert b"X-Payment-Outcome: not_sent" in turned_away
    assert replica.events("client.dropped")[0]["reason"] == "too_many_connections"
    assert len(replica.events("client.dropped")) < 10
    for _, writer in [*crowd, inside]:
        writer.close()

    async def paid() -> bool:
        return (await ask(port, payment(b"k3", b"Connection: close", reference=b"r3"))).startswith(b"HTTP/1.1 201 ")

    await until(paid, "a payment once the crowd has left", 10)


@pytest.mark.parametrize("name", ["Request-Id", "X-Request-Id"])
@pytest.mark.parametrize(("given", "kept"), [(CARD, None), ("order-4242-4242-4242-4242", None), ("req_1", "req_1")])
async def test_a_card_number_for_a_request_id_gets_neither_into_the_books_nor_back_out(
    rig: Rig, name: str, given: str, kept: str | None
) -> None:
    answer = f"HTTP/1.1 500 no\r\n{name}: {given}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    async with raw_provider(answer.encode()) as provider:
        rig.configure(provider, upstream={"retry": {"max_retries": 0}})
        replica = await rig.replica(provider, None, HOLDFAST_LEDGER_SECRET="x" * 32)
        told = await ask(replica.port, payment(b"k", b"Connection: close", b"X-Request-Id: " + CARD.encode()))
        assert b"X-Payment-Outcome: unknown" in told

        async def settled() -> bool:
            (entry,) = (await rig.get(replica, "/api/outcomes"))["outcomes"]
            return bool(entry["state"] == "unknown" and not entry["under_way"])

        await until(settled, "the entry written down", 5)
        (entry,) = (await rig.get(replica, "/api/outcomes"))["outcomes"]
        assert entry["provider_request_id"] == kept
        seen = str(entry) + replica.log.read_text()
        assert CARD not in seen
        assert kept or given not in seen
