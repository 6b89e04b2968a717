"""Header fields on their way to the provider and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import proxy
from proxy.core.headers import Hop, end_to_end, key_fields, to_client, to_provider
from proxy.core.model import Headers
from proxy.core.profiles import Profile
from proxy.edges.config_file import load_profile

PROFILES = Path(proxy.__file__).parent / "profiles"

HOP = Hop(host=b"provider.test", client_ip=b"10.0.0.9", scheme=b"https", request_id=b"req-1")
ADDED_NAMES = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"via", b"x-request-id"}


def sent(*headers: tuple[bytes, bytes], length: int | None = None) -> Headers:
    return to_provider(headers, HOP, length)


def values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for field, value in headers if field.lower() == name]


HOP_NAMES = [
    b"Connection",
    b"Keep-Alive",
    b"Proxy-Connection",
    b"Proxy-Authenticate",
    b"Proxy-Authorization",
    b"TE",
    b"Trailer",
    b"Transfer-Encoding",
    b"Upgrade",
]


@pytest.mark.parametrize("name", [*HOP_NAMES, *(name.lower() for name in HOP_NAMES), b"tRaNsFeR-eNcOdInG"])
def test_hop_by_hop_fields_stay_on_their_hop(name: bytes) -> None:
    assert values(sent((name, b"x")), name.lower()) == []
    assert to_client(((name, b"x"), (b"A", b"1"))) == ((b"A", b"1"),)


@pytest.mark.parametrize(
    "connection",
    [
        ((b"Connection", b"X-One, x-two"),),
        ((b"Connection", b"close"), (b"connection", b" X-TWO ,x-one,, ")),
        ((b"CONNECTION", b"x-one"), (b"Connection", b"x-two")),
    ],
)
def test_fields_that_connection_names_are_dropped(connection: Headers) -> None:
    out = sent(*connection, (b"X-One", b"1"), (b"x-two", b"2"), (b"X-Three", b"3"))
    assert values(out, b"x-one") == values(out, b"x-two") == []
    assert values(out, b"x-three") == [b"3"]
    assert to_client((*connection, (b"X-One", b"1"), (b"X-Three", b"3"))) == ((b"X-Three", b"3"),)


PAYS = [
    *(b"Idempotency-Key", b"X-Idempotency-Key", b"PayPal-Request-Id", b"X-Request-Id", b"Authorization", b"Cookie"),
    *(b"Content-Type", b"Content-Encoding", b"X-Api-Key", b"Stripe-Account", b"Stripe-Context", b"Stripe-Version"),
    *(b"PayPal-Auth-Assertion", b"X-Auth-Token", b"Signature", b"Digest", b"Prefer", b"X-HTTP-Method-Override"),
    *(b"X-Merchant-Id", b"Via", b"X-Forwarded-For", b"X-HTTP-Method", b"X-Method-Override", b"PayPal-Mock-Response"),
]


@pytest.mark.parametrize("name", PAYS)
@pytest.mark.parametrize("spelt", [bytes.lower, bytes.upper, bytes])
@pytest.mark.parametrize("options", [b"%b", b"close, %b", b"X-One ,\t%b,close"])
def test_connection_cannot_take_away_what_decides_about_money(
    name: bytes, spelt: Callable[[bytes], bytes], options: bytes
) -> None:
    out = sent((b"Connection", options % spelt(name)), (name, b"v"), (b"X-One", b"1"))
    assert values(out, name.lower())[0].startswith(b"v") or name == b"Via"
    assert b"v" in b", ".join(values(out, name.lower()))
    assert values(out, b"connection") == []


def test_the_profiles_own_key_fields_are_the_providers_whatever_they_are_called() -> None:
    rule = {"applies_to": [{"methods": ["POST"], "paths": ["*"]}]}
    profile = Profile.model_validate(
        {
            "name": "own",
            "source": "a test",
            "safe_methods": ["GET"],
            "key": {"header": "X-Once", **rule},
            "more_keys": [{"header": "X-Only-Once", **rule}, {"body": [{"path": "reference"}], **rule}],
        }
    )
    lines = (
        (b"Connection", b"x-once, x-only-once, x-else"),
        (b"X-Once", b"a"),
        (b"x-only-once", b"b"),
        (b"X-Else", b"c"),
    )
    out = to_provider(lines, HOP, None, profile)
    assert (values(out, b"x-once"), values(out, b"x-only-once"), values(out, b"x-else")) == ([b"a"], [b"b"], [])


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_no_profile_of_ours_has_a_key_that_connection_can_take_away(path: Path) -> None:
    profile = load_profile(path.stem, PROFILES)
    for name in key_fields(profile):
        assert values(to_provider(((b"Connection", name), (name, b"k")), HOP, None, profile), name) == [b"k"]


def test_an_id_not_to_be_passed_on_gives_way_to_ours_unless_it_is_the_key() -> None:
    hop = replace(HOP, own_id=True)
    assert values(to_provider(((b"X-Request-Id", b"4111"),), hop, None), b"x-request-id") == [b"req-1"]
    rule = {"header": "X-Request-ID", "applies_to": [{"methods": ["POST"], "paths": ["*"]}]}
    profile = Profile.model_validate({"name": "own", "source": "a test", "safe_methods": ["GET"], "key": rule})
    assert values(to_provider(((b"X-Request-Id", b"4111"),), hop, None, profile), b"x-request-id") == [b"4111"]


def test_connection_in_an_answer_cannot_take_away_how_its_body_is_read() -> None:
    answer = ((b"Connection", b"Content-Encoding, X-One"), (b"Content-Encoding", b"gzip"), (b"X-One", b"1"))
    assert to_client(answer) == ((b"Content-Encoding", b"gzip"),)


def test_order_case_and_duplicates_are_kept() -> None:
    given_headers = ((b"hOsT", b"c"), (b"B", b"1"), (b"a", b"2"), (b"B", b"3"), (b"Cookie", b"\xff "), (b"b", b"1"))
    out = sent(*given_headers)
    assert out[:6] == ((b"hOsT", b"provider.test"), *given_headers[1:])


@pytest.mark.parametrize("name", [b"traceparent", b"tracestate", b"Authorization", b"Cookie", b"Accept-Encoding"])
def test_end_to_end_fields_pass(name: bytes) -> None:
    assert (name, b"v") in sent((name, b"v"))


def test_the_hop_is_recorded() -> None:
    assert sent((b"Host", b"shop.test")) == (
        (b"Host", b"provider.test"),
        (b"X-Forwarded-For", b"10.0.0.9"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"shop.test"),
        (b"Via", b"1.1 holdfast"),
        (b"X-Request-Id", b"req-1"),
    )


def test_earlier_hops_stay_recorded() -> None:
    out = sent(
        (b"Host", b"inner"),
        (b"X-Forwarded-For", b"1.1.1.1, 2.2.2.2"),
        (b"x-forwarded-for", b"3.3.3.3"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", b"outer"),
        (b"Via", b"1.1 edge"),
        (b"X-Request-Id", b"theirs"),
    )
    assert values(out, b"x-forwarded-for") == [b"1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.9"]
    assert values(out, b"x-forwarded-proto") == [b"http"]
    assert values(out, b"x-forwarded-host") == [b"outer"]
    assert values(out, b"via") == [b"1.1 edge", b"1.1 holdfast"]
    assert values(out, b"x-request-id") == [b"theirs"]


@pytest.mark.parametrize("host", [b"provider.test", b"shop.test:8443"])
def test_there_is_exactly_one_host_and_it_is_the_hops(host: bytes) -> None:
    hop = Hop(host, b"ip", b"http", b"r")
    for given_headers in [(), ((b"Host", b"a"),), ((b"Host", b"a"), (b"host", b"b"))]:
        assert values(to_provider(given_headers, hop, None), b"host") == [host]


def test_connection_cannot_take_host_or_framing_away() -> None:
    out = sent((b"Connection", b"host, content-length"), (b"Host", b"a"), (b"Content-Length", b"2"), length=2)
    assert values(out, b"host") == [b"provider.test"]
    assert values(out, b"content-length") == [b"2"]


@pytest.mark.parametrize(
    ("given_headers", "length", "expected"),
    [
        ((), None, []),
        ((), 0, [b"0"]),
        ((), 7, [b"7"]),
        (((b"Content-Length", b"7"),), 7, [b"7"]),
        (((b"Content-Length", b"9"),), 7, [b"7"]),
        (((b"Content-Length", b"7"), (b"content-length", b"7")), 7, [b"7"]),
        (((b"Transfer-Encoding", b"chunked"),), 7, [b"7"]),
        (((b"Content-Length", b"0"),), None, []),
    ],
)
def test_content_length_is_what_is_really_sent(
    given_headers: Headers, length: int | None, expected: list[bytes]
) -> None:
    assert values(sent(*given_headers, length=length), b"content-length") == expected


def test_expect_is_answered_here() -> None:
    assert values(sent((b"Expect", b"100-continue")), b"expect") == []


def test_no_forwarded_host_is_invented() -> None:
    assert values(sent(), b"x-forwarded-host") == []


FIELDS = st.lists(
    st.tuples(
        st.sampled_from([b"A", b"a", b"Host", b"Connection", b"X-Two", b"Content-Length", b"Via", *HOP_NAMES]),
        st.sampled_from([b"", b"1", b"close", b"x-two", b"keep-alive, a"]),
    ),
    max_size=10,
).map(tuple)


@given(headers=FIELDS, length=st.none() | st.integers(0, 99))
def test_whatever_comes_in_the_framing_is_sound(headers: Headers, length: int | None) -> None:
    out = to_provider(headers, HOP, length)
    assert len(values(out, b"host")) == 1
    assert values(out, b"content-length") == ([] if length is None else [b"%d" % length])
    assert not {name.lower() for name, _ in out} & {name.lower() for name in HOP_NAMES}
    passed = [line for line in out if line[0].lower() in {b"a", b"x-two"}]
    assert passed == [line for line in end_to_end(headers) if line[0].lower() in {b"a", b"x-two"}]


# to the client ----------------------------------------------------------------------------------------------------


def test_answers_come_back_as_sent() -> None:
    headers = (
        (b"Content-Encoding", b"gzip"),
        (b"set-cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"Content-Length", b"5"),
    )
    assert to_client(headers) == headers


def test_a_content_length_beside_transfer_encoding_is_not_believed() -> None:
    assert to_client(((b"Content-Length", b"5"), (b"transfer-encoding", b"chunked"))) == ()


@pytest.mark.parametrize(
    "name", [b"X-Payment-Outcome", b"x-proxy-attempts", b"X-PROXY-IDEMPOTENCY-KEY", b"X-Proxy-Degraded"]
)
def test_a_provider_cannot_speak_in_our_name(name: bytes) -> None:
    assert to_client(((name, b"final"), (b"A", b"1"))) == ((b"A", b"1"),)
