"""Header fields on their way through: what is dropped at each hop, what is added, in which order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.core.fingerprint import CREDENTIALS
from proxy.core.model import Headers

if TYPE_CHECKING:
    from proxy.core.profiles import Profile

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

OURS = frozenset(
    {b"x-payment-outcome", b"x-proxy-attempts", b"x-proxy-idempotency-key", b"x-proxy-degraded", b"x-proxy-loop"}
)
"""Answer fields only Holdfast may set: a provider cannot speak in our name."""

_CONNECTION_ONLY = frozenset({b"close", b"keep-alive", b"upgrade", b"te", b"trailer", b""})
_END_TO_END = CREDENTIALS | {
    *(b"accept", b"accept-encoding", b"cookie", b"date", b"digest", b"expect", b"forwarded", b"host", b"if-match"),
    *(b"if-none-match", b"prefer", b"range", b"traceparent", b"tracestate", b"user-agent", b"via"),
    *(b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-http-method-override"),
    *(b"x-http-method", b"x-method-override"),
}
"""Meant for the provider, so that no connection option may take them away (RFC 9110 section 7.6.1, last paragraphs)."""
_DECIDES_MONEY = re.compile(
    rb"^content-|idempot|request-?id|key|auth|token|secret|sign|account|merchant|version|context|mock|test|sandbox"
)
"""The same for fields that nobody can list: whose account, under which key, what is signed, whether it is a trial."""

_REWRITTEN = frozenset({b"host", b"content-length", b"expect"})


@dataclass(frozen=True, slots=True)
class Hop:
    """What this hop knows of the client and adds on the way to the provider. `host` is the Host to send.

    `via` names this hop. `own_id`: the client's X-Request-Id is not fit to be passed on, so ours takes its place.
    """

    host: bytes
    client_ip: bytes
    scheme: bytes
    request_id: bytes
    via: bytes = b"1.1 holdfast"
    own_id: bool = False


def _connection_options(headers: Headers) -> frozenset[bytes]:
    named = [value for field, value in headers if field.lower() == b"connection"]
    if not named:
        return HOP_BY_HOP
    return HOP_BY_HOP | {option.strip().lower() for option in b",".join(named).split(b",")}


def _gone(headers: Headers, profile: Profile | None) -> frozenset[bytes]:
    """The fields that stay on this hop: hop-by-hop ones, and what Connection names that is no payment's business."""
    named = _connection_options(headers)
    if named <= HOP_BY_HOP | _CONNECTION_ONLY:
        return HOP_BY_HOP
    return HOP_BY_HOP | {name for name in named if not is_the_providers(name, profile)}


def is_the_providers(name: bytes, profile: Profile | None) -> bool:
    """Whether a field, by its lower-case name, is meant for the provider and may decide about money."""
    return name in _END_TO_END or name in key_fields(profile) or _DECIDES_MONEY.search(name) is not None


def lost_trailers(headers: Headers, profile: Profile | None) -> bool:
    """Whether the request says that a field the provider should read comes as a trailer, and so would be lost here."""
    named = b",".join(value for name, value in headers if name.lower() == b"trailer").lower().split(b",")
    return any(is_the_providers(name.strip(), profile) for name in named)


def key_fields(profile: Profile | None) -> frozenset[bytes]:
    """Header fields, in lower case, that carry a key for this provider."""
    rules = () if profile is None else (profile.key, *profile.more_keys)
    return frozenset(rule.header.lower().encode() for rule in rules if rule is not None and rule.header is not None)


def with_host(headers: Headers, authority: bytes) -> Headers:
    """The fields as if Host had said `authority`: what an absolute target names is what counts (RFC 9112 3.2.2)."""
    rest = tuple(line for line in headers if line[0].lower() != b"host")
    return ((b"Host", authority), *rest)


def end_to_end(headers: Headers, drop: frozenset[bytes] = frozenset()) -> Headers:
    """The fields of an answer that belong to it, not to the connection it came on; order and duplicates kept."""
    gone = _gone(headers, None) | drop
    return tuple(line for line in headers if line[0].lower() not in gone)


def to_provider(headers: Headers, hop: Hop, body_length: int | None, profile: Profile | None = None) -> Headers:
    """Fields for the provider: the client's in their order, Host ours, framing explicit, this hop recorded.

    `Expect` is answered here, since the body is read before it is sent. `body_length` None means no body at all.
    What decides about money, the key fields of `profile` among it, is never dropped because Connection names it.
    """
    gone = _gone(headers, profile)
    if hop.own_id and b"x-request-id" not in key_fields(profile):
        gone = gone | {b"x-request-id"}
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
    added.append((b"Via", hop.via))
    if b"x-request-id" not in present:
        added.append((b"X-Request-Id", hop.request_id))
    return tuple(added)


def to_client(headers: Headers) -> Headers:
    """The provider's fields for the client, as sent, without this connection's and without ours.

    A Content-Length beside Transfer-Encoding is not to be believed (RFC 9112 section 6.3).
    """
    chunked = any(name.lower() == b"transfer-encoding" for name, _ in headers)
    return end_to_end(headers, OURS | {b"content-length"} if chunked else OURS)
