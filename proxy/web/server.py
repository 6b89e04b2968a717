"""aiohttp's server on PaymentProtocol: what it listens with, and who answers which path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from proxy.core.config import Limits
from proxy.core.malformed import flaw_of
from proxy.web.door import Door
from proxy.web.protocol import PaymentProtocol, Surroundings
from proxy.web.refusals import Refusals

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
READ_BUFFER_BYTES = 64 << 10
"""How much of a body waits unread, twice over, before the client is made to wait; also bounds chunks waiting: 4,096."""


class PaymentServer(web.Server):
    """Makes a PaymentProtocol for each connection. While `draining`, each answer is its connection's last."""

    draining = False

    def __init__(
        self,
        app_server: web.Server,
        handler: Handler,
        *,
        refusals: Refusals,
        door: Door,
        limits: Callable[[], Limits],
        **kwargs: Any,
    ) -> None:
        super().__init__(handler, request_factory=app_server.request_factory)
        self._around = Surroundings(refusals, door, limits, lambda: self.draining)
        self._protocol_options = kwargs

    def __call__(self) -> PaymentProtocol:
        return PaymentProtocol(self, self._around, loop=self._loop, **self._protocol_options)


class PaymentRunner(web.AppRunner):
    """Runs an application on PaymentServer. Request bodies are never decompressed on their way through.

    `otherwise` takes every request whose path is not one of the application's own. It is not a route of it: a route
    costs every payment a look-up, and cannot express `OPTIONS *`, CONNECT or an absolute URL.
    Its cleanup cancels what is still running after a second: by then the drain has waited for all that matters.
    """

    def __init__(
        self,
        app: web.Application,
        otherwise: Handler | None = None,
        *,
        refusals: Refusals,
        door: Door,
        limits: Callable[[], Limits],
    ) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=1.0)
        self._otherwise = otherwise
        self._refusals = refusals
        self._door = door
        self._limits = limits

    async def _make_server(self) -> web.Server:
        app_server = await super()._make_server()
        return PaymentServer(
            app_server,
            self._handler(app_server.request_handler),
            refusals=self._refusals,
            door=self._door,
            limits=self._limits,
            access_log=None,
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=16_384,
            max_field_size=16_384,
        )

    def _handler(self, own: Handler) -> Handler:
        paths = [resource.canonical for resource in self.app.router.resources()]
        whole = frozenset(path for path in paths if "{" not in path)
        begun = tuple(path.partition("{")[0] for path in paths if "{" in path)
        otherwise = self._otherwise

        def handle(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
            fields = request.headers
            flaw = flaw_of(request.version, fields.get("Host"), fields.get("Transfer-Encoding"))
            if flaw is not None:
                return _ready(self._refusals.malformed(flaw, request.method))
            heard_only = getattr(request.protocol, "heard_only", False)
            path = request.raw_path.partition("?")[0]
            if otherwise is None or path in whole or path.startswith(begun):
                return _last(own(request)) if heard_only else own(request)
            return _ready(self._refusals.busy(request.method, heard=True)) if heard_only else otherwise(request)

        return handle

    def end_connections(self) -> None:
        """From now on every connection ends with the answer it is waiting for."""
        if isinstance(self.server, PaymentServer):
            self.server.draining = True


async def _ready(answer: web.StreamResponse) -> web.StreamResponse:
    return answer


async def _last(answering: Awaitable[web.StreamResponse]) -> web.StreamResponse:
    """An answer after which the connection ends: it came on one beyond the limit."""
    answer = await answering
    answer.force_close()
    return answer
