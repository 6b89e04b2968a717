"""Payments to real providers' APIs through the corridor: what goes out, how often, and what is answered."""

from __future__ import annotations

import json

import pytest

from proxy.core.model import Answer, Body, Certainty, Outcome, Payment, Result, TransportFailure, WireError, header
from proxy.core.retry import Signal
from proxy.gate import Permit
from tests.core.providers import NAMES, PROVIDERS
from tests.fakes import (
    CUT,
    JUNK,
    REFUSED,
    RESET,
    TIMEOUT,
    Corridor,
    Step,
    failure,
    payment,
    profile,
    response,
    upstream,
)

OK = response(200)
PATIENT = upstream(timeouts={"connect": "1s", "attempt": "3s", "total": "60s"})
PATHS = {
    "stripe": b"/v1/payment_intents",
    "adyen": b"/v72/payments",
    "paypal": b"/v2/checkout/orders/O1/capture",
    "square": b"/v2/payments",
    "checkout_com": b"/payments",
    "braintree": b"/merchants/m/transactions",
    "mollie": b"/v2/payments",
    "razorpay": b"/v1/payouts",
    "gocardless": b"/payments",
}
BODIES = {
    "square": b'{"idempotency_key": "client-key-1", "amount_money": {"amount": 100}}',
    "braintree": b"<transaction><amount>1.00</amount><api_request_key>client-key-1</api_request_key></transaction>",
}


def keyed(name: str) -> Payment:
    """A payment with the client's own key, where this provider looks for it."""
    rule = PROVIDERS[name].key
    assert rule is not None
    body: Body = BODIES.get(name, b'{"amount": 100}')
    if rule.header is None:
        return payment("POST", target=PATHS[name], body=body)
    return payment("POST", (rule.header.encode(), b"client-key-1"), target=PATHS[name], body=body)


def unkeyed(name: str) -> Payment:
    """A write on a path where no key counts."""
    return payment("PATCH", target=b"/elsewhere/1", body=b'{"amount": 100}')


def cut(status: int) -> TransportFailure:
    """A head with this status, and then nothing more."""
    return failure(Certainty.CUT, WireError.CUT, status)


def error_of(answer: Answer) -> str:
    assert isinstance(answer.body, bytes)
    return answer.body.decode()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "checkout_com"])
@pytest.mark.parametrize("trouble", [TIMEOUT, RESET, CUT], ids=lambda trouble: trouble.error)
async def test_a_lost_answer_is_fetched_with_the_same_key_and_bytes(name: str, trouble: object) -> None:
    corridor = Corridor(Step(trouble), OK, facts=PROVIDERS[name])  # type: ignore[arg-type]
    before = keyed(name)
    answer = await corridor.pay(before)
    assert (answer.status, answer.outcome, answer.attempts) == (200, Outcome.FINAL, 2)
    assert [sent.payment for sent in corridor.transport.sent] == [before, before]
    assert answer.injected_key is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("trouble", [TIMEOUT, RESET, CUT], ids=lambda trouble: trouble.error)
async def test_a_lost_answer_to_a_write_without_key_is_told_and_not_fetched(name: str, trouble: object) -> None:
    corridor = Corridor(Step(trouble), facts=PROVIDERS[name])  # type: ignore[arg-type]
    answer = await corridor.pay(unkeyed(name))
    assert (answer.status, answer.outcome, answer.attempts) == (424, Outcome.UNKNOWN, 1)
    assert "look it up before paying again" in error_of(answer)


@pytest.mark.parametrize("name", NAMES)
async def test_what_was_not_sent_is_sent_again_even_without_key(name: str) -> None:
    corridor = Corridor(REFUSED, OK, facts=PROVIDERS[name])
    answer = await corridor.pay(unkeyed(name))
    assert (answer.status, answer.outcome, answer.attempts) == (200, Outcome.FINAL, 2)


@pytest.mark.parametrize("name", NAMES)
async def test_an_open_breaker_answers_in_the_providers_language(name: str) -> None:
    corridor = Corridor(facts=PROVIDERS[name])
    for _ in range(corridor.config.breaker.consecutive_failures or 0):
        permit = await corridor.gate.admit()
        assert isinstance(permit, Permit)
        corridor.gate.settle(permit, Signal.FAILURE, None)
    answer = await corridor.pay(keyed(name))
    assert (answer.status, answer.outcome, answer.attempts) == (503, Outcome.NOT_SENT, 0)
    assert "nothing was sent" in error_of(answer)
    assert "req-1" in error_of(answer)
    assert header(answer.headers, b"content-type") != b"application/problem+json"
    seconds = header(answer.headers, b"retry-after")
    assert seconds is not None
    assert int(seconds) <= PROVIDERS[name].max_retry_after


# Checkout.com: the same key not before 30 s ------------------------------------------------------------------------


async def test_checkout_com_with_little_time_answers_instead_of_asking_too_early() -> None:
    corridor = Corridor(Step(TIMEOUT, takes=3.0), facts=PROVIDERS["checkout_com"])
    answer = await corridor.pay(keyed("checkout_com"))
    assert (answer.status, answer.outcome, answer.attempts) == (504, Outcome.UNKNOWN, 1)


# What nobody saw may have been a 5xx ----------------------------------------------------------------------------

UNSAFE_UNSEEN = {
    "checkout_com": payment("POST", (b"Cko-Idempotency-Key", b"k" * 12), target=b"/payments"),
    "stripe": payment("POST", (b"Idempotency-Key", b"k" * 12), target=b"/v2/core/accounts"),
    "razorpay": payment("POST", (b"X-Refund-Idempotency", b"k" * 12), target=b"/v1/payments/pay_1/refund"),
}


@pytest.mark.parametrize("name", list(UNSAFE_UNSEEN))
@pytest.mark.parametrize("seen", [RESET, JUNK, TIMEOUT, CUT, *map(cut, [200, 409, 429, 500, 502, 503]), response(408)])
async def test_a_key_that_a_5xx_makes_worthless_is_not_sent_again_after_what_nobody_saw(
    name: str, seen: Result
) -> None:
    corridor = Corridor(seen, facts=PROVIDERS[name], config=PATIENT)
    answer = await corridor.pay(UNSAFE_UNSEEN[name])
    assert (answer.outcome, len(corridor.transport.sent)) == (Outcome.UNKNOWN, 1)


@pytest.mark.parametrize("name", list(UNSAFE_UNSEEN))
@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 520])
async def test_the_rule_in_force_is_the_requests_own(name: str, status: int) -> None:
    """Razorpay's payouts and Stripe's v1 have other rules: theirs would be sent again after a 502."""
    corridor = Corridor(response(status), facts=PROVIDERS[name], config=PATIENT)
    answer = await corridor.pay(UNSAFE_UNSEEN[name])
    assert (answer.status, answer.outcome, len(corridor.transport.sent)) == (status, Outcome.UNKNOWN, 1)


@pytest.mark.parametrize(("name", "again"), [("stripe", True), ("razorpay", True)])
async def test_the_other_rule_of_the_same_profile_lets_it_go_out_again(name: str, again: bool) -> None:
    corridor = Corridor(response(502), OK, facts=PROVIDERS[name])
    assert ((await corridor.pay(keyed(name))).attempts == 2) is again


@pytest.mark.parametrize("name", list(UNSAFE_UNSEEN))
async def test_what_is_in_flight_may_end_as_a_5xx_too(name: str) -> None:
    corridor = Corridor(response(409), facts=PROVIDERS[name], config=PATIENT)
    answer = await corridor.pay(UNSAFE_UNSEEN[name])
    assert (answer.status, answer.outcome, answer.attempts) == (409, Outcome.UNKNOWN, 1)


CUT_5XX = [(name, status) for name in NAMES for status in (500, 501, 502, 503, 504, 520, 599)]


@pytest.mark.parametrize(("name", "status"), CUT_5XX)
async def test_a_5xx_that_breaks_off_is_sent_again_where_a_whole_one_is(name: str, status: int) -> None:
    whole, broken = (
        Corridor(response(status), OK, facts=PROVIDERS[name]),
        Corridor(cut(status), OK, facts=PROVIDERS[name]),
    )
    await whole.pay(keyed(name))
    await broken.pay(keyed(name))
    assert len(broken.transport.sent) == len(whole.transport.sent)


@pytest.mark.parametrize("silence", [TIMEOUT, RESET, CUT, cut(200), cut(500), cut(503), response(408)])
async def test_every_silence_waits_as_long_as_the_provider_asks_for(silence: Result) -> None:
    facts = profile(key={"timeout_wait": "30s"})
    corridor = Corridor(silence, OK, facts=facts, config=PATIENT)
    await corridor.pay(payment("POST", (b"Idempotency-Key", b"k")))
    one, two = corridor.transport.sent
    assert two.at - one.at == 30.0


# Answers that settle nothing ------------------------------------------------------------------------------------

REFUSALS = [
    ("razorpay", response(400, body=b'{"error":{"code":"BAD_REQUEST_ERROR","source":"business"}}')),
    ("razorpay", response(400, body=b'{"error":{"code":"BAD_REQUEST_ERROR","source":"customer"}}')),
    ("mollie", response(400, body=b'{"status":400,"detail":"bad gateway request"}')),
    ("gocardless", response(422, body=b'{"error":{"type":"validation_failed"}}')),
    ("gocardless", response(422, body=b'{"error":{"type":"invalid_state"}}')),
    ("gocardless", response(409, body=b'{"error":{"errors":[{"reason":"idempotent_creation_conflict"}]}}')),
    ("paypal", response(422, body=b'{"details":[{"issue":"INSTRUMENT_DECLINED"}]}')),
    ("paypal", response(422, body=b'{"details":[{"issue":"PAYPAL_REQUEST_ID_PREVIOUSLY_USED"}]}')),
    ("square", response(400, body=b'{"errors":[{"code":"IDEMPOTENCY_KEY_REUSED"}]}')),
    ("square", response(402, body=b'{"errors":[{"category":"PAYMENT_METHOD_ERROR"}]}')),
    ("stripe", response(400, body=b'{"error":{"type":"idempotency_error"}}')),
    ("stripe", response(424)),
    ("adyen", response(422)),
]


@pytest.mark.parametrize(("name", "refusal"), REFUSALS)
async def test_a_refusal_does_not_settle_what_an_earlier_attempt_may_have_done(name: str, refusal: Result) -> None:
    corridor = Corridor(TIMEOUT, refusal, facts=PROVIDERS[name])
    answer = await corridor.pay(keyed(name))
    assert (answer.status, answer.outcome) == (refusal.status, Outcome.UNKNOWN)


async def test_stripe_keeps_its_declines_under_the_key() -> None:
    corridor = Corridor(TIMEOUT, response(402), facts=PROVIDERS["stripe"])
    answer = await corridor.pay(keyed("stripe"))
    assert (answer.status, answer.outcome) == (402, Outcome.FINAL)


async def test_checkout_com_does_not_pay_anew_after_a_500() -> None:
    corridor = Corridor(response(500), facts=PROVIDERS["checkout_com"], config=PATIENT)
    answer = await corridor.pay(keyed("checkout_com"))
    assert (answer.status, answer.outcome, answer.attempts) == (500, Outcome.UNKNOWN, 1)


# Hints -------------------------------------------------------------------------------------------------------------


async def test_stripe_says_try_again_to_a_500() -> None:
    corridor = Corridor(response(500, (b"Stripe-Should-Retry", b"true")), OK, facts=PROVIDERS["stripe"])
    assert (await corridor.pay(keyed("stripe"))).attempts == 2


async def test_stripe_says_stop_to_a_503() -> None:
    corridor = Corridor(response(503, (b"Stripe-Should-Retry", b"false")), facts=PROVIDERS["stripe"])
    answer = await corridor.pay(keyed("stripe"))
    assert (answer.status, answer.outcome, answer.attempts) == (503, Outcome.UNKNOWN, 1)


async def test_stripe_says_try_again_where_the_table_alone_would_not() -> None:
    """A 4xx has nothing to mend by its status; the hint overrides it, for a request with a key only."""
    hinted = response(423, (b"Stripe-Should-Retry", b"true"))
    assert (await Corridor(hinted, OK, facts=PROVIDERS["stripe"]).pay(keyed("stripe"))).attempts == 2
    assert (await Corridor(hinted, facts=PROVIDERS["stripe"]).pay(unkeyed("stripe"))).attempts == 1


async def test_adyen_says_that_nothing_was_done_and_a_write_without_key_goes_out_again() -> None:
    corridor = Corridor(response(500, (b"transient-error", b"true")), OK, facts=PROVIDERS["adyen"])
    assert (await corridor.pay(unkeyed("adyen"))).attempts == 2


# Keys --------------------------------------------------------------------------------------------------------------


async def test_an_injected_key_is_the_same_on_every_attempt_and_told() -> None:
    corridor = Corridor(RESET, RESET, OK, facts=PROVIDERS["adyen"])
    answer = await corridor.pay(payment("POST", target=b"/v72/payments"))
    assert answer.injected_key == "new-key"
    assert [header(sent.payment.headers, b"idempotency-key") for sent in corridor.transport.sent] == [b"new-key"] * 3


async def test_a_payout_without_key_goes_out_as_it_came_and_once() -> None:
    corridor = Corridor(TIMEOUT, facts=PROVIDERS["razorpay"], new_keys=())
    before = payment("POST", target=b"/v1/payouts")
    answer = await corridor.pay(before)
    assert (answer.status, answer.attempts, answer.injected_key) == (424, 1, None)
    assert corridor.transport.sent[0].payment == before


async def test_a_razorpay_capture_has_no_key() -> None:
    capture = payment("POST", (b"X-Refund-Idempotency", b"k" * 12), target=b"/v1/payments/pay_1/capture")
    answer = await Corridor(RESET, facts=PROVIDERS["razorpay"]).pay(capture)
    assert (answer.status, answer.attempts) == (424, 1)


# The breaker -------------------------------------------------------------------------------------------------------

DECLINED = {
    "stripe": response(402, body=b'{"error": {"type": "card_error"}}'),
    "adyen": response(200, body=b'{"resultCode": "Refused"}'),
    "paypal": response(422, body=b'{"details": [{"issue": "INSTRUMENT_DECLINED"}]}'),
    "square": response(402, body=b'{"errors": [{"category": "PAYMENT_METHOD_ERROR"}]}'),
    "checkout_com": response(201, body=b'{"approved": false}'),
    "braintree": response(
        422,
        body=b"<api-error-response><transaction><status>failed</status></transaction></api-error-response>",
    ),
    "mollie": response(201, body=b'{"status": "failed"}'),
    "razorpay": response(400, body=b'{"error": {"code": "BAD_REQUEST_ERROR", "source": "customer"}}'),
    "gocardless": response(422, body=b'{"error": {"type": "validation_failed"}}'),
}


@pytest.mark.parametrize("name", NAMES)
async def test_declines_never_open_the_breaker_and_are_passed_on_untouched(name: str) -> None:
    corridor = Corridor(*[DECLINED[name]] * 20, facts=PROVIDERS[name])
    for _ in range(20):
        answer = await corridor.pay(keyed(name))
        assert (answer.status, answer.outcome, answer.attempts) == (DECLINED[name].status, Outcome.FINAL, 1)
        assert answer.body == DECLINED[name].body


@pytest.mark.parametrize(("name", "opens"), [("mollie", False), ("paypal", True)])
async def test_a_method_outage_does_not_open_the_breaker_for_every_method(name: str, opens: bool) -> None:
    config = upstream(retry={"max_retries": 0})
    corridor = Corridor(*[response(503)] * 6, facts=PROVIDERS[name], config=config)
    outcomes = [(await corridor.pay(keyed(name))).outcome for _ in range(6)]
    assert (Outcome.NOT_SENT in outcomes) is opens


async def test_a_gocardless_replay_is_passed_on_and_settles_an_earlier_doubt() -> None:
    links = {"conflicting_resource_id": "PM1"}
    conflict = json.dumps({"error": {"errors": [{"reason": "idempotent_creation_conflict", "links": links}]}}).encode()
    corridor = Corridor(TIMEOUT, response(409, body=conflict), facts=PROVIDERS["gocardless"])
    answer = await corridor.pay(keyed("gocardless"))
    assert (answer.status, answer.outcome, answer.body) == (409, Outcome.FINAL, conflict)


async def test_a_braintree_duplicate_does_not_settle_an_earlier_doubt() -> None:
    """Where keys are not enabled, the duplicate may be of our own first attempt."""
    duplicate = (
        b"<api-error-response><transaction><status>gateway_rejected</status>"
        b"<gateway-rejection-reason>duplicate</gateway-rejection-reason></transaction></api-error-response>"
    )
    corridor = Corridor(TIMEOUT, response(422, body=duplicate), facts=PROVIDERS["braintree"])
    answer = await corridor.pay(keyed("braintree"))
    assert (answer.status, answer.outcome) == (422, Outcome.UNKNOWN)


async def test_squares_own_wait_headers_are_obeyed() -> None:
    limited = response(429, (b"retry-after-ms", b"2500"))
    corridor = Corridor(limited, OK, facts=PROVIDERS["square"])
    await corridor.pay(keyed("square"))
    one, two = corridor.transport.sent
    assert two.at - one.at == 2.5
