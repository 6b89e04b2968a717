"""Bytes that others call text, as text."""

from __future__ import annotations

import codecs
import json
import re

from proxy.core.model import Headers, header

_CHARSET = re.compile(rb"charset\s*=\s*\"?([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_KNOWN = re.compile(
    r"us-ascii|ascii|utf-?8|iso-?8859-?[0-9]{1,2}|latin-?1|windows-125[0-8]|cp125[0-8]"
    r"|shift_jis|euc-(jp|kr)|gb2312|gbk|gb18030|big5|koi8-[ru]"
)
"""Charsets we take somebody's word for: ASCII is ASCII in them. UTF-16 and UTF-32 show themselves."""
_BINARY = re.compile("[\0-\x08\x0e-\x1f\x7f]")
_WIDE = {"utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"}


class Text:
    """A body as text; `sure` is whether it is known to be read rightly: no byte is wrong, no character odd."""

    def __init__(self, text: str, *, sure: bool) -> None:
        self.text = text.lstrip("\ufeff").strip(" \t\r\n\f\0")
        self.sure = sure and _BINARY.search(self.text) is None


def text_of(data: bytes, headers: Headers) -> Text:
    """The text: by its byte order mark, by its charset, as UTF-8 or what JSON lets one tell; else as Latin-1."""
    for name in _names(data, headers):
        try:
            return Text(data.decode(name), sure=name in _WIDE or _trusted(headers))
        except (UnicodeError, LookupError):
            continue
    return Text(data.decode("latin-1"), sure=False)


def _names(data: bytes, headers: Headers) -> list[str]:
    """What the bytes show of themselves goes first: a charset is more often wrong than a byte order mark."""
    shown = json.detect_encoding(data)
    declared = _declared(headers)
    if shown in _WIDE or data.startswith(codecs.BOM_UTF8):
        return [shown]
    return [declared, "utf-8"] if declared is not None and _KNOWN.fullmatch(declared) else ["utf-8"]


def _declared(headers: Headers) -> str | None:
    found = _CHARSET.search(header(headers, b"content-type") or b"")
    return None if found is None else found[1].decode("ascii").lower()


def _trusted(headers: Headers) -> bool:
    declared = _declared(headers)
    return declared is None or _KNOWN.fullmatch(declared) is not None
