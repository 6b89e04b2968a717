"""Heads of answers that a strict parser refuses and that RFC 9110 and RFC 9112 tell a proxy how to read.

- white space between a field's name and its colon is removed (RFC 9112 section 5.1: a proxy MUST);
- a folded field becomes one line, each fold a space (RFC 9112 section 5.2);
- a Content-Length told several times over is one, if it is always the same (RFC 9110 section 8.6).

Nothing else is mended. Lengths that differ, control bytes, a CR or LF by itself (section 2.2 would allow the LF) and
white space before the first field can be read in more than one way, and here a wrong reading costs money.
"""

from __future__ import annotations

import re

_START = b"HTTP/1."
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [0-9]{3}(?: [^\r\n]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*([^\r\n]*)")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TELLABLE = re.compile(rb"[A-Za-z-]{1,40}")
_INTERIM = b"1"

_Fields = list[tuple[bytes, bytes]]


class Unreadable(Exception):
    """There is no one reading of this head; says why, in words that hold nothing of the answer but a field's name."""


def mend(received: bytes, objection: str) -> bytes | None:
    """What was `received` of an answer with its head, and interim ones before it, in the strict form.

    None: nothing is wrong so far, and the end of the head has not come. `objection` is the parser's own, for an
    Unreadable that can't be told more precisely.
    """
    mended, rest = b"", received
    while rest:
        head, end, rest = rest.partition(b"\r\n\r\n")
        strict = _mended_head(head.split(b"\r\n"), objection, whole=bool(end))
        if not end:
            return None
        mended += strict
        if head[9:10] != _INTERIM:
            return mended + rest
    return None


def _mended_head(lines: list[bytes], objection: str, *, whole: bool) -> bytes:
    """One head without its end; of one that is not `whole`, the last line may be a part and is not yet a field."""
    if not lines[0].startswith(_START):
        raise Unreadable(objection)
    for line in lines if whole else (*lines[:-1], lines[-1].removesuffix(b"\r")):
        _check_line(line)
    lines = lines if whole else lines[:-1]
    if lines and not _STATUS_LINE.fullmatch(lines[0]):
        raise Unreadable(objection)
    fields = _unfolded(lines[1:])
    if not whole:
        return b""
    return b"\r\n".join([lines[0], *map(b": ".join, _with_one_length(fields)), b"", b""])


def _check_line(line: bytes) -> None:
    for byte, name in ((b"\n", "LF"), (b"\r", "CR")):
        if byte in line:
            raise Unreadable(f"bare {name} in the head")
    if _CONTROL.search(line) and not line.startswith(_START):
        raise Unreadable(f"control byte in {_named(line)}")


def _unfolded(lines: list[bytes]) -> _Fields:
    fields: _Fields = []
    for line in lines:
        if line[:1] in {b" ", b"\t"}:
            if not fields:
                raise Unreadable("white space before the first field")
            name, value = fields.pop()
            fields.append((name, (value + b" " + line.strip(b" \t")).strip(b" \t")))
            continue
        field = _FIELD.fullmatch(line)
        if field is None:
            raise Unreadable(f"no field: {_named(line)}")
        fields.append((field[1], field[2].strip(b" \t")))
    return fields


def _with_one_length(fields: _Fields) -> _Fields:
    lengths = [part.strip(b" \t") for name, value in fields if _is_length(name) for part in value.split(b",")]
    if len(set(lengths)) > 1:
        raise Unreadable("differing Content-Length")
    if not lengths:
        return fields
    if not re.fullmatch(rb"[0-9]+", lengths[0]):
        raise Unreadable("invalid Content-Length")
    first = next(index for index, (name, _) in enumerate(fields) if _is_length(name))
    return [
        (name, lengths[0] if index == first else value)
        for index, (name, value) in enumerate(fields)
        if index == first or not _is_length(name)
    ]


def _is_length(name: bytes) -> bool:
    return name.lower() == b"content-length"


def _named(line: bytes) -> str:
    """The field a line begins, if its name is made of letters: a number might be anything."""
    name = line.partition(b":")[0].strip(b" \t")
    return name.decode() if _TELLABLE.fullmatch(name) else "a line of the head"
