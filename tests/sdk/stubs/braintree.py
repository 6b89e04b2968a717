"""Braintree: XML both ways; `api_request_key` is a field of the body, and a conflict over it is a 422."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from tests.sdk.stubs.api import Answer, Api, Call, Charge, Order


class Braintree(Api):
    def pays(self, call: Call) -> bool:
        return call.method == "POST" and call.path.endswith("/transactions")

    def read(self, call: Call) -> Order:
        wanted = ET.fromstring(call.body)
        return Order(wanted.findtext("api_request_key"), wanted.findtext("order_id") or "")

    def charged(self, charge: Charge) -> Answer:
        return _xml(201, _transaction(charge.id, "submitted_for_settlement"))

    def declined(self, order: Order) -> Answer:
        refused = _transaction(f"refused{len(order.reference)}", "processor_declined")
        return _error(refused, "Do Not Honor")

    def failed(self, status: int) -> Answer:
        return _xml(status, "<error/>")

    def in_flight(self) -> Answer:
        wrong = (
            "<transaction><errors type='array'><error><attribute type='symbol'>base</attribute><code>915233</code>"
            "<message>A request with the same key is in progress.</message></error></errors></transaction>"
        )
        return _error("", "A request with the same key is in progress.", wrong)


def _transaction(name: str, status: str) -> str:
    return f"<transaction><id>{name}</id><status>{status}</status><amount>12.00</amount><type>sale</type></transaction>"


def _error(transaction: str, message: str, wrong: str = "") -> Answer:
    errors = f"<errors><errors type='array'/>{wrong}</errors>"
    text = f"<api-error-response>{errors}<message>{message}</message>{transaction}</api-error-response>"
    return _xml(422, text)


def _xml(status: int, text: str) -> Answer:
    document = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'
    return Answer(status, document.encode(), {"Content-Type": "application/xml"})
