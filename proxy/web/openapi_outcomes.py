"""The ledger's routes in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from proxy.core.ledger import State
from proxy.web.openapi_schemas import media, ref
from proxy.web.outcomes import MOST, USUAL_LIMIT


def outcome_paths() -> dict[str, Any]:
    """The list and one entry."""
    listed = {"200": _json("Entries: unknown and in flight ones oldest first, others newest first.", "OutcomesReply")}
    listed["400"] = _problem("The query cannot be followed; `detail` says why.")
    one = {"200": _json("The entry.", "OutcomeStatus")}
    given = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "/api/outcomes": _get("listOutcomes", "What became of payments", listed, _queries()),
        "/api/outcomes/{id}": _get("getOutcome", "What became of one payment", one, [given]),
    }


def _queries() -> list[dict[str, Any]]:
    limit = {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL_LIMIT}
    return [
        _query("state", "Only entries in this state.", {"type": "string", "enum": [state.value for state in State]}),
        _query("upstream", "Only this upstream's.", {"type": "string"}),
        _query("limit", "At most so many.", limit),
    ]


def _query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _get(name: str, summary: str, responses: dict[str, Any], parameters: list[dict[str, Any]]) -> dict[str, Any]:
    own = {**responses, "404": _problem("There is no such entry, or the ledger is off."), "503": _away()}
    return {
        "get": {
            "operationId": name,
            "tags": ["outcomes"],
            "summary": summary,
            "parameters": parameters,
            "responses": own,
        }
    }


def _away() -> dict[str, Any]:
    wait = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return {**_problem("The store does not answer."), "headers": wait}


def _json(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": media("application/json", ref(schema))}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": media("application/problem+json", ref("Problem"))}
