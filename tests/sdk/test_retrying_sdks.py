"""SDKs left at retries of their own: whatever they repeat behind Holdfast, nobody is charged twice."""

from __future__ import annotations

import pytest

from tests.sdk.cases import AFTER_500, BEFORE_503, OPEN, REFUSED, RESET, TIMEOUT, VARIANTS
from tests.sdk.stage import Stage
from tests.sdk.test_sdks import act

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(180)]

ORDER = "razorpay, order without a key"
RETRYING: dict[str, dict[str, object]] = {
    "stripe": {"stripe.max_network_retries": 2},
    "square": {"ONE_RETRY_LAYER.max_retries": 2},
    ORDER: {"client.retry_enabled": True, "client.initial_delay": 0.1},
}
ASKED_AGAIN = {("square", OPEN), ("square", REFUSED), ("square", BEFORE_503), ("stripe", BEFORE_503)}
"""Where the SDK does repeat: nothing was sent, or its own key goes with it, or the answer is the provider's own."""
CASES = [(name, case) for name in RETRYING for case in (OPEN, REFUSED, TIMEOUT, RESET, AFTER_500, BEFORE_503)]


@pytest.mark.parametrize(
    ("stage", "name", "case"),
    [(name, name, case) for name, case in CASES],
    ids=[f"{name}: {case}" for name, case in CASES],
    indirect=["stage"],
)
def test_an_sdk_with_retries_of_its_own(stage: Stage, name: str, case: str) -> None:
    variant = VARIANTS[name]
    charges, _, outcome, error = variant.rows[case]
    seen = act(stage, case, keyed=variant.keyed, settings=RETRYING[name])
    assert (seen.charges, seen.outcome, seen.kinds[:1]) == (charges, outcome, [error] if error else []), seen
    if (name, case) != ("stripe", AFTER_500):  # Stripe's own 500, which its own SDK repeats to see it replayed
        assert (seen.asked > 1) is ((name, case) in ASKED_AGAIN), seen
