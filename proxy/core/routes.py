"""Which upstream a path belongs to: whole segments, the longest prefix wins."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.core.config import Route


@dataclass(frozen=True, slots=True)
class Match:
    """A route, and the target to send: the raw path and query, without the prefix where the route strips it."""

    route: Route
    target: bytes


class RouteTable:
    """Routes, longest path first."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._routes = sorted(routes, key=lambda route: len(route.path.rstrip("/")), reverse=True)

    def match(self, target: str) -> Match | None:
        """The route of a raw request target, percent-encoding untouched; None if no prefix fits."""
        path, question, query = target.partition("?")
        for route in self._routes:
            prefix = route.path.rstrip("/")
            if path == prefix or path.startswith(prefix + "/"):
                kept = (path[len(prefix) :] or "/") + question + query if route.strip_prefix else target
                return Match(route, kept.encode("utf-8", "surrogateescape"))
        return None
