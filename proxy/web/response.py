"""An Answer on its way to the client: written as it is, no field added that HTTP does not need."""

from __future__ import annotations

from email.utils import formatdate

from aiohttp import web

from proxy.core.answers import answer_headers
from proxy.core.model import Answer, Headers
from proxy.web.flow import NotReading, flushed, reset

_BODILESS = frozenset({204, 304})
_HTTP_1_1 = (1, 1)
WRITE_TIMEOUT_SECONDS = 15.0
"""Where the connection knows no limit of its own."""


class AnswerResponse(web.StreamResponse):
    """A response that writes its own bytes: aiohttp's would add Server, Date and Content-Type of its own."""

    def __init__(self, answer: Answer, request_id: str) -> None:
        super().__init__(status=answer.status)
        self._answer = answer
        self._request_id = request_id
        self._bodiless = False
        self._chunked_body = False
        self._request: web.BaseRequest | None = None

    async def prepare(self, request: web.BaseRequest) -> None:
        """Settle framing and whether the connection goes on; nothing is written before `write_eof`."""
        self._request = request
        self._bodiless = request.method == "HEAD" or self._answer.status in _BODILESS
        ends = getattr(request.protocol, "must_end", False)
        self._keep_alive = request.keep_alive and self._keep_alive is not False and not ends

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002 - aiohttp's signature
        """Write head and body; a body that breaks off on the provider's side breaks off here as well."""
        request, body = self._request, self._answer.body
        if request is None:
            return
        self._request = None
        if isinstance(body, bytes):
            self._write(request, self._head(request, len(body)) + (b"" if self._bodiless else body))
            if request.transport is not None and request.transport.get_write_buffer_size():
                await self._flushed(request, wholly=True)
            return
        try:
            await self._stream(request)
        finally:
            await body.aclose()

    async def _stream(self, request: web.BaseRequest) -> None:
        self._write(request, self._head(request, None))
        try:
            async for chunk in self._answer.body:  # type: ignore[union-attr]
                self._write(request, b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked_body else chunk)
                await self._flushed(request)
        except ConnectionError:
            if request.transport is not None:
                reset(request.transport)
            raise
        if self._chunked_body:
            self._write(request, b"0\r\n\r\n")
        await self._flushed(request, wholly=True)

    @staticmethod
    async def _flushed(request: web.BaseRequest, *, wholly: bool = False) -> None:
        """Wait for the client to take what was written; one that takes nothing for too long is cut off and told of."""
        protocol = request.protocol
        try:
            await flushed(request, getattr(protocol, "write_timeout", WRITE_TIMEOUT_SECONDS), wholly=wholly)
        except NotReading:
            if (refusals := getattr(protocol, "refusals", None)) is not None:
                refusals.dropped("not_reading")
            raise

    def _head(self, request: web.BaseRequest, length: int | None) -> bytes:
        answer = self._answer
        lines = [b"HTTP/1.1 %d %b" % (answer.status, answer.reason)]
        lines += [b"%b: %b" % line for line in self._framed(request, answer_headers(answer, self._request_id), length)]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _framed(self, request: web.BaseRequest, headers: Headers, length: int | None) -> Headers:
        """The fields with this connection's own: length or chunks, and how it goes on."""
        added: list[tuple[bytes, bytes]] = []
        if not self._bodiless and not any(name.lower() == b"content-length" for name, _ in headers):
            added += self._framing(request, length)
        if self._answer.error is not None:
            added.append((b"Date", formatdate(usegmt=True).encode()))
        if not self._keep_alive:
            added.append((b"Connection", b"close"))
        elif request.version < _HTTP_1_1:
            added.append((b"Connection", b"keep-alive"))
        return (*headers, *added)

    def _framing(self, request: web.BaseRequest, length: int | None) -> list[tuple[bytes, bytes]]:
        if length is not None:
            return [(b"Content-Length", b"%d" % length)]
        if request.version >= _HTTP_1_1:
            self._chunked_body = True
            return [(b"Transfer-Encoding", b"chunked")]
        self._keep_alive = False  # HTTP/1.0 knows only the end of the connection
        return []

    @staticmethod
    def _write(request: web.BaseRequest, data: bytes) -> None:
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        transport.write(data)
        request.writer.output_size += len(data)
