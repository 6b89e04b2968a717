"""What the ledger may know of a request: HMACs of what is secret, and the client's own reference where it is harmless.

A bare hash would not do: keys and card numbers have too few possibilities (PCI DSS 3.5.1.1).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

from proxy.core.cards import looks_like_card_number
from proxy.core.idempotency import Keyed
from proxy.core.ledger import Write
from proxy.core.model import Body, Headers, Payment
from proxy.core.reading import Document

if TYPE_CHECKING:
    from proxy.core.key_terms import KeyTerms

CREDENTIALS = frozenset(
    {
        b"authorization",
        b"x-api-key",
        b"api-key",
        b"apikey",
        b"x-auth-token",
        b"stripe-account",
        b"stripe-context",
        b"paypal-auth-assertion",
    }
)
"""Fields that say whose account a request is for: the same key in two accounts is two payments."""
REFERENCES = ("reference", "client_reference_id", "reference_id", "order_id", "invoice_id", "custom_id", "receipt")
"""Where a reference is looked for if the profile names no fields."""
_INNER = ("reference", "order_id", "order", "invoice_id", "payment_id", "reference_id")
"""Members of a free-form object such as `metadata` that are taken for a reference."""
_HARMLESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/#+-]{0,63}")
"""No `@`, so that no e-mail address gets in."""
LONGEST_READ_BYTES = 64 << 10
_DEPTH = 2


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a write goes: the upstream's name, what it really is (base URL and profile), and how clients name payments.

    A name may come to mean another provider by a reload; a key means the same payment only at the same base URL.
    """

    upstream: str
    url: str
    profile: str
    references: tuple[str, ...] = ()
    """Fields of a body by which the client may know the payment."""

    def rule(self, terms: KeyTerms | None) -> str:
        """By which profile and which place of the key an answer is read; empty without a key."""
        if terms is None:
            return ""
        return f"{self.profile}:{terms.header or ' '.join(place.path or place.xml or '' for place in terms.rule.body)}"


def describe(secret: bytes, destination: Destination, keyed: Keyed, *, unique: str) -> Write:
    """What the ledger keeps of a write. `unique` tells writes without a key apart."""
    payment, key = keyed.payment, keyed.key
    lone = lone_identity(secret, destination.url, unique)
    return Write(
        id=lone if key is None else identity(secret, destination.url, payment, key),
        upstream=destination.upstream,
        method=payment.method,
        route=payment.route,
        request_id=payment.request_id,
        reference=reference_of(payment.body, destination.references, key),
        keyed=key is not None,
        body=body_mark(secret, payment.body),
        rule=destination.rule(keyed.rule),
    )


def identity(secret: bytes, url: str, payment: Payment, key: bytes) -> str:
    """Which payment this is: equal for every call with this key, credential, method and path at this base URL."""
    path = payment.target.partition(b"?")[0]
    base = url.rstrip("/").encode()
    return _hmac(secret, [base, *_credentials(payment.headers), payment.method.encode(), path, key])


def lone_identity(secret: bytes, url: str, unique: str) -> str:
    """A write without a key is a payment of its own, whatever request id its client gave it."""
    return _hmac(secret, [url.encode(), b"lone", unique.encode()])


def body_mark(secret: bytes, body: Body) -> str:
    """Tells whether two bodies are the same and nothing else; empty for a streamed one."""
    return _hmac(secret, [b"body", body]) if isinstance(body, bytes) else ""


def reference_of(body: Body, fields: Sequence[str], key: bytes | None) -> str | None:
    """The client's reference: short, plain, not like a card number, and never the key itself."""
    if not isinstance(body, bytes) or len(body) > LONGEST_READ_BYTES:
        return None
    found = (_text(value) for value in _candidates(body, fields or REFERENCES))
    return next((text for text in found if text is not None and text.encode() != key), None)


def _hmac(secret: bytes, parts: Iterable[bytes]) -> str:
    framed = b"".join(b"%d:%s" % (len(part), part) for part in parts)  # lengths, so that no two lists read the same
    return hmac.digest(secret, framed, "sha256").hex()[:32]


def _credentials(headers: Headers) -> Iterator[bytes]:
    for name, value in headers:
        if name.lower() in CREDENTIALS:
            yield name.lower()
            yield value


def _candidates(body: bytes, fields: Sequence[str]) -> Iterator[object]:
    if body.lstrip()[:1] in {b"{", b"["}:
        try:
            yield from _in_json(orjson.loads(body), fields, _DEPTH)
        except (orjson.JSONDecodeError, RecursionError):
            return
    elif body.lstrip()[:1] == b"<":
        document = Document(body, ())
        yield from (text for field in fields for text in document.xml_values(f"*/{field.replace('_', '-')}"))
    elif b"=" in body and not body.startswith(b"--"):
        form = dict(parse_qsl(body.decode("latin-1")))
        names = [*fields, *(f"{field}[{inner}]" for field in fields for inner in _INNER)]
        yield from (form[name] for name in names if name in form)


def _in_json(node: Any, fields: Sequence[str], depth: int) -> Iterator[object]:
    if isinstance(node, list):
        node = node[0] if node else None
    if not isinstance(node, dict):
        return
    for field in fields:
        value = node.get(field)
        yield from (value.get(inner) for inner in _INNER) if isinstance(value, dict) else (value,)
    if depth:
        for value in node.values():
            yield from _in_json(value, fields, depth - 1)


def _text(value: object) -> str | None:
    text = str(value).strip()[:64] if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if _HARMLESS.fullmatch(text) and not looks_like_card_number(text) else None
