"""Mollie: key in a header, first response kept; a payment that failed is a 201 all the same."""

from __future__ import annotations

import json

from tests.sdk.stubs.api import Answer, Api, Call, Charge, Order, as_json


class Mollie(Api):
    def pays(self, call: Call) -> bool:
        return (call.method, call.path) == ("POST", "/v2/payments")

    def read(self, call: Call) -> Order:
        return Order(call.headers.get("idempotency-key"), json.loads(call.body)["metadata"]["reference"])

    def charged(self, charge: Charge) -> Answer:
        return _payment(charge.id, "paid")

    def declined(self, order: Order) -> Answer:
        return _payment(order.reference, "failed")

    def failed(self, status: int) -> Answer:
        return _error(status, "Service trouble")

    def in_flight(self) -> Answer:
        return _error(409, "Conflict")

    def replayed(self, first: Answer, charge: Charge | None) -> Answer:
        del charge
        return Answer(first.status, first.body, {**first.headers, "Idempotent-Replayed": "true"})


def _payment(name: str, status: str) -> Answer:
    amount = {"currency": "EUR", "value": "12.00"}
    document = {"resource": "payment", "id": f"tr_{name}", "status": status, "amount": amount}
    return as_json(201, document, Content_Type="application/hal+json")


def _error(status: int, title: str) -> Answer:
    document = {"status": status, "title": title, "detail": "No."}
    return as_json(status, document, Content_Type="application/hal+json")
