"""The OpenAPI 3.1 document: the control plane's routes, and the payment routes that are configured.

Schemas of our answers are derived from the dataclasses that make them (openapi_schemas.py), so they cannot drift.
Optional values are `anyOf` with null and never a list of types, which Swagger UI 4 could not show.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from proxy.core.config import Route
from proxy.web.openapi_outcomes import outcome_paths
from proxy.web.openapi_payments import payment_paths
from proxy.web.openapi_schemas import media, ref, schemas

JsonObject = dict[str, Any]

_ABOUT = """\
A payment-safe resilience proxy: retries that never charge twice, one circuit breaker for the whole fleet.

Payments go to the configured paths; every answer to one says in `X-Payment-Outcome` what is known of it.
"""
_TAGS = [
    {"name": "payments", "description": "The data plane: forwarded to the payment provider."},
    {"name": "status", "description": "What this replica and its fleet know."},
    {"name": "breakers", "description": "Overrides by hand, for the whole fleet. They need the admin token."},
    {"name": "outcomes", "description": "The ledger, for reconciling."},
    {"name": "health", "description": "For orchestrators and load balancers."},
    {"name": "documentation", "description": "This document."},
]


def document(version: str, routes: Iterable[Route]) -> JsonObject:
    """The whole document. `routes` are those of the configuration in force."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Holdfast",
            "version": version,
            "summary": "A payment-safe resilience proxy.",
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": _TAGS,
        "paths": {**payment_paths(routes), **_control_plane()},
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "adminToken": {"type": "http", "scheme": "bearer", "description": "The value of HOLDFAST_ADMIN_TOKEN."}
            },
        },
    }


def _control_plane() -> JsonObject:
    return {**_status(), **_breakers(), **outcome_paths(), **_health(), **_documentation()}


def _get(name: str, tag: str, summary: str, responses: JsonObject) -> JsonObject:
    return {"get": {"operationId": name, "tags": [tag], "summary": summary, "responses": responses}}


def _json(description: str, schema: str) -> JsonObject:
    return {"description": description, "content": media("application/json", ref(schema))}


def _problem(description: str) -> JsonObject:
    return {"description": description, "content": media("application/problem+json", ref("Problem"))}


def _text(description: str, *types: str) -> JsonObject:
    content = {name: {"schema": {"type": "string"}} for name in types}
    return {"description": description, "content": content}


def _status() -> JsonObject:
    summary = _json("The text with its facts; the bare text for `Accept: text/plain`.", "SummaryReply")
    summary["content"]["text/plain"] = {"schema": {"type": "string"}}
    exposition = _text("Prometheus text, or OpenMetrics by `Accept`.", "text/plain", "application/openmetrics-text")
    return {
        "/api/status": _get(
            "getStatus", "status", "This replica and its fleet", {"200": _json("The status document.", "Status")}
        ),
        "/api/status/summary": _get("getSummary", "status", "The last minutes in plain words", {"200": summary}),
        "/api/metrics": _get(
            "getOverview", "status", "The basic numbers as JSON", {"200": _json("The overview.", "Overview")}
        ),
        "/metrics": _get("getMetrics", "status", "All metrics, for Prometheus", {"200": exposition}),
    }


def _breakers() -> JsonObject:
    texts = {
        "open": "Force it open: send nothing. Needs a reason.",
        "close": "Force it closed: send everything. Needs a reason.",
        "auto": "Take an override back.",
    }
    return {f"/api/breakers/{{upstream}}/{action}": {"post": _override(action, text)} for action, text in texts.items()}


def _override(action: str, summary: str) -> JsonObject:
    name = {"name": "upstream", "in": "path", "required": True, "schema": {"type": "string"}}
    body = media("application/json", ref("OverrideOrder"))
    body["application/json"]["example"] = {"reason": "provider maintenance", "for": "15m", "actor": "alice"}
    degraded = {"description": "`breaker`: this replica's only, until the store is back.", "schema": {"type": "string"}}
    challenge = {"description": "How to authenticate.", "schema": {"type": "string"}}
    return {
        "operationId": f"{action}Breaker",
        "tags": ["breakers"],
        "summary": summary,
        "security": [{"adminToken": []}],
        "parameters": [name],
        "requestBody": {"required": action != "auto", "content": body},
        "responses": {
            "200": {
                **_json("The breaker's new status.", "BreakerStatus"),
                "headers": {"X-Proxy-Degraded": degraded},
            },
            "400": _problem("The body cannot be followed; `detail` says what to send."),
            "401": {**_problem("The admin token is missing."), "headers": {"WWW-Authenticate": challenge}},
            "403": _problem("Not the admin token, or none is configured."),
            "404": _problem("There is no such upstream; `detail` names those there are."),
            "409": _problem("Other replicas kept changing this breaker; try again."),
            "413": _problem("The body is too large."),
        },
    }


def _health() -> JsonObject:
    ready = {"200": _json("Ready, degraded or not.", "Readiness"), "503": _json("Draining.", "Readiness")}
    return {
        "/healthz": _get("getAlive", "health", "Whether the process answers", {"200": _json("It does.", "Alive")}),
        "/readyz": _get("getReady", "health", "Whether to send traffic here", ready),
    }


def _documentation() -> JsonObject:
    page = {"200": _text("Swagger UI.", "text/html")}
    asset = _get(
        "getAsset",
        "documentation",
        "A file of that page",
        {
            "200": _text("The file.", "text/css", "text/javascript", "image/png"),
            "404": _problem("There is no such file."),
        },
    )
    asset["get"]["parameters"] = [{"name": "asset", "in": "path", "required": True, "schema": {"type": "string"}}]
    this = {"200": {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}}}
    return {
        "/api-docs": _get("getDocumentation", "documentation", "This documentation as a page", page),
        "/api-docs/": _get("getDocumentationPage", "documentation", "The same page", page),
        "/api-docs/openapi.json": _get("getOpenapi", "documentation", "This document", this),
        "/api-docs/{asset}": asset,
    }
