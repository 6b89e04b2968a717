"""Whose host is it? A known provider's, told by the `hosts` of the profiles, under a profile that does not name it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated
from urllib.parse import urlsplit

from proxy.core.config import like

_SHAPE = r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+"
HostPattern = Annotated[str, like(_SHAPE, "a host name in small letters, like api.example.com or *.example.com")]
"""A host name; `*.` in front stands for one label or more, never for none."""


def host_of(url: str) -> str:
    """The host a URL names, as names compare: small letters, no port, no dot at the end."""
    return (urlsplit(url).hostname or "").removesuffix(".")


def named(host: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns is this host's. What only looks like one (api.example.com.other.test) is not."""
    return any(host == one or (one.startswith("*.") and host.endswith(one[1:]) and host != one[2:]) for one in patterns)


def misplaced(host: str, own: Iterable[str], known: Mapping[str, Iterable[str]]) -> str | None:
    """The profile that `host` belongs to by its name, where the one in use, with `own` hosts, is another."""
    if named(host, own):
        return None
    return next((profile for profile, patterns in known.items() if named(host, patterns)), None)
