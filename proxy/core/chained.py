"""Holdfasts in a row: a request that comes back to its own replica, and what an inner one's answer says.

Each hop has a name of its own in `Via`, so that a chain of two is told from a loop of one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.core.model import Headers, Outcome, Payment, Response, Result, header
from proxy.core.outcome import Row
from proxy.core.retry import TABLE

MOST_HOPS = 8
"""Holdfasts that one request may pass: a loop over many replicas ends here if none of them meets itself first."""
LOOP_MARK = b"X-Proxy-Loop"
LOOP_STATUS = 508
_PRODUCT = "holdfast"


@dataclass(frozen=True, slots=True)
class Chain:
    """This replica as a hop: `name` is its pseudonym in Via (RFC 9110 section 7.6.3), `secret` is its own alone."""

    name: str
    secret: bytes

    @property
    def via(self) -> bytes:
        """What this hop adds to Via."""
        return b"1.1 " + self.name.encode()

    def has_looped(self, via: Iterable[str]) -> bool:
        """Whether a request with these Via fields was here before, or at more Holdfasts than anybody means to chain."""
        names = [words[1].lower() for member in ",".join(via).split(",") if len(words := member.split()) > 1]
        hops = [name for name in names if name == _PRODUCT or name.startswith(f"{_PRODUCT}-")]
        return self.name in hops or len(hops) >= MOST_HOPS

    def mark(self, headers: Headers) -> Headers:
        """The field by which we know, when our own refusal comes back as an answer, that it was us who refused."""
        return ((LOOP_MARK, self._token(headers)),)

    def was_own_loop(self, response: Response, payment: Payment) -> bool:
        """Whether the answer to `payment` is this very replica's refusal of it; nobody else can make the mark."""
        token = header(response.headers, LOOP_MARK.lower())
        return token is not None and hmac.compare_digest(token, self._token(payment.headers))

    def _token(self, headers: Headers) -> bytes:
        request_id = header(headers, b"x-request-id") or b""
        return hmac.digest(self.secret, request_id, "sha256").hex()[:32].encode()


def chain_of(replica: str, secret: bytes) -> Chain:
    """The hop of one replica; its name in Via gives no host name away."""
    return Chain(f"{_PRODUCT}-{hashlib.sha256(replica.encode()).hexdigest()[:12]}", secret)


def inner_row(result: Result, payment: Payment, chain: Chain, *, trusted: bool, usual: Row) -> Row:
    """The row of an attempt whose answer may come from a Holdfast behind us; `usual` is what it is otherwise.

    An answer that an inner Holdfast seems to have made itself is believed when it says `unknown`: it can only make us
    careful. Everything else needs an upstream that is `trusted` to be one (`trust_outcome`).
    """
    if not isinstance(result, Response):
        return usual
    if result.status == LOOP_STATUS and chain.was_own_loop(result, payment):
        return Row.INNER_REFUSED
    told = _told(result.headers)
    if told is None:  # the usual case: a provider
        return usual
    own = _is_holdfasts_own(result.headers)
    if told == Outcome.UNKNOWN.value and (trusted or own) and TABLE[usual].outcome is not Outcome.UNKNOWN:
        return Row.NO_ANSWER
    if not (trusted and own and told == Outcome.NOT_SENT.value):
        return usual
    return Row.INNER_NOT_SENT if result.status >= 500 and result.status != LOOP_STATUS else Row.INNER_REFUSED  # noqa: PLR2004


def _told(headers: Headers) -> str | None:
    """The one outcome that the answer tells; two of them tell nothing."""
    values = [value for name, value in headers if name.lower() == b"x-payment-outcome"]
    return values[0].decode("latin-1").strip() if len(values) == 1 else None


def _is_holdfasts_own(headers: Headers) -> bool:
    """Whether Proxy-Status (RFC 9209) has a Holdfast that made the answer because of an error."""
    fields = b",".join(value for name, value in headers if name.lower() == b"proxy-status")
    members = fields.decode("latin-1").split(",")
    return any(one.strip().split(";")[0].strip() == _PRODUCT and "error=" in one for one in members)
