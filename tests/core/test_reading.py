"""Bodies that others wrote: what is found in them, and that none of them can do harm."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.model import Headers, Kind
from proxy.core.outcome import Row, row_of
from proxy.core.reading import JSON_LIMIT, Document
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
        (b"identity", bytes),
    ],
)
def test_codings_that_are_read(coding: bytes, pack: object) -> None:
    assert callable(pack)
    headers: Headers = ((b"content-ENCODING", coding),)
    assert Document(pack(b'{"a": "x"}'), headers).json_values("a") == ["x"]


BOMB = gzip.compress(b'{"a": "x", "b": "' + b"0" * 20_000_000 + b'"}', compresslevel=9)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"br", b'{"a": "x"}'),
        (b"zstd", b'{"a": "x"}'),
        (b"gzip, gzip", gzip.compress(gzip.compress(b'{"a": "x"}'))),
        (b"gzip", b'{"a": "x"}'),
        (b"gzip", gzip.compress(b'{"a": "x"}')[:-6]),
        (b"gzip", b""),
        (b"gzip", BOMB),
    ],
)
def test_codings_that_hold_nothing(coding: bytes, body: bytes) -> None:
    assert Document(body, ((b"Content-Encoding", coding),)).json_values("a") == []


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


@given(body=st.binary(max_size=300), coding=st.sampled_from([b"", b"gzip", b"deflate", b"br"]))
def test_nothing_raises(body: bytes, coding: bytes) -> None:
    document = Document(body, ((b"Content-Encoding", coding),))
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
