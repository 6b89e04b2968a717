"""Which requests each provider protects by a key, where the key stands, and where one is added."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from proxy.core.idempotency import kind_at_age
from proxy.core.model import Kind
from tests.core.providers import BRAINTREE, NAMES, NEW, PROVIDERS, settled

DAY = 86_400.0


@dataclass(frozen=True)
class Call:
    name: str
    method: str
    path: str
    kept: float
    """Seconds that the key is trusted; an hour where the provider publishes nothing."""


INJECTED = {
    "Idempotency-Key": [
        Call("stripe", "POST", "/v1/payment_intents", DAY),
        Call("stripe", "POST", "/v1/charges/ch_1/refunds?expand=x", DAY),
        Call("stripe", "POST", "/v2/core/events", 30 * DAY),
        Call("stripe", "DELETE", "/v2/core/event_destinations/ed_1", 30 * DAY),
        Call("adyen", "POST", "/v72/payments", 7 * DAY),
        Call("adyen", "POST", "/checkout/v71/payments/P1/captures", 7 * DAY),
        Call("adyen", "POST", "/payments/P1/refunds", 7 * DAY),
        Call("adyen", "POST", "/btl/v4/transfers", 7 * DAY),
        Call("adyen", "POST", "/pal/servlet/Payout/v68/payout", 7 * DAY),
        Call("adyen", "POST", "/pal/servlet/Payment/v68/authorise", 7 * DAY),
        Call("mollie", "POST", "/v2/payments", 3300),
        Call("mollie", "POST", "/v2/payments/tr_1/refunds", 3300),
        Call("gocardless", "POST", "/payments", 3600),
        Call("gocardless", "POST", "/instalment_schedules/create_with_dates", 3600),
        Call("gocardless", "POST", "/instalment_schedules", 3600),
    ],
    "PayPal-Request-Id": [
        Call("paypal", "POST", "/v2/checkout/orders", DAY / 4),
        Call("paypal", "POST", "/v2/checkout/orders/O1/capture", DAY / 4),
        Call("paypal", "POST", "/v2/checkout/orders/O1/authorize", DAY / 4),
        Call("paypal", "POST", "/v2/payments/captures/C1/refund", 45 * DAY),
        Call("paypal", "POST", "/v2/payments/authorizations/A1/capture", 45 * DAY),
        Call("paypal", "POST", "/v1/billing/subscriptions", 3 * DAY),
        Call("paypal", "POST", "/v1/billing/subscriptions/I-1/capture", 3 * DAY),
        Call("paypal", "POST", "/v2/payments/authorizations/A1/void", 45 * DAY),
        Call("paypal", "POST", "/v1/catalogs/products", 3 * DAY),
        Call("paypal", "POST", "/v3/vault/setup-tokens", DAY / 8),
    ],
    "Cko-Idempotency-Key": [
        Call("checkout_com", "POST", "/payments", DAY),
        Call("checkout_com", "POST", "/payments/pay_1/captures", DAY),
        Call("checkout_com", "POST", "/payments/pay_1/refunds", DAY),
        Call("checkout_com", "POST", "/payments/pay_1/voids", DAY),
        Call("checkout_com", "POST", "/transfers", DAY),
    ],
    "X-Refund-Idempotency": [Call("razorpay", "POST", "/v1/payments/pay_1/refund", 3600)],
}
CALLS = [pytest.param(header, call, id=f"{call.name} {call.path}") for header in INJECTED for call in INJECTED[header]]


@pytest.mark.parametrize(("header", "call"), CALLS)
def test_one_key_is_added_where_the_provider_takes_a_header(header: str, call: Call) -> None:
    keyed = settled(call.name, call.method, call.path)
    assert (keyed.kind, keyed.injected, keyed.key) == (Kind.KEYED, NEW, NEW.encode())
    assert keyed.payment.headers == ((header.encode(), NEW.encode()),)
    assert keyed.payment.body == b"{}"


@pytest.mark.parametrize(("header", "call"), CALLS)
def test_the_clients_key_counts_and_is_left_alone(header: str, call: Call) -> None:
    line = (header.upper().encode(), b"client-key-1")
    keyed = settled(call.name, call.method, call.path, line)
    assert (keyed.kind, keyed.injected, keyed.key) == (Kind.KEYED, None, b"client-key-1")
    assert keyed.payment.headers == (line,)


@pytest.mark.parametrize(("header", "call"), CALLS)
def test_a_key_is_trusted_for_as_long_as_it_is_kept_there(header: str, call: Call) -> None:
    keyed = settled(call.name, call.method, call.path)
    ages = [call.kept - 1, call.kept]
    kinds = [kind_at_age(Kind.KEYED, keyed.rule, age) for age in ages]
    assert kinds == [Kind.KEYED, Kind.UNKEYED]


@pytest.mark.parametrize(
    ("name", "method", "path"),
    [
        ("stripe", "POST", "/v3/charges"),
        ("stripe", "POST", "/v1"),
        ("stripe", "POST", "/V1/charges"),
        ("stripe", "POST", "/v1/../oauth/token"),
        ("stripe", "POST", "/v1/%2e%2e/oauth/token"),
        ("stripe", "POST", "/v1//charges"),
        ("stripe", "PUT", "/v1/charges"),
        ("stripe", "PATCH", "/v2/core/accounts"),
        ("adyen", "PATCH", "/v72/storedPaymentMethods/1"),
        ("adyen", "POST", "/sync"),
        ("adyen", "POST", "/v1/merchants/M/devices/D/sync"),
        ("adyen", "POST", "/cal/services/Fund/v6/transferFunds"),
        ("adyen", "POST", "/pal/servlet/StoredValue/v46/load"),
        ("adyen", "POST", "/capital/v1/grants"),
        ("adyen", "POST", "/btl/v4/cashouts"),
        ("adyen", "POST", "/v3/companies/C/terminalOrders"),
        ("paypal", "POST", "/v1/billing/subscriptions/I-1/revise"),
        ("paypal", "POST", "/v1/billing/subscriptions/I-1/suspend"),
        ("paypal", "POST", "/v1/billing/subscriptions/I-1/cancel"),
        ("paypal", "POST", "/v1/billing/subscriptions/I-1/activate"),
        ("paypal", "POST", "/v1/billing/plans/P-1/deactivate"),
        ("paypal", "POST", "/v2/checkout/orders/O1/confirm-payment-source"),
        ("paypal", "POST", "/v1/payments/payouts"),
        ("paypal", "POST", "/v1/oauth2/token"),
        ("paypal", "POST", "/v2/checkout/orders/O1/track"),
        ("paypal", "POST", "/v2/checkout/orders/"),
        ("paypal", "PATCH", "/v2/checkout/orders/O1"),
        ("paypal", "PUT", "/v2/payments/x"),
        ("checkout_com", "POST", "/payments/pay_1/actions"),
        ("checkout_com", "POST", "/tokens"),
        ("checkout_com", "PUT", "/payments"),
        ("mollie", "PATCH", "/v2/payments/tr_1"),
        ("mollie", "DELETE", "/v2/payments/tr_1"),
        ("mollie", "POST", "/oauth2/tokens"),
        ("razorpay", "POST", "/v1/orders"),
        ("razorpay", "POST", "/v1/payments/pay_1/capture"),
        ("razorpay", "POST", "/v1/payment_links"),
        ("razorpay", "POST", "/v1/subscriptions"),
        ("razorpay", "PATCH", "/v1/payments/pay_1/refund"),
        ("gocardless", "POST", "/payments/PM1/actions/retry"),
        ("gocardless", "POST", "/payments/PM1/actions/cancel"),
        ("gocardless", "PUT", "/payments/PM1"),
        ("square", "POST", "/v2/payments/P1/complete"),
        ("square", "POST", "/v2/payments/cancel"),
        ("square", "PUT", "/v2/payments"),
        ("braintree", "POST", "/merchants/m/transactions/advanced_search"),
        ("braintree", "POST", "/graphql"),
    ],
)
def test_no_key_counts_nor_is_added_elsewhere(name: str, method: str, path: str) -> None:
    assert settled(name, method, path).kind is Kind.UNKEYED
    rule = PROVIDERS[name].key
    assert rule is not None
    line = ((rule.header or "Idempotency-Key").encode(), b"client-key-1")
    body = BRAINTREE if name == "braintree" else b'{"idempotency_key": "k"}'
    keyed = settled(name, method, path, line, body=body)
    assert (keyed.kind, keyed.payment.headers, keyed.payment.body) == (Kind.UNKEYED, (line,), body)


SAFE = {"stripe": {"GET", "HEAD", "DELETE"}, "adyen": {"GET", "HEAD", "PUT", "DELETE"}}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_which_methods_are_reads(name: str, method: str) -> None:
    """But for Stripe's DELETE of v2, which takes a key."""
    keyed = settled(name, method, "/v1/things/1")
    assert (keyed.kind is Kind.READ) is (method in SAFE.get(name, {"GET", "HEAD"}))
    assert keyed.injected is None
    assert keyed.write is (method not in {"GET", "HEAD", "OPTIONS", "TRACE"})


@pytest.mark.parametrize("name", NAMES)
def test_injection_can_be_switched_off(name: str) -> None:
    for call in (call for calls in INJECTED.values() for call in calls if call.name == name):
        assert settled(name, call.method, call.path, inject=False).kind is Kind.UNKEYED


def test_a_payout_without_its_mandatory_key_is_left_for_razorpay_to_refuse() -> None:
    keyed = settled("razorpay", "POST", "/v1/payouts")
    assert (keyed.kind, keyed.payment.headers) == (Kind.UNKEYED, ())
    assert settled("razorpay", "POST", "/v1/payouts", (b"X-Payout-Idempotency", b"pay-1")).kind is Kind.KEYED


def test_razorpays_keys_do_not_stand_in_for_each_other() -> None:
    assert settled("razorpay", "POST", "/v1/payouts", (b"X-Refund-Idempotency", b"k" * 12)).kind is Kind.UNKEYED
    refund = settled("razorpay", "POST", "/v1/payments/p/refund", (b"X-Payout-Idempotency", b"k" * 12))
    assert refund.injected == NEW


@pytest.mark.parametrize(
    ("name", "path", "header", "key", "kind"),
    [
        ("stripe", "/v1/charges", b"Idempotency-Key", b"k" * 255, Kind.KEYED),
        ("stripe", "/v1/charges", b"Idempotency-Key", b"k" * 256, Kind.UNKEYED),
        ("adyen", "/payments", b"Idempotency-Key", b"k" * 64, Kind.KEYED),
        ("adyen", "/payments", b"Idempotency-Key", b"k" * 65, Kind.UNKEYED),
        ("paypal", "/v2/checkout/orders", b"PayPal-Request-Id", b"k" * 108, Kind.KEYED),
        ("paypal", "/v2/checkout/orders", b"PayPal-Request-Id", b"k" * 109, Kind.UNKEYED),
        ("razorpay", "/v1/payouts", b"X-Payout-Idempotency", b"abc", Kind.UNKEYED),
        ("razorpay", "/v1/payouts", b"X-Payout-Idempotency", b"a b_c-1", Kind.KEYED),
        ("razorpay", "/v1/payouts", b"X-Payout-Idempotency", b"a/b/c", Kind.UNKEYED),
        ("razorpay", "/v1/payouts", b"X-Payout-Idempotency", b"k" * 37, Kind.UNKEYED),
        ("razorpay", "/v1/payments/p/refund", b"X-Refund-Idempotency", b"k" * 9, Kind.UNKEYED),
        ("razorpay", "/v1/payments/p/refund", b"X-Refund-Idempotency", b"k 34567890", Kind.UNKEYED),
        ("mollie", "/v2/payments", b"Idempotency-Key", b"k" * 5000, Kind.KEYED),
        ("mollie", "/v2/payments", b"Idempotency-Key", b"  ", Kind.UNKEYED),
    ],
)
def test_a_key_that_the_provider_would_not_take_protects_nothing(
    name: str, path: str, header: bytes, key: bytes, kind: Kind
) -> None:
    keyed = settled(name, "POST", path, (header, key))
    assert (keyed.kind, keyed.injected, keyed.payment.headers) == (kind, None, ((header, key),))


def test_a_new_key_fits_every_rule_that_takes_one() -> None:
    terms = [one for profile in PROVIDERS.values() for one in profile.terms]
    assert all(one.honours(NEW.encode()) for one in terms if one.header is not None)
