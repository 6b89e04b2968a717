"""What travels through the corridor: a payment, what came back from the wire, and the answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

Headers = tuple[tuple[bytes, bytes], ...]
"""Field lines as they stand on the wire: order, case and duplicates kept."""


class ByteStream(Protocol):
    """A body too large to keep: read once, in order, with the reader setting the pace."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None:
        """Stop reading; the connection behind it is given up if the body was not read to its end."""


Body = bytes | ByteStream


class Ending(StrEnum):
    """How a streamed answer ended, as far as its provider goes."""

    WHOLE = "whole"
    """It was read to its proper end."""
    CUT = "cut"
    """The provider broke off, fell silent, or sent what cannot be parsed: the rest never came."""
    LEFT = "left"
    """Whoever read it stopped before the end; nothing is known against the provider."""


class WatchedStream:
    """A stream that tells, once, that it has been closed and how it ended.

    Every stream is closed in the end, read or not; `closed` is called by that and not earlier.
    """

    __slots__ = ("_body", "_closed", "_ending", "_pieces")

    def __init__(self, body: ByteStream, closed: Callable[[Ending], None]) -> None:
        self._body = body
        self._pieces: AsyncIterator[bytes] | None = None
        self._closed: Callable[[Ending], None] | None = closed
        self._ending = Ending.LEFT

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._pieces is None:
            self._pieces = self._body.__aiter__()
        try:
            return await self._pieces.__anext__()
        except StopAsyncIteration:
            self._end(Ending.WHOLE)
            raise
        except Exception:  # cancellation is none: it is the reader's, who may have gone
            self._end(Ending.CUT)
            raise

    async def aclose(self) -> None:
        closed, self._closed = self._closed, None
        try:
            await self._body.aclose()
        finally:
            if closed is not None:
                closed(self._ending)

    def _end(self, ending: Ending) -> None:
        """The first ending stands: after a cut, and after a close, a stream is empty."""
        if self._ending is Ending.LEFT and self._closed is not None:
            self._ending = ending


SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that ask for nothing to be changed (RFC 9110 section 9.2.1); every other one is a write."""


class Kind(StrEnum):
    """How a request may be repeated (payments.md section 6)."""

    READ = "read"
    KEYED = "keyed"
    UNKEYED = "unkeyed"


class Outcome(StrEnum):
    """What is known of a payment when its answer leaves (`X-Payment-Outcome`)."""

    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    FINAL = "final"


class Certainty(StrEnum):
    """How far a failed attempt got. NOT_SENT is proved: no byte was handed to a connected socket."""

    NOT_SENT = "not_sent"
    NO_ANSWER = "no_answer"
    CUT = "cut"


class WireError(StrEnum):
    """What went wrong on the wire, in words of RFC 9209 section 2.3 where it has one."""

    DNS = "dns_error"
    DNS_TIMEOUT = "dns_timeout"
    REFUSED = "connection_refused"
    UNREACHABLE = "destination_ip_unroutable"
    CONNECT_TIMEOUT = "connection_timeout"
    TLS = "tls_protocol_error"
    CERTIFICATE = "tls_certificate_error"
    RESET = "connection_terminated"
    TIMEOUT = "http_response_timeout"
    CUT = "http_response_incomplete"
    JUNK = "http_protocol_error"


@dataclass(frozen=True, slots=True)
class Payment:
    """One inbound request, ready to be sent: end-to-end header fields only, bytes untouched.

    `target` is the raw path and query. `body` is a stream only above `retry_body`; such a payment has one attempt.
    """

    request_id: str
    route: str
    method: str
    target: bytes
    headers: Headers
    body: Body
    body_length: int | None
    """Bytes in `body`; None when the request has no body at all (no Content-Length is sent)."""


@dataclass(frozen=True, slots=True)
class Response:
    """The provider's answer. Hop-by-hop fields are still in `headers`; nothing is decoded."""

    status: int
    reason: bytes
    headers: Headers
    body: Body


@dataclass(frozen=True, slots=True)
class TransportFailure:
    """No usable answer. `status` and `headers` are the head that arrived before a CUT, else None and empty.

    `detail` is a few words of ours, printable ASCII and at most 80 characters, that hold nothing of the payment.
    """

    certainty: Certainty
    error: WireError
    detail: str = ""
    status: int | None = None
    headers: Headers = ()


Result = Response | TransportFailure


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client gets. `error` is set on answers we made ourselves (RFC 9209), None on the provider's."""

    status: int
    reason: bytes
    headers: Headers
    body: Body
    outcome: Outcome
    attempts: int
    error: str | None = None
    injected_key: str | None = None
    degraded: str | None = None
    detail: str | None = None
    """What the wire showed, beside `error`: a few words of ours in printable ASCII."""


def header(headers: Headers, name: bytes) -> bytes | None:
    """First value of a field, by lower-case `name`; None if absent."""
    for field, value in headers:
        if field.lower() == name:
            return value
    return None
