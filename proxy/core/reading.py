"""Bodies that others wrote, read so that nothing in them can hurt: bounded, without entities, and never an exception.

Owns JSON and XML as text found at a path, and whether that could be looked for at all.
"""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from functools import cached_property
from xml.parsers import expat

import orjson

from proxy.core.codings import TooLargeError, UndecodableError, decoded, is_coded
from proxy.core.model import Body, Headers, header
from proxy.core.texts import Text, text_of

JSON_LIMIT = 256 * 1024
XML_LIMIT = 64 * 1024
"""Bytes read of a body: expat calls back for every element, so XML gets less of the event loop's time."""
XML_ELEMENTS = 2000
XML_DEPTH = 32
FAN_OUT = 1000
"""How many entries a `*` in a JSON path looks at."""

_MEDIA = re.compile(rb"\s*(text|image|audio|video|application)/(?!octet-stream)", re.IGNORECASE)
_HTML = re.compile(r"<(!doctype\s+html|html|head|body)[\s>]", re.IGNORECASE)
_XML_HEAD = re.compile(r"\A\s*<\?xml[^>]*\?>")
_NOT_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class Document:
    """A body of unknown quality, parsed when asked, once.

    `lenient`: whatever can be made out counts (an answer's signs). Otherwise only what every reader would find there
    (a key in a request, which the provider must find, too).
    """

    def __init__(self, body: Body, headers: Headers, *, lenient: bool = False) -> None:
        self._body = body
        self._headers = headers
        self._lenient = lenient
        self._fanned_out = False
        """Whether a `*` had more before it than we look at."""

    def json_values(self, path: str) -> list[str]:
        """The scalars at a path like `errors.*.code` as text: `true`, `12`, `abc`."""
        found = [self._json]
        for step in path.split("."):
            found = [child for parent in found for child in _children(parent, step)][: FAN_OUT + 1]
            self._fanned_out = self._fanned_out or len(found) > FAN_OUT
            del found[FAN_OUT:]
        return [text for value in found if (text := scalar_text(value)) is not None]

    def xml_values(self, pattern: str) -> list[str]:
        """The texts of the elements whose path, like `a/b/c`, matches; `*` is any run of characters."""
        return [text for path, text in self._xml or () if fnmatchcase(path, pattern)]

    @property
    def is_json(self) -> bool:
        """Whether the whole of it is JSON, and not just `null`."""
        return self._json is not None

    @property
    def json_readable(self) -> bool:
        """Whether what its JSON says is known, if only that there is none."""
        if self._bytes is None:
            return self._too_large and self._of_other_media(b"json")
        if self._json is not None:
            return not self._fanned_out and (not isinstance(self._json, str) or "{" not in self._json)
        text = self._text
        if not text.text:
            return self._has_told_end
        return text.sure and (_is_markup(text.text) or not set(text.text) & set("{["))

    @property
    def xml_readable(self) -> bool:
        """Whether what its XML says is known, if only that there is none."""
        if self._bytes is None:
            return self._too_large and self._of_other_media(b"xml")
        if self._xml is not None or self.is_json:
            return True
        text = self._text
        if not text.text:
            return self._has_told_end
        return text.sure and ("<" not in text.text or _HTML.match(text.text) is not None)

    @property
    def _has_told_end(self) -> bool:
        """An empty body says nothing where its length was told; one that merely ended may have been cut off."""
        return any(header(self._headers, name) is not None for name in (b"content-length", b"transfer-encoding"))

    def _of_other_media(self, media: bytes) -> bool:
        """Of a body that is too large to be looked into, its media type is all that is known."""
        declared = header(self._headers, b"content-type") or b""
        return media not in declared.lower() and _MEDIA.match(declared) is not None

    @cached_property
    def _bytes(self) -> bytes | None:
        """The body without its content codings; None where it is a stream, too large, or not to be decoded."""
        if not isinstance(self._body, bytes) or (is_coded(self._headers) and not self._lenient):
            return None
        try:
            return decoded(self._body, self._headers, JSON_LIMIT)
        except UndecodableError:
            return None

    @cached_property
    def _too_large(self) -> bool:
        if not isinstance(self._body, bytes):
            return True
        try:
            decoded(self._body, self._headers, JSON_LIMIT)
        except TooLargeError:
            return True
        except UndecodableError:
            pass
        return False

    @cached_property
    def _text(self) -> Text:
        return text_of(self._bytes or b"", self._headers)

    @cached_property
    def _json(self) -> object:
        if not self._bytes:
            return None
        try:
            return orjson.loads(self._bytes)
        except (orjson.JSONDecodeError, RecursionError):
            return _loose_json(self._text.text) if self._lenient else None

    @cached_property
    def _xml(self) -> list[tuple[str, str]] | None:
        """Every element's path and text; None if it is no XML, or not for us."""
        if not self._bytes or len(self._bytes) > XML_LIMIT:
            return None
        found = _XmlTexts().read(self._bytes)
        if found is not None or not self._lenient:
            return found
        plain = _NOT_XML.sub("", _XML_HEAD.sub("", self._text.text))
        return _XmlTexts().read(plain.encode("utf-8"))


def _loose_json(text: str) -> object:
    """What Python's own reader makes of it: it takes NaN, raw control characters and halves of surrogate pairs."""
    try:
        found: object = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return found


def _is_markup(text: str) -> bool:
    return text.startswith("<") and text.endswith(">")


def scalar_text(value: object) -> str | None:
    """A JSON or YAML scalar as text; None for null and for what has parts."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def _children(parent: object, step: str) -> list[object]:
    if isinstance(parent, dict):
        if step == "*":
            return list(parent.values())[: FAN_OUT + 1]
        return [parent[step]] if step in parent else []
    if not isinstance(parent, list):
        return []
    if step == "*":
        return parent[: FAN_OUT + 1]
    return [parent[int(step)]] if step.isascii() and step.isdecimal() and int(step) < len(parent) else []


class _Refused(ValueError):
    """This XML is not for us: it declares a document type, or is too large or deep."""


class _XmlTexts:
    """The path and text of every element that holds text."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._text: list[str] = []
        self._elements = 0
        self._found: list[tuple[str, str]] = []

    def read(self, data: bytes) -> list[tuple[str, str]] | None:
        """What the document holds; None unless the whole of it is well-formed and plain."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse  # before any entity could be declared
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            parser.Parse(data, True)
        except (expat.ExpatError, ValueError, LookupError):  # the last two: encodings that expat does not know
            return None
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
