"""Python's SDKs over TLS with a certificate of the team's own: whom docs/sdk/tls.md says they can be made to trust."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from demo.store import free_port
from tests.certificates import write_certificate
from tests.sdk.cases import VARIANTS
from tests.sdk.conftest import sdk_python
from tests.sdk.stage import ROOT, set_up
from tests.sdk.stubs.engine import Stub

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

BY_SETTING = {"stripe": "stripe.ca_bundle_path", "razorpay, refund": "client.cert_path"}
BY_VARIABLE = {
    "adyen": "REQUESTS_CA_BUNDLE",
    "paypal": "REQUESTS_CA_BUNDLE",
    "checkout_com": "REQUESTS_CA_BUNDLE",
    "mollie": "REQUESTS_CA_BUNDLE",
    "gocardless": "REQUESTS_CA_BUNDLE",
    "square": "SSL_CERT_FILE",
}


@pytest.mark.parametrize("name", [*BY_SETTING, *BY_VARIABLE])
def test_a_payment_over_tls(name: str, tmp_path: Path) -> None:
    variant, behind = VARIANTS[name], free_port()
    python = sdk_python(variant.package)
    authority, _ = write_certificate(tmp_path)
    settings = {BY_SETTING[name]: str(authority)} if name in BY_SETTING else {}
    environment = {BY_VARIABLE[name]: str(authority)} if name in BY_VARIABLE else {}
    command = [python, str(ROOT / "tests/sdk/drive.py"), str(ROOT / "examples" / f"{variant.profile}_payment.py")]
    with contextlib.ExitStack() as ends:
        stub = Stub(variant.api(), behind)
        ends.callback(stub.close)
        stage = set_up(variant.profile, stub, behind, command, tmp_path, ends, environment=environment, tls=True)
        seen = stage.pay(settings=settings)
    assert (seen.charges, seen.calls, seen.outcome, seen.kinds) == (1, 1, "final", [])
