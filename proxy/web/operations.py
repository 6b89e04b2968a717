"""The control plane for readers: status, summary, metrics and health; overrides and documentation are its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from proxy.core.overview import overview
from proxy.core.status import iso
from proxy.core.summary import summarize
from proxy.core.totals import Totals
from proxy.core.traffic import traffic
from proxy.ports import Clock
from proxy.runtime import Replica, Runtime
from proxy.web.breakers import Breakers
from proxy.web.docs import Docs
from proxy.web.observer import Observer
from proxy.web.outcomes import Outcomes
from proxy.web.replies import NO_STORE, json_or_text, json_reply, with_405
from proxy.web.reports import Alive, Readiness, SummaryReply


class Metrics(Protocol):
    """What /metrics needs of the registry."""

    def render(self, accept: str) -> tuple[bytes, str]:
        """All series and their content type, in the format the Accept field asks for."""


class Operations:
    """Every control-plane route of one replica. `current` gives the runtime in force, reloads included."""

    def __init__(
        self,
        current: Callable[[], Runtime],
        replica: Replica,
        *,
        metrics: Metrics,
        totals: Totals,
        clock: Clock,
        draining: Callable[[], bool],
    ) -> None:
        self._observer = Observer(current, replica, clock, draining)
        self._metrics = metrics
        self._totals = totals
        self._breakers = Breakers(self._observer)
        self._outcomes = Outcomes(self._observer)
        self._docs = Docs(self._observer)

    def routes(self) -> list[web.RouteDef]:
        """For an aiohttp application. HEAD works where GET does; other methods get a 405 with the right ones."""
        own = [
            web.get("/api/status", self.status),
            web.get("/api/status/summary", self.summary),
            web.get("/api/metrics", self.overview),
            web.get("/metrics", self.metrics),
            web.get("/healthz", self.alive),
            web.get("/readyz", self.ready),
        ]
        return with_405([*own, *self._breakers.routes(), *self._outcomes.routes(), *self._docs.routes()])

    async def status(self, _request: web.Request) -> web.Response:
        """GET /api/status."""
        return json_reply(await self._observer.status())

    async def summary(self, request: web.Request) -> web.Response:
        """GET /api/status/summary, as JSON or as the bare text."""
        status = await self._observer.status()
        text = summarize(status)
        reply = SummaryReply(
            summary=text,
            window_seconds=self._window,
            generated_at=iso(self._observer.wall()),
            traffic={name: traffic(one.attempts) for name, one in status.upstreams.items()},
            replica=status.replica,
            store=status.store,
            shared=status.shared,
            replicas=status.replicas,
            upstreams=status.upstreams,
        )
        return json_or_text(request, reply, text)

    async def overview(self, _request: web.Request) -> web.Response:
        """GET /api/metrics."""
        status = await self._observer.status()
        totals = {name: self._totals.of(name) for name in status.upstreams}
        return json_reply(overview(status, totals, self._window))

    async def metrics(self, request: web.Request) -> web.Response:
        """GET /metrics."""
        body, content_type = self._metrics.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type, "Vary": "Accept", **NO_STORE})

    async def alive(self, _request: web.Request) -> web.Response:
        """GET /healthz."""
        return json_reply(Alive("alive"))

    async def ready(self, _request: web.Request) -> web.Response:
        """GET /readyz: 503 while draining, so that nobody sends new work."""
        degraded = self._observer.degraded
        if self._observer.draining():
            return json_reply(Readiness("draining", degraded), status=503)
        return json_reply(Readiness("ready", degraded))

    @property
    def _window(self) -> float:
        return self._observer.current().config.summary.window
