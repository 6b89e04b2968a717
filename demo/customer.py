"""Somebody who pays: what goes in at a replica and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from demo.ports import LOCALHOST

PATIENCE = aiohttp.ClientTimeout(total=15)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a payment came back with: status 0 if nothing came; `retry_after` as it was sent."""

    port: int
    status: int
    outcome: str
    attempts: int
    retry_after: str | None

    @property
    def paid(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004

    @property
    def rescued(self) -> bool:
        """Paid, but not at the first attempt."""
        return self.paid and self.attempts > 1

    @property
    def mark(self) -> str:
        """One character for the progress line."""
        if self.paid:
            return "r" if self.rescued else "."
        return "?" if self.outcome == "unknown" else "x"


@dataclass(frozen=True, slots=True)
class Customer:
    """A client of the replicas and, to stage the demo, of the provider's control routes."""

    session: aiohttp.ClientSession
    provider_port: int

    async def pay(self, port: int, reference: str) -> Answer:
        """One payment of 12.00 EUR through the replica at `port`, without a key: Holdfast adds one."""
        order = {"amount": 1200, "currency": "EUR", "reference": reference}
        try:
            async with self.session.post(_url(port, "/api/payment"), json=order) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError):
            return Answer(port, status=0, outcome="unknown", attempts=0, retry_after=None)
        headers = response.headers
        return Answer(
            port=port,
            status=response.status,
            outcome=headers.get("X-Payment-Outcome", "-"),
            attempts=int(headers.get("X-Proxy-Attempts", "0")),
            retry_after=headers.get("Retry-After"),
        )

    async def ready(self, port: int) -> bool:
        """Whether the replica takes payments."""
        try:
            async with self.session.get(_url(port, "/readyz")) as response:
                return response.status == HTTPStatus.OK
        except aiohttp.ClientError:
            return False

    async def breaker(self, port: int) -> str:
        """The breaker's state as the replica at `port` knows it."""
        status = await self._document(port, "/api/status")
        return str(status["upstreams"]["mock"]["breaker"]["state"])

    async def summary(self, port: int) -> str:
        """The last minutes in words."""
        return str((await self._document(port, "/api/status/summary"))["summary"])

    async def ledger(self) -> Mapping[str, Any]:
        """The provider's books."""
        return await self._document(self.provider_port, "/admin/ledger")

    async def set_faults(self, **faults: float | bool) -> None:
        """Change how the provider fails."""
        async with self.session.put(_url(self.provider_port, "/admin/faults"), json=faults) as response:
            response.raise_for_status()

    async def _document(self, port: int, path: str) -> Mapping[str, Any]:
        async with self.session.get(_url(port, path)) as response:
            response.raise_for_status()
            document: Mapping[str, Any] = await response.json()
            return document


def _url(port: int, path: str) -> str:
    return f"http://{LOCALHOST}:{port}{path}"
