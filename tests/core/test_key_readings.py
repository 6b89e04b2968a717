"""What may be read in two ways has no key that lets it go out again, and is left as it came."""

from __future__ import annotations

import pytest

from proxy.core.idempotency import OVERRIDES, settle_kind
from proxy.core.model import Headers, Kind
from tests.core.providers import NAMES, NEW, PROVIDERS
from tests.fakes import GENERIC, keys, payment, profile

KEYED = {
    "stripe": ("POST", "/v1/charges"),
    "adyen": ("POST", "/v72/payments"),
    "paypal": ("POST", "/v2/checkout/orders/O1/capture"),
    "checkout_com": ("POST", "/payments/pay_1/refunds"),
    "mollie": ("POST", "/v2/payments"),
    "razorpay": ("POST", "/v1/payments/pay_1/refund"),
    "gocardless": ("POST", "/payments"),
}
"""Every provider that takes its key in a header: a request that counts as keyed."""


def field_of(name: str, path: str) -> bytes:
    terms = PROVIDERS[name].terms_for("POST", path)
    assert terms is not None
    assert terms.header is not None
    return terms.header.encode()


def kind(name: str, method: str, target: str, headers: Headers = (), body: bytes = b"{}") -> Kind:
    """The kind, once it is clear that the request goes out as it came."""
    one = payment(method, *headers, target=target.encode("latin-1"), body=body)
    keyed = settle_kind(one, PROVIDERS[name], inject=True, new_key=keys(NEW))
    if keyed.kind is Kind.UNKEYED:
        assert (keyed.payment, keyed.injected, keyed.rule, keyed.key) == (one, None, None, None)
    return keyed.kind


@pytest.mark.parametrize("name", list(KEYED))
@pytest.mark.parametrize(
    "values",
    [
        (b"key-1234567", b"key-7654321"),
        (b"key-1234567", b"key-1234567"),
        (b"key-1234567", b""),
        (b"", b"key-1234567"),
        (b"key-1234567", b"k" * 999),
        (b"", b""),
        (b"key-1234567",) * 3,
    ],
)
@pytest.mark.parametrize("spell", [bytes, bytes.upper])
def test_several_keys_are_none(name: str, values: tuple[bytes, ...], spell: object) -> None:
    assert callable(spell)
    method, path = KEYED[name]
    field = field_of(name, path)
    headers = tuple((field if at == 0 else spell(field), value) for at, value in enumerate(values))
    assert kind(name, method, path, headers[:1]) is (Kind.KEYED if values[0] else Kind.UNKEYED)
    assert kind(name, method, path, headers) is Kind.UNKEYED


DEVIOUS = [
    "{}#",
    "{}#/x",
    "/x#{}",
    "{};v=1",
    "{}%3B",
    "{}%23x",
    "{}%3fx",
    "{}%00",
    "{}%0d%0a",
    "{}%2f",
    "{}%2F..",
    "{}%252f",
    "{}%5c",
    "{}\\",
    "{}/..",
    "{}/.",
    "/x/..{}",
    "/%2e%2e{}",
    "/{}",
    "{}//",
    "{}%",
    "{}%zz",
    "{} x",
    "{}\t",
    "{}\xe9",
    "http://other{}",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", DEVIOUS)
def test_a_path_that_a_server_may_read_as_another_has_no_key(name: str, shape: str) -> None:
    for scope in (one.scope for one in PROVIDERS[name].terms):
        for pattern in scope.paths:
            path = shape.format(pattern.replace("[0-9][0-9]", "72").replace("*", "1"))
            assert kind(name, "POST", path) is Kind.UNKEYED


@pytest.mark.parametrize("shape", DEVIOUS)
def test_where_every_path_has_the_key_none_is_devious(shape: str) -> None:
    one = payment("POST", target=shape.format("/pay").encode("latin-1"))
    assert settle_kind(one, GENERIC, inject=True, new_key=keys(NEW)).kind is Kind.KEYED


@pytest.mark.parametrize("shape", DEVIOUS)
def test_a_star_beside_a_fixed_path_does_not_cover_what_may_be_either(shape: str) -> None:
    rule = {"header": "X-Pay-Key", "applies_to": [{"methods": ["POST"], "paths": ["/pay"]}]}
    mixed = profile(more_keys=[rule])
    one = payment("POST", target=shape.format("/pay").encode("latin-1"))
    assert settle_kind(one, mixed, inject=True, new_key=keys(NEW)).kind is Kind.UNKEYED
    assert settle_kind(payment("POST", target=b"/pay"), mixed, inject=True, new_key=keys(NEW)).kind is Kind.KEYED


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", sorted(OVERRIDES))
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT", "POST"])
def test_a_method_that_a_field_overrides_is_no_read_and_has_no_key(name: str, field: bytes, method: str) -> None:
    path = KEYED.get(name, ("", "/v2/payments"))[1]
    for asked in (b"POST", b"DELETE", b"put", b" Patch ", b"", b"nonsense"):
        headers = ((field.title(), asked),)
        same = asked.strip().upper() == method.encode()
        plain = kind(name, method, path)
        assert kind(name, method, path, headers) is (plain if same else Kind.UNKEYED)


def test_two_overrides_must_both_say_the_same() -> None:
    headers = ((b"X-HTTP-Method-Override", b"GET"), (b"X-HTTP-Method", b"POST"))
    assert kind("stripe", "GET", "/v1/charges", headers) is Kind.UNKEYED
    assert kind("stripe", "GET", "/v1/charges", headers[:1]) is Kind.READ


@pytest.mark.parametrize("query", ["_method=POST", "a=1&_method=delete", "%5Fmethod=PUT", "_method", "_method=&b"])
def test_the_query_may_override_too(query: str) -> None:
    assert kind("stripe", "GET", f"/v1/charges?{query}") is Kind.UNKEYED
    assert kind("stripe", "GET", "/v1/charges?method=POST&my_method=POST&x=_method") is Kind.READ


@pytest.mark.parametrize(
    ("method", "headers", "write"),
    [
        ("GET", (), False),
        ("HEAD", (), False),
        ("OPTIONS", (), False),
        ("TRACE", (), False),
        ("POST", (), True),
        ("PUT", (), True),
        ("DELETE", (), True),
        ("PATCH", (), True),
        ("get", (), True),
        ("PROPFIND", (), True),
        ("GET", ((b"X-HTTP-Method-Override", b"DELETE"),), True),
        ("POST", ((b"X-HTTP-Method-Override", b"GET"),), True),
    ],
)
@pytest.mark.parametrize("name", [*NAMES])
def test_what_is_a_write_goes_by_the_method_and_not_by_the_profile(
    name: str, method: str, headers: Headers, write: bool
) -> None:
    one = payment(method, *headers, target=b"/v1/things/1")
    assert settle_kind(one, PROVIDERS[name], inject=False, new_key=keys()).write is write


@pytest.mark.parametrize(
    "limits", [{"max_length": 20}, {"charset": "[a-z0-9]"}, {"min_length": 40}], ids=lambda limits: next(iter(limits))
)
def test_a_key_of_ours_that_the_provider_would_not_take_is_not_sent(limits: dict[str, object]) -> None:
    one = payment("POST", (b"A", b"1"))
    keyed = settle_kind(one, profile(key=limits), inject=True, new_key=keys(NEW))
    assert (keyed.payment, keyed.kind, keyed.injected, keyed.rule) == (one, Kind.UNKEYED, None, None)


@pytest.mark.parametrize(
    ("base", "target", "expected"),
    [
        (b"", b"/charges", Kind.UNKEYED),
        (b"/v1", b"/charges", Kind.KEYED),
        (b"/gateway", b"/v1/charges", Kind.KEYED),
        (b"/v1", b"/../v3/charges", Kind.UNKEYED),
        (b"/v3", b"/charges", Kind.UNKEYED),
    ],
)
def test_a_path_that_begins_in_the_upstreams_url_is_one_path(base: bytes, target: bytes, expected: Kind) -> None:
    one = payment("POST", target=target)
    keyed = settle_kind(one, PROVIDERS["stripe"], inject=True, new_key=keys(NEW), base_path=base)
    assert keyed.kind is expected
