"""What is wrong with a configuration, as lines a person can act on: where, what stands there, what was expected.

Owns the wording and the masking of secrets. A mapping is never quoted, because it may hold one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from proxy.core.errors import ConfigError
from proxy.edges.yaml_file import Tree

Keys = tuple[str | int, ...]
"""A key path as the user wrote it: upstreams by name, list entries by number."""
Model = TypeVar("Model", bound=BaseModel)

MASK = "***"
_SHOWN_LENGTH = 60
_SECRET = {("admin",), ("admin", "token"), ("ledger",), ("ledger", "secret")}
_REDIS_URL = ("redis", "url")

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_too_short": "text of at least {min_length} characters",
    "too_short": "at least {min_length} of them",
    "model_type": "a mapping of settings",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "frozen_set_type": "a list",
    "literal_error": "one of {expected}",
    "greater_than": "more than {gt:g}{unit}",
    "greater_than_equal": "at least {ge:g}{unit}",
    "less_than": "less than {lt:g}{unit}",
    "less_than_equal": "at most {le:g}{unit}",
}


@dataclass(frozen=True, slots=True)
class Override:
    """A value that an environment variable put at `path`; `shown` is how an error may quote it."""

    variable: str
    path: Keys
    value: object
    shown: str


def complaint(where: str, shown: str | None, message: str) -> str:
    """One line; a message that only says what was expected is joined to the value that stands there."""
    if shown is None or not message.startswith("expected"):
        return f"{where}: {message}"
    return f"{where}: {shown} is not valid: {message}"


def validated(model: type[Model], tree: Tree, source: str, overrides: Sequence[Override] = ()) -> Model:
    """The tree as `model`, or a ConfigError with a line for each problem."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        details = error.errors(include_url=False)
        own = [detail for detail in details if not _follows(detail, details)]
        lines = [_line(detail, model, tree, source, overrides) for detail in own]
    raise ConfigError(list(dict.fromkeys(lines)))  # outside the handler: the library's error quotes everything


def _follows(detail: ErrorDetails, details: Sequence[ErrorDetails]) -> bool:
    """Whether a list is only too short because its entries are wrong, which is told already."""
    loc = detail["loc"]
    below = (other["loc"] for other in details if len(other["loc"]) > len(loc))
    return detail["type"] == "too_short" and any(other[: len(loc)] == loc for other in below)


def _line(error: ErrorDetails, model: type[BaseModel], tree: Tree, source: str, overrides: Sequence[Override]) -> str:
    path, value = _find(error["loc"], tree)
    for override in overrides:
        if path[: len(override.path)] == override.path:
            return complaint(f"environment {override.variable}", override.shown, _message(error, value))
    where = f"{source}: {key_path(path)}" if path else source
    if error["type"] == "missing":
        return f"{where}: is missing"
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key; {_hint(str(path[-1]), model, error['loc'][:-1])}"
    return complaint(where, quote(value, path), _message(error, value))


def _find(loc: tuple[str | int, ...], tree: Tree) -> tuple[Keys, object]:
    """The path as written and the value there; upstreams became a list on the way, so numbers turn into names."""
    here: object = tree
    path: list[str | int] = []
    for step in loc:
        key = list(here)[step] if isinstance(here, dict) and isinstance(step, int) else step
        path.append(key)
        here = _child(here, key)
    return tuple(path), here


def _child(parent: object, key: str | int) -> object:
    if isinstance(parent, dict):
        return parent.get(key)
    if isinstance(parent, list) and isinstance(key, int) and key < len(parent):
        return parent[key]
    return None


def key_path(path: Keys) -> str:
    """`upstreams.mock.retry.backoff_ms[1]`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
    return text if text.isprintable() else json.dumps(text)


def _message(error: ErrorDetails, value: object) -> str:
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        return str(context["error"])
    known = _EXPECTED.get("string_too_short" if _short_text(error, value) else error["type"])
    if known is None:
        return error["msg"]
    if context.get("min_length") == 1 and isinstance(value, str):
        return "expected text that is not empty"
    unit = " seconds" if isinstance(value, str) else ""  # bounds on a number written as text: a duration
    return f"expected {known.format(**context, unit=unit)}"


def _short_text(error: ErrorDetails, value: object) -> bool:
    """A secret that is too short is told by the library as if it were a list."""
    return error["type"] == "too_short" and isinstance(value, str)


def quote(value: object, path: Keys = ()) -> str | None:
    """The value as an error may show it, on one line and without secrets; None for mappings and lists."""
    if isinstance(value, dict | list):
        return None
    if path in _SECRET:
        return MASK
    if not isinstance(value, str):
        return json.dumps(value, default=str)
    text = masked_url(value) if path == _REDIS_URL else _masked(value)
    text = text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}..."
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _masked(text: str) -> str:
    return re.sub(
        r"(?i)(password=)[^&\s]*", rf"\1{MASK}", re.sub(r"^([a-z+]*://)?.*@", rf"\1{MASK}@", text, flags=re.DOTALL)
    )


def masked_url(url: str) -> str:
    """A store's URL without user, password and query; nothing of it if it cannot be read."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return MASK
    if not parts.hostname:
        return MASK
    user = f"{MASK}@" if "@" in parts.netloc else ""
    return f"{parts.scheme}://{user}{parts.hostname}{port}"


def _hint(key: str, model: type[BaseModel], parents: tuple[str | int, ...]) -> str:
    known = sorted(_known_keys(model, parents))
    close = get_close_matches(key, known, n=1)
    return f'did you mean "{close[0]}"?' if close else f"known here: {', '.join(known)}"


def _known_keys(model: type[BaseModel], parents: tuple[str | int, ...]) -> set[str]:
    section: type[BaseModel] | None = model
    for step in parents:
        if section is not None and isinstance(step, str):
            field = section.model_fields.get(step)
            section = None if field is None else _section_in(field.annotation)
    named = bool(parents) and parents[0] == "upstreams"  # there the name is the key above
    return set(section.model_fields) - ({"name"} if named else set()) if section is not None else set()


def _section_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part)) is not None), None)
