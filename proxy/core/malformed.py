"""What a request must be before anything is decided about it (RFC 9110 and 9112), beyond what the parser sees to.

A server behind us may read an odd request as another one: what two readers may take for two things goes nowhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_REG_NAME = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*"
_HOST = re.compile(rf"(?:\[(?=[^%\]]*:|v)[0-9A-Za-z:.%_~-]+\]|{_REG_NAME})(?::[0-9]{{0,5}})?")
"""RFC 9110 section 7.2: uri-host [ ":" port ]; it may be empty where the target has no authority."""
_ABSOLUTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)

_CODED = r"%(?:25)*"
"""The start of a percent-encoded octet, however often it was encoded again."""
_SLASH = rf"(?:[/\\]|{_CODED}(?:2f|5c|c0{_CODED}af|c1{_CODED}9c|u002f|u005c))"
_DOT = rf"(?:\.|{_CODED}(?:2e|c0{_CODED}ae|u002e))"
"""With the longer UTF-8 forms and the %u of servers that should have read neither for a long time."""
_DOT_SEGMENT = re.compile(
    rf"{_SLASH}{_DOT}{{1,2}}(?=$|;|{_SLASH}|{_CODED}(?:3b|00|09|0a|0d|20))", re.IGNORECASE | re.DOTALL
)

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) [^ ]+ HTTP/(\d)\.(\d)\r\n")
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_LOOSE = re.compile(
    b"(?<!%b)%b+" % (_TOKEN, _TOKEN)
    + rb"(?:(?: {2,}[^ \r\n]+ +| [^ \r\n]+ {2,})HTTP| +[^ \r\n]+ +(?:RTSP|ICE))/\d\.\d\r\n"
)
"""Begun only where a word begins: from within each of them a body of one long word would take its square in time."""
_KNOWN = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT"})


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a request is refused: `reason` for log and metric, `detail` for the one who sent it."""

    status: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Target:
    """A request target: its path and query, and the authority where it is in absolute-form (RFC 9112 section 3.2)."""

    path_and_query: str
    authority: str | None = None


VERSION = Flaw(505, "version", "Only HTTP/1.1 and HTTP/1.0 are spoken here; nothing was sent.")
NO_VERSION = Flaw(400, "version", "The request line has no HTTP version; nothing was sent.")
METHOD = Flaw(501, "method", "This method is not implemented (RFC 9110 section 9.1); nothing was sent.")
LOOSE = Flaw(400, "request_line", "The request line is not three words with single spaces; nothing was sent.")
HEAD_LATE = Flaw(408, "head_timeout", "The request's head did not arrive in time; nothing was sent.")
NOT_HTTP = Flaw(400, "syntax", "The request is not valid HTTP; nothing was sent.")
TARGET_LONG = Flaw(414, "target_too_long", "The request target is too long; nothing was sent.")
FIELD_LARGE = Flaw(431, "fields_too_large", "A header field is too large, or there are too many; nothing was sent.")
_OLD_CODING = Flaw(400, "framing", "HTTP/1.0 has no transfer codings (RFC 9112 section 6.1); nothing was sent.")
_NO_CODING = Flaw(400, "framing", "Transfer-Encoding names no coding; nothing was sent.")
_BAD_HOST = Flaw(400, "host", "Host is not a host with an optional port (RFC 9112 section 3.2); nothing was sent.")
_BAD_URL = Flaw(400, "target", "The request target is not an http or https URL of a host; nothing was sent.")
_FRAGMENT = Flaw(400, "fragment", "The request target has a fragment; send # as %23. Nothing was sent.")
_BACKSLASH = Flaw(400, "backslash", "The path has a backslash; send it as %5C. Nothing was sent.")
_DOTS = Flaw(400, "dot_segments", "The path has dot segments, raw or encoded; send it resolved. Nothing was sent.")


def flaw_of(version: tuple[int, int], host: str | None, coding: str | None) -> Flaw | None:
    """What is wrong with a request's version, Host and Transfer-Encoding; None if nothing is."""
    if version != (1, 1) and version != (1, 0):  # noqa: PLR1714 - asked of every request: no hash
        return NO_VERSION if version < (1, 0) else VERSION
    if coding is not None and (version == (1, 0) or not coding.strip()):
        return _OLD_CODING if version == (1, 0) else _NO_CODING
    return _BAD_HOST if host and _HOST.fullmatch(host) is None else None


def read_target(raw: str) -> Target | Flaw:
    """A request target as it is routed: no fragment, no dot segment, no backslash; an absolute one of http(s) only.

    The authority of an absolute target wins over Host (RFC 9112 section 3.2.2).
    """
    if "#" in raw:
        return _FRAGMENT
    authority = None
    if not raw.startswith("/") and (absolute := _ABSOLUTE.fullmatch(raw)) is not None:
        scheme, authority, raw = absolute.groups()
        if scheme.lower() not in {"http", "https"} or not authority or _HOST.fullmatch(authority) is None:
            return _BAD_URL
        raw = raw if raw.startswith("/") else "/" + raw
    flaw = _flaw_of_path(raw.partition("?")[0])
    return flaw or Target(raw, authority)


def _flaw_of_path(path: str) -> Flaw | None:
    if "\\" in path:
        return _BACKSLASH
    devious = ("." in path or "%" in path) and _DOT_SEGMENT.search(path) is not None
    return _DOTS if devious else None


def is_loose(method: str, target: str, seen: bytes) -> bool:
    """Whether the request line stood in `seen` with more than single spaces or another protocol's name.

    The parser lets that pass.
    """
    if b"%b %b HTTP/1" % (method.encode(), target.encode("utf-8", "surrogateescape")) in seen:
        return False
    return _LOOSE.search(seen) is not None


def flaw_of_start(seen: bytes, *, at_method: bool) -> Flaw:
    """Why a parser gave up (`at_method`: over a method) on what begins with `seen`, as far as its first line tells."""
    line = _LINE.match(seen.lstrip(b"\r\n"))
    if line is None:
        return NOT_HTTP
    if (line[2], line[3]) not in {(b"1", b"1"), (b"1", b"0")}:
        return VERSION
    return METHOD if at_method and line[1] not in _KNOWN else NOT_HTTP
