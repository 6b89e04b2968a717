"""The data plane over TLS: the same answers, and a client that says goodbye early breaks nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from proxy.core.config import ListenTls
from proxy.edges.tls import renew, server_context
from tests.certificates import write_certificate
from tests.dataplane.client import Client
from tests.dataplane.rig import OK, Rig, proxied
from tests.edges.hostile import Peer

TLS = ListenTls(cert="tls.crt", key="tls.key")


@contextlib.asynccontextmanager
async def listening(rig: Rig, context: ssl.SSLContext) -> AsyncIterator[int]:
    """A TLS port of the replica beside its plain one."""
    known = len(rig.runner.addresses)
    site = web.TCPSite(rig.runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    yield rig.runner.addresses[known][1]
    await site.stop()


@contextlib.asynccontextmanager
async def connected(port: int, authority: Path) -> AsyncIterator[tuple[Client, asyncio.StreamWriter]]:
    trusting = ssl.create_default_context(cafile=authority)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
    try:
        yield Client(reader, writer), writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_payment_over_tls_and_what_the_provider_is_told_of_it(tmp_path: Path) -> None:
    authority, _ = write_certificate(tmp_path)
    async with (
        proxied() as rig,
        listening(rig, server_context(TLS, tmp_path)) as port,
        connected(port, authority) as (client, _writer),
    ):
        for _ in range(3):
            reply = await client.ask(rig.request())
            assert (reply.status, reply.body, reply.one("X-Payment-Outcome")) == (200, b"ok", b"final")
        assert b"X-Forwarded-Proto: https\r\n" in rig.provider.arrived[0]
        assert (await rig.ask(rig.request())).status == 200  # the plain port goes on beside it
        assert b"".join(rig.provider.arrived).count(b"X-Forwarded-Proto: http\r\n") == 1


@pytest.mark.parametrize("size", [2, 700_000])
async def test_a_client_that_sends_close_notify_and_waits_breaks_nothing(
    size: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority, _ = write_certificate(tmp_path)
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slow(peer: Peer) -> None:
        while await peer.request():
            arrived.set()
            await go.wait()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)

    with caplog.at_level(logging.WARNING):
        async with proxied(slow) as rig, listening(rig, server_context(TLS, tmp_path)) as port:
            async with connected(port, authority) as (client, writer):
                await client.send(rig.request())
                await arrived.wait()
                writer.close()  # TLS's own goodbye: asyncio sends close_notify and reads on until the peer's
            go.set()
            (finished,) = await rig.finished()
            assert (finished.status, finished.outcome, finished.attempts) == (200, "final", 1)
            assert (await rig.ask(rig.request())).status == 200
    assert caplog.records == []


async def test_a_request_that_ends_within_its_body_is_not_sent(tmp_path: Path) -> None:
    authority, _ = write_certificate(tmp_path)
    async with proxied() as rig, listening(rig, server_context(TLS, tmp_path)) as port:
        async with connected(port, authority) as (client, _):
            await client.send(b"POST /api/payment HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\n12")
        assert (await rig.ask(rig.request())).status == 200
        assert len(rig.provider.peers) == 1


async def test_plain_http_on_the_tls_port_and_an_old_protocol_reach_nobody(tmp_path: Path) -> None:
    authority, _ = write_certificate(tmp_path)
    old = ssl.create_default_context(cafile=authority)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
    async with proxied(OK) as rig, listening(rig, server_context(TLS, tmp_path)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(rig.request())
        with contextlib.suppress(ConnectionError):
            assert b"HTTP" not in await reader.read()
        writer.close()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=old, server_hostname="localhost")
        assert rig.provider.peers == []


async def test_a_renewed_certificate_is_shown_to_who_comes_next(tmp_path: Path) -> None:
    first, _ = write_certificate(tmp_path)
    context = server_context(TLS, tmp_path)
    async with proxied() as rig, listening(rig, context) as port, connected(port, first) as (client, _):
        assert (await client.ask(rig.request())).status == 200
        second, _ = write_certificate(tmp_path)
        renew(context, TLS, tmp_path)
        async with connected(port, second) as (newcomer, _):
            assert (await newcomer.ask(rig.request())).status == 200
        assert (await client.ask(rig.request())).status == 200
