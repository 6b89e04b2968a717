"""Our own errors as each provider words its own, read at the places where its official SDK reads them."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from pydantic import ValidationError

from proxy.core.answers import Told, answer_headers, failed, problem, refused
from proxy.core.envelopes import Envelope
from proxy.core.model import Answer, Certainty, Kind, Outcome, WireError, header
from proxy.core.outcome import Row
from tests import fakes
from tests.core.providers import NAMES, PROVIDERS

DETAIL = 'No answer: "look" <it> up & wait\\ again.'
WITH_ID = f"{DETAIL} (request req-77)"
STATUSES = [400, 404, 408, 413, 424, 502, 503, 504]


def ours(name: str, status: int = 504, detail: str = DETAIL) -> Answer:
    told = Told("req-77", 2, Outcome.UNKNOWN, profile=PROVIDERS[name])
    return problem(status, "http_response_timeout", detail, told)


def parsed(answer: Answer) -> Any:
    assert isinstance(answer.body, bytes)
    return json.loads(answer.body)


def test_stripe() -> None:
    answer = ours("stripe")
    error = parsed(answer)["error"]
    assert (error["type"], error["message"], error["code"]) == ("api_error", DETAIL, "holdfast_http_response_timeout")
    assert header(answer.headers, b"request-id") == b"req-77"
    assert header(answer.headers, b"stripe-should-retry") == b"false"


def test_adyen() -> None:
    answer = ours("adyen")
    error = parsed(answer)
    assert (error["status"], error["message"]) == (504, WITH_ID)
    assert error["errorCode"] == "holdfast_http_response_timeout"
    assert header(answer.headers, b"transient-error") == b"false"
    assert header(answer.headers, b"pspreference") is None, "a reference of Adyen's is Adyen's to give"


def test_paypal() -> None:
    answer = ours("paypal")
    error = parsed(answer)
    assert (error["name"], error["message"]) == ("HOLDFAST_HTTP_RESPONSE_TIMEOUT", DETAIL)
    assert (error["debug_id"], header(answer.headers, b"paypal-debug-id")) == ("req-77", b"req-77")
    assert error["details"][0]["description"] == DETAIL


def test_square() -> None:
    errors = parsed(ours("square"))["errors"]
    assert errors == [{"category": "API_ERROR", "code": "HOLDFAST_HTTP_RESPONSE_TIMEOUT", "detail": WITH_ID}]


def test_checkout_com() -> None:
    answer = ours("checkout_com")
    error = parsed(answer)
    assert (error["request_id"], error["error_type"]) == ("req-77", "holdfast_error")
    assert error["error_codes"] == ["http_response_timeout", DETAIL]
    assert header(answer.headers, b"cko-request-id") == b"req-77"


def test_braintree() -> None:
    answer = ours("braintree")
    assert isinstance(answer.body, bytes)
    root = ET.fromstring(answer.body)
    assert (root.tag, root.findtext("message")) == ("api-error-response", WITH_ID)
    assert root.findtext("holdfast/outcome") == "unknown"
    assert root.findtext("holdfast/attempts") == "2"
    assert root.findtext("holdfast/request-id") == "req-77"
    assert root.find("transaction") is None, "no transaction: nothing may read it as a decline"


def test_mollie() -> None:
    error = parsed(ours("mollie"))
    assert (error["status"], error["title"], error["detail"]) == (504, "Gateway Timeout", WITH_ID)
    assert set(error["_links"]["documentation"]) == {"href", "type"}


def test_razorpay() -> None:
    error = parsed(ours("razorpay"))["error"]
    assert (error["code"], error["description"]) == ("SERVER_ERROR", WITH_ID)


def test_gocardless() -> None:
    error = parsed(ours("gocardless"))["error"]
    assert (error["type"], error["code"], error["message"]) == ("gocardless", 504, DETAIL)
    assert error["request_id"] == "req-77"
    assert [one["message"] for one in error["errors"]] == [DETAIL]


TYPES = {"braintree": b"application/xml", "mollie": b"application/hal+json"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", STATUSES)
def test_every_error_has_the_providers_content_type_once(name: str, status: int) -> None:
    headers = ours(name, status).headers
    types = [value for field, value in headers if field.lower() == b"content-type"]
    assert types == [TYPES.get(name, b"application/json")]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "braintree"])
@pytest.mark.parametrize("status", STATUSES)
def test_every_json_error_also_says_what_is_known(name: str, status: int) -> None:
    document = parsed(ours(name, status))
    known = document.get("holdfast") or document["error"]["holdfast"]
    assert known == {"outcome": "unknown", "attempts": 2, "request_id": "req-77"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", STATUSES)
def test_every_error_tells_the_sdk_to_stop(name: str, status: int) -> None:
    assert header(ours(name, status).headers, b"stripe-should-retry") == b"false"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("detail", ['"', "\\", "</message><x>", "{code} {nothing}", "\x00\x1f\ufffe", "é✓", "a\nb", ""])
def test_whatever_the_message_says_the_envelope_can_be_read(name: str, detail: str) -> None:
    answer = ours(name, detail=detail)
    assert isinstance(answer.body, bytes)
    if name == "braintree":
        ET.fromstring(answer.body)
    else:
        json.loads(answer.body)


@pytest.mark.parametrize(
    ("name", "longest"), [(name, b"2" if name in {"square", "mollie"} else b"60") for name in NAMES]
)
def test_a_refusal_asks_for_no_longer_wait_than_the_sdk_bears(name: str, longest: bytes) -> None:
    profile = PROVIDERS[name]
    answer = refused(300, profile.max_retry_after, DETAIL, Told("req-77", 0, Outcome.NOT_SENT, profile=profile))
    assert (answer.status, header(answer.headers, b"retry-after")) == (503, longest)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("stripe", b"Request-Id"),
        ("adyen", b"pspReference"),
        ("paypal", b"Paypal-Debug-Id"),
        ("mollie", b"X-Request-Id"),
    ],
)
def test_a_cut_answer_tells_the_providers_own_request_id(name: str, field: bytes) -> None:
    cut = fakes.failure(Certainty.CUT, WireError.CUT, 200, ((field, b"theirs-1"),))
    answer = failed(cut, Row.CUT, Kind.KEYED, 424, Told("req-77", 1, Outcome.UNKNOWN, profile=PROVIDERS[name]))
    assert header(answer.headers, b"x-upstream-request-id") == b"theirs-1"


def test_without_an_envelope_it_is_a_problem_document() -> None:
    answer = problem(504, "e", DETAIL, Told("req-77", 2, Outcome.UNKNOWN, profile=fakes.GENERIC))
    assert header(answer.headers, b"content-type") == b"application/problem+json"
    assert parsed(answer)["detail"] == DETAIL


@pytest.mark.parametrize("name", NAMES)
def test_our_own_headers_stand_beside_the_envelope(name: str) -> None:
    headers = answer_headers(ours(name), "req-77")
    assert header(headers, b"x-payment-outcome") == b"unknown"
    assert header(headers, b"x-proxy-attempts") == b"2"
    assert header(headers, b"x-request-id") == b"req-77"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"body": '{"a": "{massage}"}'}, "there is {massage}"),
        ({"body": '{"a": {message}}'}, "expected JSON"),
        ({"body": "null"}, "expected JSON"),
        ({"content_type": "application/xml"}, "expected well-formed XML"),
        ({"content_type": "application/xml", "body": "<a>{message}"}, "expected well-formed XML"),
        ({"content_type": "json"}, "expected a media type"),
        ({"headers": [{"name": "A B", "value": "x"}]}, "expected a header field name"),
        ({"headers": [{"name": "A", "value": "x\r\nB: y"}]}, "expected printable ASCII"),
        ({"headers": [{"name": "A", "value": "{nothing}"}]}, "there is {nothing}"),
    ],
)
def test_a_template_that_would_fail_later_is_refused_at_once(change: dict[str, object], complaint: str) -> None:
    good: dict[str, object] = {"content_type": "application/json", "body": '{"a": "{message}"}'}
    Envelope.model_validate(good)
    with pytest.raises(ValidationError, match=complaint):
        Envelope.model_validate(good | change)
