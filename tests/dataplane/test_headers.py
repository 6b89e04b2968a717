"""Field lines on their way to the provider: order, case, duplicates and bytes kept; the hop's own dropped and added."""

from __future__ import annotations

import re

import pytest

from tests.dataplane.rig import proxied

GET = b"GET /api/payment HTTP/1.1"
POST = b"POST /api/payment HTTP/1.1"
ID = b"X-Request-Id: r"


def message(line: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([line, b"Host: shop", *lines, b"", body])


async def test_order_case_duplicates_and_odd_values_arrive_as_they_were_sent() -> None:
    lines = [
        b"x-b: 1",
        b"X-A: 2",
        b"X-B: 3",
        b"x-b: 1",
        b"Cookie: a=b; c",
        b"Cookie: d",
        b"Accept: */*, text/html;q=0.1",
        b"accept: second",
        b"X-Empty: ",
        b"X_Under.score!#$%&'*+-^`|~: odd name",
        b"X-Obs: \xe9\xff\x80 caf\xc3\xa9",
        b'X-Quoted: "a, b\\"c" ,,',
        b"Authorization: Bearer  two  blanks",
        ID,
        b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"tracestate: a=1,b=2",
        b"tracestate: c=3",
        b"Content-Encoding: gzip",
        b"Forwarded: for=1.2.3.4",
        b"Last: ",
    ]
    async with proxied() as rig:
        assert (await rig.ask(message(GET, *lines))).status == 200
        assert rig.provider.arrived == [rig.arriving(GET, *lines)]
        (finished,) = await rig.finished()
        assert finished.trace_id == "0af7651916cd43dd8448eb211c80319c"


async def test_white_space_around_a_value_is_not_part_of_it() -> None:
    async with proxied() as rig:
        await rig.ask(message(GET, b"A:1", b"B:  \t 2 3 \t ", b"C:", b"D:\t", ID))
        assert rig.provider.arrived == [rig.arriving(GET, b"A: 1", b"B: 2 3", b"C: ", b"D: ", ID)]


async def test_hop_by_hop_fields_and_those_that_connection_names_stay_here() -> None:
    dropped = [
        b"Connection: keep-alive, X-Private ,, x-other",
        b"X-Private: 1",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authorization: Basic x",
        b"Proxy-Authenticate: Basic",
        b"TE: trailers, gzip",
        b"Trailer: X-T",
        b"Upgrade: h2c",
        b"connection: X-Third",
        b"x-OTHER: 2",
        b"X-Third: 3",
    ]
    async with proxied() as rig:
        await rig.ask(message(GET, b"X-First: 1", *dropped, b"X-Last: 2", ID))
        assert rig.provider.arrived == [rig.arriving(GET, b"X-First: 1", b"X-Last: 2", ID)]


async def test_connection_cannot_name_away_what_frames_and_addresses_the_message() -> None:
    async with proxied() as rig:
        lines = (b"Connection: Host, Content-Length, close", b"Content-Length: 2", b"Idempotency-Key: k", ID)
        reply = await rig.ask(message(POST, *lines, body=b"{}"))
        assert reply.status == 200
        assert rig.provider.arrived == [rig.arriving(POST, *lines[1:], body=b"{}")]


async def test_an_offer_of_http_2_is_not_taken_up_and_the_connection_goes_on() -> None:
    """Java's HttpClient makes it with every request."""
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ")
    kept = (b"Content-Length: 2", b"Idempotency-Key: k", ID)
    async with proxied() as rig, rig.client() as client:
        for _ in range(2):
            reply = await client.ask(message(POST, *offer, *kept, body=b"{}"))
            assert (reply.status, reply.body) == (200, b"ok")
            assert reply.all("Connection") == []
        assert rig.provider.arrived == [2 * rig.arriving(POST, *kept, body=b"{}")]


@pytest.mark.parametrize("protocol", [b"websocket", b"TCP"])
async def test_an_offer_to_switch_protocols_is_not_taken_up_and_ends_the_connection(protocol: bytes) -> None:
    """What comes after it was parsed as if it might be the other protocol's: a trailer could become a field."""
    kept = (b"Content-Length: 2", b"Idempotency-Key: k", ID)
    first = message(POST, b"Connection: Upgrade", b"Upgrade: " + protocol, *kept, body=b"{}")
    chunked = message(POST, b"Transfer-Encoding: chunked", body=b"0\r\nX-A: 1\r\nX-Evil: 1\r\n\r\n")
    async with proxied() as rig, rig.client() as client:
        reply = await client.ask(first + chunked + message(GET))
        assert (reply.status, reply.one("Connection")) == (200, b"close")
        assert await client.rest() == b""
        assert rig.provider.arrived == [rig.arriving(POST, *kept, body=b"{}")]


@pytest.mark.parametrize("trailer", [b"Idempotency-Key", b"X-One, idempotency-key", b"Authorization"])
async def test_a_key_that_would_come_as_a_trailer_is_not_lost_but_refused(trailer: bytes) -> None:
    """It would be dropped, and another one put in its place: sent twice, the payment would be charged twice."""
    wire = message(POST, b"Trailer: " + trailer, b"Transfer-Encoding: chunked")
    async with proxied() as rig:
        reply = await rig.ask(wire + b"2\r\n{}\r\n0\r\nIdempotency-Key: k\r\n\r\n")
        assert (reply.status, reply.problem()["outcome"]) == (400, "not_sent")
        assert rig.provider.peers == []
        harmless = message(POST, b"Trailer: X-Checksum", b"Transfer-Encoding: chunked")
        assert (await rig.ask(harmless + b"2\r\n{}\r\n0\r\nX-Checksum: 1\r\n\r\n")).status == 200


@pytest.mark.parametrize(
    "options", [b"Idempotency-Key", b"close, IDEMPOTENCY-KEY", b"x-one,Authorization ,content-type"]
)
async def test_connection_takes_nothing_away_that_decides_about_money(options: bytes) -> None:
    kept = (b"Idempotency-Key: k", b"Authorization: Bearer t", b"Content-Type: a/b", ID)
    async with proxied() as rig:
        reply = await rig.ask(message(POST, b"Connection: " + options, b"X-One: 1", *kept))
        assert (reply.status, reply.all("X-Proxy-Idempotency-Key")) == (200, [])
        (arrived,) = rig.provider.arrived
        assert [line for line in kept if b"\r\n" + line + b"\r\n" not in arrived] == []
        assert (b"X-One" in arrived) == (b"x-one" not in options)


async def test_host_is_the_providers_in_its_place_and_spelling() -> None:
    async with proxied() as rig:
        await rig.ask(b"GET /api/payment HTTP/1.1\r\nA: 1\r\nhOST: shop\r\nB: 2\r\nX-Request-Id: r\r\n\r\n")
        lines = rig.provider.arrived[0].split(b"\r\n")
        assert lines[1:5] == [b"A: 1", b"hOST: " + rig.host, b"B: 2", ID]
        assert b"X-Forwarded-Host: shop" in lines


@pytest.mark.parametrize("host", [b"shop", b"shop.example:8443", b"[::1]:80", b"pay_gateway", b"sh%C3%B6p"])
async def test_preserve_host_keeps_the_clients_bytes(host: bytes) -> None:
    async with proxied(preserve_host=True) as rig:
        reply = await rig.ask(b"GET /api/payment HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        assert reply.status == 200
        lines = rig.provider.arrived[0].split(b"\r\n")
        assert lines[1] == b"Host: " + host
        assert b"X-Forwarded-Host: " + host in lines


async def test_forwarded_fields_are_appended_to_or_left_as_a_proxy_before_us_set_them() -> None:
    before = (b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: front", b"Via: 1.0 front")
    async with proxied() as rig:
        await rig.ask(message(GET, *before, b"x-forwarded-for: 2.2.2.2, 3.3.3.3", ID))
        assert rig.provider.arrived[0].split(b"\r\n")[2:-2] == [
            *before[1:],
            ID,
            b"X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 127.0.0.1",
            b"Via: " + rig.via,
        ]


async def test_an_id_is_added_where_none_came_and_is_the_one_the_client_is_told() -> None:
    async with proxied() as rig:
        reply = await rig.ask(message(GET))
        added = re.findall(rb"X-Request-Id: ([0-9a-f]{32})\r\n", rig.provider.arrived[0])
        assert added == [reply.one("X-Request-Id")]
        (finished,) = await rig.finished()
        assert finished.request_id.encode() == added[0]


CARDS = [
    b"4111 1111 1111 1111",
    b"4111111111111111",
    b"order-4242424242424242",
    b"4242424242424242 " * 960,
    b"1-" * 513,
]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card[:20].decode())
async def test_an_id_that_could_be_a_card_number_goes_nowhere(card: bytes) -> None:
    async with proxied() as rig:
        reply = await rig.ask(message(GET, b"x-request-id: " + card))
        drawn = reply.one("X-Request-Id")
        assert re.fullmatch(rb"[0-9a-f]{32}", drawn)
        assert rig.provider.arrived == [rig.arriving(GET)[:-2] + b"X-Request-Id: " + drawn + b"\r\n\r\n"]


@pytest.mark.parametrize("unsafe", [b"a b", b"\xff", b"x" * 129, b"x" * 1024, b"<a>", b""])
async def test_an_id_unfit_for_logs_passes_untouched_and_is_not_logged(unsafe: bytes) -> None:
    async with proxied() as rig:
        reply = await rig.ask(message(GET, b"x-request-id: " + unsafe))
        assert rig.provider.arrived == [rig.arriving(GET, b"x-request-id: " + unsafe)]
        (finished,) = await rig.finished()
        assert re.fullmatch("[0-9a-f]{32}", finished.request_id)
        assert reply.one("X-Request-Id") == finished.request_id.encode()


async def test_an_injected_key_is_the_last_line_and_is_told_to_the_client() -> None:
    async with proxied() as rig:
        reply = await rig.ask(message(POST, ID))
        key = reply.one("X-Proxy-Idempotency-Key")
        assert re.fullmatch(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", key)
        expected = rig.arriving(POST, ID).removesuffix(b"\r\n") + b"Idempotency-Key: " + key + b"\r\n\r\n"
        assert rig.provider.arrived == [expected]


async def test_an_injected_key_is_the_same_on_every_attempt() -> None:
    async with proxied(b"HTTP/1.1 503 no\r\nContent-Length: 0\r\n\r\n") as rig:
        reply = await rig.ask(message(POST, ID))
        assert (reply.status, reply.one("X-Proxy-Attempts")) == (503, b"4")
        sent = b"".join(rig.provider.arrived)
        one = rig.arriving(POST, ID)[:-2] + b"Idempotency-Key: " + reply.one("X-Proxy-Idempotency-Key") + b"\r\n\r\n"
        assert sent == 4 * one


@pytest.mark.parametrize("key", [b"k", b"", b'"quoted", x', b"\xff\xfe", b"x" * 3000])
async def test_the_clients_own_key_is_forwarded_byte_for_byte(key: bytes) -> None:
    async with proxied() as rig:
        reply = await rig.ask(message(POST, b"idempotency-KEY: " + key, ID))
        assert reply.all("X-Proxy-Idempotency-Key") == []
        assert rig.provider.arrived == [rig.arriving(POST, b"idempotency-KEY: " + key, ID)]


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE"])
async def test_no_key_is_added_where_the_provider_would_not_honour_it(method: bytes) -> None:
    line = method + b" /api/payment HTTP/1.1"
    async with proxied() as rig:
        reply = await rig.ask(message(line, ID))
        assert reply.all("X-Proxy-Idempotency-Key") == []
        assert rig.provider.arrived == [rig.arriving(line, ID)]
