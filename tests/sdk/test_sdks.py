"""Every official SDK, unmodified, in every case: one charge or none, the truth about it, the SDK's ordinary error."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import pytest

from tests.sdk.cases import (
    AFTER_500,
    BEFORE_503,
    DECLINE,
    HINTED,
    IN_FLIGHT,
    OPEN,
    REFUSED,
    RESET,
    SUCCESS,
    TIMEOUT,
    VARIANTS,
)
from tests.sdk.stage import Seen, Stage
from tests.sdk.stubs.engine import Fault
from tests.sdk.table import Table

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(180)]

FAULTS: dict[str, list[Fault]] = {
    SUCCESS: [],
    DECLINE: [Fault.DECLINE],
    OPEN: [],
    REFUSED: [],
    TIMEOUT: [Fault.HANG],
    RESET: [Fault.RESET],
    AFTER_500: [Fault.ERROR_500],
    BEFORE_503: [Fault.ERROR_503] * 9,
    IN_FLIGHT: [Fault.IN_FLIGHT],
    HINTED: [Fault.HINTED],
}
CASES = [(name, case) for name, variant in VARIANTS.items() for case in variant.rows]


def act(stage: Stage, case: str, *, keyed: bool, settings: Mapping[str, object] | None = None) -> Seen:
    """One case, played on a stage."""
    around = {OPEN: stage.breaker_open, REFUSED: stage.provider_down}.get(case, contextlib.nullcontext)
    with around():
        return stage.pay(*FAULTS[case], key=keyed, settings=settings)


@pytest.mark.parametrize(
    ("stage", "name", "case"),
    [(name, name, case) for name, case in CASES],
    ids=[f"{name}: {case}" for name, case in CASES],
    indirect=["stage"],
)
def test_an_sdk_through_holdfast(stage: Stage, name: str, case: str, table: Table) -> None:
    variant = VARIANTS[name]
    charges, calls, outcome, error = variant.rows[case]
    seen = act(stage, case, keyed=variant.keyed)
    table.add(name, case, seen)
    assert (seen.charges, seen.calls, seen.outcome, seen.kinds[:1]) == (
        charges,
        calls,
        outcome,
        [error] if error else [],
    ), seen
    assert seen.asked == 1  # the SDK left the retries to Holdfast
    if error:
        assert variant.base in seen.kinds
    if outcome == "not_sent" and variant.tells:
        assert "nothing was sent" in seen.text
        assert seen.request_id in seen.text
    if seen.status == 424 and variant.tells:
        assert "may have carried it out" in seen.text
        assert seen.request_id in seen.text
    assert len(set(seen.keys)) <= 1  # every attempt under the same key
