"""The bytes of a request and the words for wire trouble; owns no socket and knows no event loop."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.core.model import Certainty, TransportFailure, WireError

if TYPE_CHECKING:
    from proxy.core.model import Headers, Payment

LONGEST_DETAIL = 80
_NO_ROUTE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}
_BROKEN_OFF = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, EOFError)


class ResponseCut(ConnectionError):
    """A streamed answer ended before its end: the peer closed, fell silent, or sent what cannot be parsed."""


class RequestCut(ConnectionError):
    """A request stream did not have the length its Content-Length announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where an upstream is, and how to get there. Times in seconds, sizes in bytes."""

    host: str
    port: int
    ssl: ssl.SSLContext | None
    server_hostname: str | None
    connect_timeout: float
    """DNS, TCP and TLS handshake together."""
    buffer_limit: int = 256 * 1024
    """Answers up to this are read whole before `send` returns."""
    idle_seconds: float = 15.0
    """Pooled connections idle for this long are not used again."""
    max_idle: int = 256
    max_age_seconds: float = 60.0
    """A connection is not used again once it is about this old."""


def request_head(payment: Payment, extra: Headers) -> bytes:
    """The request up to and including its blank line, field lines exactly as given."""
    start = b"%b %b HTTP/1.1" % (payment.method.encode("ascii"), payment.target)
    head = b"\r\n".join([start, *map(b": ".join, payment.headers), *map(b": ".join, extra), b"\r\n"])
    lines = len(payment.headers) + len(extra) + 2
    # A line break inside a target or field would make a second request of the rest: never on a payment's wire.
    if head.count(b"\n") != lines or head.count(b"\r") != lines:
        raise ValueError("line break inside a request target or field")
    return head


def not_sent(error: WireError, detail: str) -> TransportFailure:
    """A failure before the first byte of the request was handed to a connected socket."""
    return TransportFailure(Certainty.NOT_SENT, error, plain(detail))


def plain(text: str) -> str:
    """Words for a log line or a field value: printable ASCII, at most 80 characters."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:LONGEST_DETAIL])


def connect_failure(error: Exception) -> TransportFailure:
    """Why no connection came about, from whatever the event loop raised."""
    return not_sent(_connect_error(error), _connect_detail(error))


def _connect_error(error: Exception) -> WireError:
    match error:
        case socket.gaierror() | UnicodeError():
            return WireError.DNS
        case ssl.SSLCertVerificationError():
            return WireError.CERTIFICATE
        case ssl.SSLError():
            return WireError.TLS
    # TCP is up by the time anything can break off, so this was the handshake.
    return WireError.TLS if isinstance(error, _BROKEN_OFF) else _errno_error(_errnos(error))


def _errno_error(codes: set[int]) -> WireError:
    """One word for the errors of all addresses tried: the one that says most about the peer."""
    if errno.ECONNREFUSED in codes:
        return WireError.REFUSED
    if errno.ETIMEDOUT in codes and not codes & _NO_ROUTE:
        return WireError.CONNECT_TIMEOUT
    return WireError.UNREACHABLE


def _errnos(error: Exception) -> set[int]:
    """Error numbers in `error`; asyncio folds those of several addresses into one message."""
    number = getattr(error, "errno", None)
    if number is not None:
        return {number}
    return {int(code) for code in re.findall(r"\[Errno (\d+)\]", str(error))}


def _connect_detail(error: Exception) -> str:
    """A few words that hold nothing of the payment."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message or "certificate verification failed"
    if isinstance(error, ssl.SSLError):
        return (error.reason or "handshake failed").replace("_", " ").lower()
    if isinstance(error, socket.gaierror):
        return "name resolution failed"
    names = [errno.errorcode.get(code, str(code)) for code in sorted(_errnos(error))]
    return ", ".join(names) or type(error).__name__
