"""GoCardless: a replay is a 409 that names the payment, which the SDK then gets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tests.sdk.stubs.api import Answer, Api, Call, Charge, Order, as_json


class GoCardless(Api):
    def pays(self, call: Call) -> bool:
        return (call.method, call.path) == ("POST", "/payments")

    def read(self, call: Call) -> Order:
        return Order(call.headers.get("idempotency-key"), json.loads(call.body)["payments"]["reference"])

    def charged(self, charge: Charge) -> Answer:
        return as_json(201, _payment(charge))

    def declined(self, order: Order) -> Answer:
        del order
        wrong = {"field": "mandate", "message": "is not active", "request_pointer": "/payments/links/mandate"}
        return _error(422, "validation_failed", [wrong])

    def failed(self, status: int) -> Answer:
        return _error(status, "gocardless", [{"reason": "internal_server_error", "message": "No."}])

    def replayed(self, first: Answer, charge: Charge | None) -> Answer:
        if charge is None:
            return first
        links = {"conflicting_resource_id": charge.id}
        wrong = {"reason": "idempotent_creation_conflict", "message": "Already created.", "links": links}
        return _error(409, "invalid_state", [wrong])

    def other(self, call: Call, charges: Mapping[str, Charge]) -> Answer:
        charge = charges.get(call.path.removeprefix("/payments/"))
        return super().other(call, charges) if charge is None else as_json(200, _payment(charge))


def _payment(charge: Charge) -> object:
    return {"payments": {"id": charge.id, "status": "pending_submission", "amount": 1200, "currency": "EUR"}}


def _error(status: int, kind: str, errors: Sequence[Mapping[str, object]]) -> Answer:
    document = {"type": kind, "code": status, "message": "No.", "errors": errors, "request_id": "req1"}
    return as_json(status, {"error": document})
