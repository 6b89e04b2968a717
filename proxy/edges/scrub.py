"""The second net under the log: what looks like a card number or a credential does not get through.

The first net is that events hold no payment data and that only named fields are logged.
"""

from __future__ import annotations

import re

from structlog.typing import EventDict, WrappedLogger

from proxy.core.cards import MASK, SHORTEST, mask_cards

_PLAIN = frozenset({int, float, bool, type(None)})

_QUERY = re.compile(r"\?\S+")
_USERINFO = re.compile(r"(://)[^\s/@]*@")
_CREDENTIAL = re.compile(
    r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|idempotency-key|password|token)\b(\W*[:=]).*"
)


def scrub(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    """A structlog processor: the event with card numbers masked in every text, however deep."""
    for key, value in event_dict.items():
        kind = type(value)
        if kind in _PLAIN or (kind is str and len(value) < SHORTEST):  # most fields: this runs for every payment
            continue
        event_dict[key] = scrubbed(value)
    return event_dict


def scrubbed(value: object) -> object:
    """A copy of `value` with card numbers masked in its texts, keys included; bytes become text."""
    if isinstance(value, str):
        return mask_cards(value)
    if isinstance(value, bytes):
        return mask_cards(value.decode("utf-8", "replace"))
    if isinstance(value, dict):
        return {scrubbed(key): scrubbed(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [scrubbed(item) for item in value]
    return value


def mask_library_text(text: str) -> str:
    """Text that others wrote, like an exception: no query strings, URL passwords, credentials or card numbers."""
    text = _QUERY.sub("?" + MASK, text)
    text = _USERINFO.sub(rf"\1{MASK}@", text)
    return mask_cards(_CREDENTIAL.sub(rf"\1\2 {MASK}", text))
