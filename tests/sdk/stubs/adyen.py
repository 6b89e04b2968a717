"""Adyen: a decline is 200 with `Refused`; after a 5xx only `transient-error: true` allows the same call again."""

from __future__ import annotations

import json

from tests.sdk.stubs.api import Answer, Api, Call, Charge, Order, as_json


class Adyen(Api):
    def pays(self, call: Call) -> bool:
        return call.method == "POST" and call.path.endswith("/payments")

    def read(self, call: Call) -> Order:
        return Order(call.headers.get("idempotency-key"), json.loads(call.body)["reference"])

    def charged(self, charge: Charge) -> Answer:
        return _result(charge.id, "Authorised", charge.order)

    def declined(self, order: Order) -> Answer:
        return _result("refused", "Refused", order)

    def failed(self, status: int) -> Answer:
        return _error(status, "000", "Internal error")

    def hinted(self) -> Answer:
        answer = _error(503, "703", "Required resource temporarily unavailable")
        return Answer(answer.status, answer.body, {**answer.headers, "transient-error": "true"})

    def in_flight(self) -> Answer:
        return _error(422, "704", "request already processed or in progress")

    def kept_of_500(self, charged: Answer, failed: Answer) -> Answer | None:
        del charged
        return failed


def _result(reference: str, code: str, order: Order) -> Answer:
    document = {"pspReference": reference, "resultCode": code, "merchantReference": order.reference}
    echo = {"idempotency_key": order.key} if order.key else {}
    return as_json(200, document, pspReference=reference, **echo)


def _error(status: int, code: str, message: str) -> Answer:
    return as_json(status, {"status": status, "errorCode": code, "message": message, "errorType": "internal"})
