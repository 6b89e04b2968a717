"""The body of a large answer, read at the pace of its reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Source(Protocol):
    """What a stream needs of its connection."""

    @property
    def finished(self) -> bool: ...
    async def read(self, patience: float) -> bytes: ...
    def settle(self) -> None: ...
    def abort(self) -> None: ...


class ResponseStream:
    """A body read once, in order. Whoever holds it reads to the end or calls `aclose`.

    Raises ResponseCut if the body is cut or no byte of it arrives for `patience` seconds.
    """

    __slots__ = ("_patience", "_source")

    def __init__(self, source: Source, patience: float) -> None:
        self._source: Source | None = source
        self._patience = patience

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._source is None:
            raise StopAsyncIteration
        data = await self._read(self._source)
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Read no more; before the end this closes the connection."""
        source, self._source = self._source, None
        if source is not None:
            source.abort()

    async def _read(self, source: Source) -> bytes:
        try:
            data = await source.read(self._patience)
        except BaseException:
            await self.aclose()
            raise
        if source.finished and self._source is not None:
            self._source = None
            source.settle()
        return data
