"""Bodies as providers and what stands before them really send them: compressed, mis-encoded, or broken.

Brotli and Zstandard are written as stored blocks, which needs no library and is valid all the same.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

BOM = b"\xef\xbb\xbf"


def brotli(body: bytes) -> bytes:
    """One uncompressed meta-block (RFC 7932 section 9.2) and the empty last one; at most 64 KiB."""
    return ((len(body) - 1) << 4 | 1 << 20).to_bytes(3, "little") + body + b"\x03"


def zstd(body: bytes) -> bytes:
    """A single segment of one raw block (RFC 8878 section 3.1.1); 256 bytes to 64 KiB, padded with blanks."""
    body = body.ljust(256)
    return b"\x28\xb5\x2f\xfd\x60" + (len(body) - 256).to_bytes(2, "little") + _block(body)


def _block(body: bytes) -> bytes:
    return (len(body) << 3 | 1).to_bytes(3, "little") + body


def _raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


def _members(body: bytes) -> bytes:
    half = len(body) // 2
    return gzip.compress(body[:half]) + gzip.compress(body[half:])


def _foreign(body: bytes) -> bytes:
    """JSON with a byte in it that no UTF-8 has."""
    return body[:-1] + b', "note": "refus\xe9"}'


CODINGS: dict[str, tuple[str | None, Callable[[bytes], bytes]]] = {
    "plain": (None, bytes),
    "gzip": ("gzip", gzip.compress),
    "br": ("br", brotli),
    "zstd": ("zstd", zstd),
    "raw deflate": ("deflate", _raw_deflate),
    "two members": ("gzip", _members),
    "cut gzip": ("gzip", lambda body: gzip.compress(body)[:-9]),
    "bom": (None, lambda body: BOM + body),
    "latin-1": (None, _foreign),
}
"""By name: the Content-Encoding, and the bytes."""


def coded(name: str, body: bytes) -> tuple[dict[str, str], bytes]:
    """Header fields and bytes of a body in that coding; `body` is a JSON object."""
    field, write = CODINGS[name]
    return ({} if field is None else {"Content-Encoding": field}), write(body)
