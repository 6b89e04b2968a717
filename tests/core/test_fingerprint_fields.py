"""Every field that makes another payment, and every shape of body a reference is looked for in."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.fingerprint import CREDENTIALS, LONGEST_READ_BYTES, REFERENCES, identity, reference_of
from tests.fakes import FakeStream, payment

SECRET = b"sixteen or more!"
URL = "http://provider.test:4000"
KNOWN = [
    *(b"authorization", b"x-api-key", b"api-key", b"apikey", b"x-auth-token"),
    *(b"stripe-account", b"stripe-context", b"paypal-auth-assertion"),
]


def id_of(*headers: tuple[bytes, bytes], target: bytes = b"/pay", method: str = "POST") -> str:
    return identity(SECRET, URL, payment(method, *headers, target=target), b"k")


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("spelled", [bytes.lower, bytes.title, bytes.upper])
def test_the_same_key_in_two_accounts_is_two_payments(name: bytes, spelled: object) -> None:
    assert name in CREDENTIALS
    field = spelled(name)  # type: ignore[operator]
    one, two = id_of((field, b"account 1")), id_of((field, b"account 2"))
    assert len({one, two, id_of()}) == 3
    assert id_of((name, b"account 1")) == one, "however the field is spelled"


def test_what_is_no_credential_makes_no_payment() -> None:
    assert len({id_of((b"X-Anything", value)) for value in (b"1", b"2")} | {id_of()}) == 1
    assert len({id_of((name, b"same")) for name in KNOWN}) == len(KNOWN), "which field says so counts"


@pytest.mark.parametrize("other", [b"/pay/", b"/pay/?x=1", b"/PAY", b"/", b"/pay%2F", b"/pay;x"])
def test_another_path_is_another_payment_and_another_query_is_not(other: bytes) -> None:
    assert id_of(target=other) != id_of(target=b"/pay")
    assert id_of(target=b"/pay?x=1") == id_of(target=b"/pay") == id_of(target=b"/pay?")
    assert id_of(target=other + b"?y=2") == id_of(target=other.partition(b"?")[0])


@pytest.mark.parametrize("field", REFERENCES)
def test_every_usual_field_is_looked_at_in_every_form(field: str) -> None:
    assert reference_of(orjson.dumps({field: "r-1"}), (), None) == "r-1"
    assert reference_of(f"{field}=r-1".encode(), (), None) == "r-1"
    assert (
        reference_of(f"<a><{field.replace('_', '-')}>r-1</{field.replace('_', '-')}></a>".encode(), (), None) == "r-1"
    )


@pytest.mark.parametrize("inner", ["reference", "order_id", "order", "invoice_id", "payment_id", "reference_id"])
def test_a_free_form_object_is_looked_into(inner: str) -> None:
    assert reference_of(orjson.dumps({"metadata": {"x": "no", inner: "r-1"}}), ("metadata",), None) == "r-1"
    assert reference_of(f"metadata[x]=no&metadata[{inner}]=r-1".encode(), ("metadata",), None) == "r-1"


def nested(depth: int) -> bytes:
    node: object = {"order_id": "r-1"}
    for _ in range(depth):
        node = {"inner": node}
    return orjson.dumps(node)


@pytest.mark.parametrize(
    ("body", "reference"),
    [
        (nested(0), "r-1"),
        (nested(2), "r-1"),
        (nested(3), None),
        (b'[{"order_id": "r-1"}, {"order_id": "r-2"}]', "r-1"),
        (b'{"line_items": []}', None),
        (b'{"line_items": [], "order_id": "r-1"}', "r-1"),
        (b"[]", None),
        (b"[[]]", None),
        (b'  {"order_id": "r-1"}', "r-1"),
        (b'{"order_id": null, "invoice_id": "r-2"}', "r-2"),
        (b'{"order_id": 1.5, "invoice_id": 7}', "7"),
        (b'{"order_id": "  r-1  "}', "r-1"),
        (b'{"order_id": "the-key", "invoice_id": "r-2"}', "r-2"),
        (b'{"reference": "r-1", "order_id": "r-2"}', "r-1"),
        (b'{"order_id": "r-2", "reference": "r-1"}', "r-1"),
        (b"order_id=r%2D1", "r-1"),
        (b"a=1&order_id=r-1", "r-1"),
        (b"--boundary\r\norder_id=r-1", None),
        (b"order_id", None),
        (b"\xff\xfe=1&order_id=r-1", "r-1"),
        (b'{"order_id": "r-1"' + b" " * (LONGEST_READ_BYTES - 19) + b"}", "r-1"),
        (b'{"order_id": "r-1"' + b" " * (LONGEST_READ_BYTES - 18) + b"}", None),
    ],
)
def test_where_a_reference_is_found(body: bytes, reference: str | None) -> None:
    assert reference_of(body, (), b"the-key") == reference


def test_a_profile_s_own_fields_are_the_only_ones_then() -> None:
    assert reference_of(b'{"reference": "r-1", "mine": "r-2"}', ("mine",), None) == "r-2"
    assert reference_of(b'{"reference": "r-1"}', ("mine",), None) is None


def test_a_stream_is_not_read() -> None:
    assert reference_of(FakeStream(b'{"reference": "r-1"}'), (), None) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*REFERENCES, "x"]), inner, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_no_json_is_an_exception_and_what_is_found_is_harmless(document: object) -> None:
    found = reference_of(orjson.dumps(document), ("metadata", "reference"), b"k")
    assert found is None or (0 < len(found) <= 64 and "@" not in found)
