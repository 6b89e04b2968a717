"""The outcome ledger for reconciling: what is listed, and one entry. No body, key or credential is in it."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from proxy.bookkeeper import Bookkeeper
from proxy.core.errors import StoreUnavailable
from proxy.core.ledger import Entry, Ground, State
from proxy.core.status import iso
from proxy.runtime import Runtime
from proxy.web.observer import Observer
from proxy.web.replies import json_reply, problem

USUAL_LIMIT, MOST = 100, 1000
_OFF = "The ledger is off; set HOLDFAST_LEDGER_SECRET, the same on every replica, and restart."
_AWAY = "The store does not answer, so nobody knows the ledger now; try again."


@dataclass(frozen=True, slots=True)
class OutcomeStatus:
    """One payment in the ledger. `status` and `provider_request_id` are those of the provider's last telling answer.

    `reference` is the client's own, where it is short and harmless. `calls` came in, `attempts` went out. `ground`:
    what made it final; after `refusal` or `other` nothing is known to be stored under the key.
    """

    id: str
    state: State
    upstream: str
    method: str
    route: str
    request_id: str
    reference: str | None
    keyed: bool
    under_way: bool
    status: int | None
    provider_request_id: str | None
    since: str
    changed: str
    calls: int
    attempts: int
    ground: Ground | None


@dataclass(frozen=True, slots=True)
class OutcomesReply:
    """Entries of the ledger. `unknown` counts all of the asked upstreams' that are UNKNOWN, listed or not."""

    unknown: int
    outcomes: tuple[OutcomeStatus, ...]


class Outcomes:
    """The routes that read the ledger."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def routes(self) -> list[web.RouteDef]:
        """For an aiohttp application."""
        return [web.get("/api/outcomes", self.listed), web.get("/api/outcomes/{id}", self.one)]

    async def listed(self, request: web.Request) -> web.Response:
        """GET /api/outcomes?state=unknown&upstream=NAME&limit=100."""
        runtime = self._observer.current()
        if runtime.ledger is None:
            return problem(404, _OFF)
        try:
            names, state, limit = _wanted(request, runtime)
        except ValueError as mistake:
            return problem(400, str(mistake))
        try:
            return json_reply(await self._found(runtime.ledger, names, state, limit))
        except StoreUnavailable:
            return problem(503, _AWAY, {"Retry-After": "1"})

    async def one(self, request: web.Request) -> web.Response:
        """GET /api/outcomes/{id}."""
        runtime = self._observer.current()
        if runtime.ledger is None:
            return problem(404, _OFF)
        try:
            entry = await runtime.ledger.entry(runtime.books, request.match_info["id"])
        except StoreUnavailable:
            return problem(503, _AWAY, {"Retry-After": "1"})
        if entry is None:
            return problem(404, "There is no such entry, or it is older than ledger.retention.")
        return json_reply(_told(entry, self._observer.wall()))

    async def _found(self, ledger: Bookkeeper, names: list[str], state: State | None, limit: int) -> OutcomesReply:
        unknown = sum([await ledger.count(name) for name in names])
        entries = await ledger.entries(names, state, limit)
        now = self._observer.wall()
        return OutcomesReply(unknown, tuple(_told(entry, now) for entry in entries))


def _wanted(request: web.Request, runtime: Runtime) -> tuple[list[str], State | None, int]:
    """Which entries of which upstreams; ValueError says what cannot be understood."""
    upstream, state = request.query.get("upstream", ""), request.query.get("state", "")
    if upstream and upstream not in runtime.books:
        raise ValueError(f"There is no upstream {upstream!r}; there is {', '.join(runtime.books)}.")
    if state and state not in set(State):
        raise ValueError(f"state: expected one of {', '.join(State)}.")
    limit = request.query.get("limit", str(USUAL_LIMIT))
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= len(str(MOST)) and 1 <= int(limit) <= MOST):
        raise ValueError(f"limit: expected a whole number from 1 to {MOST}.")
    return [upstream] if upstream else runtime.books, State(state) if state else None, int(limit)


def _told(entry: Entry, now: float) -> OutcomeStatus:
    write = entry.write
    return OutcomeStatus(
        id=write.id,
        state=entry.state,
        upstream=write.upstream,
        method=write.method,
        route=write.route,
        request_id=write.request_id,
        reference=write.reference,
        keyed=write.keyed,
        under_way=entry.held(now),
        status=entry.status,
        provider_request_id=entry.provider_request_id,
        since=iso(entry.since),
        changed=iso(entry.changed),
        calls=entry.calls,
        attempts=entry.attempts,
        ground=entry.ground if entry.state is State.FINAL else None,
    )
