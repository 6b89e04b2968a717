"""A store's URL from its parts, as `REDIS_HOST`, `REDIS_PORT` and `REDIS_PASSWORD` name them."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, quote, urlsplit

_NETWORK = frozenset({"redis", "rediss"})
_LOCAL = "redis://127.0.0.1:6379/0"
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%\w+)?\]?")


def from_parts(
    base: str | None, *, host: str | None = None, port: str | None = None, password: str | None = None
) -> str:
    """`base` with the given parts replaced; without a usable base, a store on this machine is the start."""
    parts = _base(base)
    where = _bracketed(host) if host is not None else _bracketed(parts.hostname or "127.0.0.1")
    user, colon, old = parts.netloc.rpartition("@")[0].partition(":")
    secret = f"{colon}{old}" if password is None else f":{quote(password, safe='')}"
    credentials = f"{user}{secret}@" if user or secret else ""
    return parts._replace(netloc=f"{credentials}{where}:{port or parts.port or 6379}").geturl()


def place(url: str) -> str:
    """Where a store is, as a log may say it: host and port, or the socket's path; never a user or a password."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return parts.path
        return f"{_bracketed(parts.hostname)}:{parts.port or 6379}" if parts.hostname else ""
    except ValueError:
        return ""


def _base(url: str | None) -> SplitResult:
    try:
        parts = urlsplit(url or _LOCAL)
        usable = parts.scheme in _NETWORK and parts.port != 0
    except ValueError:
        usable = False
    return parts if usable else urlsplit(_LOCAL)


def _bracketed(host: str) -> str:
    if _HOST.fullmatch(host) is None:
        raise ValueError("expected a host name or an address, without scheme or port")
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
