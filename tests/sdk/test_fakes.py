"""Official SDKs through Holdfast to fakes that we did not write: valid answers, then faults by the decision table."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sdk.cases import VARIANTS
from tests.sdk.conftest import open_stage, sdk_python
from tests.sdk.fakes import Mountebank, Prism, Step, WireMock
from tests.sdk.stage import HOST, Stage

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

INTENTS, PAYMENTS = "/v1/payment_intents", "/v2/payments"
STRIPE_503 = (503, {"error": {"type": "api_error", "message": "Try later."}})
STRIPE_500 = (500, {"error": {"type": "api_error", "message": "An error occurred."}})
STRIPE_OK = (200, {"id": "pi_1", "object": "payment_intent", "status": "succeeded"})
SQUARE_503 = (503, {"errors": [{"category": "API_ERROR", "code": "SERVICE_UNAVAILABLE"}]})
SQUARE_OK = (200, {"payment": {"id": "sq_1", "status": "COMPLETED"}})


@pytest.mark.parametrize(
    ("name", "spec", "settings", "told"),
    [
        ("adyen", "adyen.com/CheckoutService-v71.json", "adyen.checkout.payments_api.baseUrl", "Authorised"),
        ("square", "squareup.com.json", None, "COMPLETED"),
    ],
)
def test_the_providers_own_openapi(
    name: str, spec: str, settings: str | None, told: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    variant = VARIANTS[name]
    sdk_python(variant.package)
    prism = Prism(variant, spec, tmp_path_factory.mktemp("prism"))
    try:
        with open_stage(variant, tmp_path_factory.mktemp(name), (prism, prism.front)) as stage:
            # Prism serves the paths of the document, without the `/v71` of its server's address
            seen = stage.pay(settings={settings: f"http://{HOST}:{stage.wire.port}"} if settings else {})
    finally:
        prism.close()
    assert (seen.status, seen.outcome, seen.kinds, seen.asked) == (200, "final", [], 1), seen
    assert (seen.value or "").split()[1:] == [told]  # the SDK made its own typed answer of Prism's
    assert (seen.calls, len(prism.received())) == (1, 1)


@pytest.fixture(scope="module")
def wiremock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WireMock, Stage]]:
    variant = VARIANTS["stripe"]
    sdk_python(variant.package)
    fake = WireMock(variant, tmp_path_factory.mktemp("wiremock"))
    try:
        with open_stage(variant, tmp_path_factory.mktemp("stripe"), (fake, fake.port)) as stage:
            yield fake, stage
    finally:
        fake.down()


@pytest.fixture(scope="module")
def mountebank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mountebank, Stage]]:
    variant = VARIANTS["square"]
    sdk_python(variant.package)
    fake = Mountebank(variant, tmp_path_factory.mktemp("mountebank"))
    try:
        with open_stage(variant, tmp_path_factory.mktemp("square"), (fake, fake.imposter)) as stage:
            yield fake, stage
    finally:
        fake.down()


@pytest.mark.parametrize(
    ("steps", "calls", "outcome", "error"),
    [
        ([STRIPE_503, STRIPE_OK], 2, "final", []),
        ([None, STRIPE_OK], 2, "final", []),
        ([STRIPE_500, STRIPE_OK], 1, "unknown", ["stripe.APIError"]),  # the key would only replay the 500
    ],
    ids=["503", "reset", "500"],
)
def test_stripe_through_wiremocks_faults(
    wiremock: tuple[WireMock, Stage], steps: list[Step], calls: int, outcome: str, error: list[str]
) -> None:
    fake, stage = wiremock
    fake.play(INTENTS, *steps)
    seen = stage.pay()
    assert (seen.calls, seen.outcome, seen.kinds[:1], seen.asked) == (calls, outcome, error, 1), seen
    received = fake.received()
    assert fake.count(INTENTS, "metadata") == len(received) == calls
    assert {call.headers["idempotency-key"] for call in received} == set(seen.keys)
    assert len(set(seen.keys)) == len({call.body for call in received}) == 1


@pytest.mark.parametrize(
    ("steps", "calls", "outcome", "error"),
    [
        ([SQUARE_503, SQUARE_OK], 2, "final", []),
        ([None, SQUARE_OK], 2, "final", []),
        ([SQUARE_503] * 3, 3, "unknown", ["square.ApiError"]),
    ],
    ids=["503", "reset", "503 without end"],
)
def test_square_through_mountebanks_script(
    mountebank: tuple[Mountebank, Stage], steps: list[Step], calls: int, outcome: str, error: list[str]
) -> None:
    fake, stage = mountebank
    fake.play(PAYMENTS, *steps)
    seen = stage.pay()
    assert (seen.calls, seen.outcome, seen.kinds[:1], seen.asked) == (calls, outcome, error, 1), seen
    received = fake.received()
    assert len(received) == calls
    assert len(set(seen.keys)) == len({call.body for call in received}) == 1  # Square's key is in the body
