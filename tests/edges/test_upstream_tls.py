"""Over TLS: nothing is sent before the handshake is complete and the certificate is trusted."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
from typing import TYPE_CHECKING, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.core.model import Certainty, WireError
from tests.edges.hostile import (
    OK,
    answering,
    eof_at_once,
    reading,
    reset_at_once,
    serving,
    until,
)
from tests.edges.upstream_kit import PAYMENT, connected, on_both_loops, payment, told, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from proxy.core.model import TransportFailure
    from proxy.edges.connection import Connection
    from tests.edges.hostile import Peer, Script


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a key and a self-signed certificate for `localhost` and 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + built.public_bytes(pem))
    return path


@contextlib.asynccontextmanager
async def tls_serving(certificate: Path) -> AsyncIterator[tuple[int, bytearray]]:
    """A well-behaved TLS server: its port, and all it was sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    arrived = bytearray()

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

        def data_received(self, data: bytes) -> None:
            arrived.extend(data)
            if data.endswith(b"bye"):
                self.transport.write(b"HTTP/1.1 200 OK\r\n\r\nto the end")
                self.transport.close()
            else:
                self.transport.write(OK)

    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1], arrived
    server.close()


@on_both_loops
async def test_tls_works_and_is_kept_alive(certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=certificate)
    async with (
        tls_serving(certificate) as (port, arrived),
        connected(port, ssl=trusting, server_hostname="localhost") as upstream,
    ):
        answers = [await upstream.send(payment(), timeout=5) for _ in range(2)]
        assert len(upstream._pool) == 1
        last = await upstream.send(payment(body=b"bye"), timeout=5)
    assert [whole(answer) for answer in answers] == [b"ok", b"ok"]
    assert whole(last) == b"to the end"
    assert bytes(arrived).startswith(PAYMENT * 2)


@pytest.mark.parametrize("name", ["localhost", "other.example"])
@on_both_loops
async def test_a_certificate_we_do_not_trust(name: str, certificate: Path) -> None:
    context = ssl.create_default_context(cafile=certificate if name != "localhost" else None)
    async with (
        tls_serving(certificate) as (port, arrived),
        connected(port, ssl=context, server_hostname=name) as upstream,
    ):
        failure = await upstream.send(payment(), timeout=5)
    assert told(failure) == (Certainty.NOT_SENT, WireError.CERTIFICATE)
    assert bytes(arrived) == b""


async def plaintext(peer: Peer) -> None:
    await peer.read()
    await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await peer.gone()


@pytest.mark.parametrize("script", [plaintext, reset_at_once, eof_at_once])
@on_both_loops
async def test_a_handshake_that_fails(script: Script) -> None:
    context = ssl.create_default_context()
    async with (
        serving(script) as server,
        connected(server.port, ssl=context, server_hostname="localhost") as upstream,
    ):
        failure = await upstream.send(payment(), timeout=5)
    assert told(failure) == (Certainty.NOT_SENT, WireError.TLS)
    assert b"payment" not in b"".join(server.arrived)


@on_both_loops
async def test_a_handshake_that_is_not_answered() -> None:
    context = ssl.create_default_context()
    async with (
        serving(reading) as server,
        connected(server.port, ssl=context, server_hostname="localhost", connect_timeout=0.05) as upstream,
    ):
        failure = await upstream.send(payment(), timeout=5)
        await server.done()
    assert told(failure) == (Certainty.NOT_SENT, WireError.CONNECT_TIMEOUT)


async def held(peer: Peer, go: asyncio.Event, context: ssl.SSLContext) -> None:
    """Holds the handshake until `go`, then is an ordinary TLS server that reads whatever comes."""
    hello = await peer.read()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(hello)
    await go.wait()
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            await peer.send(outgoing.read())
            data = await peer.read()
            if not data:
                return
            incoming.write(data)
    await peer.send(outgoing.read())
    while data := await peer.read():
        incoming.write(data)
        with contextlib.suppress(ssl.SSLError):
            arrived.append(tls.read())


arrived: list[bytes] = []


@pytest.mark.parametrize("late", [True, False], ids=["finishes late", "never finishes"])
@on_both_loops
async def test_a_handshake_that_finishes_after_the_end_sends_nothing(late: bool, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    go = asyncio.Event()
    arrived.clear()

    async def script(peer: Peer) -> None:
        await held(peer, go, context)

    trusting = ssl.create_default_context(cafile=certificate)
    async with (
        serving(script) as server,
        connected(server.port, ssl=trusting, server_hostname="localhost") as upstream,
    ):
        sending = asyncio.create_task(upstream.send(payment(), timeout=5))
        await until(lambda: bool(server.arrived) and server.arrived[0] != b"")
        if late:
            go.set()  # what the server says next and the end come in the same turn
        upstream.give_up()
        failure = await sending
        assert told(failure) == (Certainty.NOT_SENT, WireError.CONNECT_TIMEOUT)
        go.set()
        await server.done()
    assert arrived in ([], [b""])


@on_both_loops
async def test_after_the_end_nothing_is_connected_and_nothing_sent() -> None:
    async with serving(answering(OK)) as server, connected(server.port) as upstream:
        assert whole(await upstream.send(payment(), timeout=5)) == b"ok"  # and leaves a pooled connection
        upstream.give_up()
        for max_idle_age in (None, 0):
            failure = await upstream.send(payment(), timeout=5, max_idle_age=max_idle_age)
            assert told(failure) == (Certainty.NOT_SENT, WireError.CONNECT_TIMEOUT)
    assert server.arrived == [PAYMENT]


@on_both_loops
async def test_the_end_comes_between_the_connection_and_the_first_byte() -> None:
    """The narrowest place: the connection is there, and the one who asked for it has not gone on yet."""
    async with serving(answering(OK)) as server, connected(server.port) as upstream:
        dial = upstream._dialer.dial

        async def dial_to_the_end(timeout: float) -> Connection | TransportFailure:
            connection = await dial(timeout)
            upstream.give_up()
            return connection

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(upstream._dialer), "dial", lambda _, timeout: dial_to_the_end(timeout))
            failure = await upstream.send(payment(), timeout=5)
        assert told(failure) == (Certainty.NOT_SENT, WireError.CONNECT_TIMEOUT)
        await server.done()
    assert server.arrived == [b""]
