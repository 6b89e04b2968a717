"""Heads that RFC 9110 and RFC 9112 tell a proxy how to read, and those that nobody should read."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.model import Certainty, WireError
from proxy.edges.mending import Unreadable, mend
from proxy.edges.response import ResponseReader, failure

S = b"HTTP/1.1 201 Created\r\n"
L = b"Content-Length: 5\r\n"
BODY = b'{"a"}'

READABLE = {
    "a space before the colon": (S + b"X-Id : 1\r\n" + L, ((b"X-Id", b"1"), (b"Content-Length", b"5"))),
    "a tab and spaces before it": (S + b"X-Id \t  : 1\r\n" + L, ((b"X-Id", b"1"), (b"Content-Length", b"5"))),
    "the same before the length's": (S + b"Content-Length : 5\r\n", ((b"Content-Length", b"5"),)),
    "a field of nothing": (S + b"X-Id :\r\n" + L, ((b"X-Id", b""), (b"Content-Length", b"5"))),
    "the same length twice": (S + L + b"X: y\r\n" + L, ((b"Content-Length", b"5"), (b"X", b"y"))),
    "the same in other letters": (S + L + b"content-length:5\r\n", ((b"Content-Length", b"5"),)),
    "the same length in a list": (S + b"Content-Length: 5, 5,5\r\n", ((b"Content-Length", b"5"),)),
    "list and field": (S + b"Content-Length: 5 , 5\r\n" + L, ((b"Content-Length", b"5"),)),
    "a folded field": (S + b"X-Id: a\r\n b\r\n" + L, ((b"X-Id", b"a b"), (b"Content-Length", b"5"))),
    "folded thrice, by tabs": (S + b"X: a \r\n\t\tb\r\n c\t\r\n" + L, ((b"X", b"a b c"), (b"Content-Length", b"5"))),
    "folded before its value": (S + b"X:\r\n a\r\n" + L, ((b"X", b"a"), (b"Content-Length", b"5"))),
    "folded into nothing": (S + L + b"X: a\r\n  \r\n", ((b"Content-Length", b"5"), (b"X", b"a"))),
    "a folded length": (S + b"Content-Length:\r\n 5\r\n", ((b"Content-Length", b"5"),)),
    "an interim answer before it": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink : x\r\n\r\n" + S + b"X : 1\r\n" + L,
        ((b"X", b"1"), (b"Content-Length", b"5")),
    ),
    "control bytes in the reason phrase": (
        b"HTTP/1.1 201 \x01Created\r\nX : 1\r\n" + L,
        ((b"X", b"1"), (b"Content-Length", b"5")),
    ),
    "all at once": (
        S + b"A : 1\r\n 2\r\n" + L + b"B : 3\r\nContent-Length : 5\r\n",
        ((b"A", b"1 2"), (b"Content-Length", b"5"), (b"B", b"3")),
    ),
}
UNREADABLE = {
    "lengths that differ": (S + L + b"Content-Length: 6\r\n", "differing Content-Length"),
    "lengths that differ in a list": (S + b"Content-Length: 5, 6\r\n", "differing Content-Length"),
    "a length written in two ways": (S + L + b"Content-Length: 05\r\n", "differing Content-Length"),
    "an empty member": (S + b"Content-Length: 5,\r\n", "differing Content-Length"),
    "a length with a sign": (S + b"Content-Length: +5\r\n", "invalid Content-Length"),
    "two lengths with a sign": (S + b"Content-Length: +5\r\n" * 2, "invalid Content-Length"),
    "a length in another base": (S + b"Content-Length: 0x5\r\n" * 2, "invalid Content-Length"),
    "a length folded in two": (S + b"Content-Length: 5\r\n 5\r\n", "invalid Content-Length"),
    "NUL in a value": (S + b"X-Shop: a\x00b\r\n" + L, "control byte in X-Shop"),
    "a control byte in a value": (S + b"X-Shop: a\x01b\r\n" + L, "control byte in X-Shop"),
    "DEL in a value": (S + b"X-Shop: a\x7fb\r\n" + L, "control byte in X-Shop"),
    "NUL in a name": (S + b"X\x00Shop: b\r\n" + L, "control byte in a line of the head"),
    "a control byte in a fold": (S + b"X: a\r\n b\x01\r\n" + L, "control byte in a line of the head"),
    "a CR by itself": (S + b"X: a\rb\r\n" + L, "bare CR in the head"),
    "a CR before the line's end": (S + b"X: a\r\r\n" + L, "bare CR in the head"),
    "an LF by itself": (S + b"X: a\nb: c\r\n" + L, "bare LF in the head"),
    "LF all through": ((S + L).replace(b"\r\n", b"\n"), "bare LF in the head"),
    "space before the first field": (S + b" X: a\r\n" + L, "white space before the first field"),
    "a space within a name": (S + b"X Id: a\r\n" + L, "no field: a line of the head"),
    "no colon": (S + b"Hello\r\n" + L, "no field: Hello"),
    "no name": (S + b": a\r\n" + L, "no field: a line of the head"),
    "a number for a name": (S + b"4242424242424242 x: a\r\n" + L, "no field: a line of the head"),
}


def read(*pieces: bytes) -> ResponseReader:
    reader = ResponseReader()
    for piece in pieces:
        reader.feed(piece)
    return reader


def cut(raw: bytes, *places: int) -> list[bytes]:
    """`raw` in pieces."""
    return [raw[start:end] for start, end in itertools.pairwise([0, *sorted(places), len(raw)])]


@pytest.mark.parametrize(("raw", "headers"), READABLE.values(), ids=READABLE)
def test_what_a_proxy_is_to_read_is_read_and_given_on_in_strict_form(
    raw: bytes, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    whole = raw + b"\r\n" + BODY
    for pieces in ([whole], [bytes([byte]) for byte in whole], cut(whole, len(raw), len(raw) + 2, len(raw) + 4)):
        reader = read(*pieces)
        assert (reader.trouble, reader.objection, reader.complete, reader.status) == ("", "", True, 201)
        assert (reader.reason.replace(b" ", b""), reader.headers, reader.take()) == (b"Created", headers, BODY)
        assert reader.reusable


@pytest.mark.parametrize(("raw", "why"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_can_be_read_in_two_ways_is_not_read_and_says_why(raw: bytes, why: str) -> None:
    whole = raw + b"\r\n" + BODY
    for pieces in ([whole], [bytes([byte]) for byte in whole], cut(whole, len(S), len(S) + 7)):
        reader = read(*pieces)
        assert (reader.status, reader.complete) == (0, False)
        failed = failure(reader, lost=False)
        assert (failed.certainty, failed.error, failed.detail) == (Certainty.NO_ANSWER, WireError.JUNK, why)


def test_the_next_answer_on_the_connection_is_read_as_strictly_as_the_first() -> None:
    reader = read(S + b"X : 1\r\n" + L + b"\r\n" + BODY)
    reader.begin(bodiless=False)
    reader.feed(S + b"Y : 2\r\n" + L + L + b"\r\n" + BODY)
    assert (reader.headers, reader.take()) == (((b"Y", b"2"), (b"Content-Length", b"5")), BODY)
    reader.begin(bodiless=False)
    reader.feed(S + L + b"Content-Length: 6\r\n\r\n" + BODY)
    assert reader.trouble == "differing Content-Length"


def test_an_answer_to_head_may_need_mending_too() -> None:
    reader = ResponseReader()
    reader.begin(bodiless=True)
    reader.feed(S + b"X : 1\r\n" + L + b"\r\n")
    assert (reader.complete, reader.headers) == (True, ((b"X", b"1"), (b"Content-Length", b"5")))


def test_what_begins_like_no_answer_is_refused_without_waiting_for_its_end() -> None:
    for raw in (b"SSH-2.0-x", b"\x15\x03\x01\x00\x02\x02\x46", b"<html>", b"HTTP/2 200\r\n", b"\x00", S + b"X: a\x00"):
        assert read(raw).trouble, raw


def test_a_status_line_that_is_none_is_refused_as_soon_as_it_is_there() -> None:
    reader = read(b"HTTP/1.1 2x1")
    assert (reader.trouble, reader.objection != "") == ("", True)
    reader.feed(b" Created\r\n")
    assert reader.trouble == reader.objection != ""
    with pytest.raises(Unreadable, match="objection"):
        mend(b"HTTP/1.1 2x1 Created\r\n", "the parser's objection")


def test_a_refused_head_that_never_ends_is_bounded() -> None:
    reader = read(S + b"X : 1\r\n")
    for _ in range(100):
        reader.feed(b"A: " + b"b" * 1000 + b"\r\n")
    assert reader.trouble == "head too large"


def test_a_refused_head_that_breaks_off_says_what_was_wrong_with_it() -> None:
    failed = failure(read(S + b"X : 1\r\n"), lost=True)
    assert (failed.error, failed.certainty) == (WireError.JUNK, Certainty.NO_ANSWER)
    assert failed.detail


@pytest.mark.parametrize("fields", [b"", b"Connection: upgrade\r\nUpgrade: x\r\n", b"Upgrade: h2c\r\n"])
@pytest.mark.parametrize("more", [b"", b"\x00\x01", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_another_protocol_is_trouble_and_nothing_is_raised(fields: bytes, more: bytes) -> None:
    reader = read(b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\n" + more)
    assert (reader.trouble, reader.status) == ("switching protocols", 0)


def test_an_upgrade_that_is_only_offered_is_an_answer_like_any() -> None:
    reader = read(b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: x\r\nConnection: upgrade\r\n" + L + b"\r\n" + BODY)
    assert (reader.status, reader.complete, reader.take()) == (426, True, BODY)


token = st.text(alphabet="ABCxyz-019", min_size=1, max_size=8).map(str.encode)
value = st.text(alphabet='abc ,;="é', max_size=12).map(lambda text: text.strip().encode("latin-1"))


@given(st.lists(st.tuples(token, value), max_size=8), st.data())
def test_mending_changes_nothing_but_the_white_space(fields: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    """Any field with any white space before its colon, in any pieces, comes out as it would have without."""
    fields = [(name, text) for name, text in fields if name.lower() != b"content-length"]
    blanks = data.draw(st.lists(st.sampled_from([b"", b" ", b"\t", b" \t "]), min_size=8, max_size=8))
    lines = [name + blank + b": " + text + b"\r\n" for (name, text), blank in zip(fields, blanks, strict=False)]
    raw = S + b"".join(lines) + L + b"\r\n" + BODY
    places = data.draw(st.lists(st.integers(0, len(raw)), max_size=4))
    reader = read(*cut(raw, *places))
    assert reader.headers == (*fields, (b"Content-Length", b"5"))
    assert reader.take() == BODY


@given(st.binary(max_size=80), st.booleans())
def test_whatever_comes_it_is_refused_or_mended_and_mending_twice_changes_nothing(junk: bytes, headed: bool) -> None:
    raw = (S if headed else b"") + junk + b"\r\n\r\n"
    ResponseReader().feed(raw)  # never raises
    mended = None
    with contextlib.suppress(Unreadable):
        mended = mend(raw, "no")
    if mended is not None:
        assert mend(mended, "no") == mended
        assert b"\x00" not in mended.partition(b"\r\n\r\n")[0].partition(b"\r\n")[2]
