"""Content codings undone (RFC 9110 section 8.4), never more than a bound of it: gzip, deflate, br, zstd, in any order.

brotli and zstd through the libraries that aiohttp takes for them: a client's own `Accept-Encoding` names them and is
forwarded as it came, and a provider may choose a coding that nobody asked for, so not reading them is no way out.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from proxy.core.model import Headers

MOST_CODINGS = 4
MOST_MEMBERS = 64
"""gzip members, or zstd frames, in a row."""
ZSTD_WINDOW_LOG = 23
"""8 MiB, the most that RFC 9659 lets a content coding ask for."""

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class UndecodableError(ValueError):
    """The coding is not known, or the data broken or cut."""


class TooLargeError(UndecodableError):
    """There is more of it than asked for."""


def decoded(data: bytes, headers: Headers, limit: int) -> bytes:
    """The body as it was before its codings; UndecodableError if it is not to be had within `limit` bytes."""
    names = _tokens(headers, b"content-encoding")
    on_the_way = _tokens(headers, b"transfer-encoding")
    if len(names) > MOST_CODINGS or any(name != b"chunked" for name in on_the_way):
        raise UndecodableError("coded too often, or on the way")
    for name in reversed(names):
        undo = _UNDO.get(name)
        if undo is None:
            raise UndecodableError("not a coding that we know")
        data = _undone(undo, data, limit)
    if len(data) > limit:
        raise TooLargeError("too much of it")
    return data


def is_coded(headers: Headers) -> bool:
    """Whether a body is not what it says as it stands."""
    return bool(_tokens(headers, b"content-encoding"))


def _tokens(headers: Headers, name: bytes) -> list[bytes]:
    """The codings that a field names, over all of its lines, in the order in which they were applied."""
    lines = [value for field, value in headers if len(field) == len(name) and field.lower() == name]
    if not lines:
        return []
    named = [token.strip().lower() for token in b",".join(lines).split(b",")]
    return [token for token in named if token not in {b"", b"identity"}]


def _undone(undo: Callable[[bytes, int], bytes], data: bytes, limit: int) -> bytes:
    try:
        plain = undo(data, limit)
    except (zlib.error, brotli.error, zstd.ZstdError, EOFError) as error:
        raise UndecodableError("broken") from error
    if len(plain) > limit:
        raise TooLargeError("too much of it")
    return plain


def _gunzip(data: bytes, limit: int) -> bytes:
    """All members (RFC 1952 section 2.2); zeros after the last are padding."""
    plain = bytearray()
    for _ in range(MOST_MEMBERS):
        stream = zlib.decompressobj(_GZIP)
        plain += stream.decompress(data, limit + 1 - len(plain))
        _check(stream.eof, len(plain), limit)
        data = stream.unused_data.lstrip(b"\0")
        if not data:
            return bytes(plain)
    raise TooLargeError("too many members")


def _check(ended: bool, size: int, limit: int) -> None:
    if size > limit:
        raise TooLargeError("too much of it")
    if not ended:
        raise UndecodableError("cut")


def _deflate(data: bytes, limit: int) -> bytes:
    """As RFC 9110 has it, in zlib's format; or bare, as many servers send it."""
    try:
        return _inflated(data, limit, _ZLIB)
    except zlib.error:
        return _inflated(data, limit, _RAW)


def _inflated(data: bytes, limit: int, window_bits: int) -> bytes:
    stream = zlib.decompressobj(window_bits)
    plain = stream.decompress(data, limit + 1)
    _check(stream.eof, len(plain), limit)
    if stream.unused_data.strip(b"\0"):
        raise UndecodableError("something behind it")
    return plain


def _brotli(data: bytes, limit: int) -> bytes:
    stream = brotli.Decompressor()
    plain = stream.process(data, output_buffer_limit=limit + 1)
    while not stream.is_finished() and len(plain) <= limit:
        more = stream.process(b"", output_buffer_limit=limit + 1 - len(plain))
        if not more:
            raise UndecodableError("cut")
        plain += more
    return bytes(plain)


def _zstd(data: bytes, limit: int) -> bytes:
    """All frames (RFC 8878 section 3.1)."""
    plain = bytearray()
    for _ in range(MOST_MEMBERS):
        stream = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG})
        plain += stream.decompress(data, limit + 1 - len(plain))
        _check(stream.eof, len(plain), limit)
        data = stream.unused_data
        if not data:
            return bytes(plain)
    raise TooLargeError("too many frames")


_UNDO: dict[bytes, Callable[[bytes, int], bytes]] = {
    b"gzip": _gunzip,
    b"x-gzip": _gunzip,
    b"deflate": _deflate,
    b"br": _brotli,
    b"zstd": _zstd,
}
