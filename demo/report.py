"""What the demo says, as text. Pure."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from demo.customer import Answer
from demo.ports import LOCALHOST

WIDTH = 100
LEGEND = ". paid at the first attempt   r rescued by a retry   x not paid   ? outcome unknown"


def table(answers: Sequence[Answer]) -> Iterator[str]:
    """Answers by status and outcome, most frequent first."""
    counted = Counter((answer.status, answer.outcome) for answer in answers)
    yield f"{'answer':28}{'outcome':12}{'payments':>8}"
    for (status, outcome), number in counted.most_common():
        yield f"{_named(status):28}{outcome:12}{number:8}"


def effort(answers: Sequence[Answer]) -> str:
    """What the retries were good for."""
    attempts = sum(answer.attempts for answer in answers)
    retries = sum(max(0, answer.attempts - 1) for answer in answers)
    rescued = sum(answer.rescued for answer in answers)
    lost = sum(not answer.paid for answer in answers)
    return (
        f"{len(answers)} payments took {attempts} attempts. {retries} of them were retries, which rescued {rescued} "
        f"payments; {lost or 'none'} had to be given up."
    )


def books(ledger: Mapping[str, Any], prefix: str, paid: int) -> str:
    """The provider's ledger about the payments whose reference starts with `prefix`."""
    charges = sum((charge["reference"] or "").startswith(prefix) for charge in ledger["charges"])
    duplicates = len(ledger["duplicates"])
    return f"The provider's ledger: {charges} charges for {paid} payments answered as paid, {duplicates} duplicates."


def refusal(answer: Answer) -> str:
    """One refused payment, in full."""
    return (
        f"{_named(answer.status)}, Retry-After: {answer.retry_after or '-'}, "
        f"X-Payment-Outcome: {answer.outcome}, X-Proxy-Attempts: {answer.attempts}"
    )


def urls(ports: Sequence[int], provider_port: int) -> Iterator[str]:
    """Where to look next."""
    pages = {
        "status": "/api/status",
        "summary": "/api/status/summary",
        "metrics": "/metrics",
        "overview": "/api/metrics",
        "docs": "/api-docs",
    }
    width = max(len(_url(port, path)) for port in ports for path in pages.values()) + 2
    for name, path in pages.items():
        yield f"{name:10}" + "".join(f"{_url(port, path):{width}}" for port in ports).rstrip()
    yield f"{'ledger':10}{_url(provider_port, '/admin/ledger')}"
    yield f"{'faults':10}{_url(provider_port, '/admin/faults')}"


def examples(port: int, python: str, token: str) -> Iterator[str]:
    """Things to type."""
    order = '{"amount": 1200, "currency": "EUR", "reference": "mine-1"}'
    url = f"http://{LOCALHOST}:{port}"
    yield f"curl -i -H 'Content-Type: application/json' -d '{order}' {url}/api/payment"
    yield f"{python} -m proxy status {url} --watch"
    yield f"export HOLDFAST_ADMIN_TOKEN={token}"
    yield f"{python} -m proxy breaker open mock --reason 'trying it' --for 1m --url {url}"


def wrapped(text: str) -> list[str]:
    """Prose in lines."""
    return [line for part in text.splitlines() for line in textwrap.wrap(part, WIDTH) or [""]]


def _url(port: int, path: str) -> str:
    return f"http://{LOCALHOST}:{port}{path}"


def _named(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}" if status else "no answer"
