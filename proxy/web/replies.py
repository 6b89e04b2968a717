"""Answers of the control plane: JSON, and RFC 9457 problems for everything that went wrong."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

from proxy.core.negotiation import prefer

NO_STORE = {"Cache-Control": "no-store"}
"""For what is true only now."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An RFC 9457 problem document; `detail` says what to do."""

    type: str
    title: str
    status: int
    detail: str


def json_reply(document: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer that no cache keeps. `document` is a dataclass, or what orjson writes."""
    return web.Response(
        status=status,
        body=orjson.dumps(document),
        content_type="application/json",
        headers={**NO_STORE, **(headers or {})},
    )


def json_or_text(request: web.Request, document: Any, text: str) -> web.Response:
    """`text` where the client prefers text/plain, else the document as JSON."""
    accept = ", ".join(request.headers.getall("Accept", []))
    vary = {"Vary": "Accept"}
    if prefer(accept, ("application/json", "text/plain")) == "application/json":
        return json_reply(document, headers=vary)
    return web.Response(text=text + "\n", content_type="text/plain", charset="utf-8", headers={**NO_STORE, **vary})


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    """A problem document as an answer."""
    document = Problem("about:blank", HTTPStatus(status).phrase, status, detail)
    return web.Response(
        status=status,
        body=orjson.dumps(document),
        content_type="application/problem+json",
        headers={**NO_STORE, **(headers or {})},
    )


def with_405(routes: list[web.RouteDef]) -> list[web.RouteDef]:
    """The routes, and for each of their paths an answer to every other method that names the allowed ones."""
    allowed: dict[str, list[str]] = {}
    for route in routes:
        allowed.setdefault(route.path, []).extend(["GET", "HEAD"] if route.method == "GET" else [route.method])
    result: list[web.RouteDef] = []
    for path, methods in allowed.items():  # by path, since aiohttp joins only neighbours into one resource
        result += [route for route in routes if route.path == path]
        result.append(web.route("*", path, _NotAllowed(", ".join(methods)).answer))
    return result


@dataclass(frozen=True, slots=True)
class _NotAllowed:
    """Any other method on a path of ours."""

    allow: str

    async def answer(self, request: web.Request) -> web.Response:
        detail = f"{request.method} is not possible here; use {self.allow}."
        return problem(405, detail, {"Allow": self.allow})
