"""Our own errors in the words of a provider's API, so that its SDK raises its ordinary error class with our message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Self
from xml.sax.saxutils import escape

import orjson
from pydantic import AfterValidator, Field, model_validator

from proxy.core.config import Section, like
from proxy.core.evidence import Fact
from proxy.core.model import Headers
from proxy.core.reading import Document
from proxy.core.signs import HeaderName

PLACEHOLDERS = ("message", "request_id", "outcome", "attempts", "status", "title", "code", "CODE")
"""What a template may ask for. `code` is an RFC 9209 error type, `CODE` the same in capitals."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SAMPLE = dict.fromkeys(PLACEHOLDERS, "1") | {"message": '"quoted" <&> \\ \''}


def _known(template: str) -> str:
    unknown = sorted(set(_PLACEHOLDER.findall(template)) - set(PLACEHOLDERS))
    if unknown:
        raise ValueError(f"expected only the placeholders {', '.join(PLACEHOLDERS)}; there is {{{unknown[0]}}}")
    return template


Template = Annotated[str, Field(min_length=1), AfterValidator(_known)]


class EnvelopeHeader(Section):
    """A header field of our own errors, e.g. the one in which the SDK looks for the request id."""

    name: HeaderName
    value: Annotated[Template, like(r"[\x20-\x7e]+", "printable ASCII on one line")]


class Envelope(Fact):
    """How an error looks at this provider: a template, JSON or XML by its content type."""

    content_type: Annotated[str, like(r"[\x21-\x7e]+/[\x20-\x7e]+", "a media type, like application/json")]
    headers: tuple[EnvelopeHeader, ...] = ()
    body: Template

    @model_validator(mode="after")
    def _parses(self) -> Self:
        """A template that cannot be parsed once it is filled in would hide every error it wraps."""
        sample = Document(self.render(_SAMPLE), ())
        if self._is_xml and not sample.xml_values("*"):
            raise ValueError("body: expected well-formed XML")
        if not self._is_xml and not sample.is_json:
            raise ValueError("body: expected JSON, with quotes around every placeholder that is a text")
        return self

    @property
    def _is_xml(self) -> bool:
        return "xml" in self.content_type

    def render(self, facts: Mapping[str, str]) -> bytes:
        """The body of one error."""
        quoted = _xml_text if self._is_xml else _json_text
        return _PLACEHOLDER.sub(lambda found: quoted(facts[found[1]]), self.body.strip()).encode()

    def header_fields(self, facts: Mapping[str, str]) -> Headers:
        """Content-Type and what else this provider's errors carry."""
        extra = ((one.name, _PLACEHOLDER.sub(lambda found: facts[found[1]], one.value)) for one in self.headers)
        lines = (("Content-Type", self.content_type), *extra)
        return tuple((name.encode(), value.encode("latin-1", "replace")) for name, value in lines)


def _json_text(text: str) -> str:
    return orjson.dumps(text).decode()[1:-1]


def _xml_text(text: str) -> str:
    return escape(_NOT_XML.sub("", text), {'"': "&quot;", "'": "&apos;"})
