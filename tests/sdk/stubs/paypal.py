"""PayPal: a token first; a replay answers 200 with the order as it is now."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.sdk.stubs.api import Answer, Api, Call, Charge, Order, as_json


class PayPal(Api):
    def pays(self, call: Call) -> bool:
        return (call.method, call.path) == ("POST", "/v2/checkout/orders")

    def read(self, call: Call) -> Order:
        reference = json.loads(call.body)["purchase_units"][0]["invoice_id"]
        return Order(call.headers.get("paypal-request-id"), reference)

    def charged(self, charge: Charge) -> Answer:
        return as_json(201, {"id": charge.id, "status": "COMPLETED"}, Paypal_Debug_Id="debug1")

    def declined(self, order: Order) -> Answer:
        del order
        return _error(422, "UNPROCESSABLE_ENTITY", "INSTRUMENT_DECLINED")

    def failed(self, status: int) -> Answer:
        return _error(status, "INTERNAL_SERVER_ERROR", "INTERNAL_SERVICE_ERROR")

    def in_flight(self) -> Answer:
        return _error(409, "RESOURCE_CONFLICT", "PREVIOUS_REQUEST_IN_PROGRESS")

    def replayed(self, first: Answer, charge: Charge | None) -> Answer:
        del charge
        return Answer(200 if first.status == 201 else first.status, first.body, first.headers)

    def other(self, call: Call, charges: Mapping[str, Charge]) -> Answer:
        if call.path == "/v1/oauth2/token":
            return as_json(200, {"access_token": "token", "token_type": "Bearer", "expires_in": 32000})
        return super().other(call, charges)


def _error(status: int, name: str, issue: str) -> Answer:
    document = {"name": name, "message": "No.", "debug_id": "debug1", "details": [{"issue": issue}]}
    return as_json(status, document, Paypal_Debug_Id="debug1")
