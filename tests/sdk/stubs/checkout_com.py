"""Checkout.com: a decline is 201 with `approved: false`; only 2xx are kept, so after a 5xx a key charges again."""

from __future__ import annotations

import json

from tests.sdk.stubs.api import Answer, Api, Call, Charge, Order, as_json


class CheckoutCom(Api):
    def pays(self, call: Call) -> bool:
        return (call.method, call.path) == ("POST", "/payments")

    def read(self, call: Call) -> Order:
        return Order(call.headers.get("cko-idempotency-key"), json.loads(call.body)["reference"])

    def charged(self, charge: Charge) -> Answer:
        document = {"id": f"pay_{charge.id}", "status": "Authorized", "approved": True, "response_code": "10000"}
        return as_json(201, document, Cko_Request_Id="req1")

    def declined(self, order: Order) -> Answer:
        document = {"id": f"pay_{order.reference}", "status": "Declined", "approved": False, "response_code": "20005"}
        return as_json(201, document, Cko_Request_Id="req1")

    def failed(self, status: int) -> Answer:
        return as_json(status, {"request_id": "req1", "error_type": "processing_error", "error_codes": ["oops"]})

    def in_flight(self) -> Answer:
        codes = ["idempotency_conflict"]
        return as_json(409, {"request_id": "req1", "error_type": "request_invalid", "error_codes": codes})

    def kept_of_500(self, charged: Answer, failed: Answer) -> Answer | None:
        del charged, failed
        return None
