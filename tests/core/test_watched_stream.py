"""A streamed answer tells how it ended, once, when it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.core.model import Ending, WatchedStream


class Stream:
    """Gives its pieces, then raises `end`; empty once closed, as the real one is."""

    def __init__(self, *pieces: bytes, end: BaseException | None = None) -> None:
        self._pieces = list(pieces)
        self._end = end
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.closed:
            raise StopAsyncIteration
        if self._pieces:
            return self._pieces.pop(0)
        raise self._end or StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1


class Unclosable(Stream):
    async def aclose(self) -> None:
        raise ConnectionResetError


async def read(stream: WatchedStream, pieces: int | None = None) -> bytes:
    """The first so many pieces; all, without a number."""
    got = b""
    async for piece in stream:
        got += piece
        if pieces is not None and (pieces := pieces - 1) == 0:
            break
    return got


async def test_read_to_its_proper_end() -> None:
    endings: list[Ending] = []
    stream = WatchedStream(Stream(b"a", b"b"), endings.append)
    assert await read(stream) == b"ab"
    assert endings == []  # nobody has closed it yet
    await stream.aclose()
    assert endings == [Ending.WHOLE]


@pytest.mark.parametrize("error", [ConnectionError(), ConnectionResetError(), TimeoutError(), ValueError()])
async def test_whatever_the_provider_s_side_raises_is_a_cut(error: Exception) -> None:
    endings: list[Ending] = []
    stream = WatchedStream(Stream(b"a", end=error), endings.append)
    with pytest.raises(type(error)):
        await read(stream)
    await stream.aclose()
    assert endings == [Ending.CUT]


async def test_a_cut_stays_a_cut_though_the_stream_is_empty_from_then_on() -> None:
    endings: list[Ending] = []
    inner = Stream(b"a", end=ConnectionError())
    stream = WatchedStream(inner, endings.append)
    with pytest.raises(ConnectionError):
        await read(stream)
    await inner.aclose()
    assert await read(stream) == b""
    await stream.aclose()
    assert endings == [Ending.CUT]


@pytest.mark.parametrize("pieces", [0, 1, 2])
async def test_a_reader_that_stops_before_the_end_says_nothing_against_the_provider(pieces: int) -> None:
    endings: list[Ending] = []
    stream = WatchedStream(Stream(b"a", b"b"), endings.append)
    if pieces:
        await read(stream, pieces)
    await stream.aclose()
    assert await read(stream) == b""
    await stream.aclose()
    assert endings == [Ending.LEFT]


async def test_a_cancelled_reader_has_left() -> None:
    endings: list[Ending] = []
    stream = WatchedStream(Stream(b"a", end=asyncio.CancelledError()), endings.append)
    with pytest.raises(asyncio.CancelledError):
        await read(stream)
    await stream.aclose()
    assert endings == [Ending.LEFT]


async def test_a_close_that_fails_is_told_all_the_same() -> None:
    endings: list[Ending] = []
    with pytest.raises(ConnectionResetError):
        await WatchedStream(Unclosable(), endings.append).aclose()
    assert endings == [Ending.LEFT]
