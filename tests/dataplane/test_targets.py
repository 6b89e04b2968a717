"""Request targets reach the provider as they were written, and routes match whole raw segments."""

from __future__ import annotations

import asyncio

import pytest

from tests.dataplane.rig import Rig, proxied

ROOT = [{"path": "/", "upstream": "mock"}]
ODD = [
    b"/api/payment/a%2Fb%2f",
    b"/api/payment/%zz%",
    b"/api/payment/a+b;c=d,e",
    b"/api/payment//x//",
    b"/api/payment/.../.x/x./..x",
    b"/api/payment/a%00b",
    b"/api/payment/a%0d%0aHost:%20evil",
    b"/api/payment/%C3%A9%ff%20",
    b"/api/payment?",
    b"/api/payment??a=b&&=&a=b",
    b"/api/payment?x=%2F%zz+;/..",
    b"/api/payment?redirect=http://shop/../?a%23b\\",
    b"/api/payment/\"<>^`{|}[]'()*!$&~:@",
    b"/api/payment/" + b"x" * 8192,
    b"/api/payment?" + b"%20" * 2700,
]


def asking(target: bytes, method: bytes = b"GET") -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\nHost: shop\r\nX-Request-Id: r\r\n\r\n"


def arriving(rig: Rig, target: bytes) -> bytes:
    return rig.arriving(b"GET " + target + b" HTTP/1.1", b"X-Request-Id: r")


@pytest.mark.parametrize("target", ODD, ids=lambda target: target[:40].decode("latin-1"))
async def test_a_target_arrives_as_it_was_written(target: bytes) -> None:
    async with proxied() as rig:
        reply = await rig.ask(asking(target))
        assert reply.status == 200
        assert rig.provider.arrived == [arriving(rig, target)]


@pytest.mark.parametrize(
    ("target", "authority", "sent"),
    [
        (b"http://shop/api/payment?x", b"shop", b"/api/payment?x"),
        (b"http://h/api/payment", b"h", b"/api/payment"),
        (b"http://p/http://p/x", b"p", b"/http://p/x"),
        (b"HTTP://[::1]:80/a%2Fb", b"[::1]:80", b"/a%2Fb"),
        (b"http://shop", b"shop", b"/"),
        (b"http://shop?x=/y", b"shop", b"/?x=/y"),
        (b"https://shop:443//x", b"shop:443", b"//x"),
    ],
)
async def test_an_absolute_target_is_sent_in_origin_form_and_its_authority_is_the_host(
    target: bytes, authority: bytes, sent: bytes
) -> None:
    async with proxied(routes=ROOT) as rig:
        assert (await rig.ask(asking(target))).status == 200
        line = b"GET " + sent + b" HTTP/1.1"
        assert rig.provider.arrived == [rig.arriving(line, b"X-Request-Id: r", asked=authority)]


async def test_an_absolute_targets_authority_is_what_preserve_host_keeps() -> None:
    async with proxied(routes=ROOT, preserve_host=True) as rig:
        assert (await rig.ask(asking(b"http://elsewhere:81/x"))).status == 200
        assert b"\r\nHost: elsewhere:81\r\n" in rig.provider.arrived[0]
        assert b"shop" not in rig.provider.arrived[0]


DEVIOUS = {
    "dots": b"/api/payment/../admin",
    "dot": b"/api/payment/./x",
    "dots at the end": b"/api/payment/..",
    "dots before a query": b"/api/payment/..?x",
    "encoded": b"/api/payment/%2e%2E/admin",
    "half encoded": b"/api/payment/.%2e/admin",
    "encoded slash": b"/api/payment/..%2fadmin",
    "encoded slashes": b"/api/payment%2f..%2Fadmin",
    "encoded backslash": b"/api/payment/..%5cadmin",
    "encoded twice": b"/api/payment/%252e%252e/admin",
    "encoded thrice": b"/api/payment/%25252e./admin",
    "a parameter": b"/api/payment/..;a=b/admin",
    "an encoded parameter": b"/api/payment/..%3ba/admin",
    "a nul": b"/api/payment/..%00/admin",
    "a blank": b"/api/payment/..%20/admin",
    "backslash": b"/api/payment/x\\y",
    "backslashes": b"/api/payment\\..\\admin",
    "fragment": b"/api/payment/#fragment",
    "fragment in the query": b"/api/payment?a#b",
    "absolute": b"http://shop/api/payment/../admin",
    "absolute fragment": b"http://shop/api/payment#x",
    "userinfo": b"http://user@shop/api/payment",
    "another scheme": b"ftp://shop/api/payment",
    "a host that is none": b"http://sh<op/api/payment",
}


@pytest.mark.parametrize("target", DEVIOUS.values(), ids=DEVIOUS)
@pytest.mark.parametrize("routes", [None, ROOT], ids=["prefix", "root"])
async def test_a_target_that_another_server_may_read_as_another_one_goes_nowhere(
    target: bytes, routes: list[dict[str, str]] | None
) -> None:
    async with proxied(routes=routes) as rig:
        reply = await rig.ask(asking(target, b"POST"))
        assert (reply.status, reply.problem()["outcome"]) == (400, "not_sent")
        assert rig.provider.peers == []


@pytest.mark.parametrize(
    "target",
    [b"/api/paymentx", b"/api", b"/api/payment%2Fx", b"/API/payment", b"/", b"//api/payment", b"/x?/api/payment"],
)
@pytest.mark.parametrize("method", [b"GET", b"POST", b"OPTIONS", b"DELETE"])
async def test_what_no_route_takes_is_a_404_and_goes_nowhere(method: bytes, target: bytes) -> None:
    async with proxied() as rig:
        reply = await rig.ask(asking(target, method))
        assert reply.status == 404
        assert reply.problem()["outcome"] == "not_sent"
        assert reply.problem()["request_id"] == "r"
        (finished,) = await rig.finished()
        assert (finished.status, finished.route, finished.attempts) == (404, "none", 0)
        assert rig.provider.peers == []


@pytest.mark.parametrize("request_line", [b"OPTIONS *", b"CONNECT provider:443", b"CONNECT /x", b"GET /x%0a"])
async def test_what_no_router_can_express_is_a_404_in_json_too(request_line: bytes) -> None:
    async with proxied() as rig:
        reply = await rig.ask(request_line + b" HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert reply.status == 404
        assert reply.problem()["outcome"] == "not_sent"
        assert rig.provider.peers == []


async def test_connect_opens_no_tunnel_even_where_every_path_is_routed() -> None:
    async with proxied(routes=ROOT) as rig:
        assert (await rig.ask(b"CONNECT /x HTTP/1.1\r\nHost: shop\r\n\r\n")).status == 404
        assert rig.provider.peers == []


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        (b"/pay/v1/charges?a=%2F", b"/v1/charges?a=%2F"),
        (b"/pay", b"/"),
        (b"/pay?x", b"/?x"),
        (b"/pay//x", b"//x"),
        (b"/pay/pay/x", b"/pay/x"),
    ],
)
async def test_a_stripped_prefix_leaves_a_path(target: bytes, sent: bytes) -> None:
    async with proxied(routes=[{"path": "/pay", "upstream": "mock", "strip_prefix": True}]) as rig:
        assert (await rig.ask(asking(target))).status == 200
        assert rig.provider.arrived == [arriving(rig, sent)]


@pytest.mark.parametrize(("path", "base"), [("/v1", b"/v1"), ("/v1/", b"/v1"), ("/", b""), ("/a%2Fb", b"/a%2Fb")])
async def test_the_upstreams_own_path_goes_in_front(path: str, base: bytes) -> None:
    async with proxied(path=path) as rig:
        assert (await rig.ask(asking(b"/api/payment/x?y"))).status == 200
        assert rig.provider.arrived == [arriving(rig, base + b"/api/payment/x?y")]


async def test_the_longest_prefix_wins_whatever_the_order() -> None:
    routes = [
        {"path": "/api", "upstream": "mock"},
        {"path": "/api/v1/", "upstream": "mock", "strip_prefix": True},
        {"path": "/", "upstream": "mock"},
    ]
    async with proxied(routes=routes) as rig:
        for target in (b"/api/v1/x", b"/api/v1x", b"/apis", b"/api/v1"):
            assert (await rig.ask(asking(target))).status == 200
        assert [event.route for event in await rig.finished(4)] == ["/api/v1/", "/api", "/", "/api/v1/"]
        sent = [head.split(b" ")[1] for head in b"".join(rig.provider.arrived).split(b"\r\n\r\n") if head]
        assert sent == [b"/x", b"/api/v1x", b"/apis", b"/"]


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
RARE = ["PROPFIND", "M-SEARCH", "PURGE", "QUERY", "REPORT"]


@pytest.mark.parametrize("method", [*METHODS, *RARE])
async def test_a_method_arrives_as_it_was_written(method: str) -> None:
    async with proxied() as rig:
        line = method.encode() + b" /api/payment HTTP/1.1"
        reply = await rig.ask(line + b"\r\nHost: shop\r\nIdempotency-Key: k\r\n\r\n", bodiless=method == "HEAD")
        assert reply.status == 200
        assert rig.provider.arrived[0].startswith(line + b"\r\n")
        (finished,) = await rig.finished()
        assert finished.method == method


@pytest.mark.parametrize(
    ("method", "status"),
    [
        *((name, 501) for name in (b"BREW", b"post", b"Get", b"X", b"POSTX", b"P!T", b"M" * 10_000)),
        *((name, 400) for name in (b"G=T", b"\xff", b"P@ST", b"PO ST")),
    ],
    ids=lambda value: str(value)[:12],
)
async def test_a_method_the_parser_does_not_know_is_refused_and_never_altered(method: bytes, status: int) -> None:
    async with proxied() as rig:
        reply = await rig.ask(asking(b"/api/payment", method))
        assert reply.status == status
        assert reply.problem()["outcome"] == "not_sent"
        assert rig.provider.peers == []


@pytest.mark.parametrize("target", [b"/\xc3\xa9", b"/\xff", b"/a\tb", b"/a\x7f", b"/a b", b"api/payment", b"?x", b"*"])
async def test_a_target_that_is_not_one_is_refused(target: bytes) -> None:
    async with proxied(routes=ROOT) as rig:
        async with asyncio.timeout(5):
            reply = await rig.ask(asking(target))
        assert reply.status == 400
        assert reply.problem()["attempts"] == 0
        assert rig.provider.peers == []
