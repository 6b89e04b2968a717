"""aiohttp's server, made fit for payments: half-closed clients are answered, and every error is JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage

from proxy.core.answers import Told, problem
from proxy.core.model import Outcome
from proxy.web.response import AnswerResponse

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class PaymentProtocol(web.RequestHandler):
    """One client connection."""

    __slots__ = ("_answered", "_last_payload", "half_closed")

    def __init__(self, manager: web.Server, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._last_payload: Any = None
        self._answered: Any = None
        self.half_closed = False

    @property
    def must_end(self) -> bool:
        """Whether the answer being written is the last this connection can carry."""
        ending = isinstance(self._manager, PaymentServer) and self._manager.draining
        return (self.half_closed or ending) and not self._messages

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages:
            self._take_note()

    def _take_note(self) -> None:
        """Mend what aiohttp's parser leaves open in what it has just queued."""
        last, payload = self._messages[-1]
        if not isinstance(last, RawRequestMessage):
            self._break_off("the body is not valid")
        self._last_payload = payload
        for place, (message, body) in enumerate(self._messages):
            if isinstance(message, RawRequestMessage) and _must_be_last(message) and not message.should_close:
                self._messages[place] = (message._replace(should_close=True), body)

    def _break_off(self, why: str) -> None:
        """Tell a handler that still reads its body that there is no more to come."""
        payload = self._last_payload
        if payload is None or payload.is_eof():
            return
        if payload is not self._answered:
            payload.set_exception(web.RequestPayloadError(why))
        payload.feed_eof()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio takes a bool, aiohttp promised none
        """Keep the write side open for a client that is done sending but still waits (RFC 9112 section 9.6).

        aiohttp would drop the request. One that is not whole is answered 400; without one there is nothing to wait for.
        Under TLS the event loop ends the connection whatever is returned, so the write goes on and only its outcome
        is recorded, as for any client that has gone.
        """
        if self.transport is not None and self.transport.get_extra_info("sslcontext") is not None:
            return False
        if self._waiter is not None and not self._waiter.done() and not self._messages:
            return False
        self._break_off("the client closed within the body")
        self.half_closed = True
        if not self._messages:
            self.close()  # an answer may be on its way already, without a word of it being the last
        return True

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Answer `request`; what may be left of its body now interests nobody."""
        self._answered = request.content
        return super().finish_response(request, resp, start_time)

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
    """Makes a PaymentProtocol for each connection. While `draining`, each answer is its connection's last."""

    draining = False

    def __init__(self, app_server: web.Server, handler: Handler, **kwargs: Any) -> None:
        super().__init__(handler, request_factory=app_server.request_factory)
        self._protocol_options = kwargs

    def __call__(self) -> PaymentProtocol:
        return PaymentProtocol(self, loop=self._loop, **self._protocol_options)


def _must_be_last(message: RawRequestMessage) -> bool:
    """Whether what follows on the connection could not be trusted.

    aiohttp's parser hands the last trailer of a chunked body to the next request as a header field, and after an
    offer to switch to one of these protocols it parses out of our sight.
    """
    switching = message.upgrade and message.headers.get("Upgrade", "").lower() in {"websocket", "tcp"}
    return message.chunked or switching


class PaymentRunner(web.AppRunner):
    """Runs an application on PaymentServer. Request bodies are never decompressed on their way through.

    `otherwise` takes every request whose path is not one of the application's own. It is not a route of it: a route
    costs every payment a look-up, and cannot express `OPTIONS *`, CONNECT or an absolute URL.
    Its cleanup cancels what is still running after a second: by then the drain has waited for all that matters.
    """

    def __init__(self, app: web.Application, otherwise: Handler | None = None) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=1.0)
        self._otherwise = otherwise

    async def _make_server(self) -> web.Server:
        app_server = await super()._make_server()
        return PaymentServer(
            app_server,
            self._handler(app_server.request_handler),
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=75.0,
            max_line_size=16_384,
            max_field_size=16_384,
        )

    def _handler(self, own: Handler) -> Handler:
        if (otherwise := self._otherwise) is None:
            return own
        paths = [resource.canonical for resource in self.app.router.resources()]
        whole = frozenset(path for path in paths if "{" not in path)
        begun = tuple(path.partition("{")[0] for path in paths if "{" in path)

        def handle(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
            path = request.raw_path.partition("?")[0]
            return own(request) if path in whole or path.startswith(begun) else otherwise(request)

        return handle

    def end_connections(self) -> None:
        """From now on every connection ends with the answer it is waiting for."""
        if isinstance(self.server, PaymentServer):
            self.server.draining = True
