"""What is not HTTP is answered 400 in JSON and goes nowhere; whatever comes, the proxy goes on serving."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.dataplane.rig import OK, Rig, proxied
from tests.edges.hostile import Peer, turns, until

HEAD = b"POST /api/payment HTTP/1.1\r\nHost: shop\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

MALFORMED = {
    "no HTTP": b"hello\r\n\r\n",
    "tls hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version": b"GET /api/payment HTTP/3.0\r\nHost: shop\r\n\r\n",
    "version junk": b"GET /api/payment HTTP/1.1x\r\nHost: shop\r\n\r\n",
    "version 0.9": b"POST /api/payment HTTP/0.9\r\nHost: shop\r\n\r\n",
    "version 1.2": b"POST /api/payment HTTP/1.2\r\nHost: shop\r\n\r\n",
    "version 2": b"POST /api/payment HTTP/2.0\r\nHost: shop\r\n\r\n",
    "no version": b"POST /api/payment\r\n\r\n",
    "no version but fields": b"GET /api/payment\r\nHost: shop\r\n\r\n",
    "another protocol": b"SOURCE /api/payment ICE/1.0\r\nHost: shop\r\n\r\n",
    "two spaces": b"POST  /api/payment HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n",
    "two spaces later": b"POST /api/payment  HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n",
    "two spaces and a body": b"POST  /api/payment HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\n{}",
    "tab in the line": b"POST\t/api/payment HTTP/1.1\r\nHost: shop\r\n\r\n",
    "chunks in 1.0": b"POST /api/payment HTTP/1.0\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "empty coding": HEAD + b"Transfer-Encoding:\r\nContent-Length: 2\r\n\r\n{}",
    "blank coding": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: \t \r\n\r\n{}",
    "host with a path": b"GET /api/payment HTTP/1.1\r\nHost: a b/c@d\r\n\r\n",
    "host with a user": b"GET /api/payment HTTP/1.1\r\nHost: u@shop\r\n\r\n",
    "host with a scheme": b"GET /api/payment HTTP/1.1\r\nHost: http://shop\r\n\r\n",
    "host list": b"GET /api/payment HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "host port": b"GET /api/payment HTTP/1.1\r\nHost: shop:http\r\n\r\n",
    "host beyond ascii": b"GET /api/payment HTTP/1.1\r\nHost: sh\xc3\xb6p\r\n\r\n",
    "host beside an absolute target": b"GET http://shop/api/payment HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "host of the control plane": b"GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "no host": b"GET /api/payment HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /api/payment HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "length and chunks": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "same length twice": HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "length list": HEAD + b"Content-Length: 2, 2\r\n\r\n{}",
    "negative length": HEAD + b"Content-Length: -2\r\n\r\n{}",
    "signed length": HEAD + b"Content-Length: +2\r\n\r\n{}",
    "hex length": HEAD + b"Content-Length: 0x2\r\n\r\n{}",
    "huge length": HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "unknown coding": HEAD + b"Transfer-Encoding: gzip\r\n\r\n{}",
    "chunked not last": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked misspelt": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "blank before colon": HEAD + b"X-A : 1\r\n\r\n",
    "no colon": HEAD + b"X-A\r\n\r\n",
    "no name": HEAD + b": 1\r\n\r\n",
    "bad name": HEAD + b"X(A): 1\r\n\r\n",
    "folded line": HEAD + b"X-A: 1\r\n 2\r\n\r\n",
    "nul in value": HEAD + b"X-A: 1\x002\r\n\r\n",
    "bare cr in value": HEAD + b"X-A: 1\r2\r\n\r\n",
    "bare lf": HEAD + b"X-A: 1\n\r\n\r\n",
    "field too large": HEAD + b"X-A: " + b"x" * 17_000 + b"\r\n\r\n",
    "name too large": HEAD + b"x" * 17_000 + b": 1\r\n\r\n",
    "target too large": b"GET /api/payment/" + b"x" * 17_000 + b" HTTP/1.1\r\nHost: shop\r\n\r\n",
    "too many fields": HEAD + b"X-A: 1\r\n" * 130 + b"\r\n",
    "chunk size": CHUNKED + b"zz\r\n\r\n",
    "chunk size missing": CHUNKED + b"\r\n\r\n",
    "chunk size negative": CHUNKED + b"-1\r\n\r\n",
    "chunk size huge": CHUNKED + b"fffffffffffffffff\r\n",
    "chunk too long": CHUNKED + b"1\r\n{}\r\n0\r\n\r\n",
    "chunk bare lf": CHUNKED + b"2\n{}\n0\n\n",
    "trailer": CHUNKED + b"0\r\nX A: 1\r\n\r\n",
}
STATUS = {
    "http/2": 505,
    "version": 505,
    "version 2": 505,
    "version 1.2": 505,
    "field too large": 431,
    "name too large": 431,
    "too many fields": 431,
    "target too large": 414,
}
"""Where it is another one than 400."""
REFUSED = 501  # a coding on top of chunked is not invalid, only unknown here


async def still_serves(rig: Rig) -> bool:
    return (await rig.ask(rig.request())).status == 200


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_not_http_is_refused_in_json(name: str) -> None:
    """Each with an id of its own, and each is told of and counted once, with a word for what was wrong."""
    async with proxied() as rig:
        async with rig.client() as client:
            reply = await client.ask(MALFORMED[name])
            assert reply.status == STATUS.get(name, 400)
            document = reply.problem()
            assert (document["outcome"], document["attempts"]) == ("not_sent", 0)
            assert re.fullmatch("[0-9a-f]{32}", document["request_id"])
            assert reply.one("Connection") == b"close"
            assert await client.rest() == b""
        assert rig.provider.peers == []
        (told,) = await rig.finished()
        assert (told.request_id, told.status) == (document["request_id"], reply.status)
        assert told.malformed
        assert await still_serves(rig)


def sound_part(wire: bytes) -> int:
    """How much of `wire` there is nothing to say against."""
    return next((len(start) for start in (CHUNKED, HEAD, b"GET ", b"P") if wire.startswith(start)), 0)


SPLIT = {name: wire for name, wire in MALFORMED.items() if sound_part(wire)}


@pytest.mark.parametrize("name", SPLIT)
async def test_the_same_when_the_trouble_comes_late(name: str) -> None:
    """Where the head was whole before, a payment waits for its body already: it must not take what came for it."""
    wire = SPLIT[name]
    async with proxied() as rig, rig.client() as client:
        sound = sound_part(wire)
        await client.send(wire[:sound])
        if sound == len(CHUNKED):
            (connection,) = rig.server_connections()
            await until(lambda: connection._request_in_progress)
        else:
            await turns()
        reply = await client.ask(wire[sound:])
        assert (reply.status, reply.problem()["outcome"]) == (STATUS.get(name, 400), "not_sent")
        assert await client.rest() == b""
        assert rig.provider.peers == []


async def test_a_bad_chunk_behind_good_ones_spoils_the_body() -> None:
    async with proxied() as rig, rig.client() as client:
        await client.send(CHUNKED + b"2\r\n{}")
        await turns()
        reply = await client.ask(b"\r\nzz\r\n")
        assert (reply.status, reply.problem()["outcome"]) == (400, "not_sent")
        assert await client.rest() == b""
        assert rig.provider.peers == []


@pytest.mark.parametrize("packets", [1, 2])
async def test_a_body_coded_twice_is_not_passed_on_as_if_it_were_plain(packets: int) -> None:
    wire = HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    at = wire.index(b"\r\n2\r\n") + 2 if packets == 2 else len(wire)
    async with proxied() as rig, rig.client() as client:
        await client.send(wire[:at])
        await asyncio.sleep(0)
        await client.send(wire[at:])
        reply = await client.reply()
        assert (reply.status, reply.problem()["outcome"]) == (REFUSED, "not_sent")
        assert rig.provider.peers == []


async def test_junk_behind_a_request_under_way_does_not_cost_its_answer() -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await go.wait()
        await peer.send(OK)

    async with proxied(slow) as rig, rig.client() as client:
        await client.send(rig.request())
        await arrived.wait()
        await client.send(b"junk\r\n\r\n")
        go.set()
        assert (await client.reply()).status == 200
        assert (await client.reply()).problem()["status"] == 400
        assert await client.rest() == b""


async def test_an_html_client_gets_json_as_well() -> None:
    async with proxied() as rig:
        reply = await rig.ask(b"GET /nowhere HTTP/1.1\r\nHost: shop\r\nAccept: text/html\r\n\r\n")
        assert reply.problem()["status"] == 404
        reply = await rig.ask(b"GET /api HTTP/1.1\r\nAccept: text/html\r\n\r\n")
        assert reply.problem()["status"] == 400
