"""A provider on a thread of its own: books, keys, and what goes wrong with the calls of each reference."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import threading
from collections import deque
from collections.abc import Coroutine
from enum import Enum
from typing import TypeVar

from aiohttp import web

from tests.sdk.stubs.api import Answer, Api, Call, Charge, Order

T = TypeVar("T")
LANDING_SECONDS = 0.15
"""How long the earlier call of Fault.IN_FLIGHT takes until its charge is in the books."""


class Fault(Enum):
    """What happens to one call that moves money."""

    DECLINE = "declined"
    HANG = "charged, never answered"
    RESET = "charged, then the connection is reset"
    ERROR_500 = "charged, then answered 500"
    ERROR_503 = "not charged, answered 503"
    HINTED = "not charged, answered with the hint to send it again"
    IN_FLIGHT = "an earlier call with the same key is being processed"


class Books:
    """Charges, calls, and the first answers kept under keys. None of it awaits, so no call sees half of it."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._ids = itertools.count(1)
        self._kept: dict[str, tuple[Answer, Charge | None]] = {}
        self._under_way: set[str] = set()
        self.charges: dict[str, Charge] = {}
        self.calls: list[Order] = []
        self.script: dict[str, deque[Fault]] = {}

    @property
    def settled(self) -> bool:
        """Whether no earlier call is still being processed."""
        return not self._under_way

    def carry_out(self, order: Order, fault: Fault | None) -> Answer:
        """Charge or not, and what the provider has to say to it."""
        if order.key is not None and order.key in self._kept:
            return self._api.replayed(*self._kept[order.key])
        if order.key is not None and order.key in self._under_way:
            return self._api.in_flight()
        if fault is Fault.IN_FLIGHT:
            return self._begin(order)
        if fault is Fault.DECLINE:
            return self._keep(order, self._api.declined(order), None)
        if fault is Fault.HINTED or fault is Fault.ERROR_503:
            return self._api.hinted() if fault is Fault.HINTED else self._api.failed(503)
        return self._charge(order, fault)

    def _charge(self, order: Order, fault: Fault | None) -> Answer:
        charge = Charge(f"ch{next(self._ids)}", order)
        self.charges[charge.id] = charge
        answer = self._api.charged(charge)
        if fault is not Fault.ERROR_500:
            return self._keep(order, answer, charge)
        failed = self._api.failed(500)
        kept = self._api.kept_of_500(answer, failed)
        if kept is not None:
            self._keep(order, kept, charge)
        return failed

    def _begin(self, order: Order) -> Answer:
        assert order.key is not None, "without a key nobody can tell that an earlier call is the same"
        self._under_way.add(order.key)
        asyncio.get_running_loop().call_later(LANDING_SECONDS, self._land, order)
        return self._api.in_flight()

    def _land(self, order: Order) -> None:
        self._under_way.discard(order.key or "")
        self._charge(order, None)

    def _keep(self, order: Order, answer: Answer, charge: Charge | None) -> Answer:
        if order.key is not None:
            self._kept[order.key] = (answer, charge)
        return answer


class Stub:
    """One provider listening on a port of loopback; `down` and `up` may be called again and again."""

    def __init__(self, api: Api, port: int) -> None:
        self.books = Books(api)
        self.port = port
        self._api = api
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None
        self._thread.start()
        self.up()

    def plan(self, reference: str, *faults: Fault) -> None:
        """What goes wrong with the next calls for `reference`, one after another; then nothing more."""
        self.books.script[reference] = deque(faults)

    def charges(self, reference: str) -> int:
        """How often money moved for `reference`."""
        return sum(charge.order.reference == reference for charge in list(self.books.charges.values()))

    def calls(self, reference: str) -> list[Order]:
        """Every call for `reference` that reached the provider."""
        return [order for order in list(self.books.calls) if order.reference == reference]

    def settled(self) -> bool:
        """Whether no earlier call is still being processed."""
        return self.books.settled

    def up(self) -> None:
        """Listen."""
        self._run(self._start())

    def down(self) -> None:
        """Refuse connections, and end those there are."""
        self._run(self._end())

    def close(self) -> None:
        """End for good."""
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def _end(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(request.method, request.path, headers, await request.read())
        if not self._api.pays(call):
            return _response(self._api.other(call, self.books.charges))
        order = self._api.read(call)
        self.books.calls.append(order)
        faults = self.books.script.get(order.reference)
        fault = faults.popleft() if faults else None
        answer = self.books.carry_out(order, fault)
        if fault is Fault.HANG:
            await _hang(request)
        elif fault is Fault.RESET:
            _reset(request)
        return _response(answer)


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


async def _hang(request: web.Request) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(30):
            while request.transport is not None:
                await asyncio.sleep(0.02)


def _reset(request: web.Request) -> None:
    if request.transport is None:
        return
    connection = request.transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()
