"""The request's body: kept whole up to a limit so that it can be sent again, streamed once above it, refused beyond."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.web_exceptions import HTTPException

from proxy.core.errors import RequestRefused
from proxy.core.model import Body, Outcome
from proxy.web.memory import Hold

_BROKEN = "The request's body broke off or is not valid; nothing was sent."
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class UploadStream:
    """A body on its way in, read once while it goes out."""

    def __init__(self, content: StreamReader) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while chunk := await self._content.readany():
                yield chunk
            _check_end(self._content)
        except (ConnectionError, web.RequestPayloadError, HTTPException) as error:
            detail = "The client broke off while its body was being sent on; the provider got only a part of it."
            raise RequestRefused(400, detail, outcome=Outcome.UNKNOWN, reason="body") from error
        except asyncio.CancelledError as error:  # the attempt's time is up, and it is the client we wait for
            detail = "The request's body did not arrive in time; the provider got only a part of it."
            raise RequestRefused(408, detail, outcome=Outcome.UNKNOWN, reason="body_timeout") from error

    async def aclose(self) -> None:
        """Nothing to give back: the server reads off or closes what is left."""


class OneShot:
    """A body that was collected because its length was not known beforehand; too large to be kept for a retry."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body

    async def aclose(self) -> None:
        """Nothing to give back."""


async def read_body(
    request: web.BaseRequest, hold: Hold, *, retry_body: int, max_body: int, remaining: float
) -> tuple[Body, int | None]:
    """The body and its length; length None if the message has none. RequestRefused 413, 408, 400 or 503 as it applies.

    What of it is in memory is told to `hold` before it is kept.
    """
    length = request.content_length
    if not request.body_exists:
        return b"", None if length is None else 0
    _check_coding(request)
    if length is not None and length > max_body:
        raise _too_large(max_body)
    _continue(request)
    if length is not None and length > retry_body:
        return UploadStream(request.content), length
    body = await _collect(request.content, hold, max_body, remaining)
    return (body if len(body) <= retry_body else OneShot(body)), len(body)


def _check_coding(request: web.BaseRequest) -> None:
    """Refuse a transfer coding that nobody here would undo (RFC 9112 section 6.1): the provider would get it as is."""
    coding = request.headers.get("Transfer-Encoding", "chunked").strip().lower()
    if coding != "chunked":
        detail = "The only transfer coding understood here is chunked; nothing was sent."
        raise RequestRefused(501, detail, reason="transfer_coding")


def _continue(request: web.BaseRequest) -> None:
    """Tell a client that asked whether to send its body to go on (RFC 9110 section 10.1.1; HTTP/1.0 cannot ask)."""
    expected = request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue"
    if expected and request.transport is not None:
        request.transport.write(CONTINUE)


async def _collect(content: StreamReader, hold: Hold, max_body: int, remaining: float) -> bytes:
    try:
        if content.is_eof():  # the usual case: head and body came in one packet
            body = _checked(content.read_nowait(-1), max_body)
            hold.grow(len(body))
            return body
        async with asyncio.timeout(remaining):
            return await _read_up_to(content, hold, max_body)
    except TimeoutError as error:
        detail = "The request's body did not arrive in time; nothing was sent."
        raise RequestRefused(408, detail, reason="body_timeout") from error
    except (ConnectionError, web.RequestPayloadError, HTTPException) as error:
        raise RequestRefused(400, _BROKEN, reason="body") from error


async def _read_up_to(content: StreamReader, hold: Hold, max_body: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := await content.readany():
        size += len(chunk)
        if size > max_body:
            raise _too_large(max_body)
        hold.grow(len(chunk))
        chunks.append(chunk)
    _check_end(content)
    return b"".join(chunks)


def _check_end(content: StreamReader) -> None:
    """Raise what cut the body short: a reader that was already woken sees only that there is no more."""
    error = content.exception()
    if error is not None:
        raise error


def _checked(body: bytes, max_body: int) -> bytes:
    if len(body) > max_body:
        raise _too_large(max_body)
    return body


def _too_large(max_body: int) -> RequestRefused:
    detail = f"The body is larger than {max_body} bytes (max_body); nothing was sent."
    return RequestRefused(413, detail, reason="body_too_large")
