"""`python -m prove.acquirer PORT SEED FOLDER PROVIDER`: all providers of the mix in one process, on bare sockets.

Its key layer does what each provider documents (tongues.py), its misfortunes are drawn (misfortune.py), and every
arrival, charge and end stands in a journal (till.py) before anybody is answered.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import uvloop

from prove import tongues
from prove.codings import coded
from prove.market import BY_PATH, PATIENT_SECONDS, SLOW_SECONDS, Place
from prove.misfortune import AT_THE_EDGE, FAILED, HANG, RESET, Fault, Lot, drawn
from prove.story import MARK
from prove.till import DECLINED_TOKEN, Order, Till
from prove.tongues import Answer

JOURNAL = "acquirer-{}.jsonl"
HANG_SECONDS = 20.0
BUSY_SECONDS = 0.3
_NO_LINGER = struct.pack("ii", 1, 0)
_JUNK = b"\x16\x03\x01\x02\x00 this is no status line \xff\xfe\r\n\r\n"


@dataclass(slots=True)
class Request:
    """One request as read from a socket."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Acquirer:
    """Serves connections; `rate` of all arrivals go wrong."""

    till: Till
    seed: int
    rate: float = 0.0
    outage: bool = False
    _life: str = ""
    _numbers: count[int] = field(default_factory=count)
    _work: set[asyncio.Task[Answer]] = field(default_factory=set)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive until something goes wrong."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._one(await _read(reader), reader, writer):
                pass
        writer.close()

    async def _one(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        place = BY_PATH.get(request.path)
        if place is None or request.method != "POST":
            return await _say(writer, self._administer(request))
        order = self._read_order(request, place)
        lot = drawn(self.seed, order.reference, self.till.arrivals[order.reference], self.rate)
        if self.outage:
            lot = replace(lot, fault=Fault.UNAVAILABLE)
        self.till.enter(order, lot.fault)
        return await self._serve(order, lot, reader, writer)

    async def _serve(self, order: Order, lot: Lot, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Work and answer, or not; whoever asked may go away meanwhile, and the work goes on."""
        working = self._start(self._answer_of(order, lot))
        leaving = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            self.till.leave(order, None, whole=False, coding="gone")
            return False
        if lot.fault in HANG | {Fault.STALLED_FAILED}:
            await self._stall(order, working.result(), lot, writer, leaving)
            return False
        leaving.cancel()
        with suppress(asyncio.CancelledError, ConnectionError):
            await leaving
        if writer.transport.is_closing() or reader.at_eof():
            self.till.leave(order, None, whole=False, coding="gone")
            return False
        return await self._deliver(order, working.result(), lot, writer)

    def _start(self, work: Coroutine[None, None, Answer]) -> asyncio.Task[Answer]:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    async def _answer_of(self, order: Order, lot: Lot) -> Answer:
        """What is done for one arrival; the answer it would get on a good wire."""
        if lot.fault in AT_THE_EDGE:
            await asyncio.sleep(lot.work)
            return _at_the_edge(order, lot.fault)
        known = self.till.ask(order)
        if known is not None:
            await asyncio.sleep(lot.work)
            return known
        if lot.fault is Fault.BUSY and order.cell is not None:
            self._start(self._execute(order, replace(lot, fault=Fault.OK), BUSY_SECONDS))
            return order.tongue.in_flight
        return await self._execute(order, lot, _seconds(order, lot))

    async def _execute(self, order: Order, lot: Lot, seconds: float) -> Answer:
        await asyncio.sleep(seconds)
        failed = tongues.FAILED if lot.fault in FAILED else None
        return self.till.done(order, failed, charge=lot.fault is not Fault.FAILED_BEFORE)

    async def _stall(
        self, order: Order, answer: Answer, lot: Lot, writer: asyncio.StreamWriter, leaving: asyncio.Future[bytes]
    ) -> None:
        """Say nothing, or half of it, until the other side gives up."""
        if lot.fault is Fault.STALLED_FAILED:
            writer.write(_part(answer))
        with suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(leaving, HANG_SECONDS)
        self.till.leave(order, answer if lot.fault is Fault.STALLED_FAILED else None, whole=False, coding="plain")

    async def _deliver(self, order: Order, answer: Answer, lot: Lot, writer: asyncio.StreamWriter) -> bool:
        """Put it on the wire as the lot has it; whether the connection is still good."""
        if lot.fault in RESET:
            self.till.leave(order, None, whole=False, coding="plain")
            link: socket.socket = writer.get_extra_info("socket")
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            writer.transport.abort()
            return False
        if lot.fault in {Fault.CUT_AFTER, Fault.CUT_FAILED}:
            self.till.leave(order, answer, whole=False, coding="plain")
            writer.write(_part(answer))
            return False
        if lot.fault is Fault.JUNK:
            self.till.leave(order, None, whole=False, coding="plain")
            writer.write(_JUNK)
            return False
        self.till.leave(order, answer, whole=True, coding=lot.coding)
        fields, body = coded(lot.coding, answer.bytes)
        return await _say(writer, _head(answer, len(body), fields) + body)

    def _read_order(self, request: Request, place: Place) -> Order:
        document = json.loads(request.body)
        return Order(
            f"{self._life}{next(self._numbers)}",
            request.headers.get(MARK.lower(), "?"),
            place,
            request.headers.get(place.key_header.lower()),
            request.headers.get("authorization", ""),
            str(document.get("reference")),
            document.get("source") == DECLINED_TOKEN,
            request.body,
        )

    def _administer(self, request: Request) -> bytes:
        if request.method == "PUT":
            wanted = json.loads(request.body)
            self.rate = float(wanted.get("failure_rate", self.rate))
            self.outage = bool(wanted.get("outage", self.outage))
        body = json.dumps({"failure_rate": self.rate, "outage": self.outage}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _at_the_edge(order: Order, fault: Fault) -> Answer:
    match fault:
        case Fault.LIMITED:
            return tongues.LIMITED
        case Fault.FORBIDDEN:
            return tongues.FORBIDDEN
        case Fault.REFUSED:
            return order.tongue.refusal
        case Fault.UNAVAILABLE_HINT:
            nothing_done = "transient-error" in order.tongue.try_again
            return replace(tongues.UNAVAILABLE, headers=order.tongue.try_again, clear=nothing_done)
        case _:
            return tongues.UNAVAILABLE


def _seconds(order: Order, lot: Lot) -> float:
    """How long the work takes; a patient provider's takes long now and then."""
    if order.place.name == "patient" and lot.fault in {Fault.OK, Fault.SLOW} and lot.work > 0.02:  # noqa: PLR2004
        return PATIENT_SECONDS
    return SLOW_SECONDS if lot.fault is Fault.SLOW else lot.work


def _part(answer: Answer) -> bytes:
    """The head and half of the body."""
    return _head(answer, len(answer.bytes), {}) + answer.bytes[: len(answer.bytes) // 2]


def _head(answer: Answer, length: int, more: Mapping[str, str]) -> bytes:
    fields = {"Content-Type": "application/json", **answer.headers, **more, "Content-Length": str(length)}
    lines = [f"HTTP/1.1 {answer.status} Said", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


async def _say(writer: asyncio.StreamWriter, data: bytes) -> bool:
    writer.write(data)
    await writer.drain()
    return True


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path, headers, body)


async def serve(port: int, seed: int, folder: Path, provider: int) -> None:
    """Serve until a signal ends the process."""
    with closing(Till(folder / JOURNAL.format(provider), provider)) as till:
        await _serve(till, port, seed)


async def _serve(till: Till, port: int, seed: int) -> None:
    life = f"{till.provider}.{sum(till.arrivals.values())}."  # no two lives of a provider name an arrival alike
    acquirer = Acquirer(till, seed, _life=life)
    server = await asyncio.start_server(acquirer.connected, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main(arguments: Sequence[str]) -> int:
    """No faults until they are PUT."""
    port, seed, folder, provider = int(arguments[0]), int(arguments[1]), Path(arguments[2]), int(arguments[3])
    with suppress(KeyboardInterrupt):
        uvloop.run(serve(port, seed, folder, provider))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
