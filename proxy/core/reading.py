"""Bodies that others wrote, read so that nothing in them can hurt: bounded, without entities, and never an exception.

Owns JSON and XML as text found at a path. What is malformed, too large or too deep holds nothing.
"""

from __future__ import annotations

import zlib
from fnmatch import fnmatchcase
from functools import cached_property
from xml.parsers import expat

import orjson

from proxy.core.model import Body, Headers, header

JSON_LIMIT = 256 * 1024
XML_LIMIT = 64 * 1024
"""Bytes read of a body: expat calls back for every element, so XML gets less of the event loop's time."""
XML_ELEMENTS = 2000
XML_DEPTH = 32
FAN_OUT = 1000
"""How many entries a `*` in a JSON path looks at."""

_ANY_ZLIB = 32 + zlib.MAX_WBITS
"""gzip or zlib, by the stream's own head."""


class Document:
    """A body of unknown quality, parsed when asked, once."""

    def __init__(self, body: Body, headers: Headers) -> None:
        self._body = body
        self._headers = headers

    def json_values(self, path: str) -> list[str]:
        """The scalars at a path like `errors.*.code` as text: `true`, `12`, `abc`."""
        found = [self._json]
        for step in path.split("."):
            found = [child for parent in found for child in _children(parent, step)][:FAN_OUT]
        return [text for value in found if (text := scalar_text(value)) is not None]

    def xml_values(self, pattern: str) -> list[str]:
        """The texts of the elements whose path, like `a/b/c`, matches; `*` is any run of characters."""
        return [text for path, text in self._xml if fnmatchcase(path, pattern)]

    @property
    def is_json(self) -> bool:
        """Whether the whole of it is JSON, and not just `null`."""
        return self._json is not None

    @cached_property
    def _bytes(self) -> bytes:
        """The body without its content coding; empty where it is a stream, too large or in another coding."""
        if not isinstance(self._body, bytes):
            return b""
        coding = (header(self._headers, b"content-encoding") or b"identity").strip().lower()
        if coding == b"identity":
            return self._body
        return _inflate(self._body) if coding in {b"gzip", b"x-gzip", b"deflate"} else b""

    @cached_property
    def _json(self) -> object:
        if len(self._bytes) > JSON_LIMIT:
            return None
        try:
            return orjson.loads(self._bytes)
        except (orjson.JSONDecodeError, RecursionError):
            return None

    @cached_property
    def _xml(self) -> list[tuple[str, str]]:
        return _XmlTexts().read(self._bytes) if len(self._bytes) <= XML_LIMIT else []


def scalar_text(value: object) -> str | None:
    """A JSON or YAML scalar as text; None for null and for what has parts."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def _children(parent: object, step: str) -> list[object]:
    if isinstance(parent, dict):
        if step == "*":
            return list(parent.values())[:FAN_OUT]
        return [parent[step]] if step in parent else []
    if not isinstance(parent, list):
        return []
    if step == "*":
        return parent[:FAN_OUT]
    return [parent[int(step)]] if step.isascii() and step.isdecimal() and int(step) < len(parent) else []


def _inflate(data: bytes) -> bytes:
    """At most JSON_LIMIT bytes out of a gzip or zlib stream; empty if it is broken, cut or holds more."""
    stream = zlib.decompressobj(_ANY_ZLIB)
    try:
        plain = stream.decompress(data, JSON_LIMIT)
    except zlib.error:
        return b""
    return plain if stream.eof else b""


class _Refused(ValueError):
    """This XML is not for us: it declares a document type, or is too large or deep."""


class _XmlTexts:
    """The path and text of every element that holds text."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._text: list[str] = []
        self._elements = 0
        self._found: list[tuple[str, str]] = []

    def read(self, data: bytes) -> list[tuple[str, str]]:
        """What the document holds; nothing of it unless the whole of it is well-formed and plain."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse  # before any entity could be declared
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            parser.Parse(data, True)
        except (expat.ExpatError, ValueError, LookupError):  # the last two: encodings that expat does not know
            return []
        return self._found

    def _refuse(self, *_: object) -> None:
        raise _Refused

    def _start(self, name: str, _: dict[str, str]) -> None:
        self._elements += 1
        self._path.append(name)
        self._text.clear()
        if len(self._path) > XML_DEPTH or self._elements > XML_ELEMENTS:
            raise _Refused

    def _characters(self, text: str) -> None:
        self._text.append(text)

    def _end(self, _: str) -> None:
        if text := "".join(self._text).strip():
            self._found.append(("/".join(self._path), text))
        self._text.clear()
        self._path.pop()
