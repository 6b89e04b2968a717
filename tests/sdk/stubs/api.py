"""What the engine asks of a provider's module: how its API words things. Facts from shared/payments.md."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answer:
    """A response as it will be written."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Order:
    """What a call wants: under which key, and the shop's own reference."""

    key: str | None
    reference: str


@dataclass(frozen=True)
class Charge:
    """Money that moved."""

    id: str
    order: Order


def as_json(status: int, document: object, **headers: str) -> Answer:
    """An answer in JSON; header names are given with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json", **named})


class Api(ABC):
    """One provider's API."""

    @abstractmethod
    def pays(self, call: Call) -> bool:
        """Whether this call moves money."""

    @abstractmethod
    def read(self, call: Call) -> Order:
        """The order in a call that moves money."""

    @abstractmethod
    def charged(self, charge: Charge) -> Answer:
        """The first answer to a charge."""

    @abstractmethod
    def declined(self, order: Order) -> Answer:
        """The answer to an order that the bank refused."""

    @abstractmethod
    def failed(self, status: int) -> Answer:
        """The provider's own 5xx."""

    def in_flight(self) -> Answer:
        """The answer while an earlier call with the same key is being processed."""
        raise NotImplementedError(f"{type(self).__module__}: nothing is documented")

    def hinted(self) -> Answer:
        """A failure that carries the provider's hint that the same call may be sent again."""
        raise NotImplementedError(f"{type(self).__module__}: there is no such hint")

    def replayed(self, first: Answer, charge: Charge | None) -> Answer:
        """The answer to a key that already has one."""
        del charge
        return first

    def kept_of_500(self, charged: Answer, failed: Answer) -> Answer | None:
        """What the same key is answered after a charge that was answered 500; None: it is carried out again."""
        del failed
        return charged

    def other(self, call: Call, charges: Mapping[str, Charge]) -> Answer:
        """The answer to a call that moves no money."""
        del call, charges
        return self.failed(404)
