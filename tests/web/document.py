"""The OpenAPI document as a judge of answers."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient
from jsonschema import Draft202012Validator

from proxy.core.config import Route
from proxy.web.openapi import document

DOCUMENT = document("9.8.7", (Route(path="/api/payment", upstream="mock"),))


def strict(node: Any) -> Any:
    """A schema with objects closed, so that an answer with a member too many is caught as well."""
    if isinstance(node, list):
        return [strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    closed = {key: strict(value) for key, value in node.items()}
    if node.get("type") == "object" and isinstance(node.get("properties"), dict):
        closed["additionalProperties"] = False
    return closed


COMPONENTS = strict(DOCUMENT["components"])


def check(schema: dict[str, Any], instance: Any) -> None:
    """Raise unless `instance` is what `schema` describes."""
    Draft202012Validator({**strict(schema), "components": COMPONENTS}).validate(instance)


def template(path: str) -> str:
    """The document's path that a request's path belongs to; a literal one before a parameter."""
    fitting: list[str] = [one for one in DOCUMENT["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", one), path)]
    return min(fitting, key=lambda one: one.count("{"))


async def ask(client: TestClient[Any, Any], method: str, path: str, **options: Any) -> tuple[ClientResponse, Any]:
    """Make one request and hold its answer against the document; the answer with its JSON (None if it is text)."""
    response = await client.request(method, path, **options)
    if response.status == 405:
        assert response.content_type == "application/problem+json"
        check({"$ref": "#/components/schemas/Problem"}, document_405 := await response.json(content_type=None))
        return response, document_405
    described = DOCUMENT["paths"][template(path.partition("?")[0])][method.lower()]["responses"][str(response.status)]
    assert response.content_type in described["content"], (response.content_type, described)
    if "json" not in response.content_type:
        return response, None
    body = await response.json(content_type=None)
    check(described["content"][response.content_type]["schema"], body)
    return response, body
