"""Bytes on their way to a client: written at its pace, and given up when it takes none of them."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from array import array
from contextlib import suppress

from aiohttp import web


class NotReading(ConnectionError):
    """The client took no byte of its answer for as long as it may."""


async def flushed(request: web.BaseRequest, seconds: float, *, wholly: bool = False) -> None:
    """Wait until there is room for more, or with `wholly` until the kernel has everything.

    NotReading after `seconds` in which the client took nothing: its connection has been reset.
    """
    transport = request.transport
    if transport is None or request.protocol is None:
        raise ConnectionResetError("the client has gone")
    if not wholly:
        if request.protocol.writing_paused:
            await _taken(request, transport, seconds)
        return
    if not transport.get_write_buffer_size():  # the usual case: the kernel took it at once
        return
    low, high = transport.get_write_buffer_limits()
    transport.set_write_buffer_limits(high=0)
    try:
        await _taken(request, transport, seconds)
    finally:
        transport.set_write_buffer_limits(high=high, low=low)


async def _taken(request: web.BaseRequest, transport: asyncio.Transport, seconds: float) -> None:
    left = _left(transport)
    draining = asyncio.ensure_future(request.writer.drain())
    try:
        while not (await asyncio.wait({draining}, timeout=seconds))[0]:  # drain() may not be cancelled and called again
            before, left = left, _left(transport)
            if left >= before:
                reset(transport)
                raise NotReading
        await draining
    finally:
        draining.cancel()


def _left(transport: asyncio.Transport) -> int:
    """Bytes that the client has not acknowledged yet: ours and the kernel's, which takes more only in large steps."""
    sock = transport.get_extra_info("socket")
    queued = array("i", [0])
    with suppress(OSError, AttributeError):
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, queued)
    return transport.get_write_buffer_size() + queued[0]


def reset(transport: asyncio.Transport) -> None:
    """End a connection so that nobody takes it for the end of the body, as a mere close would be for HTTP/1.0."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
