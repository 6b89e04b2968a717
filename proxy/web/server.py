"""aiohttp's server, made fit for payments: half-closed clients are answered, and every error is JSON."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from proxy.core.answers import Told, problem
from proxy.core.model import Outcome
from proxy.web.response import AnswerResponse


class PaymentProtocol(web.RequestHandler):
    """One client connection."""

    __slots__ = ("_last_payload", "half_closed")

    def __init__(self, manager: web.Server, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._last_payload: Any = None
        self.half_closed = False

    @property
    def must_end(self) -> bool:
        """Whether the answer being written is the last this connection can carry."""
        return self.half_closed and not self._messages

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages:
            self._last_payload = self._messages[-1][1]

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio takes a bool, aiohttp promised none
        """Keep the write side open for a client that is done sending but still waits (RFC 9112 section 9.6).

        aiohttp would drop the request. A request that is not whole, or no request at all, has nothing to wait for.
        """
        idle = self._waiter is not None and not self._waiter.done() and not self._messages
        whole = self._last_payload is not None and self._last_payload.is_eof()
        self.half_closed = whole and not idle
        return self.half_closed

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's signature
    ) -> web.StreamResponse:
        """A malformed request, or a bug of ours, as a problem document; the connection ends after it."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer was already under way")
        malformed = status < 500  # noqa: PLR2004
        if not malformed:
            self.log_exception("unexpected error", exc_info=exc)
        outcome = Outcome.NOT_SENT if malformed else Outcome.UNKNOWN
        detail = "The request is not valid HTTP; nothing was sent." if malformed else "Holdfast met an internal error."
        error = "http_request_error" if malformed else "proxy_internal_error"
        response = AnswerResponse(problem(status, error, detail, Told("none", 0, outcome)), "none")
        response.force_close()
        return response


class PaymentServer(web.Server):
    """Makes a PaymentProtocol for each connection."""

    def __init__(self, app_server: web.Server, **kwargs: Any) -> None:
        super().__init__(app_server.request_handler, request_factory=app_server.request_factory)
        self._protocol_options = kwargs

    def __call__(self) -> PaymentProtocol:
        return PaymentProtocol(self, loop=self._loop, **self._protocol_options)


class PaymentRunner(web.AppRunner):
    """Runs an application on PaymentServer. Request bodies are never decompressed on their way through.

    Its cleanup cancels what is still running after a second: by then the drain has waited for all that matters.
    """

    def __init__(self, app: web.Application) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=1.0)

    async def _make_server(self) -> web.Server:
        app_server = await super()._make_server()
        return PaymentServer(
            app_server,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=75.0,
            max_line_size=16_384,
            max_field_size=16_384,
        )
