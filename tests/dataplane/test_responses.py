"""Answers reach the client as the provider sent them; only the fields of the client's own connection are ours."""

from __future__ import annotations

import gzip
import os

import pytest

from tests.dataplane.rig import Rig, proxied
from tests.edges.hostile import answering_then_eof

OURS = b"X-Payment-Outcome: final\r\nX-Proxy-Attempts: 1\r\n"
GET = b"GET /api/payment HTTP/1.1"


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x;e=1\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nX-Trailer: 1\r\n\r\n"


async def head_of(rig: Rig, *, line: bytes = GET, bodiless: bool = False) -> bytes:
    """The head of the answer to a request with the id `r`."""
    request = line + b"\r\nHost: shop\r\nX-Request-Id: r\r\nIdempotency-Key: k\r\n\r\n"
    return (await rig.ask(request, bodiless=bodiless)).head


async def test_every_field_line_comes_back_as_it_was_sent() -> None:
    lines = (
        b"set-cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nX-B: 1\r\nX-A: 2\r\nx-b: 3\r\nSet-Cookie: a=1; Path=/\r\n"
        b"X-Empty: \r\nX-Obs: \xe9\xff\r\nServer: the provider's\r\nDate: not a date\r\nWWW-Authenticate: a, b\r\n"
        b"Content-Type: text/html\r\nContent-Encoding: br\r\ncontent-length: 2\r\nVia: 1.1 edge\r\nAge: 0\r\n"
    )
    async with proxied(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\nok") as rig:
        assert await head_of(rig) == b"HTTP/1.1 200 OK\r\n" + lines + OURS + b"X-Request-Id: r\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"200 Alles in Ordnung!", b"200 Alles in Ordnung!"),
        (b"200 ", b"200 "),
        (b"200", b"200 "),
        (b"299 \xe9\xff", b"299 \xe9\xff"),
        (b"402 Payment Required", b"402 Payment Required"),
        (b"422 \tx  y", b"422 \tx  y"),
        (b"418 OK", b"418 OK"),
        (b"599 x", b"599 x"),
        (b"999 x", b"999 x"),
    ],
)
async def test_status_and_reason_come_back_as_they_were_sent(sent: bytes, told: bytes) -> None:
    async with proxied(b"HTTP/1.1 " + sent + b"\r\nContent-Length: 2\r\n\r\nok", retry={"max_retries": 0}) as rig:
        assert (await head_of(rig)).partition(b"\r\n")[0] == b"HTTP/1.1 " + told


@pytest.mark.parametrize("status", [b"301", b"302", b"303", b"307", b"308"])
async def test_a_redirect_is_handed_on_and_not_followed(status: bytes) -> None:
    answer = b"HTTP/1.1 " + status + b" Go\r\nLocation: /api/payment/else\r\nContent-Length: 0\r\n\r\n"
    async with proxied(answer) as rig:
        head = await head_of(rig)
        assert head == answer[:-2] + OURS + b"X-Request-Id: r\r\n\r\n"
        assert rig.provider.arrived[0].count(b"HTTP/1.1") == 1


async def test_a_compressed_body_is_not_touched() -> None:
    body = gzip.compress(os.urandom(1000))
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with proxied(answer) as rig:
        reply = await rig.ask(rig.request(b"GET /api/payment HTTP/1.1", b"Accept-Encoding: identity"))
        assert (reply.one("Content-Encoding"), reply.body) == (b"gzip", body)


@pytest.mark.parametrize("length", [b"", b"Content-Length: 12345\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_the_answer_to_head_keeps_its_length_and_the_connection(length: bytes) -> None:
    async with proxied(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n") as rig, rig.client() as client:
        kept = b"" if length.startswith(b"T") else length
        for number in range(2):
            reply = await client.ask(rig.request(b"HEAD /api/payment HTTP/1.1"), bodiless=True)
            expected = b"HTTP/1.1 200 OK\r\n" + kept + OURS + b"X-Request-Id: r%d\r\n\r\n" % number
            assert reply.head == expected


@pytest.mark.parametrize(
    ("status", "length"),
    [
        (b"204 No Content", b""),
        (b"304 Not Modified", b""),
        (b"304 Not Modified", b"Content-Length: 12345\r\n"),
    ],
)
async def test_answers_that_have_no_body_get_none(status: bytes, length: bytes) -> None:
    async with proxied(b"HTTP/1.1 " + status + b"\r\n" + length + b"\r\n") as rig, rig.client() as client:
        for number in range(2):
            reply = await client.ask(rig.request(GET))
            expected = b"HTTP/1.1 " + status + b"\r\n" + length + OURS + b"X-Request-Id: r%d\r\n\r\n" % number
            assert reply.head == expected


async def test_interim_answers_are_not_the_answer() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 x\r\n\r\n"
    answer = b"HTTP/1.1 201 Created\r\nX: y\r\nContent-Length: 2\r\n\r\n"
    async with proxied(interim + answer + b"ok") as rig:
        assert await head_of(rig) == answer[:-2] + OURS + b"X-Request-Id: r\r\n\r\n"


@pytest.mark.parametrize("size", [0, 1, 1000, 255_000, 600_000])
async def test_a_chunked_body_is_the_same_body(size: int) -> None:
    body = os.urandom(size)
    parts = [body[at : at + 9999] for at in range(0, size, 9999)]
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Trailer\r\n\r\n" + chunked(*parts)
    async with proxied(answer) as rig, rig.client() as client:
        for _ in range(2):
            reply = await client.ask(rig.request())
            assert reply.body == body
            assert reply.all("Trailer") == []


@pytest.mark.parametrize("size", [0, 1000, 600_000])
async def test_a_body_that_ends_with_the_connection_is_framed_for_the_client(size: int) -> None:
    body = os.urandom(size)
    async with proxied(answering_then_eof(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n" + body)) as rig, rig.client() as client:
        for _ in range(2):
            reply = await client.ask(rig.request())
            assert reply.body == body
            assert reply.all("Content-Length") or reply.all("Transfer-Encoding")


@pytest.mark.parametrize("size", [10, 600_000])
async def test_a_length_beside_chunks_is_dropped(size: int) -> None:
    body = os.urandom(size)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with proxied(answering_then_eof(head + chunked(body))) as rig:
        reply = await rig.ask(rig.request())
        assert reply.body == body
        assert reply.all("Content-Length") in ([], [b"%d" % size])


async def test_the_connections_own_fields_stay_with_it() -> None:
    hop = b"Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: max=1\r\nProxy-Connection: x\r\nUpgrade: h2c\r\n"
    async with proxied(b"HTTP/1.1 200 OK\r\nA: 1\r\n" + hop + b"Content-Length: 0\r\nB: 2\r\n\r\n") as rig:
        expected = b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 0\r\nB: 2\r\n" + OURS + b"X-Request-Id: r\r\n\r\n"
        assert await head_of(rig) == expected


async def test_a_provider_cannot_speak_in_our_name() -> None:
    lies = (
        b"X-Payment-Outcome: not_sent\r\nx-payment-outcome: unknown\r\nX-Proxy-Attempts: 99\r\n"
        b"X-PROXY-IDEMPOTENCY-KEY: stolen\r\nX-Proxy-Degraded: all\r\nConnection: X-Payment-Outcome\r\n"
    )
    async with proxied(b"HTTP/1.1 200 OK\r\n" + lies + b"Content-Length: 2\r\n\r\nok") as rig:
        assert await head_of(rig) == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + OURS + b"X-Request-Id: r\r\n\r\n"


async def test_the_providers_own_request_id_is_kept() -> None:
    answer = b"HTTP/1.1 200 OK\r\nx-request-id: theirs\r\nContent-Length: 2\r\n\r\n"
    async with proxied(answer + b"ok") as rig:
        assert await head_of(rig) == answer[:-2] + OURS + b"\r\n"


@pytest.mark.parametrize("status", [b"400", b"401", b"402", b"409", b"422", b"429", b"500", b"503"])
async def test_the_providers_last_answer_comes_back_untouched(status: bytes) -> None:
    answer = b"HTTP/1.1 " + status + b" No\r\nRetry-After: 0\r\nX: y\r\nContent-Length: 4\r\n\r\noops"
    async with proxied(answer) as rig:
        reply = await rig.ask(rig.request())
        assert reply.head.startswith(answer[:-6])
        assert reply.body == b"oops"
        assert reply.all("Proxy-Status") == reply.all("Stripe-Should-Retry") == []
        attempts = sum(arrived.count(b"POST ") for arrived in rig.provider.arrived)
        assert int(reply.one("X-Proxy-Attempts")) == attempts
