"""Swagger UI from the package, so that it works offline, and the OpenAPI document it shows."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from aiohttp import web

from proxy.web.observer import Observer
from proxy.web.openapi import document as openapi_document
from proxy.web.replies import json_reply, problem

_PAGE = Path(__file__).with_name("api_docs.html").read_text(encoding="utf-8")

_START = """\
window.ui = SwaggerUIBundle({
  url: new URL("openapi.json", document.currentScript.src).href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
});
"""

_TYPES = {".css": "text/css", ".js": "text/javascript", ".png": "image/png"}
_SHOWN = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
_GUARD = {
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
}


class Docs:
    """The routes under /api-docs. Only files named here are served, so no path leads out of the bundle."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._bundle = Path(str(files("swagger_ui") / "static"))

    def routes(self) -> list[web.RouteDef]:
        """For an aiohttp application."""
        return [
            web.get("/api-docs", self.page),
            web.get("/api-docs/", self.page),
            web.get("/api-docs/openapi.json", self.document),
            web.get("/api-docs/{asset}", self.asset),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """The page; its links are relative, so that it works behind a path prefix too."""
        base = "" if request.path.endswith("/") else "api-docs/"
        return web.Response(text=_PAGE.replace("{base}", base), content_type="text/html", headers=_GUARD)

    async def document(self, _request: web.Request) -> web.Response:
        """GET /api-docs/openapi.json."""
        config = self._observer.current().config
        return json_reply(openapi_document(self._observer.replica.version, config.routes))

    async def asset(self, request: web.Request) -> web.StreamResponse:
        """One file of the page."""
        name = request.match_info["asset"]
        if name == "start.js":
            return web.Response(text=_START, content_type="text/javascript", headers=_GUARD)
        if name not in _SHOWN:
            return problem(404, "There is no such file; the documentation is at /api-docs.")
        content_type = _TYPES[Path(name).suffix]
        return web.FileResponse(self._bundle / name, headers={**_GUARD, "Content-Type": content_type})
