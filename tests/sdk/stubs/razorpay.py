"""Razorpay: refunds and payouts have a key of their own header each, orders have none."""

from __future__ import annotations

import json

from tests.sdk.stubs.api import Answer, Api, Call, Charge, Order, as_json


class Razorpay(Api):
    def pays(self, call: Call) -> bool:
        return call.method == "POST" and (call.path in {"/v1/orders", "/v1/payouts"} or call.path.endswith("/refund"))

    def read(self, call: Call) -> Order:
        wanted = json.loads(call.body)
        header = {"/v1/orders": "", "/v1/payouts": "x-payout-idempotency"}.get(call.path, "x-refund-idempotency")
        return Order(call.headers.get(header), wanted.get("receipt") or wanted["reference_id"])

    def charged(self, charge: Charge) -> Answer:
        return as_json(200, {"id": f"order_{charge.id}", "entity": "order", "status": "created", "amount": 1200})

    def declined(self, order: Order) -> Answer:
        del order
        return _error(400, "BAD_REQUEST_ERROR", "Payment was declined by the bank.", source="issuer_bank")

    def failed(self, status: int) -> Answer:
        return _error(status, "SERVER_ERROR", "We are facing some trouble.")

    def in_flight(self) -> Answer:
        return _error(409, "BAD_REQUEST_ERROR", "A request with the same key is in progress.")


def _error(status: int, code: str, description: str, **more: str) -> Answer:
    return as_json(status, {"error": {"code": code, "description": description, **more}})
