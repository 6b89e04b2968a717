"""Put an answer on the wire, well or badly. The only module that touches a transport."""

import asyncio
import socket
import struct
from http import HTTPStatus

from aiohttp import web

from mock_provider.answers import Answer
from mock_provider.faults import Fault

_NO_LINGER = struct.pack("ii", 1, 0)
_JUNK = b"\x16\x03\x01\x02\x00 this is no status line \xff\xfe\r\n\r\n"
_POLL_S = 0.02


async def deliver(request: web.Request, fault: Fault, answer: Answer, hang_s: float) -> web.Response:
    """Send `answer` as `fault` would have it."""
    match fault:
        case Fault.HANG | Fault.HANG_AFTER:
            await _hang(request, hang_s)
        case Fault.RESET_BEFORE | Fault.RESET_AFTER:
            _reset(request.transport)
        case Fault.CUT_BODY:
            _write_and_close(request.transport, _head(answer) + answer.body[: len(answer.body) // 2])
        case Fault.JUNK:
            _write_and_close(request.transport, _JUNK)
        case _:
            return respond(answer)
    # The transport is closing by now, so aiohttp drops what it is given here.
    return web.Response()


def respond(answer: Answer) -> web.Response:
    """Return `answer` as aiohttp sends it."""
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


async def _hang(request: web.Request, hang_s: float) -> None:
    # aiohttp tells a handler of a lost connection only by cancelling it, and every handler at once:
    # payments that are being processed must go on, so this one looks for itself.
    try:
        async with asyncio.timeout(hang_s):
            while request.transport is not None:
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        _write_and_close(request.transport, b"")


def _reset(transport: asyncio.Transport | None) -> None:
    if transport is None:
        return
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def _write_and_close(transport: asyncio.Transport | None, data: bytes) -> None:
    if transport is None:
        return
    transport.write(data)
    transport.close()


def _head(answer: Answer) -> bytes:
    status = HTTPStatus(answer.status)
    headers = {**answer.headers, "Content-Length": str(len(answer.body))}
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()
