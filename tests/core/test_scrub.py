"""Card numbers are masked wherever they stand."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.cards import MASK, looks_like_card_number, mask_cards

CARDS = [
    "4111111111111111",
    "5555555555554444",
    "378282246310005",
    "6011111111111117",
    "4222222222222",
    "6304000000000000000",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "3782 822463 10005",
]


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("around", ["{}", "card={} ok", '{{"n":"{}"}}', "a{}b", "x: {}.", "{},1"])
def test_a_card_number_is_masked(card: str, around: str) -> None:
    text = around.format(card)
    assert mask_cards(text) == text.replace(card, MASK)
    assert looks_like_card_number(text)


@pytest.mark.parametrize(
    "text", ["", "4111111111111112", "1234567890123456", "411111111111", "2026-11-23T07:00:00", "pay_41"]
)
def test_other_numbers_stay(text: str) -> None:
    assert mask_cards(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111111 123",
        "4111 1111 1111 1111 123",
        "1 4111111111111111",
        "4111111111111111-1",
        "12/28 4111111111111111 7",
    ],
)
def test_a_card_number_beside_other_digits_is_masked(text: str) -> None:
    assert "1111111111111" not in mask_cards(text).replace(" ", "")


def luhn_complete(body: str) -> str:
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in body[::-2]]
    return body + str(-(sum(doubled) + sum(map(int, body[-2::-2]))) % 10)


@given(st.text("0123456789", min_size=12, max_size=18).map(luhn_complete), st.sampled_from(["", " ", "x", "="]))
def test_every_number_that_passes_luhn_is_masked(card: str, before: str) -> None:
    assert mask_cards(f"{before}{card};") == f"{before}{MASK};"


@given(st.text("0123456789 -ab", max_size=60))
def test_scrubbing_twice_changes_nothing_more(text: str) -> None:
    assert mask_cards(mask_cards(text)) == mask_cards(text)


@pytest.mark.parametrize(
    "run", ["4242424242424242 ", "4242 4242 4242 4242 ", "4242-", "1-", "12345678901234567890 ", "1"]
)
def test_a_run_of_any_length_is_looked_through_in_little_time(run: str) -> None:
    """A thousand numbers in a row once were a thousand calls deep, and a few seconds."""
    text = run * (40_000 // len(run))
    started = time.process_time()
    masked = mask_cards(text)
    assert time.process_time() - started < 2.0
    assert (MASK in masked) == (run != "1-")
    assert "4242" not in masked[: len(masked) // 2]
