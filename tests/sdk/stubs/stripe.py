"""Stripe: form bodies, key in a header, the first result kept whatever it was, 500 included."""

from __future__ import annotations

from urllib.parse import parse_qs

from tests.sdk.stubs.api import Answer, Api, Call, Charge, Order, as_json


class Stripe(Api):
    def pays(self, call: Call) -> bool:
        return (call.method, call.path) in {("POST", "/v1/payment_intents"), ("POST", "/v1/charges")}

    def read(self, call: Call) -> Order:
        form = parse_qs(call.body.decode())
        return Order(call.headers.get("idempotency-key"), form["metadata[reference]"][0])

    def charged(self, charge: Charge) -> Answer:
        intent = {"id": f"pi_{charge.id}", "object": "payment_intent", "amount": 1200, "status": "succeeded"}
        return as_json(200, intent, Request_Id=f"req_{charge.id}")

    def declined(self, order: Order) -> Answer:
        del order
        return _error(
            402, "card_error", "Your card was declined.", code="card_declined", decline_code="generic_decline"
        )

    def failed(self, status: int) -> Answer:
        return _error(status, "api_error", "An error occurred on our side.")

    def hinted(self) -> Answer:
        answer = _error(409, "invalid_request_error", "This object cannot be accessed right now.", code="lock_timeout")
        return Answer(answer.status, answer.body, {**answer.headers, "Stripe-Should-Retry": "true"})

    def in_flight(self) -> Answer:
        told = "There is currently another in-progress request using this Idempotent Key."
        return _error(409, "idempotency_error", told, code="idempotency_key_in_use")

    def replayed(self, first: Answer, charge: Charge | None) -> Answer:
        del charge
        return Answer(first.status, first.body, {**first.headers, "Idempotent-Replayed": "true"})

    def kept_of_500(self, charged: Answer, failed: Answer) -> Answer | None:
        del charged
        return failed


def _error(status: int, kind: str, message: str, **more: str) -> Answer:
    return as_json(status, {"error": {"type": kind, "message": message, **more}}, Request_Id="req_1")
