"""Ids of others are kept where they are harmless."""

from __future__ import annotations

import pytest

from proxy.core.answers import Told, failed
from proxy.core.ids import plain_id
from proxy.core.model import Certainty, Kind, Outcome, TransportFailure, WireError, header
from proxy.core.outcome import Row
from proxy.core.profiles import Profile
from proxy.story import provider_id

CARDS = [b"4242424242424242", b"4242 4242 4242 4242", b"req-4242-4242-4242-4242", b"4111111111111111:1"]
ODD = [b"", b"x" * 129, b"\xff", b"a\tb", None]
PLAIN = [b"req_abc", b"4242424242424243", b"0af7651916cd43dd8448eb211c80319c", b"x" * 128]
PROFILE = Profile(name="own", source="a test", safe_methods=frozenset({"GET"}), request_id_headers=("Trace-Id",))


@pytest.mark.parametrize("value", [*CARDS, *ODD])
def test_what_could_be_a_card_number_or_is_odd_is_not_kept(value: bytes | None) -> None:
    assert plain_id(value) is None


@pytest.mark.parametrize("value", PLAIN)
def test_a_plain_word_is(value: bytes) -> None:
    assert plain_id(value) == value.decode()


@pytest.mark.parametrize("name", [b"Trace-Id", b"request-id", b"X-Request-Id"])
@pytest.mark.parametrize("card", CARDS)
def test_neither_the_ledger_nor_an_answer_of_ours_repeats_a_providers_card_number(name: bytes, card: bytes) -> None:
    lines = ((name, card),)
    assert provider_id(lines, PROFILE) is None
    cut = TransportFailure(Certainty.CUT, WireError.CUT, "", 500, lines)
    answer = failed(cut, Row.CUT, Kind.KEYED, 424, Told("r", 1, Outcome.UNKNOWN, profile=PROFILE))
    assert header(answer.headers, b"x-upstream-request-id") is None
    assert header(answer.headers, b"x-upstream-status") == b"500"


def test_the_next_field_is_asked_where_the_first_is_not_fit() -> None:
    assert provider_id(((b"Trace-Id", CARDS[0]), (b"Request-Id", b"req_1")), PROFILE) == "req_1"
