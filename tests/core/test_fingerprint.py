"""What the ledger may know of a request."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.fingerprint import Destination, body_mark, describe, identity, lone_identity, reference_of
from proxy.core.idempotency import settle_kind
from proxy.core.model import Payment
from tests.fakes import GENERIC, FakeStream, payment

SECRET = b"sixteen or more!"
URL = "http://provider.test:4000"
PLACE = Destination("mock", URL, "generic")
BASE = payment("POST", (b"Authorization", b"Bearer a"), target=b"/pay?x=1")


def id_of(one: Payment = BASE, *, secret: bytes = SECRET, url: str = URL, key: bytes = b"k") -> str:
    return identity(secret, url, one, key)


def test_an_identity_is_the_same_for_the_same_call_whatever_else_differs() -> None:
    other = payment("POST", (b"X-Trace", b"1"), (b"authorization", b"Bearer a"), target=b"/pay?x=2", body=b"other")
    assert re.fullmatch(r"[0-9a-f]{32}", id_of())
    assert id_of() == id_of(other) == id_of(url=f"{URL}/")


def test_the_name_of_an_upstream_does_not_make_the_payment_and_the_rule_is_told_beside_it() -> None:
    keyed = settle_kind(payment("POST", (b"Idempotency-Key", b"k")), GENERIC, inject=False, new_key=str)
    one, two = (describe(SECRET, Destination(name, URL, name), keyed, unique="u") for name in ("generic", "stripe"))
    assert (one.id, one.upstream, one.rule) == (two.id, "generic", "generic:Idempotency-Key")
    assert two.rule == "stripe:Idempotency-Key"


@pytest.mark.parametrize(
    "other",
    [
        id_of(secret=b"another secret..."),
        id_of(url="http://provider.test:4001"),
        id_of(url="https://provider.test:4000"),
        id_of(url=f"{URL}/base"),
        id_of(key=b"K"),
        id_of(payment("PATCH", (b"Authorization", b"Bearer a"), target=b"/pay")),
        id_of(payment("POST", (b"Authorization", b"Bearer b"), target=b"/pay")),
        id_of(payment("POST", (b"X-API-Key", b"Bearer a"), target=b"/pay")),
        id_of(payment("POST", (b"Authorization", b"Bearer a"), (b"Stripe-Account", b"acct_1"), target=b"/pay")),
        id_of(payment("POST", (b"Authorization", b"Bearer a"), target=b"/pay/")),
        lone_identity(SECRET, URL, "k"),
    ],
)
def test_whatever_makes_it_another_payment_makes_it_another_identity(other: str) -> None:
    assert other != id_of()


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_no_two_lists_of_credentials_read_the_same(one: list[bytes], two: list[bytes]) -> None:
    ids = [id_of(payment("POST", *((b"Authorization", value) for value in values))) for values in (one, two)]
    assert (ids[0] == ids[1]) == (one == two)


def test_writes_without_a_key_are_never_the_same_payment() -> None:
    keyed = settle_kind(BASE, GENERIC, inject=False, new_key=str)
    one, two = (describe(SECRET, PLACE, keyed, unique=unique) for unique in "ab")
    assert one.id != two.id
    assert not one.keyed


def test_a_body_is_marked_by_what_it_is_and_not_told() -> None:
    assert body_mark(SECRET, b"1") != body_mark(SECRET, b"2")
    assert body_mark(SECRET, b"1") == body_mark(SECRET, b"1")
    assert body_mark(SECRET, FakeStream(b"1")) == ""


@pytest.mark.parametrize(
    ("body", "fields", "reference"),
    [
        (b'{"reference": "order-7"}', (), "order-7"),
        (b'{"amount": 1, "merchantReference": "m-1"}', ("merchantReference",), "m-1"),
        (b'{"metadata": {"name": "Jane", "order_id": 71}}', ("metadata",), "71"),
        (b'{"purchase_units": [{"invoice_id": "inv-1"}]}', ("invoice_id",), "inv-1"),
        (b"amount=1&metadata[order_id]=o-1", ("metadata",), "o-1"),
        (b"amount=1&client_reference_id=c-1", ("client_reference_id",), "c-1"),
        (b"<transaction><order-id>x-1</order-id></transaction>", ("order_id",), "x-1"),
        (b'{"reference": "' + b"r" * 99 + b'"}', (), "r" * 64),
    ],
)
def test_the_client_s_reference_is_found(body: bytes, fields: tuple[str, ...], reference: str) -> None:
    assert reference_of(body, fields, None) == reference


@pytest.mark.parametrize(
    "body",
    [
        b'{"reference": "4242424242424242"}',
        b'{"reference": "4242 4242 4242 4242"}',
        b'{"reference": "jane@example.org"}',
        b'{"reference": "line\\nbreak"}',
        b'{"reference": true}',
        b'{"reference": {"card": "4242424242424242"}}',
        b'{"reference": "the-key"}',
        b'{"other": "order-7"}',
        b'{"reference": ',
        b'["order-7"]',
        b"",
        b"[" * 100_000,
        b'{"a": "' + b"x" * 70_000 + b'", "reference": "far"}',
    ],
)
def test_what_is_not_harmless_is_not_taken(body: bytes) -> None:
    assert reference_of(body, (), b"the-key") is None


@given(st.binary(max_size=200))
def test_no_body_is_an_exception(body: bytes) -> None:
    reference_of(body, ("metadata", "reference"), b"k")
