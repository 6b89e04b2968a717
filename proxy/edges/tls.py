"""The certificate that Holdfast shows its clients: read, checked, and read again while serving."""

from __future__ import annotations

import ssl
from pathlib import Path

from proxy.core.config import ListenTls
from proxy.core.errors import ConfigError


def server_context(tls: ListenTls, base: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer with the chain and key of `tls`; ConfigError if they are no pair. Paths start at `base`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load(context, tls, base)
    return context


def renew(context: ssl.SSLContext, tls: ListenTls, base: Path) -> None:
    """Show the certificate as the files hold it now; connections that are open keep theirs.

    ConfigError if the files are no pair: `context` then stays as it was, because a fresh one tried them first.
    """
    server_context(tls, base)
    _load(context, tls, base)


def _load(context: ssl.SSLContext, tls: ListenTls, base: Path) -> None:
    cert, key = base / tls.cert, base / tls.key
    for name, path in (("cert", cert), ("key", key)):
        _must_be_readable(name, path)
    try:
        # A key under a passphrase would otherwise have OpenSSL ask the terminal for it.
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except _PassphraseWantedError:
        raise ConfigError(
            [f"listen_tls.key: {key} is encrypted; expected a PEM private key without a passphrase"]
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError([f"listen_tls: {key} is not the private key of the certificate in {cert}"]) from error
        raise ConfigError([f"listen_tls: {_culprit(cert, key)} ({error.reason or error})"]) from error


def _must_be_readable(name: str, path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise ConfigError([f"listen_tls.{name}: {path} cannot be read: {error.strerror}"]) from error


def _culprit(cert: Path, key: Path) -> str:
    """Which of the two is not what it should be, as far as its PEM labels tell."""
    if b"-----BEGIN CERTIFICATE-----" not in cert.read_bytes():
        return f"{cert} holds no PEM certificate"
    if b"PRIVATE KEY-----" not in key.read_bytes():
        return f"{key} holds no PEM private key"
    return f"{cert} and {key} cannot be read as a PEM certificate chain and its private key"


class _PassphraseWantedError(Exception):
    """OpenSSL asked for a passphrase."""


def _no_passphrase() -> str:
    raise _PassphraseWantedError
