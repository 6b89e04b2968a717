"""What the upstream transport makes of answers, and what it writes: byte for byte, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from proxy.core.model import Certainty, Response, WireError
from tests.edges.hostile import OK, answering, answering_then_eof, answering_then_hanging, serving
from tests.edges.upstream_kit import PAYMENT, answered, connected, failed, on_both_loops, payment, told, whole

if TYPE_CHECKING:
    from typing import Any

    from proxy.core.model import Result
    from tests.edges.hostile import Peer, Script


async def answer_to(script: Script) -> Result:
    async with serving(script) as server, connected(server.port) as upstream:
        return await upstream.send(payment(), timeout=5)


@on_both_loops
async def test_the_request_arrives_byte_for_byte() -> None:
    headers = ((b"hOsT", b"a.example"), (b"X-Twice", b"1"), (b"x-twice", b"2"), (b"X-Empty", b""), (b"X-L", b"\xe9"))
    sent = payment(target=b"/p/%2F//x?a=%20&a=", headers=headers, body=b'{"a": 1}\x00\xff')
    async with serving(answering(OK)) as server, connected(server.port) as upstream:
        await upstream.send(sent, timeout=5, extra=((b"X-Budget", b"1200"),))
    assert server.arrived == [
        b"POST /p/%2F//x?a=%20&a= HTTP/1.1\r\nhOsT: a.example\r\nX-Twice: 1\r\nx-twice: 2\r\nX-Empty: \r\n"
        b"X-L: \xe9\r\nContent-Length: 10\r\nX-Budget: 1200\r\n\r\n" + b'{"a": 1}\x00\xff'
    ]


@on_both_loops
async def test_a_request_without_body_has_no_content_length() -> None:
    async with serving(answering(OK)) as server, connected(server.port) as upstream:
        await upstream.send(payment("GET", body=None), timeout=5)
    assert server.arrived == [b"GET /api/payment HTTP/1.1\r\nHost: upstream\r\n\r\n"]


@pytest.mark.parametrize(
    "broken", [{"target": b"/ HTTP/1.1\r\nX: "}, {"headers": ((b"A", b"b\r\nC: d"),)}, {"headers": ((b"A", b"b\n"),)}]
)
@on_both_loops
async def test_a_line_break_in_a_request_is_a_bug_and_sends_nothing(broken: dict[str, Any]) -> None:
    async with serving(answering(OK)) as server, connected(server.port) as upstream:
        with pytest.raises(ValueError, match="line break"):
            await upstream.send(payment(**broken), timeout=5)
    assert server.arrived == []


@on_both_loops
async def test_an_answer_comes_back_as_it_was_sent() -> None:
    raw = b"HTTP/1.1 201 Created\r\nSet-Cookie: a\r\n"
    raw += b"set-cookie: b\r\nX-Empty:\r\nX-L: \xe9\r\nContent-Length: 3\r\n\r\nabc"
    answer = await answer_to(answering(raw))
    headers = (
        (b"Set-Cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"X-Empty", b""),
        (b"X-L", b"\xe9"),
        (b"Content-Length", b"3"),
    )
    assert answer == Response(201, b"Created", headers, b"abc")


@on_both_loops
async def test_an_answer_may_arrive_byte_by_byte() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        for byte in OK:
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)
        await peer.gone()

    answer = await answer_to(script)
    assert answer == Response(200, b"OK", ((b"Content-Length", b"2"),), b"ok")


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"HTTP/1.1 200 ", 200, b""),
        (b"HTTP/1.1 200", 200, b""),
        (b"HTTP/1.1 299 Tr\xe8s bien: oui  et non", 299, b"Tr\xe8s bien: oui  et non"),
        (b"HTTP/1.0 999 x", 999, b"x"),
        (b"HTTP/1.1 200 O\x01\x00K", 200, b"O  K"),
        (b"HTTP/1.1 200 \x1b[31mOK\x7f", 200, b" [31mOK "),
        (b"HTTP/1.1 200 a\tb", 200, b"a\tb"),
    ],
)
@on_both_loops
async def test_odd_reason_phrases_are_kept_but_for_control_bytes(line: bytes, status: int, reason: bytes) -> None:
    answer = await answer_to(answering(line + b"\r\nContent-Length: 0\r\n\r\n"))
    assert (answered(answer).status, answered(answer).reason, whole(answer)) == (status, reason, b"")


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
    ],
)
@pytest.mark.parametrize("apart", [True, False])
@on_both_loops
async def test_interim_answers_are_skipped(interim: bytes, apart: bool) -> None:
    pieces = (interim, OK) if apart else (interim + OK,)
    answer = await answer_to(answering_then_hanging(*pieces))
    assert answer == Response(200, b"OK", ((b"Content-Length", b"2"),), b"ok")


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"),
        ("POST", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("POST", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    ],
)
@on_both_loops
async def test_answers_without_a_body_keep_the_connection_in_step(method: str, raw: bytes) -> None:
    async with serving(answering(raw, OK)) as server, connected(server.port) as upstream:
        first = await upstream.send(payment(method, body=None), timeout=5)
        second = await upstream.send(payment(), timeout=5)
    assert (whole(first), whole(second)) == (b"", b"ok")
    assert len(server.peers) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\n\r\nto the end",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nto the end",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nto the end",
    ],
)
@on_both_loops
async def test_a_body_without_length_ends_with_the_connection(raw: bytes) -> None:
    answer = await answer_to(answering_then_eof(raw))
    assert (answered(answer).status, whole(answer)) == (200, b"to the end")


@pytest.mark.parametrize(
    "coding",
    [
        *(b"gzip", b"GZIP", b"xchunked", b"gzip, chunked", b"chunked, gzip", b"br,chunked", b"chunked, chunked"),
        *(b"chunked;q=1", b"deflate\r\nTransfer-Encoding: chunked"),
    ],
)
@pytest.mark.parametrize("length", [b"", b"Content-Length: 15\r\n"])
@on_both_loops
async def test_a_body_that_nobody_decoded_is_never_passed_on_as_if_it_were_plain(coding: bytes, length: bytes) -> None:
    raw = b"HTTP/1.1 201 Created\r\nX-Id: 7\r\n" + length + b"Transfer-Encoding: " + coding + b"\r\n\r\n"
    script = answering_then_eof(raw + b"5\r\nhello\r\n0\r\n\r\n")
    async with serving(script) as server, connected(server.port) as upstream:
        failure = await upstream.send(payment(), timeout=5)
        assert len(upstream._pool) == 0
    assert told(failure) == (Certainty.CUT, WireError.JUNK)
    assert (failed(failure).status, failed(failure).headers[0]) == (201, (b"X-Id", b"7"))


@pytest.mark.parametrize(("method", "status"), [("HEAD", b"200"), ("POST", b"204"), ("GET", b"304")])
@on_both_loops
async def test_a_coding_of_no_body_needs_no_decoding(method: str, status: bytes) -> None:
    raw = b"HTTP/1.1 " + status + b" X\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
    async with serving(answering(raw)) as server, connected(server.port) as upstream:
        answer = await upstream.send(payment(method, body=None), timeout=5)
    assert (answered(answer).status, whole(answer)) == (int(status), b"")


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"identity, chunked", b"CHUNKED"])
@on_both_loops
async def test_chunks_may_be_spelt_and_padded_as_old_servers_do(coding: bytes) -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + coding + b"\r\n\r\n5  \r\nhello\r\n0 \r\n\r\n"
    async with serving(answering(raw)) as server, connected(server.port) as upstream:
        answers = [await upstream.send(payment(), timeout=5) for _ in range(2)]
    assert [whole(answer) for answer in answers] == [b"hello"] * 2
    assert len(server.peers) == 1


@pytest.mark.parametrize("length", [b"", b"Content-Length: 3\r\n"])
@on_both_loops
async def test_chunks_are_joined_and_trailers_dropped(length: bytes) -> None:
    raw = (
        b"HTTP/1.1 200 OK\r\n" + length + b"Transfer-Encoding: chunked\r\n\r\n"
        b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n"
    )
    async with serving(answering(raw)) as server, connected(server.port) as upstream:
        answers = [await upstream.send(payment(), timeout=5) for _ in range(2)]
    assert [whole(answer) for answer in answers] == [b"abcde"] * 2
    assert all(name != b"X-Trailer" for name, _ in answered(answers[0]).headers)
    # Whoever sends both lengths is not trusted with another request on the same connection.
    assert len(server.peers) == (2 if length else 1)


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"ICE/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 201 + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" * 5_000,
    ],
    ids=lambda raw: raw[:34].decode(),
)
@on_both_loops
async def test_what_is_no_answer_is_junk_and_unknown(raw: bytes) -> None:
    async with serving(answering_then_hanging(raw)) as server, connected(server.port) as upstream:
        failure = await upstream.send(payment(), timeout=5)
        await server.done()
    assert (*told(failure), failed(failure).status) == (Certainty.NO_ANSWER, WireError.JUNK, None)
    assert server.arrived == [PAYMENT]


@on_both_loops
async def test_junk_within_the_body_is_a_cut_with_its_status() -> None:
    raw = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"
    failure = await answer_to(answering_then_hanging(raw))
    assert (*told(failure), failed(failure).status) == (Certainty.CUT, WireError.JUNK, 201)
    assert failed(failure).headers == ((b"Transfer-Encoding", b"chunked"),)


@on_both_loops
async def test_no_time_left_sends_nothing() -> None:
    async with serving(answering(OK)) as server, connected(server.port) as upstream:
        await upstream.send(payment(), timeout=5)
        failure = await upstream.send(payment(), timeout=0)
    assert told(failure) == (Certainty.NOT_SENT, WireError.CONNECT_TIMEOUT)
    assert server.arrived == [PAYMENT]


@on_both_loops
async def test_small_packets_are_not_delayed() -> None:
    """TCP_NODELAY: the event loops set it by themselves; this is where we would notice if they stopped."""
    async with serving(answering(OK)) as server, connected(server.port) as upstream:
        await upstream.send(payment(), timeout=5)
        transport = upstream._pool._idle[0]._transport
        assert transport is not None
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
