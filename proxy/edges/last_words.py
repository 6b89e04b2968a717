"""What the peer said before the connection broke: an answer that was already there wins over a write error.

A server may refuse a large upload and close before it has read it all. The next write then fails, and event loops
(asyncio's as well as uvloop) end the connection on that without reading what has been received.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Self, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 64 * 1024
_MOST = 1024 * 1024
"""Bytes that are read at the end, at most: head and body of an answer that is not streamed."""


def unread(transport: asyncio.BaseTransport) -> Iterator[bytes]:
    """What a transport's socket has received and nobody has read, as long as `connection_lost` has not returned."""
    sock = transport.get_extra_info("socket")
    descriptor = -1 if sock is None else sock.fileno()
    for _ in range(_MOST // _PIECE):
        try:
            data = os.read(descriptor, _PIECE) if descriptor >= 0 else b""
        except OSError:  # nothing there, or the reset itself
            return
        if not data:
            return
        yield data


class LastWords:
    """While entered, TLS too is given what was received before its transport is told of a broken connection."""

    __slots__ = ("_raw",)

    def __init__(self, raw: asyncio.Transport | None) -> None:
        self._raw = raw

    def __enter__(self) -> Self:
        if self._raw is not None:
            self._raw.set_protocol(_Between(self._raw, cast("asyncio.BufferedProtocol", self._raw.get_protocol())))
        return self

    def __exit__(self, *_: object) -> None:
        if self._raw is None:
            return
        between = self._raw.get_protocol()
        if isinstance(between, _Between):
            self._raw.set_protocol(between.tls)


class _Between(asyncio.BufferedProtocol):
    """Stands between a transport and the TLS protocol on it, and passes everything on."""

    __slots__ = ("_raw", "tls")

    def __init__(self, raw: asyncio.Transport, tls: asyncio.BufferedProtocol) -> None:
        self._raw = raw
        self.tls = tls

    def get_buffer(self, sizehint: int) -> bytearray:
        return cast("bytearray", self.tls.get_buffer(sizehint))

    def buffer_updated(self, nbytes: int) -> None:
        self.tls.buffer_updated(nbytes)

    def eof_received(self) -> bool | None:
        return self.tls.eof_received()

    def pause_writing(self) -> None:
        self.tls.pause_writing()

    def resume_writing(self) -> None:
        self.tls.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            for data in unread(self._raw):
                self._hand_over(data)
        self.tls.connection_lost(exc)

    def _hand_over(self, data: bytes) -> None:
        while data:
            buffer = memoryview(self.tls.get_buffer(len(data)))
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            self.tls.buffer_updated(size)
            data = data[size:]
