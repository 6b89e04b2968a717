"""The same seed meets the same misfortunes; codings are what they say."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from prove.codings import BOM, CODINGS, coded
from prove.misfortune import Fault, drawn

BODY = json.dumps({"errorCode": "704"}).encode()


def test_a_lot_depends_on_seed_payment_and_arrival_alone() -> None:
    lots = [drawn(7, f"c{number}", arrival, 0.5) for number in range(200) for arrival in range(3)]
    assert lots == [drawn(7, f"c{number}", arrival, 0.5) for number in range(200) for arrival in range(3)]
    assert {lot.fault for lot in lots} == set(Fault)
    assert {lot.coding for lot in lots} == set(CODINGS)


def test_in_calm_everything_is_well() -> None:
    assert {(lot.fault, lot.coding) for lot in (drawn(7, f"c{n}", 0, 0) for n in range(50))} == {(Fault.OK, "plain")}


@pytest.mark.parametrize("name", CODINGS)
def test_a_coding_names_itself(name: str) -> None:
    fields, written = coded(name, BODY)
    assert fields.get("Content-Encoding") == CODINGS[name][0]
    assert written != BODY or name == "plain"


def test_what_can_be_read_holds_the_body() -> None:
    assert gzip.decompress(coded("gzip", BODY)[1]) == BODY
    assert gzip.decompress(coded("two members", BODY)[1]) == BODY
    assert zlib.decompress(coded("raw deflate", BODY)[1], -zlib.MAX_WBITS) == BODY
    assert coded("bom", BODY)[1] == BOM + BODY
    assert json.loads(coded("latin-1", BODY)[1].decode("latin-1"))["errorCode"] == "704"
    with pytest.raises(EOFError):
        gzip.decompress(coded("cut gzip", BODY)[1])


def test_brotli_and_zstandard_are_the_real_formats() -> None:
    """The bytes of stored blocks, as RFC 7932 and RFC 8878 have them; with a library, read by it as well."""
    assert coded("br", BODY)[1][3:-1] == BODY
    assert BODY in coded("zstd", BODY)[1]
    for module, name in (("brotli", "br"), ("zstandard", "zstd")):
        try:
            library = __import__(module)
        except ImportError:
            continue
        reader = library.ZstdDecompressor() if name == "zstd" else library
        assert json.loads(reader.decompress(coded(name, BODY)[1])) == json.loads(BODY)
