"""The ledger as a terminal shows it."""

from __future__ import annotations

from proxy.client import Document
from proxy.terminal import outcomes_text

ENTRY: Document = {
    "state": "unknown",
    "upstream": "mock",
    "request_id": "req-1",
    "reference": None,
    "status": 500,
    "since": "2026-01-01T00:00:00.000Z",
    "attempts": 3,
    "id": "abc",
}


def test_a_line_for_each_payment_under_a_head() -> None:
    head, line, total = outcomes_text({"unknown": 7, "outcomes": [ENTRY]}).splitlines()
    assert head.split()[0] == "STATE"
    assert line.split() == ["unknown", "mock", "req-1", "-", "500", "2026-01-01T00:00:00.000Z", "3", "abc"]
    assert head.index("UPSTREAM") == line.index("mock")
    assert total == "unknown in all: 7"


def test_nothing_to_list_and_nothing_readable() -> None:
    assert outcomes_text({"unknown": 0, "outcomes": []}) == "unknown in all: 0"
    assert outcomes_text({"outcomes": "?"}) == "unknown in all: -"
