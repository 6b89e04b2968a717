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
    eof_at_once,
    reading,
    reset_at_once,
    serving,
)
from tests.edges.upstream_kit import PAYMENT, connected, on_both_loops, payment, told, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

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
