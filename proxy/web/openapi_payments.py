"""The data plane in the OpenAPI document: what a payment route answers, and the fields every answer carries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from proxy.core.config import Route
from proxy.core.model import Outcome
from proxy.web.openapi_schemas import media, ref

_ANY: dict[str, Any] = {"*/*": {"schema": {}}}
_IN_ITS_LANGUAGE: dict[str, Any] = {
    "*/*": {"schema": {"description": "The same in the provider's own error format, where its profile has one."}}
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds until it may be worth trying.", "schema": {"type": "integer"}}}


def payment_paths(routes: Iterable[Route]) -> dict[str, Any]:
    """Two paths for each route: its own, and everything below it. All methods are forwarded; two are shown."""
    paths: dict[str, Any] = {}
    for number, route in enumerate(routes):
        prefix = route.path.rstrip("/")
        paths[prefix or "/"] = _path(route, f"route{number}", ())
        rest = {"name": "rest", "in": "path", "required": True, "schema": {"type": "string"}}
        rest["description"] = "The rest of the path; it may hold slashes."
        paths[f"{prefix}/{{rest}}"] = _path(route, f"route{number}Below", (rest,))
    return paths


def _path(route: Route, name: str, parameters: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    item: dict[str, Any] = {
        "get": _operation(f"{name}Get", f"Read from {route.upstream}"),
        "post": {**_operation(f"{name}Post", f"Send a payment to {route.upstream}"), "requestBody": {"content": _ANY}},
    }
    return {**item, "parameters": list(parameters)} if parameters else item


def _operation(name: str, summary: str) -> dict[str, Any]:
    return {"operationId": name, "tags": ["payments"], "summary": summary, "responses": _responses()}


def _responses() -> dict[str, Any]:
    forwarded = "The provider's answer, untouched: any status, reason, fields and body."
    return {
        "400": _ours("The request is malformed, or its path has dot segments; nothing was sent."),
        "404": _ours("No route is configured for this path; nothing was sent."),
        "408": _ours("The request did not arrive within its deadline."),
        "413": _ours("The body is larger than `max_body`; nothing was sent."),
        "414": _ours("The request target is too long; nothing was sent."),
        "424": _ours("Sent, no answer, and no key that makes a resend safe: outcome unknown; look it up first."),
        "431": _ours("A header field is too large, or there are too many; nothing was sent."),
        "501": _ours("A method or transfer coding that is not implemented; nothing was sent."),
        "502": _ours("The provider could not be reached; nothing was sent."),
        "503": _ours(
            "The circuit breaker is open, or too much is under way or in memory; nothing was sent.", _RETRY_AFTER
        ),
        "504": _ours("Sent, no answer, but the key makes a resend safe: outcome unknown."),
        "505": _ours("Another version than HTTP/1.0 or HTTP/1.1; nothing was sent."),
        "508": _ours("The request came back to the Holdfast that sent it on: look at the upstream's url."),
        "default": {"description": forwarded, "headers": _fields(), "content": _ANY},
    }


def _ours(description: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    status = {"description": "What went wrong, as RFC 9209 has it.", "schema": {"type": "string"}}
    return {
        "description": description,
        "headers": {**_fields(), "Proxy-Status": status, **(headers or {})},
        "content": {**media("application/problem+json", ref("PaymentProblem")), **_IN_ITS_LANGUAGE},
    }


def _fields() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "X-Payment-Outcome": {
            "description": "What is known of the payment: look up `unknown` ones before paying again.",
            "schema": {"type": "string", "enum": [outcome.value for outcome in Outcome]},
        },
        "X-Proxy-Attempts": {"description": "How often it was sent.", "schema": {"type": "integer"}},
        "X-Request-Id": {"description": "The client's own, or one of ours.", "schema": text},
        "X-Proxy-Idempotency-Key": {"description": "The key Holdfast added, if it added one.", "schema": text},
        "X-Proxy-Degraded": {"description": "What this replica had to do without.", "schema": text},
    }
