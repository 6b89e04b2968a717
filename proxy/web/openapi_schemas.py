"""JSON Schemas of our answers, from the dataclasses that make them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from proxy.core.model import Outcome
from proxy.core.overview import Overview
from proxy.core.status import Status
from proxy.web.breakers import OverrideOrder
from proxy.web.outcomes import OutcomesReply
from proxy.web.replies import Problem
from proxy.web.reports import Alive, Readiness, SummaryReply

_REF = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class PaymentProblem:
    """An answer Holdfast makes itself on a payment route (RFC 9457; `error` is an RFC 9209 error type)."""

    type: str
    title: str
    status: int
    detail: str
    error: str
    outcome: Outcome
    attempts: int
    request_id: str


_ANSWERS: tuple[Any, ...] = (Status, SummaryReply, Overview, OutcomesReply, Alive, Readiness, Problem, PaymentProblem)


@cache
def schemas() -> dict[str, Any]:
    """Every schema by its name, for `components`."""
    inputs = [(one, "serialization", TypeAdapter(one)) for one in _ANSWERS]
    _, answers = TypeAdapter.json_schemas(inputs, ref_template=_REF + "{model}")  # type: ignore[arg-type]
    return {**answers["$defs"], "OverrideOrder": _order()}


def _order() -> dict[str, Any]:
    """The body of an override; a duration is text there, and seconds only after reading."""
    schema = OverrideOrder.model_json_schema()
    duration = {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(ms|s|m|h|d)\s*$", "examples": ["15m"]}
    schema["properties"]["for"] = {"title": "For", "description": "How long, like 15m.", **duration}
    return schema


def ref(name: str) -> dict[str, str]:
    """A reference to a schema."""
    return {"$ref": _REF + name}


def media(content_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A `content` object with one media type."""
    return {content_type: {"schema": schema}}
