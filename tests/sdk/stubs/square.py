"""Square: the key is a field of the body; a decline is told by the error's category."""

from __future__ import annotations

import json

from tests.sdk.stubs.api import Answer, Api, Call, Charge, Order, as_json


class Square(Api):
    def pays(self, call: Call) -> bool:
        return (call.method, call.path) == ("POST", "/v2/payments")

    def read(self, call: Call) -> Order:
        wanted = json.loads(call.body)
        return Order(wanted["idempotency_key"], wanted["reference_id"])

    def charged(self, charge: Charge) -> Answer:
        money = {"amount": 1200, "currency": "EUR"}
        return as_json(200, {"payment": {"id": charge.id, "status": "COMPLETED", "amount_money": money}})

    def declined(self, order: Order) -> Answer:
        del order
        return _error(400, "PAYMENT_METHOD_ERROR", "GENERIC_DECLINE")

    def failed(self, status: int) -> Answer:
        return _error(status, "API_ERROR", "INTERNAL_SERVER_ERROR")


def _error(status: int, category: str, code: str) -> Answer:
    return as_json(status, {"errors": [{"category": category, "code": code, "detail": "No."}]})
