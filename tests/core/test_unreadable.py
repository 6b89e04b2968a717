"""What cannot be read is not known: an answer whose body could have said "in flight" or "failed" is never `final`."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.model import Body, Headers, Kind, Outcome
from proxy.core.outcome import row_of
from proxy.core.profiles import Profile
from proxy.core.reading import JSON_LIMIT, XML_LIMIT, Document
from proxy.core.retry import TABLE, may_repeat, settles
from proxy.core.rows import Row
from tests import zstd
from tests.core.providers import NAMES, PROVIDERS
from tests.fakes import GENERIC, NO_KEYS, FakeStream, profile, response


@dataclass(frozen=True)
class Saying:
    """A body that says, at this provider and status, that nothing is known yet."""

    name: str
    status: int
    said: bytes
    row: Row
    rule: int = 0


SAYINGS = [
    Saying("adyen", 422, b'{"status":422,"errorCode":"704","message":"in progress"}', Row.IN_FLIGHT),
    Saying("adyen", 409, b'{"status":409,"errorCode":"704","message":"in progress"}', Row.IN_FLIGHT),
    Saying("razorpay", 400, b'{"error":{"code":"GATEWAY_ERROR","message":"in progress"}}', Row.SERVER_ERROR),
    Saying("gocardless", 400, b'{"error":{"type":"gocardless","message":"in progress"}}', Row.SERVER_ERROR),
    Saying(
        "braintree", 200, b'{"errors":[{"extensions":{"errorClass":"INTERNAL"},"m":"in progress"}]}', Row.SERVER_ERROR
    ),
    Saying(
        "braintree",
        422,
        b"<api-error-response><errors><t><error><code>915233</code><m>in progress</m></error></t></errors>"
        b"</api-error-response>",
        Row.IN_FLIGHT,
    ),
]
IN_JSON = [pytest.param(saying, id=f"{saying.name} {saying.status}") for saying in SAYINGS if b"{" in saying.said]
SAID = [pytest.param(saying, id=f"{saying.name} {saying.status}") for saying in SAYINGS]


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def coded(*names: bytes) -> Headers:
    return tuple((b"Content-Encoding", name) for name in names)


def typed(media: bytes) -> Headers:
    return ((b"Content-Type", media),)


def with_message(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new)


def twice(data: bytes) -> bytes:
    return gzip.compress(data[:9]) + gzip.compress(data[9:]) + b"\0" * 20


def nested(data: bytes, times: int) -> bytes:
    for _ in range(times):
        data = gzip.compress(data)
    return data


Spelling = tuple[Headers, Callable[[bytes], bytes]]
LEGIBLE: dict[str, Spelling] = {
    "plain": ((), bytes),
    "gzip": (coded(b"gzip"), gzip.compress),
    "x-gzip": (coded(b"X-GZIP"), gzip.compress),
    "two members and padding": (coded(b"gzip"), twice),
    "deflate": (coded(b"deflate"), zlib.compress),
    "raw deflate": (coded(b"deflate"), raw_deflate),
    "br": (coded(b"br"), brotli.compress),
    "zstd": (coded(b"zstd"), zstd.packed),
    "two zstd frames": (coded(b"zstd"), lambda data: zstd.packed(data[:9]) + zstd.packed(data[9:])),
    "gzip, br": (coded(b"gzip, br"), lambda data: brotli.compress(gzip.compress(data))),
    "gzip, br on two lines": (coded(b"gzip", b"br"), lambda data: brotli.compress(gzip.compress(data))),
    "identity": (coded(b"identity"), bytes),
    "four codings": (coded(b"gzip, gzip, gzip, gzip"), lambda data: nested(data, 4)),
    "byte order mark": ((), lambda data: b"\xef\xbb\xbf" + data),
    "latin-1": ((), with_message(b"prog", b"f\xfcr")),
    "latin-1 by charset": (typed(b"application/json; charset=iso-8859-1"), with_message(b"prog", b"f\xfcr")),
    "utf-16": ((), lambda data: data.decode().encode("utf-16")),
    "utf-16 by charset, no mark": (
        typed(b'text/plain; charset="UTF-16LE"'),
        lambda data: data.decode().encode("utf-16-be"),
    ),
    "trailing NUL": ((), lambda data: data + b"\0"),
    "surrounded by blanks": ((), lambda data: b"\r\n \t" + data + b"\n\n"),
    "called html": (typed(b"text/html"), bytes),
}
LEGIBLE_JSON: dict[str, Spelling] = {
    "lone surrogate": ((), with_message(b"in progress", b"\\ud83d")),
    "NaN": ((), with_message(b'"in progress"', b"NaN")),
    "Infinity": ((), with_message(b'"in progress"', b"-Infinity")),
    "raw newline": ((), with_message(b"in progress", b"in\nprogress")),
    "raw control character": ((), with_message(b"in progress", b"in\x01progress")),
    "utf-32": ((), lambda data: data.decode().encode("utf-32")),
}
ILLEGIBLE: dict[str, Spelling] = {
    "unknown coding": (coded(b"compress"), bytes),
    "one coding of two unknown": (coded(b"gzip, dcb"), gzip.compress),
    "five codings": (coded(b"gzip, gzip, gzip, gzip, gzip"), lambda data: nested(data, 5)),
    "coded on the way, as it says": (((b"Transfer-Encoding", b"gzip, chunked"),), bytes),
    "deflate and junk": (coded(b"deflate"), lambda data: zlib.compress(data) + b"junk"),
    "no text": ((), lambda _: b"\x01\x02no"),
    "coded on the way": (((b"Transfer-Encoding", b"gzip, chunked"),), gzip.compress),
    "gzip cut": (coded(b"gzip"), lambda data: gzip.compress(data)[:-6]),
    "gzip in name only": (coded(b"gzip"), bytes),
    "gzip, not said": ((), gzip.compress),
    "br, not said": ((), lambda data: b"\x8b\x01" + brotli.compress(data)),
    "br cut": (coded(b"br"), lambda data: brotli.compress(data)[:-3]),
    "zstd cut": (coded(b"zstd"), lambda data: zstd.packed(data)[:-3]),
    "zstd in name only": (coded(b"zstd"), bytes),
    "bomb, gzip": (coded(b"gzip"), lambda data: gzip.compress(data + b" " * 3_000_000)),
    "bomb, br": (coded(b"br"), lambda data: brotli.compress(data + b" " * 3_000_000, quality=1)),
    "bomb, zstd": (coded(b"zstd"), lambda data: zstd.packed(data + b" " * 3_000_000)),
    "too many members": (coded(b"gzip"), lambda data: gzip.compress(data) + gzip.compress(b"") * 100),
    "too long": ((), lambda data: data + b" " * JSON_LIMIT),
    "cut in the middle": ((), lambda data: data[:-5]),
    "junk behind": ((), lambda data: data + b"<{["),
    "EBCDIC": (typed(b"application/json; charset=ibm037"), lambda data: data.decode().encode("cp037")),
    "utf-7": (
        typed(b"application/json; charset=utf-7"),
        lambda data: data.replace(b"{", b"+AHs-").replace(b"<", b"+ADw-"),
    ),
    "nothing, and no length": ((), lambda _: b""),
    "blanks, and no length": ((), lambda _: b"\r\n"),
}


def row(saying: Saying, headers: Headers, body: Body, kind: Kind = Kind.KEYED) -> Row:
    profile = PROVIDERS[saying.name]
    return row_of(response(saying.status, *headers, body=body), kind, profile, profile.terms[saying.rule])


@pytest.mark.parametrize("saying", SAID)
@pytest.mark.parametrize("spelling", list(LEGIBLE))
def test_what_can_be_read_is_read(saying: Saying, spelling: str) -> None:
    headers, spell = LEGIBLE[spelling]
    assert row(saying, headers, spell(saying.said)) is saying.row


@pytest.mark.parametrize("saying", IN_JSON)
@pytest.mark.parametrize("spelling", list(LEGIBLE_JSON))
def test_json_is_read_loosely(saying: Saying, spelling: str) -> None:
    headers, spell = LEGIBLE_JSON[spelling]
    assert row(saying, headers, spell(saying.said)) is saying.row


@pytest.mark.parametrize("saying", SAID)
@pytest.mark.parametrize("spelling", list(ILLEGIBLE))
def test_what_cannot_be_read_is_unknown_and_is_not_sent_again(saying: Saying, spelling: str) -> None:
    headers, spell = ILLEGIBLE[spelling]
    found = row(saying, headers, spell(saying.said))
    assert found is Row.UNREADABLE
    assert TABLE[found].outcome is Outcome.UNKNOWN
    assert not settles(found, Kind.KEYED)
    assert [kind for kind in Kind if may_repeat(found, kind, PROVIDERS[saying.name].terms[0])] == []


@pytest.mark.parametrize("saying", SAID)
def test_a_stream_is_not_read(saying: Saying) -> None:
    assert row(saying, (), FakeStream(saying.said)) is Row.UNREADABLE


@pytest.mark.parametrize("saying", IN_JSON)
def test_json_too_deep_to_be_read(saying: Saying) -> None:
    headers: Headers = ()
    body = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"," + saying.said[1:]
    assert row(saying, headers, body) is Row.UNREADABLE


@pytest.mark.parametrize("fill", [b"{}", b"0"])
def test_beyond_what_we_look_at_it_may_say_so(fill: bytes) -> None:
    many = b",".join([fill] * 1001)
    body = b'{"errors":[' + many + b',{"extensions":{"errorClass":"INTERNAL"}}]}'
    assert row(SAYINGS[4], (), body) is Row.UNREADABLE
    assert row(SAYINGS[4], (), b'{"errors":[' + b",".join([fill] * 1000) + b"]}") is Row.SUCCESS


def test_json_within_a_text_is_not_looked_for() -> None:
    assert row(SAYINGS[0], (), json.dumps(SAYINGS[0].said.decode()).encode()) is Row.UNREADABLE


def test_xml_has_a_bound_of_its_own() -> None:
    saying = SAYINGS[5]
    assert row(saying, (), saying.said.replace(b"<m>", b"<m>" + b"x" * XML_LIMIT)) is Row.UNREADABLE


def test_a_bomb_counts_by_its_media_type_and_what_is_broken_does_not() -> None:
    headers = (*coded(b"gzip"), *typed(b"application/xml"))
    assert row(SAYINGS[4], headers, gzip.compress(b" " * 1_000_000)) is Row.SUCCESS
    assert row(SAYINGS[4], headers, gzip.compress(b"<a/>")[:-4]) is Row.UNREADABLE


def test_a_limit_that_may_be_a_failure_teaches_the_breaker_nothing() -> None:
    terms = PROVIDERS["gocardless"].terms[0]
    assert row_of(response(429, body=b"{"), Kind.KEYED, PROVIDERS["gocardless"], terms) is Row.UNREADABLE


def test_a_success_that_may_be_a_limit_settles_nothing() -> None:
    sign = {"statuses": [200], "body": [{"path": "code", "values": ["limit"]}]}
    facts = profile(rate_limit={"signs": [sign]})
    assert row_of(response(200, body=b"{"), Kind.KEYED, facts, facts.terms[0]) is Row.UNREADABLE


def test_a_5xx_stays_what_its_status_says() -> None:
    facts = profile(provider_failures=[{"body": [{"path": "code", "values": ["a"]}]}])
    assert row_of(response(503, body=b'{"code":"a"}'), Kind.KEYED, facts, facts.terms[0]) is Row.UNAVAILABLE


SILENT: dict[str, tuple[Headers, bytes]] = {
    "other JSON": ((), b'{"errorCode":"1","error":{"code":"X","type":"y"},"errors":[]}'),
    "null": ((), b"null"),
    "a number": ((), b"12"),
    "a text": ((), b'"Forbidden"'),
    "an HTML page": (
        typed(b"text/html"),
        b"<!DOCTYPE html>\n<html><head><style>a {b: c}</style></head><p>403</html>\n",
    ),
    "an nginx page": ((), b"<html>\r\n<head><title>403 Forbidden</title></head>\r\n<body></body>\r\n</html>\r\n"),
    "plain text": (typed(b"text/plain"), b"upstream connect error or disconnect before headers"),
    "nothing, and its length told": (((b"Content-Length", b"0"),), b""),
    "nothing in chunks": (((b"Transfer-Encoding", b"chunked"),), b""),
    "a page in gzip": (coded(b"gzip"), gzip.compress(b"<html><body>no</body></html>")),
}


@pytest.mark.parametrize("saying", SAID)
@pytest.mark.parametrize("silent", list(SILENT))
def test_what_is_read_and_says_nothing_counts_by_its_status(saying: Saying, silent: str) -> None:
    headers, body = SILENT[silent]
    assert row(saying, headers, body) is (Row.SUCCESS if saying.status == 200 else Row.REJECTED)


@pytest.mark.parametrize(
    ("media", "found"),
    [
        (b"application/xml", Row.SUCCESS),
        (b"text/csv", Row.SUCCESS),
        (b"application/json", Row.UNREADABLE),
        (b"text/json", Row.UNREADABLE),
        (b"application/graphql-response+json", Row.UNREADABLE),
        (b"application/octet-stream", Row.UNREADABLE),
        (b"", Row.UNREADABLE),
    ],
)
def test_of_what_is_too_large_its_media_type_tells(media: bytes, found: Row) -> None:
    """Braintree's searches are POSTs with large XML answers; the failure looked for is JSON."""
    saying = SAYINGS[4]
    for body in (FakeStream(b"x"), b"<a>" + b"x" * JSON_LIMIT + b"</a>"):
        assert row(saying, typed(media), body) is found
    assert row(saying, typed(b"application/xml"), b"\x8b\xff") is Row.UNREADABLE, "small enough to be looked into"


NOTHING_TO_LOOK_FOR = [
    ("stripe", 400),
    ("square", 400),
    ("mollie", 409),
    ("paypal", 422),
    ("adyen", 200),
    ("adyen", 400),
]


@pytest.mark.parametrize(("name", "status"), NOTHING_TO_LOOK_FOR)
def test_where_no_sign_could_change_what_is_known_nothing_changes(name: str, status: int) -> None:
    profile = PROVIDERS[name]
    for body in (FakeStream(b"x"), b"\x8b\xff", b"{", b""):
        unread = row_of(response(status, body=body), Kind.KEYED, profile, profile.terms[0])
        assert unread is row_of(response(status), Kind.KEYED, profile, profile.terms[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", [200, 400, 409, 422, 429, 503])
def test_a_read_is_not_touched(name: str, status: int) -> None:
    profile = PROVIDERS[name]
    unread = [row_of(response(status, body=body), Kind.READ, profile, None) for body in (b"\x8b\xff", FakeStream(b"x"))]
    assert unread == [row_of(response(status), Kind.READ, profile, None)] * 2


def test_a_write_without_key_is_in_flight_for_nobody() -> None:
    def keyless(saying: Saying) -> Row:
        return row_of(response(saying.status, body=b"{"), Kind.UNKEYED, PROVIDERS[saying.name], None)

    assert keyless(SAYINGS[0]) is Row.REJECTED
    assert keyless(SAYINGS[2]) is Row.UNREADABLE


def test_a_429_that_may_mean_in_flight_is_taken_for_that() -> None:
    """Nothing goes out by it that would not after a rate limit, so it may as well wait for its turn."""
    sign = {"statuses": [429], "body": [{"path": "code", "values": ["lock"]}]}
    facts = profile(key={"in_flight_429": [sign]})
    seen = [
        row_of(response(429, body=body), Kind.KEYED, facts, facts.terms[0])
        for body in (b"{}", b'{"code":"lock"}', b"{")
    ]
    assert seen == [Row.RATE_LIMITED, Row.CONCURRENT, Row.CONCURRENT]


@pytest.mark.parametrize("facts", [GENERIC, NO_KEYS], ids=["generic", "none"])
def test_a_profile_that_looks_into_no_body_reads_none(facts: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_: Document) -> None:
        raise AssertionError("the body was looked into")

    monkeypatch.setattr(Document, "_bytes", property(read))
    terms = facts.terms[0] if facts.terms else None
    for status in range(100, 600):
        assert row_of(response(status), Kind.KEYED if terms else Kind.UNKEYED, facts, terms) is not Row.UNREADABLE


PLAIN = st.recursive(
    st.none() | st.booleans() | st.text(max_size=9),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3),
    max_leaves=8,
)


@given(
    saying=st.sampled_from(SAYINGS[:5]),
    more=PLAIN,
    spelling=st.sampled_from([*LEGIBLE, *LEGIBLE_JSON, *ILLEGIBLE]),
    cut=st.integers(0, 400),
)
def test_however_it_is_spelt_and_cut_it_is_never_final(saying: Saying, more: object, spelling: str, cut: int) -> None:
    headers, spell = (LEGIBLE | LEGIBLE_JSON | ILLEGIBLE)[spelling]
    whole = json.dumps({**json.loads(saying.said), "zzz": more}, ensure_ascii=True).encode()
    if "bomb" in spelling:
        return
    body = spell(whole)
    found = row(saying, headers, body[: len(body) - cut] if cut < len(body) else body)
    assert TABLE[found].outcome is Outcome.UNKNOWN
