"""The payment routes over real sockets: answers, keys, and who was charged."""

import asyncio
import io
from typing import Any

import pytest

from tests.mock_provider.provider_harness import DEADLINE_S, ORDER, provider

DECLINED = {**ORDER, "source": "tok_declined"}


async def test_a_payment_is_charged_and_can_be_looked_up() -> None:
    async with provider() as shop:
        paid = await shop.pay({**ORDER, "note": "anything else"})
        assert paid.status == 201
        assert paid.json == {
            "id": "pay_1",
            "status": "succeeded",
            "amount": 1250,
            "currency": "EUR",
            "reference": "order-1",
        }
        looked_up = await shop.ask("GET", "/api/payment/pay_1")
        assert (looked_up.status, looked_up.json) == (200, paid.json)


async def test_an_unknown_payment_is_404_in_json() -> None:
    async with provider() as shop:
        reply = await shop.ask("GET", "/api/payment/pay_9")
        assert (reply.status, reply.json["error"]["code"]) == (404, "resource_missing")


@pytest.mark.parametrize("field", ["source", "token"])
async def test_a_declined_token_is_402_and_charges_nothing(field: str) -> None:
    async with provider() as shop:
        reply = await shop.pay({**ORDER, field: "tok_declined"})
        assert reply.status == 402
        assert (reply.json["error"]["type"], reply.json["error"]["code"]) == ("card_error", "card_declined")
        assert await shop.charges() == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"currency": "EUR"}',
        b'{"amount": 0}',
        b'{"amount": -5}',
        b'{"amount": 1.5}',
        b'{"amount": "5"}',
        b'{"amount": true}',
        b'{"amount": 9223372036854775808}',
        b'{"amount": 5, "currency": 5}',
        b'{"amount": 5, "reference": 5}',
    ],
)
async def test_a_wrong_body_is_400_in_json_and_its_key_stays_free(body: bytes) -> None:
    async with provider() as shop:
        reply = await shop.ask("POST", "/api/payment", data=body, headers={"Idempotency-Key": "k"})
        assert (reply.status, reply.json["error"]["type"]) == (400, "invalid_request_error")
        paid = await shop.pay(key="k")
        assert (paid.status, paid.replayed) == (201, False)
        assert await shop.charges() == 1


async def test_a_body_beyond_the_limit_is_413_in_json() -> None:
    async with provider() as shop:
        reply = await shop.ask("POST", "/api/payment", data=io.BytesIO(b" " * (2 * 1024 * 1024)))
        assert (reply.status, reply.json["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(("order", "status", "charges"), [(ORDER, 201, 1), (DECLINED, 402, 0)])
async def test_the_same_key_and_body_get_the_first_answer_again(
    order: dict[str, Any],
    status: int,
    charges: int,
) -> None:
    async with provider() as shop:
        first = await shop.pay(order, key="k")
        again = await shop.pay(order, key="k")
        assert (first.status, first.replayed) == (status, False)
        assert (again.status, again.replayed, again.json) == (status, True, first.json)
        assert await shop.charges() == charges


async def test_the_same_key_with_another_body_is_a_422_problem() -> None:
    async with provider() as shop:
        await shop.pay(key="k")
        reply = await shop.pay({**ORDER, "amount": 9}, key="k")
        assert (reply.status, reply.headers["Content-Type"]) == (422, "application/problem+json")
        assert await shop.charges() == 1


async def test_the_same_key_in_flight_is_a_409_problem() -> None:
    async with provider(slow_s=60) as shop:
        await shop.put(next=["slow", "ok"])
        # Whichever arrives first is held for a minute, so the first to finish is the other one.
        both = [asyncio.ensure_future(shop.pay(key="k")) for _ in range(2)]
        done, held = await asyncio.wait(both, timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
        reply = done.pop().result()
        assert (reply.status, reply.headers["Content-Type"]) == (409, "application/problem+json")
        assert [task.cancel() for task in held] == [True]
        assert await shop.charges() == 0


async def test_without_key_every_payment_is_a_charge_and_the_second_a_duplicate() -> None:
    async with provider() as shop:
        await shop.pay()
        await shop.pay()
        await shop.pay({"amount": 1})
        await shop.pay({"amount": 1})
        books = await shop.books()
        assert [charge["id"] for charge in books["duplicates"]] == ["pay_2"]
        assert len(books["charges"]) == 4


@pytest.mark.parametrize("keys", [["a", "b"], ["a", "a"], [""]])
async def test_an_ambiguous_key_is_400_and_charges_nothing(keys: list[str]) -> None:
    async with provider() as shop:
        headers = [("Idempotency-Key", key) for key in keys]
        reply = await shop.ask("POST", "/api/payment", json=ORDER, headers=headers)
        assert reply.status == 400
        assert await shop.charges() == 0


async def test_an_outage_refuses_payments_and_lookups_at_once_and_counts_them() -> None:
    async with provider() as shop:
        await shop.pay()
        await shop.put(outage=True, retry_after_s=4)
        for reply in (await shop.pay(key="k"), await shop.ask("GET", "/api/payment/pay_1")):
            assert (reply.status, reply.headers["Retry-After"]) == (503, "4")
        await shop.put(outage=False)
        books = await shop.books()
        assert (len(books["charges"]), books["arrivals"]) == (1, 3)
        paid = await shop.pay(key="k")
        assert (paid.status, paid.replayed) == (201, False)


async def test_a_client_that_leaves_while_it_is_processed_is_charged_once_all_the_same() -> None:
    async with provider(slow_s=0.1) as shop:
        await shop.put(next=["slow"])
        _, writer = await shop.open_payment("k")
        await shop.until_in_flight(1)
        writer.transport.abort()
        await shop.until_in_flight(0)
        again = await shop.pay(key="k")
        assert (again.status, again.replayed) == (201, True)
        assert await shop.charges() == 1


async def test_a_client_that_leaves_before_its_body_is_complete_is_not_charged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with provider() as shop:
        _, writer = await asyncio.open_connection("127.0.0.1", shop.port)
        writer.write(b'POST /api/payment HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"amount": 5')
        await shop.until_in_flight(1)
        writer.transport.abort()
        await shop.until_in_flight(0)
        assert await shop.charges() == 0
        assert caplog.records == []


async def test_latency_holds_the_answer_back() -> None:
    async with provider() as shop:
        await shop.put(latency_ms={"p50": 50, "p99": 50})
        started = asyncio.get_running_loop().time()
        await shop.pay()
        assert asyncio.get_running_loop().time() - started >= 0.05


async def test_the_most_payments_at_once_are_remembered() -> None:
    async with provider(hang_s=60) as shop:
        await shop.put(next=["hang"] * 3)
        writers = [(await shop.open_payment(str(number)))[1] for number in range(3)]
        await shop.until_in_flight(3)
        for writer in writers:
            writer.close()
        await shop.until_in_flight(0)
        assert (await shop.books())["max_in_flight"] == 3
