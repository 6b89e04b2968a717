"""Keys within a body: read, so that the request counts as keyed, and never written."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.model import Kind
from tests.core.providers import BRAINTREE, settled
from tests.fakes import FakeStream


@pytest.mark.parametrize(
    ("name", "method", "path", "body", "key"),
    [
        ("square", "POST", "/v2/payments", b'{"idempotency_key": "k-1", "source_id": "x"}', b"k-1"),
        ("square", "POST", "/v2/refunds", b'{"a": {"idempotency_key": "x"}, "idempotency_key": "k-2"}', b"k-2"),
        ("square", "POST", "/v2/payments", '{"idempotency_key": "ключ"}'.encode(), "ключ".encode()),
        ("braintree", "POST", "/merchants/m/transactions", BRAINTREE, b"k-1"),
        ("braintree", "PUT", "/merchants/m/transactions/t/void", BRAINTREE.replace(b"_", b"-"), b"k-1"),
        ("braintree", "POST", "/merchants/m/transactions/t/refund", BRAINTREE, b"k-1"),
        ("square", "PUT", "/v2/payments/P1", b'{"idempotency_key": "k-1"}', b"k-1"),
        ("square", "POST", "/v2/terminals/checkouts", b'{"idempotency_key": "' + b"k" * 64 + b'"}', b"k" * 64),
        ("square", "POST", "/v2/orders/O1/pay", b'{"idempotency_key": "' + b"k" * 192 + b'"}', b"k" * 192),
        ("square", "POST", "/v2/gift-cards/activities", b'{"idempotency_key": "k"}', b"k"),
        ("square", "POST", "/v2/online-checkout/payment-links", b'{"idempotency_key": "k"}', b"k"),
        ("square", "POST", "/v2/subscriptions", b'{"idempotency_key": "k"}', b"k"),
        ("square", "POST", "/v2/invoices/I1/publish", b'{"idempotency_key": "k"}', b"k"),
    ],
)
def test_a_key_in_the_body_makes_the_request_keyed(name: str, method: str, path: str, body: bytes, key: bytes) -> None:
    keyed = settled(name, method, path, body=body)
    assert (keyed.kind, keyed.key, keyed.injected) == (Kind.KEYED, key, None)
    assert (keyed.payment.body, keyed.payment.headers) == (body, ())


DEEP_XML = b"<a>" * 5000 + b"<api_request_key>k</api_request_key>" + b"</a>" * 5000
BOMB = b"""<!DOCTYPE t [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<transaction><api_request_key>&b;</api_request_key></transaction>"""
FOREIGN = b'<?xml version="1.0"?><!DOCTYPE t SYSTEM "file:///etc/passwd"><transaction><api_request_key>k</api_request_key></transaction>'
HOSTILE: dict[str, list[bytes]] = {
    "square": [
        b"",
        b"null",
        b"[]",
        b'"idempotency_key"',
        b'{"idempotency_key": ""}',
        b'\xef\xbb\xbf{"idempotency_key": "k"}',
        b'{"idempotency_key": "k", "note": NaN}',
        b'{"idempotency_key": " "}',
        b'{"idempotency_key": null}',
        b'{"idempotency_key": ["k"]}',
        b'{"idempotency_key": {"k": 1}}',
        b'{"IDEMPOTENCY_KEY": "k"}',
        b'{"a": {"idempotency_key": "k"}}',
        b'[{"idempotency_key": "k"}]',
        b'{"idempotency_key": "k"',
        b'{"idempotency_key": "\xff\xfe"}',
        b'{"idempotency_key": "' + b"k" * 46 + b'"}',
        b'{"idempotency_key": "' + "é".encode() * 23 + b'"}',
        b'{"idempotency_key": "k", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"idempotency_key": "k", "x": "' + b"x" * 300_000 + b'"}',
        gzip.compress(b'{"idempotency_key": "k"}'),
        b"idempotency_key=k",
    ],
    "braintree": [
        b"",
        b"<transaction/>",
        b"<transaction><custom-fields><api-request-key>k</api-request-key></custom-fields></transaction>",
        b"<transaction><custom_fields><api_request_key>k</api_request_key></custom_fields></transaction>",
        b"<customer><api-request-key>k</api-request-key></customer>",
        b"<transaction><api_request_key>" + b"k" * 256 + b"</api_request_key></transaction>",
        b"<transaction><api_request_key/></transaction>",
        b"<transaction><api_request_key> </api_request_key></transaction>",
        b"<api_request_key>k</api_request_key>",
        b"<transaction><api_request_key>k</api_request_key>",
        b"<transaction><api_request_key>k</api_request_key><api-request-key>other</api-request-key></transaction>",
        b"<transaction><api_request_key>\xff</api_request_key></transaction>",
        b'<?xml version="1.0" encoding="nonsense"?><transaction><api_request_key>k</api_request_key></transaction>',
        b'<?xml version="1.0" encoding="shift_jis"?><transaction><api_request_key>k</api_request_key></transaction>',
        b"<t>" + b"<x/>" * 5000 + b"<api_request_key>k</api_request_key></transaction>",
        b"<transaction><api_request_key>k</api_request_key><x>" + b"x" * 70_000 + b"</x></t>",
        b'{"api_request_key": "k"}',
        DEEP_XML,
        BOMB,
        FOREIGN,
    ],
}


@pytest.mark.parametrize(
    ("name", "body"),
    [pytest.param(name, body, id=f"{name} {at}") for name in HOSTILE for at, body in enumerate(HOSTILE[name])],
)
def test_a_body_that_cannot_be_read_holds_no_key(name: str, body: bytes) -> None:
    path = "/v2/payments" if name == "square" else "/merchants/m/transactions"
    keyed = settled(name, "POST", path, body=body)
    assert (keyed.kind, keyed.payment.body, keyed.payment.headers) == (Kind.UNKEYED, body, ())


def test_a_streamed_body_is_not_read() -> None:
    stream = FakeStream(b'{"idempotency_key": "k"}')
    assert settled("square", "POST", "/v2/payments", body=stream).kind is Kind.UNKEYED


def test_a_header_is_no_key_where_the_body_holds_it() -> None:
    assert settled("square", "POST", "/v2/payments", (b"Idempotency-Key", b"k")).kind is Kind.UNKEYED


@given(body=st.binary(max_size=200), name=st.sampled_from(["square", "braintree"]))
def test_no_body_ever_raises_or_is_changed(body: bytes, name: str) -> None:
    keyed = settled(name, "POST", "/v2/payments" if name == "square" else "/merchants/m/transactions", body=body)
    assert (keyed.payment.body, keyed.payment.headers) == (body, ())
