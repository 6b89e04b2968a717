"""Bodies that others wrote: what is found in them, and that none of them can do harm."""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.model import Headers, Kind
from proxy.core.outcome import Row, row_of
from proxy.core.reading import JSON_LIMIT, XML_DEPTH, XML_ELEMENTS, XML_LIMIT, Document
from tests import zstd
from tests.core.providers import NAMES, PROVIDERS
from tests.fakes import FakeStream, response


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a", ["1"]),
        ("b.c", ["x"]),
        ("b", []),
        ("list.0.code", ["one"]),
        ("list.1.code", ["two"]),
        ("list.9.code", []),
        ("list.-1.code", []),
        ("list.*.code", ["one", "two"]),
        ("*.c", ["x"]),
        ("yes", ["true"]),
        ("no", ["false"]),
        ("nothing", []),
        ("a.b.c", []),
        ("list.²", []),
    ],
)
def test_json_paths(path: str, found: list[str]) -> None:
    body = b'{"a":1,"b":{"c":"x"},"list":[{"code":"one"},{"code":"two"},3],"yes":true,"no":false,"nothing":null}'
    assert Document(body, ()).json_values(path) == found


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("r/s", ["x & y"]),
        ("r/*/code", ["1", "2"]),
        ("r/a/code", ["1"]),
        ("code", []),
        ("r", []),
        ("*/code", ["1", "2"]),
    ],
)
def test_xml_paths(pattern: str, found: list[str]) -> None:
    body = b"<r><s> x &amp; y </s><a><code>1</code></a><b><c><code>2</code></c></b><e/></r>"
    assert Document(body, ()).xml_values(pattern) == found


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        (b"gzip", gzip.compress),
        (b"x-gzip", gzip.compress),
        (b" GZIP ", gzip.compress),
        (b"deflate", zlib.compress),
        (b"br", brotli.compress),
        (b"zstd", zstd.packed),
    ],
)
def test_codings_are_undone_in_answers_and_never_in_requests(coding: bytes, pack: Callable[[bytes], bytes]) -> None:
    """Whether the provider would undo one to find a key is not known."""
    headers: Headers = ((b"content-ENCODING", coding),)
    assert Document(pack(b'{"a": "x"}'), headers, lenient=True).json_values("a") == ["x"]
    assert Document(pack(b'{"a": "x"}'), headers).json_values("a") == []
    assert Document(b'{"a": "x"}', ((b"Content-Encoding", b"identity"),)).json_values("a") == ["x"]


LOOSE = [b'\xef\xbb\xbf{"a": "x"}', b'{"a": "x", "b": NaN}', b'{"a": "x"}\0', b'{"a": "x", "b": "\xff"}']


@pytest.mark.parametrize("body", LOOSE)
def test_only_an_answer_is_read_loosely(body: bytes) -> None:
    assert Document(body, ()).json_values("a") == []
    assert Document(body, (), lenient=True).json_values("a") == ["x"]


@pytest.mark.parametrize("head", [b"", b"\n <?xml version='1.0' encoding='x'?>", b"<?xml version='1.0'?>\n"])
def test_an_xml_declaration_is_no_hindrance_where_an_answer_is_read(head: bytes) -> None:
    assert Document(head + b"<a><b>\x01x</b></a>", (), lenient=True).xml_values("a/b") == ["x"]


def test_declarations_without_an_end_cost_no_more_than_their_bytes() -> None:
    body = b"<?xml?" * (XML_LIMIT // 6)
    started = time.process_time()
    assert Document(body, (), lenient=True).xml_values("a") == []
    assert time.process_time() - started < 0.3


def test_more_than_the_limit_is_not_read() -> None:
    fits = b'{"a": "' + b"x" * (JSON_LIMIT - 9) + b'"}'
    assert len(fits) == JSON_LIMIT
    assert Document(fits, ()).json_values("a") != []
    assert Document(fits + b" ", ()).json_values("a") == []


def test_a_stream_holds_nothing() -> None:
    document = Document(FakeStream(b'{"a": 1}'), ())
    assert (document.json_values("a"), document.xml_values("*"), document.is_json) == ([], [], False)


def test_a_star_over_a_very_long_list_is_bounded() -> None:
    body = b"[" + b",".join(b"1" for _ in range(100_000)) + b"]"
    assert len(Document(body, ()).json_values("*")) == 1000


CHARSETS = [
    b"utf-8",
    b"utf-16",
    b"iso-8859-1",
    b"idna",
    b"punycode",
    b"undefined",
    b"rot13",
    b"zip",
    b"\xff",
    b"x" * 300,
]


@given(
    body=st.binary(max_size=300),
    coding=st.sampled_from([b"", b"gzip", b"deflate", b"br", b"zstd", b"gzip, br", b",,"]),
    charset=st.sampled_from(CHARSETS),
)
def test_nothing_raises(body: bytes, coding: bytes, charset: bytes) -> None:
    headers = ((b"Content-Encoding", coding), (b"Content-Type", b"text/plain; charset=" + charset))
    document = Document(body, headers, lenient=True)
    assert document.json_readable in {True, False}
    assert document.xml_readable in {True, False}
    assert isinstance(document.json_values("a.*.b"), list)
    assert isinstance(document.xml_values("a/*"), list)


@given(
    body=st.binary(max_size=80) | st.recursive(st.none() | st.text(), st.lists, max_leaves=5).map(repr).map(str.encode),
    status=st.integers(100, 599),
    name=st.sampled_from(NAMES),
    kind=st.sampled_from(Kind),
)
def test_every_answer_of_every_provider_has_a_row(body: bytes, status: int, name: str, kind: Kind) -> None:
    assert isinstance(row_of(response(status, body=body), kind, PROVIDERS[name], PROVIDERS[name].terms[0]), Row)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_compressed_decline_is_a_decline(pack: object) -> None:
    assert callable(pack)
    coding = b"gzip" if pack is gzip.compress else b"deflate"
    refused = response(200, (b"Content-Encoding", coding), body=pack(b'{"resultCode": "Refused"}'))
    assert row_of(refused, Kind.KEYED, PROVIDERS["adyen"], PROVIDERS["adyen"].terms[0]) is Row.DECLINE


def test_a_streamed_answer_is_named_by_its_status_alone() -> None:
    stream = FakeStream(b'{"resultCode": "Refused"}')
    assert (
        row_of(response(200, body=stream), Kind.KEYED, PROVIDERS["adyen"], PROVIDERS["adyen"].terms[0]) is Row.SUCCESS
    )


@pytest.mark.parametrize(("elements", "found"), [(XML_ELEMENTS - 1, ["x"]), (XML_ELEMENTS, [])])
def test_xml_with_too_many_elements_is_not_read(elements: int, found: list[str]) -> None:
    body = b"<a>" + b"<b/>" * (elements - 1) + b"<c>x</c></a>"
    assert Document(body, ()).xml_values("a/c") == found


@pytest.mark.parametrize(("depth", "found"), [(XML_DEPTH, ["x"]), (XML_DEPTH + 1, [])])
def test_xml_that_is_too_deep_is_not_read(depth: int, found: list[str]) -> None:
    body = b"<a>" * depth + b"x" + b"</a>" * depth
    assert Document(body, ()).xml_values("*a") == found
