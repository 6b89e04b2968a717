"""Stripe's SDK through Holdfast to a fake that we did not write."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.store import free_port
from tests.sdk.cases import VARIANTS
from tests.sdk.conftest import open_stage, sdk_python
from tests.sdk.local_stripe import LocalStripe
from tests.sdk.stage import Stage

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    port = free_port()
    provider = LocalStripe(sdk_python("localstripe"), port)
    try:
        with open_stage(VARIANTS["stripe"], tmp_path_factory.mktemp("localstripe"), (provider, port)) as stage:
            yield stage
    finally:
        provider.down()


def test_a_payment(local: Stage) -> None:
    seen = local.pay()
    assert (seen.charges, seen.calls, seen.outcome, seen.status, seen.kinds) == (1, 1, "final", 200, [])


def test_a_decline(local: Stage) -> None:
    seen = local.pay(settings={"CARD": "pm_card_chargeCustomerFail"})
    assert (seen.charges, seen.calls, seen.outcome, seen.asked) == (0, 1, "final", 1)
    assert (seen.status, (seen.value or "").split()[1]) == (200, "requires_payment_method")  # where Stripe says 402


def test_a_wrong_api_key_is_the_providers_to_refuse(local: Stage) -> None:
    seen = local.pay(settings={"stripe.api_key": "pk_wrong"})
    assert (seen.charges, seen.outcome, seen.status, seen.kinds[0]) == (0, "final", 401, "stripe.AuthenticationError")


def test_an_open_breaker(local: Stage) -> None:
    with local.breaker_open():
        seen = local.pay(settings={"stripe.max_network_retries": 2})
    assert (seen.charges, seen.calls, seen.outcome, seen.asked) == (0, 0, "not_sent", 1)
    assert seen.kinds[0] == "stripe.APIError"


def test_nobody_there(local: Stage) -> None:
    with local.provider_down():
        seen = local.pay()
    assert (seen.outcome, seen.status, seen.kinds[0]) == ("not_sent", 502, "stripe.APIError")
    assert local.pay().charges == 1
