"""Signs: by what an answer is known to be a decline, a request in flight, a provider's own failure."""

from __future__ import annotations

import re
from enum import Enum
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from proxy.core.config import Section, Whole, like
from proxy.core.evidence import Fact
from proxy.core.reading import Document, scalar_text

Status = Annotated[Whole, Field(ge=100, le=599)]
HeaderName = Annotated[str, like(r"[A-Za-z0-9-]+", "a header field name")]


def _as_text(value: object) -> object:
    text = scalar_text(value)
    if text is None:
        raise ValueError("expected a text, a whole number, true or false")
    return text


Text = Annotated[str, BeforeValidator(_as_text)]
FIRST_ERROR = 400
"""A success is taken for something else only where the sign names its status."""

_JSON_PATH = re.compile(r"[^.\s]+(\.[^.\s]+)*")
_XML_PATH = re.compile(r"[^/\s]+(/[^/\s]+)*")


class Place(Section):
    """A place in a body: a JSON path like `errors.*.code`, or the path of an XML element like `a/b/*/c`."""

    path: str | None = None
    xml: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.path is None) == (self.xml is None):
            raise ValueError("expected either path (JSON, like errors.*.code) or xml (like a/b/c)")
        shape, given = (_JSON_PATH, self.path) if self.path is not None else (_XML_PATH, self.xml)
        if shape.fullmatch(given or "") is None:
            raise ValueError("expected names with a dot between them (path) or a slash (xml), without spaces")
        return self

    def values_in(self, document: Document) -> list[str]:
        """The texts that stand there; none if the body cannot be read."""
        if self.path is not None:
            return document.json_values(self.path)
        return document.xml_values(self.xml or "")

    def readable(self, document: Document) -> bool:
        """Whether what stands there, or that nothing does, can be told."""
        return document.json_readable if self.path is not None else document.xml_readable


class Says(Place):
    """What must stand at a place: one of `values`; anything but nothing at all where none are named."""

    values: Annotated[frozenset[Text], Field(min_length=1)] | None = None

    def holds(self, document: Document) -> bool:
        """Whether one of the values stands there."""
        found = self.values_in(document)
        return any(map(str.strip, found)) if self.values is None else not self.values.isdisjoint(found)


class Seen(Enum):
    """Whether an answer shows a sign."""

    YES = "yes"
    NO = "no"
    UNREADABLE = "unreadable"


class Sign(Fact):
    """An answer with one of `statuses` (none given: any from 400 on) whose body says all of `body`."""

    statuses: frozenset[Status] = frozenset()
    body: tuple[Says, ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.statuses and not self.body:
            raise ValueError("expected statuses, body or both: a sign without them would match every answer")
        return self

    def applies(self, status: int) -> bool:
        """Whether an answer with this status can show it."""
        return status in self.statuses if self.statuses else status >= FIRST_ERROR

    def seen_in(self, document: Document) -> Seen:
        """Whether the body says it; UNREADABLE where that cannot be told."""
        if all(said.holds(document) for said in self.body):
            return Seen.YES
        return Seen.NO if all(said.readable(document) for said in self.body) else Seen.UNREADABLE
