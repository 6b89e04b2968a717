"""Overrides: a person opens or closes a breaker for the whole fleet, or hands it back to the machine."""

from __future__ import annotations

from typing import Annotated, Literal

import orjson
from aiohttp import web
from pydantic import AfterValidator, Field, ValidationError

from proxy.core.breaker import Override
from proxy.core.config import Section
from proxy.core.errors import RequestRefused
from proxy.core.units import Seconds
from proxy.forward import Forwarder
from proxy.web.observer import Observer
from proxy.web.replies import json_reply, problem
from proxy.web.tokens import refusal

MOST_SECONDS = 30 * 86400.0
MOST_BYTES = 16 * 1024


def _one_line(text: str) -> str:
    """A text that stays one line in logs and summaries."""
    line = " ".join(text.split())
    if not line.isprintable():
        raise ValueError("expected text without control characters")
    return line


Words = Annotated[str, Field(max_length=200), AfterValidator(_one_line)]


class OverrideOrder(Section):
    """Why, by whom and for how long (like `15m`; absent: until it is taken back)."""

    reason: Words = ""
    actor: Words = ""
    seconds: Annotated[Seconds, Field(gt=0, le=MOST_SECONDS)] | None = Field(default=None, alias="for")


class Breakers:
    """The routes that change a breaker by hand. Each answers with the breaker's new status."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def routes(self) -> list[web.RouteDef]:
        """For an aiohttp application."""
        return [
            web.post("/api/breakers/{upstream}/open", self.open),
            web.post("/api/breakers/{upstream}/close", self.close),
            web.post("/api/breakers/{upstream}/auto", self.auto),
        ]

    async def open(self, request: web.Request) -> web.Response:
        """Send nothing to this upstream, whatever its health."""
        return await self._change(request, "open")

    async def close(self, request: web.Request) -> web.Response:
        """Send everything to this upstream, whatever its health."""
        return await self._change(request, "closed")

    async def auto(self, request: web.Request) -> web.Response:
        """Take an override back."""
        return await self._change(request, None)

    async def _change(self, request: web.Request, forced: Literal["open", "closed"] | None) -> web.Response:
        runtime = self._observer.current()
        if (refused := refusal(request, runtime.config.admin.token)) is not None:
            return refused
        name = request.match_info["upstream"]
        forwarder = runtime.forwarders.get(name)
        if forwarder is None:
            return problem(404, f"There is no upstream {name!r}; there is {', '.join(sorted(runtime.forwarders))}.")
        try:
            order = await _read_order(request, reason_needed=forced is not None)
        except RequestRefused as mistake:
            return problem(mistake.status, mistake.detail)
        return await self._set(forwarder, _override(forwarder, forced, order))

    async def _set(self, forwarder: Forwarder, override: Override | None) -> web.Response:
        gate = forwarder.gate
        await gate.refresh()
        if override != gate.view.record.override:  # else a needless new epoch would forget the counts
            await gate.override(override)
        if gate.view.record.override != override:
            return problem(
                409, "Other replicas kept changing this breaker meanwhile; look at its status and try again."
            )
        headers = {} if gate.degraded is None else {"X-Proxy-Degraded": gate.degraded}
        return json_reply(self._observer.breaker(forwarder), headers=headers)


def _override(forwarder: Forwarder, forced: Literal["open", "closed"] | None, order: OverrideOrder) -> Override | None:
    if forced is None:
        return None
    until = None if order.seconds is None else forwarder.gate.now() + order.seconds
    return Override(forced, order.actor or "admin", order.reason, until)


async def _read_order(request: web.Request, *, reason_needed: bool) -> OverrideOrder:
    """What the body asks for; no body asks for nothing in particular. Raises RequestRefused."""
    body = await _read(request)
    try:
        order = OverrideOrder.model_validate(orjson.loads(body) if body.strip() else {})
    except orjson.JSONDecodeError:
        raise RequestRefused(
            400, 'The body is not JSON; send {"reason": "why", "for": "15m", "actor": "you"}.'
        ) from None
    except ValidationError as error:
        raise RequestRefused(400, _explain(error)) from None
    if reason_needed and not order.reason:
        raise RequestRefused(400, 'reason: say why, for whoever is on call next; send {"reason": "why"}.')
    return order


async def _read(request: web.Request) -> bytes:
    """The body, which holds no more than three short texts. Raises RequestRefused."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MOST_BYTES:
            raise RequestRefused(
                413, f"The body is larger than {MOST_BYTES} bytes; send a reason, an actor and a duration only."
            )
    return bytes(body)


def _explain(error: ValidationError) -> str:
    """What is wrong with each member, in words."""
    lines = []
    for mistake in error.errors(include_url=False):
        where = ".".join(str(step) for step in mistake["loc"]) or "body"
        if mistake["type"] == "extra_forbidden":
            lines.append(f"{where}: unknown; expected reason, for or actor")
        elif mistake["type"] == "model_type":
            lines.append('body: expected a JSON object like {"reason": "why", "for": "15m", "actor": "you"}')
        else:
            lines.append(f"{where}: {mistake['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines) + "."
