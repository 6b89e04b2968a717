"""The certificate we show: what is wrong with it is told in one line, before anything listens."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from proxy.core.config import ListenTls
from proxy.core.errors import ConfigError
from proxy.edges.tls import renew, server_context
from tests.certificates import write_certificate


def problem(base: Path, cert: str, key: str) -> str:
    with pytest.raises(ConfigError) as raised:
        server_context(ListenTls(cert=cert, key=key), base)
    (line,) = raised.value.problems
    return line


def test_a_good_pair_makes_a_context_of_tls_1_2_or_newer(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    context = server_context(ListenTls(cert="tls.crt", key="tls.key"), tmp_path)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE


def test_a_path_may_be_absolute(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    assert server_context(ListenTls(cert=str(cert), key=str(key)), Path("/nowhere")) is not None


def test_each_mistake_is_told_by_the_file_that_made_it(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    write_certificate(tmp_path, "other")
    write_certificate(tmp_path, "locked", passphrase=b"secret")
    (tmp_path / "junk").write_text("junk")
    (tmp_path / "broken.crt").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    missing = "cannot be read: No such file or directory"
    assert problem(tmp_path, "no.crt", "tls.key") == f"listen_tls.cert: {tmp_path / 'no.crt'} {missing}"
    assert problem(tmp_path, "tls.crt", "no.key") == f"listen_tls.key: {tmp_path / 'no.key'} {missing}"
    assert problem(tmp_path, ".", "tls.key") == f"listen_tls.cert: {tmp_path} cannot be read: Is a directory"
    other = tmp_path / "other.key"
    assert problem(tmp_path, "tls.crt", "other.key") == (
        f"listen_tls: {other} is not the private key of the certificate in {cert}"
    )
    assert problem(tmp_path, "locked.crt", "locked.key") == (
        f"listen_tls.key: {tmp_path / 'locked.key'} is encrypted; expected a PEM private key without a passphrase"
    )
    assert "junk holds no PEM certificate" in problem(tmp_path, "junk", "tls.key")
    assert "junk holds no PEM private key" in problem(tmp_path, "tls.crt", "junk")
    assert f"broken.crt and {key} cannot be read as" in problem(tmp_path, "broken.crt", "tls.key")


def test_a_bad_pair_leaves_the_one_in_force(tmp_path: Path) -> None:
    cert, _ = write_certificate(tmp_path)
    tls = ListenTls(cert="tls.crt", key="tls.key")
    context = server_context(tls, tmp_path)
    good = cert.read_bytes()
    cert.write_text("half a file")
    with pytest.raises(ConfigError):
        renew(context, tls, tmp_path)
    cert.write_bytes(good)
    renew(context, tls, tmp_path)
