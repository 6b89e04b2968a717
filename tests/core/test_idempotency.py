"""Which kind a request is, and the key that is added once or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.idempotency import kind_at_age, settle_kind
from proxy.core.key_terms import KeyTerms
from proxy.core.model import Kind
from tests.fakes import GENERIC, NO_KEYS, keys, payment, profile

NEW = "11111111-2222-4333-8444-555555555555"


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_covered_write_without_key_gets_one_at_the_end(method: str) -> None:
    before = payment(method, (b"A", b"1"), (b"B", b"2"))
    keyed = settle_kind(before, GENERIC, inject=True, new_key=keys(NEW))
    assert keyed.kind is Kind.KEYED
    assert keyed.injected == NEW
    assert keyed.payment.headers == (*before.headers, (b"Idempotency-Key", NEW.encode()))
    assert (keyed.payment.body, keyed.payment.target) == (before.body, before.target)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "post", "Patch", "PROPFIND"])
def test_a_method_the_provider_does_not_cover_gets_none(method: str) -> None:
    before = payment(method)
    keyed = settle_kind(before, GENERIC, inject=True, new_key=keys())
    assert (keyed.payment, keyed.kind, keyed.injected) == (before, Kind.UNKEYED, None)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_a_read_gets_none_and_stays_a_read_even_with_a_key(method: str) -> None:
    assert settle_kind(payment(method), GENERIC, inject=True, new_key=keys()).kind is Kind.READ
    with_key = payment(method, (b"Idempotency-Key", b"k"))
    keyed = settle_kind(with_key, GENERIC, inject=True, new_key=keys())
    assert (keyed.payment, keyed.kind) == (with_key, Kind.READ)


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (b"/v1/charges", Kind.KEYED),
        (b"/v1/charges?path=/other", Kind.KEYED),
        (b"/v1/charges/ch_1/capture", Kind.KEYED),
        (b"/other?path=/v1/charges", Kind.UNKEYED),
        (b"/V1/CHARGES", Kind.UNKEYED),
        (b"/v1%2Fcharges", Kind.UNKEYED),
    ],
)
def test_only_covered_paths_count_and_the_query_is_not_part_of_the_path(target: bytes, kind: Kind) -> None:
    only = profile(key={"applies_to": [{"methods": ["POST"], "paths": ["/v1/charges", "/v1/charges/*"]}]})
    assert settle_kind(payment("POST", target=target), only, inject=True, new_key=keys(NEW)).kind is kind
    with_key = payment("POST", (b"Idempotency-Key", b"k"), target=target)
    assert settle_kind(with_key, only, inject=True, new_key=keys()).kind is kind


@pytest.mark.parametrize("name", [b"Idempotency-Key", b"idempotency-key", b"IDEMPOTENCY-KEY", b"iDeMpOtEnCy-kEy"])
@pytest.mark.parametrize("value", [b"k", b'"quoted"', b"\xff\x80 odd \t", b"x" * 4096, b" padded "])
def test_the_clients_key_is_kept_byte_for_byte(name: bytes, value: bytes) -> None:
    before = payment("POST", (b"A", b"1"), (name, value), (b"B", b"2"))
    keyed = settle_kind(before, GENERIC, inject=True, new_key=keys())
    assert (keyed.payment, keyed.kind, keyed.injected) == (before, Kind.KEYED, None)


@given(st.binary(min_size=1, max_size=300).filter(bytes.strip))
def test_whatever_key_the_client_sent_is_forwarded(value: bytes) -> None:
    before = payment("POST", (b"idempotency-key", value))
    assert settle_kind(before, GENERIC, inject=True, new_key=keys()).payment == before


@pytest.mark.parametrize("value", [b"", b" ", b"\t"])
@pytest.mark.parametrize("inject", [True, False])
def test_an_empty_key_protects_nothing(value: bytes, inject: bool) -> None:
    before = payment("POST", (b"Idempotency-Key", value))
    keyed = settle_kind(before, GENERIC, inject=inject, new_key=keys())
    assert (keyed.payment, keyed.kind) == (before, Kind.UNKEYED)


def test_injection_can_be_switched_off() -> None:
    before = payment("POST")
    keyed = settle_kind(before, GENERIC, inject=False, new_key=keys())
    assert (keyed.payment, keyed.kind, keyed.injected) == (before, Kind.UNKEYED, None)
    with_key = payment("POST", (b"Idempotency-Key", b"k"))
    assert settle_kind(with_key, GENERIC, inject=False, new_key=keys()).kind is Kind.KEYED


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
def test_a_provider_without_keys_gets_none_and_honours_none(method: str) -> None:
    before = payment(method, (b"Idempotency-Key", b"k"))
    keyed = settle_kind(before, NO_KEYS, inject=True, new_key=keys())
    assert (keyed.payment, keyed.kind, keyed.injected) == (before, Kind.UNKEYED, None)


def test_another_header_of_the_profile_is_the_key() -> None:
    facts = profile(key={"header": "PayPal-Request-Id"})
    other = payment("POST", (b"Idempotency-Key", b"not the provider's"))
    keyed = settle_kind(other, facts, inject=True, new_key=keys(NEW))
    assert keyed.payment.headers[-1] == (b"PayPal-Request-Id", NEW.encode())
    own = payment("POST", (b"paypal-request-id", b"k"))
    assert settle_kind(own, facts, inject=True, new_key=keys()).payment == own


@pytest.mark.parametrize(
    ("retention", "age", "kind"),
    [
        ("24h", 3601.0, Kind.KEYED),
        ("24h", 86399.9, Kind.KEYED),
        ("24h", 86400.0, Kind.UNKEYED),
        (None, 3599.9, Kind.KEYED),
        (None, 3600.1, Kind.UNKEYED),
    ],
)
def test_row_24_a_key_older_than_its_retention_protects_nothing(retention: str | None, age: float, kind: Kind) -> None:
    assert kind_at_age(Kind.KEYED, profile(key={"retention": retention}).terms[0], age) is kind


@pytest.mark.parametrize("kind", [Kind.READ, Kind.UNKEYED])
@pytest.mark.parametrize("terms", [GENERIC.terms[0], None], ids=["generic", "none"])
def test_age_changes_nothing_where_no_key_protects(kind: Kind, terms: KeyTerms | None) -> None:
    assert kind_at_age(kind, terms, 1e9) is kind


def test_a_keyed_request_without_terms_counts_as_unkeyed() -> None:
    assert kind_at_age(Kind.KEYED, None, 0.0) is Kind.UNKEYED


@pytest.mark.parametrize("facts", [{"max_length": 20}, {"charset": "[0-9]+"}])
def test_a_key_of_ours_that_the_provider_would_not_take_is_not_sent(facts: dict[str, object]) -> None:
    before = payment("POST")
    keyed = settle_kind(before, profile(key=facts), inject=True, new_key=keys(NEW))
    assert (keyed.payment, keyed.kind, keyed.injected, keyed.key, keyed.rule) == (
        before,
        Kind.UNKEYED,
        None,
        None,
        None,
    )
