"""localstripe, somebody else's fake of Stripe, as the provider of a stage. It has no Idempotency-Key."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.request
from typing import Any

from tests.sdk.stage import HOST, wait_until
from tests.sdk.stubs.api import Order
from tests.sdk.stubs.engine import Fault

RUN = (
    "import sys; from aiohttp import web; from localstripe import server;"
    "web.run_app(server.app, host='127.0.0.1', port=int(sys.argv[1]), print=None)"
)
AUTHORIZATION = "Basic " + base64.b64encode(b"sk_test_123:").decode()


class LocalStripe:
    """A process on a port; its books are asked over its own API and survive `down` only in our memory of the count."""

    def __init__(self, python: str, port: int) -> None:
        self._python = python
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self.up()

    def plan(self, reference: str, *faults: Fault) -> None:
        assert not faults, f"localstripe breaks nothing on purpose: {reference}"

    def charges(self, reference: str) -> int:
        return sum(intent["status"] == "succeeded" for intent in self._intents(reference))

    def calls(self, reference: str) -> list[Order]:
        return [Order(None, reference) for _ in self._intents(reference)]

    def settled(self) -> bool:
        return True

    def up(self) -> None:
        command = [self._python, "-W", "ignore", "-c", RUN, str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, "localstripe")

    def down(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def _answers(self) -> bool:
        try:
            self._ask("/v1/balance")
        except OSError:
            return False
        return True

    def _intents(self, reference: str) -> list[dict[str, Any]]:
        if self._process is None:
            return []
        intents = self._ask("/v1/payment_intents?limit=100")["data"]
        return [intent for intent in intents if intent["metadata"].get("reference") == reference]

    def _ask(self, path: str) -> Any:
        url = f"http://{HOST}:{self._port}{path}"
        asked = urllib.request.Request(url, headers={"Authorization": AUTHORIZATION})
        with urllib.request.urlopen(asked, timeout=5) as answer:
            return json.load(answer)
