"""Header fields on their way through: what is dropped at each hop, what is added, in which order."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.core.model import Headers

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110 section 7.6.1, and the credentials meant for this hop (section 11.7)."""

OURS = frozenset({b"x-payment-outcome", b"x-proxy-attempts", b"x-proxy-idempotency-key", b"x-proxy-degraded"})
"""Answer fields only Holdfast may set: a provider cannot speak in our name."""

_REWRITTEN = frozenset({b"host", b"content-length", b"expect", b"x-forwarded-for"})


@dataclass(frozen=True, slots=True)
class Hop:
    """What this hop knows of the client and adds on the way to the provider. `host` is the Host to send."""

    host: bytes
    client_ip: bytes
    scheme: bytes
    request_id: bytes


def _connection_options(headers: Headers) -> frozenset[bytes]:
    named = [value for field, value in headers if field.lower() == b"connection"]
    if not named:
        return HOP_BY_HOP
    return HOP_BY_HOP | {option.strip().lower() for option in b",".join(named).split(b",")}


def end_to_end(headers: Headers, drop: frozenset[bytes] = frozenset()) -> Headers:
    """The fields that belong to the message, not to the connection it came on; order and duplicates kept."""
    gone = _connection_options(headers) | drop
    return tuple(line for line in headers if line[0].lower() not in gone)


def to_provider(headers: Headers, hop: Hop, body_length: int | None) -> Headers:
    """Fields for the provider: the client's in their order, Host ours, framing explicit, this hop recorded.

    `Expect` is answered here, since the body is read before it is sent. `body_length` None means no body at all.
    """
    gone = _connection_options(headers) - {b"content-length", b"host"}
    out: list[tuple[bytes, bytes]] = []
    present: set[bytes] = set()
    forwarded: list[bytes] = []
    for name, value in headers:
        lower = name.lower()
        if lower in gone:
            continue
        if lower == b"host" and b"host" not in present:
            out.append((name, hop.host))
        elif lower == b"content-length" and body_length is not None and b"content-length" not in present:
            out.append((name, b"%d" % body_length))
        elif lower == b"x-forwarded-for":
            forwarded.append(value)
        elif lower not in _REWRITTEN:
            out.append((name, value))
        present.add(lower)
    if b"host" not in present:
        out.insert(0, (b"Host", hop.host))
    if body_length is not None and b"content-length" not in present:
        out.append((b"Content-Length", b"%d" % body_length))
    out.extend(_hop_fields(headers, hop, present, forwarded))
    return tuple(out)


def _hop_fields(headers: Headers, hop: Hop, present: set[bytes], forwarded: list[bytes]) -> Headers:
    added = [(b"X-Forwarded-For", b", ".join((*forwarded, hop.client_ip)))]
    if b"x-forwarded-proto" not in present:
        added.append((b"X-Forwarded-Proto", hop.scheme))
    if b"x-forwarded-host" not in present:
        host = next((value for name, value in headers if name.lower() == b"host"), b"")
        if host:
            added.append((b"X-Forwarded-Host", host))
    added.append((b"Via", b"1.1 holdfast"))
    if b"x-request-id" not in present:
        added.append((b"X-Request-Id", hop.request_id))
    return tuple(added)


def to_client(headers: Headers) -> Headers:
    """The provider's fields for the client, as sent, without this connection's and without ours.

    A Content-Length beside Transfer-Encoding is not to be believed (RFC 9112 section 6.3).
    """
    chunked = any(name.lower() == b"transfer-encoding" for name, _ in headers)
    return end_to_end(headers, OURS | {b"content-length"} if chunked else OURS)
