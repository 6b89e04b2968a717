"""Ids that others gave a request: kept where they are plain words, never where they could be a card number."""

from __future__ import annotations

from proxy.core.cards import looks_like_card_number

LONGEST_ID = 128


def plain_id(value: bytes | None) -> str | None:
    """The id as text that log, ledger and header may hold; None if it is empty, long, odd, or like a card number."""
    if not value or len(value) > LONGEST_ID:
        return None
    text = value.decode("latin-1")
    return text if text.isascii() and text.isprintable() and not looks_like_card_number(text) else None
