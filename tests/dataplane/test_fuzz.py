"""Whatever valid message goes in comes out the same at the other end; whatever junk goes in, the proxy goes on."""

from __future__ import annotations

import asyncio
import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.events import PaymentFinished
from proxy.core.malformed import Target, read_target
from tests.dataplane.client import Client
from tests.dataplane.rig import proxied

TOKEN = b"!#$%&'*+-.^_`|~" + b"0123456789" + b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VISIBLE = bytes(range(0x21, 0x7F))
VALUE = VISIBLE + bytes(range(0x80, 0x100)) + b" \t"
MEANT = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te"),
    *(b"trailer", b"transfer-encoding", b"upgrade", b"host", b"content-length", b"expect", b"x-forwarded-for"),
    *(b"x-forwarded-proto", b"x-forwarded-host", b"via", b"x-request-id", b"idempotency-key", b"date"),
    *(b"x-payment-outcome", b"x-proxy-attempts", b"x-proxy-idempotency-key", b"x-proxy-degraded", b"retry-after"),
    *(b"content-type", b"content-range", b"content-location", b"etag", b"max-forwards", b"server", b"user-agent"),
}
"""Fields that mean something to a hop, or that the parser wants at most once."""


def text(alphabet: bytes, low: int, high: int) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(list(alphabet)), min_size=low, max_size=high).map(bytes)


names = text(TOKEN, 1, 20).filter(lambda name: name.lower() not in MEANT)
values = text(VALUE, 0, 60).map(lambda value: value.strip(b" \t"))
lines = st.lists(st.tuples(names, values), max_size=20)


def is_forwarded(target: bytes) -> bool:
    """What is refused (dot segments in any spelling, backslashes) has tests of its own: test_targets.py."""
    return isinstance(read_target("/api/payment/" + target.decode()), Target)


targets = text(VISIBLE.replace(b"#", b""), 0, 200).filter(is_forwarded)
bodies = st.binary(max_size=3000)
cuts = st.lists(st.integers(1, 500), max_size=8)
bounded = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def with_lines(first: bytes, fields: list[tuple[bytes, bytes]], body: bytes, length: bytes) -> bytes:
    return b"\r\n".join([first, *(name + b": " + value for name, value in fields), length, b"", body])


def in_chunks(body: bytes, sizes: list[int]) -> bytes:
    wire = b""
    for size in sizes:
        part, body = body[:size], body[size:]
        wire += b"%x\r\n%b\r\n" % (len(part), part) if part else b""
    return wire + (b"%X\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"


async def pieces(client: Client, wire: bytes, sizes: list[int]) -> None:
    """Send `wire` in packets of these sizes, and the rest in one."""
    for size in sizes:
        await client.send(wire[:size])
        wire = wire[size:]
        await asyncio.sleep(0)
    await client.send(wire)


@bounded
@given(target=targets, fields=lines, body=bodies, sizes=cuts, chunked=st.booleans())
async def test_any_request_arrives_as_it_was(
    target: bytes, fields: list[tuple[bytes, bytes]], body: bytes, sizes: list[int], chunked: bool
) -> None:
    first = b"POST /api/payment/" + target + b" HTTP/1.1"
    fixed = [(b"X-Request-Id", b"r"), (b"Idempotency-Key", b"k"), *fields]
    length = b"Content-Length: %d" % len(body)
    framing, sent = (b"Transfer-Encoding: chunked", in_chunks(body, sizes)) if chunked else (length, body)
    async with proxied() as rig, rig.client() as client:
        await pieces(client, with_lines(first, [(b"Host", b"shop"), *fixed], sent, framing), sizes)
        reply = await client.reply()
        assert (reply.status, reply.body) == (200, b"ok")
        arriving = rig.arriving(first, *(name + b": " + value for name, value in fixed), length, body=body)
        assert rig.provider.arrived == [arriving]


@bounded
@given(
    status=st.sampled_from([200, 201, 299, 302, 400, 402, 404, 422]),
    reason=values,
    fields=lines,
    body=bodies,
    sizes=cuts,
    chunked=st.booleans(),
)
async def test_any_answer_comes_back_as_it_was(
    status: int, reason: bytes, fields: list[tuple[bytes, bytes]], body: bytes, sizes: list[int], chunked: bool
) -> None:
    first = b"HTTP/1.1 %d %b" % (status, reason)
    length = b"Content-Length: %d" % len(body)
    framing, sent = (b"Transfer-Encoding: chunked", in_chunks(body, sizes)) if chunked else (length, body)
    async with proxied(with_lines(first, fields, sent, framing)) as rig, rig.client() as client:
        for number in range(2):
            reply = await client.ask(rig.request())
            ours = [(b"X-Payment-Outcome", b"final"), (b"X-Proxy-Attempts", b"1"), (b"X-Request-Id", b"r%d" % number)]
            framed = [(b"Content-Length", b"%d" % len(body))]
            assert reply.line == first
            assert reply.fields == ([*fields, *ours, *framed] if chunked else [*fields, *framed, *ours])
            assert reply.body == body


WORDS = [
    *(b"GET ", b"POST ", b"/api/payment", b"/", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0"),
    *(b"Host: shop", b"Host:", b"Content-Length: 3", b"Content-Length: 0", b"Content-Length: -1", b"Connection: close"),
    *(
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Expect: 100-continue",
        b"Upgrade: websocket",
    ),
    *(b"Connection: upgrade", b"3\r\nabc\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"abc", b"\xff\xfe"),
    *(
        b"GET /api/payment HTTP/1.1\r\nHost: shop\r\n",
        b"POST /api/payment HTTP/1.1\r\nHost: shop\r\n",
        b" ",
        b":",
        b"*",
    ),
]
junk = st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(WORDS), max_size=12).map(b"".join))


@bounded
@given(wire=junk, sizes=cuts)
async def test_any_junk_gets_well_formed_answers_or_an_end_and_harms_nobody_else(wire: bytes, sizes: list[int]) -> None:
    async with proxied() as rig, rig.client() as bystander:
        assert (await bystander.ask(rig.request())).status == 200
        async with rig.client() as client:
            with contextlib.suppress(ConnectionError):
                await pieces(client, wire, sizes)
                client.half_close()
            await answers_and_end(client)
        assert (await bystander.ask(rig.request())).status == 200
        assert (await rig.ask(rig.request())).status == 200
        for finished in rig.recorder.of(PaymentFinished):
            assert finished.status in {200, 400, 404, 408, 413, 501}


async def answers_and_end(client: Client) -> None:
    """Read whatever comes: each answer is the provider's or a whole problem document; and then there is an end."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionResetError):
        while True:
            reply = await client.reply()
            if reply.status == 100:
                continue
            if reply.status == 200:
                assert reply.body == b"ok"
                continue
            assert 400 <= reply.status < 600
            assert reply.status != 500
            assert reply.problem()["outcome"] == "not_sent"
