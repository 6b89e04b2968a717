"""Through the whole data plane to a provider that charges first: how often it is reached, and what the client hears.

The provider is a raw socket: its first answer is the case, each later one a 201, as if the key were new to it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import brotli
import pytest

from tests import zstd
from tests.dataplane.client import Reply
from tests.dataplane.rig import proxied
from tests.edges.hostile import Peer

PAID = b'HTTP/1.1 201 Created\r\nContent-Length: 14\r\n\r\n{"id":"again"}'
ROOT = [{"path": "/", "upstream": "mock"}]
QUICK = {"connect": "400ms", "attempt": "400ms", "total": "5s"}


def head(status: int, length: int, *fields: bytes) -> bytes:
    lines = [b"HTTP/1.1 %d Said" % status, b"Content-Length: %d" % length, *fields, b"", b""]
    return b"\r\n".join(lines)


def whole(status: int, body: bytes = b"{}", *fields: bytes) -> bytes:
    return head(status, len(body), *fields) + body


@dataclass
class Provider:
    """Answers the first request with `first`, then closes, resets or hangs; every later one with a 201."""

    first: bytes
    then: str = "keep"
    arrivals: list[bytes] = field(default_factory=list)

    async def __call__(self, peer: Peer) -> None:
        while request := await peer.request():
            self.arrivals.append(request)
            if len(self.arrivals) > 1:
                await peer.send(PAID)
                continue
            await peer.send(self.first)
            if self.then == "hang":
                await peer.gone()
            if self.then in {"eof", "reset", "hang"}:
                return peer.reset() if self.then == "reset" else peer.close()
        return None


async def pay(provider: Provider, profile: str, path: str, key: bytes, **more: Any) -> Reply:
    async with proxied(provider, profile=profile, routes=ROOT, timeouts=QUICK, **more) as rig:
        lines = [
            b"POST " + path.encode() + b" HTTP/1.1",
            b"Host: shop",
            key + b": key-1234567890",
            b"Content-Length: 2",
        ]
        return await rig.ask(b"\r\n".join([*lines, b"", b"{}"]))


def heard(reply: Reply) -> str:
    return reply.one("X-Payment-Outcome").decode()


WORTHLESS = [
    ("checkout_com", "/payments", b"Cko-Idempotency-Key"),
    ("stripe", "/v2/core/accounts", b"Idempotency-Key"),
    ("razorpay", "/v1/payments/pay_1/refund", b"X-Refund-Idempotency"),
]
"""Where the same key pays anew after a 5xx, or nobody promises that it does not."""
STOPS_AFTER_500 = [
    *WORTHLESS,
    ("adyen", "/v71/payments", b"Idempotency-Key"),
    ("stripe", "/v1/charges", b"Idempotency-Key"),
]


@pytest.mark.parametrize("call", STOPS_AFTER_500, ids=lambda call: f"{call[0]} {call[1]}")
@pytest.mark.parametrize("then", ["keep", "eof", "reset", "hang"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_500_is_a_500_whole_or_cut(call: tuple[str, str, bytes], then: str, chunked: bool) -> None:
    cut = b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{" if chunked else head(500, 100) + b"{"
    provider = Provider(whole(500) if then == "keep" else cut, then)
    assert heard(await pay(provider, *call)) == "unknown"
    assert len(provider.arrivals) == 1


@pytest.mark.parametrize("call", WORTHLESS, ids=lambda call: f"{call[0]} {call[1]}")
@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"", "eof"),
        (b"", "reset"),
        (b"", "hang"),
        (b"HTTP/1.1 5", "eof"),
        (b"junk\r\n\r\n", "eof"),
        (head(200, 100), "eof"),
        (head(502, 100), "eof"),
        (head(503, 100), "hang"),
        (head(409, 100), "reset"),
        (whole(408), "eof"),
        (whole(408), "keep"),
        (whole(409), "keep"),
    ],
)
async def test_what_nobody_saw_may_have_been_a_500(call: tuple[str, str, bytes], first: bytes, then: str) -> None:
    provider = Provider(first, then)
    assert heard(await pay(provider, *call)) == "unknown"
    assert len(provider.arrivals) == 1


@pytest.mark.parametrize("then", ["eof", "reset", "hang"])
async def test_where_the_key_holds_after_a_500_a_lost_answer_is_fetched(then: str) -> None:
    provider = Provider(b"", then)
    reply = await pay(provider, "mollie", "/v2/payments", b"Idempotency-Key")
    assert (reply.status, heard(reply), len(provider.arrivals)) == (201, "final", 2)
    assert provider.arrivals[0] == provider.arrivals[1]


Spell = tuple[tuple[bytes, ...], Callable[[bytes], bytes]]


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def into(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new)


SPELLINGS: dict[str, Spell] = {
    "plain": ((), bytes),
    "gzip": ((b"Content-Encoding: gzip",), gzip.compress),
    "two gzip members": ((b"Content-Encoding: gzip",), lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    "gzip cut": ((b"Content-Encoding: gzip",), lambda data: gzip.compress(data)[:-6]),
    "deflate": ((b"Content-Encoding: deflate",), zlib.compress),
    "raw deflate": ((b"Content-Encoding: deflate",), raw_deflate),
    "br": ((b"Content-Encoding: br",), brotli.compress),
    "br cut": ((b"Content-Encoding: br",), lambda data: brotli.compress(data)[:-3]),
    "zstd": ((b"Content-Encoding: zstd",), zstd.packed),
    "gzip, br": (
        (b"Content-Encoding: gzip", b"Content-Encoding: br"),
        lambda data: brotli.compress(gzip.compress(data)),
    ),
    "unknown coding": ((b"Content-Encoding: snappy",), bytes),
    "BOM": ((), lambda data: b"\xef\xbb\xbf" + data),
    "latin-1": ((), into(b"in progress", b"f\xfcr")),
    "UTF-16": ((b"Content-Type: application/json; charset=utf-16",), lambda data: data.decode().encode("utf-16")),
    "lone surrogate": ((), into(b"in progress", b"\\ud800")),
    "NaN": ((), into(b'"in progress"', b"NaN")),
    "raw newline": ((), into(b"in progress", b"in\nprogress")),
    "trailing NUL": ((), lambda data: data + b"\0"),
    "cut JSON": ((), lambda data: data[:-3]),
    "too long": ((), lambda data: data + b" " * 300_000),
}
UNKNOWN_YET = [
    ("adyen", "/payments", b"Idempotency-Key", 422, b'{"status":422,"errorCode":"704","message":"in progress"}'),
    ("razorpay", "/v1/payouts", b"X-Payout-Idempotency", 400, b'{"error":{"code":"GATEWAY_ERROR","d":"in progress"}}'),
    ("gocardless", "/payments", b"Idempotency-Key", 400, b'{"error":{"type":"gocardless","d":"in progress"}}'),
    (
        "braintree",
        "/graphql",
        b"X-Any",
        200,
        b'{"errors":[{"extensions":{"errorClass":"INTERNAL"},"d":"in progress"}]}',
    ),
]
Said = tuple[str, str, bytes, int, bytes]


@pytest.mark.parametrize("said", UNKNOWN_YET, ids=lambda said: said[0])
@pytest.mark.parametrize("spelling", list(SPELLINGS))
async def test_what_cannot_be_read_is_not_known(said: Said, spelling: str) -> None:
    profile, path, key, status, body = said
    fields, spell = SPELLINGS[spelling]
    spelt = spell(body)
    reply = await pay(Provider(whole(status, spelt, *fields)), profile, path, key, retry={"max_retries": 0})
    assert (reply.status, heard(reply)) == (status, "unknown")
    assert reply.body == spelt, "the client gets it as it came"


BLANKET = [
    ("generic", "/pay", b"Idempotency-Key", whole(422, b'{"detail":"order is already paid"}')),
    ("mollie", "/v2/payments", b"Idempotency-Key", whole(400, b'{"status":400,"detail":"bad gateway request"}')),
    ("razorpay", "/v1/payouts", b"X-Payout-Idempotency", whole(400, b'{"error":{"code":"BAD_REQUEST_ERROR"}}')),
    (
        "razorpay",
        "/v1/payouts",
        b"X-Payout-Idempotency",
        whole(400, b'{"error":{"code":"BAD_REQUEST_ERROR","source":"business"}}'),
    ),
    ("gocardless", "/payments", b"Idempotency-Key", whole(422, b'{"error":{"type":"validation_failed"}}')),
    ("gocardless", "/payments", b"Idempotency-Key", whole(422, b'{"error":{"type":"invalid_state"}}')),
    ("square", "/v2/payments", b"X-Any", whole(400, b'{"errors":[{"code":"IDEMPOTENCY_KEY_REUSED"}]}')),
]
Refusal = tuple[str, str, bytes, bytes]


@pytest.mark.parametrize("refusal", BLANKET, ids=lambda refusal: refusal[0])
async def test_a_refusal_of_the_same_bytes_settles_nothing(refusal: Refusal) -> None:
    profile, path, key, second = refusal
    arrivals: list[bytes] = []

    async def charge_and_hang_then_refuse(peer: Peer) -> None:
        while request := await peer.request():
            arrivals.append(request)
            if len(arrivals) == 1:
                return await peer.gone()
            await peer.send(second)
        return None

    options: dict[str, Any] = {"profile": profile, "routes": ROOT, "timeouts": QUICK}
    async with proxied(charge_and_hang_then_refuse, **options) as rig:
        body = b'{"idempotency_key":"k-1"}'
        lines = [b"POST " + path.encode() + b" HTTP/1.1", b"Host: shop", key + b": key-1234567890"]
        reply = await rig.ask(b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body]))
    assert (heard(reply), len(arrivals)) == ("unknown", 2)
    assert arrivals[0] == arrivals[1]


SUSPECT = [
    (b"POST /v1/charges HTTP/1.1", (b"Idempotency-Key: a-1", b"Idempotency-Key: b-2")),
    (b"POST /v1/charges HTTP/1.1", (b"Idempotency-Key: a-1", b"idempotency-key: ")),
    (b"POST /v1/charges HTTP/1.1", (b"Idempotency-Key: a-1", b"X-HTTP-Method-Override: DELETE")),
    (b"GET /v1/charges HTTP/1.1", (b"X-HTTP-Method-Override: POST",)),
    (b"GET /v1/charges?_method=POST HTTP/1.1", ()),
    (b"POST /v1/charges;v=2 HTTP/1.1", (b"Idempotency-Key: a-1",)),
    (b"POST /v1//charges HTTP/1.1", (b"Idempotency-Key: a-1",)),
    (b"POST /v1/a%2fcharges HTTP/1.1", (b"Idempotency-Key: a-1",)),
]


@pytest.mark.parametrize(("line", "fields"), SUSPECT)
async def test_what_may_be_read_in_two_ways_goes_out_once_and_as_it_came(
    line: bytes, fields: tuple[bytes, ...]
) -> None:
    provider = Provider(b"", "reset")
    async with proxied(provider, profile="stripe", routes=ROOT, timeouts=QUICK) as rig:
        reply = await rig.ask(b"\r\n".join([line, b"Host: shop", *fields, b"Content-Length: 0", b"", b""]))
    assert (reply.status, heard(reply), len(provider.arrivals)) == (424, "unknown", 1)
    names = [one.partition(b":")[0].lower() for one in provider.arrivals[0].split(b"\r\n")]
    assert names.count(b"idempotency-key") == sum(one.lower().startswith(b"idempotency-key") for one in fields)
