"""Every fault as a client meets it on the wire, and whether it was charged."""

import asyncio

import pytest

from tests.mock_provider.provider_harness import provider

KINDS = [
    ("http_500", 0),
    ("http_503", 0),
    ("http_429", 0),
    ("http_500_after", 1),
    ("hang", 0),
    ("hang_after", 1),
    ("slow", 1),
    ("reset_before", 0),
    ("reset_after", 1),
    ("cut_body", 1),
    ("junk", 1),
]


@pytest.mark.parametrize(
    ("kind", "status", "retry_after"),
    [("http_500", 500, None), ("http_500_after", 500, None), ("http_503", 503, "3"), ("http_429", 429, "3")],
)
async def test_an_error_status_comes_as_json_with_its_retry_after(
    kind: str,
    status: int,
    retry_after: str | None,
) -> None:
    async with provider(retry_after_s=3) as shop:
        await shop.put(next=[kind])
        reply = await shop.pay()
        assert (reply.status, reply.headers.get("Retry-After")) == (status, retry_after)
        assert reply.json["error"]["message"]


@pytest.mark.parametrize("kind", ["reset_before", "reset_after"])
async def test_a_reset_is_a_real_one_and_not_a_polite_close(kind: str) -> None:
    async with provider() as shop:
        await shop.put(next=[kind])
        with pytest.raises(ConnectionResetError):
            await shop.raw_payment()


@pytest.mark.parametrize("kind", ["hang", "hang_after"])
async def test_a_hang_ends_without_a_byte(kind: str) -> None:
    async with provider(hang_s=0.05) as shop:
        await shop.put(next=[kind])
        assert await shop.raw_payment() == b""


async def test_a_cut_body_promises_more_than_it_sends() -> None:
    async with provider() as shop:
        await shop.put(next=["cut_body"])
        head, _, body = (await shop.raw_payment()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 201 Created\r\n")
        promised = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        assert body.startswith(b'{"id": "pay_1"')
        assert len(body) == promised // 2


async def test_junk_is_no_http() -> None:
    async with provider() as shop:
        await shop.put(next=["junk"])
        answer = await shop.raw_payment()
        assert answer
        assert b"HTTP" not in answer


async def test_slow_answers_normally_but_late() -> None:
    async with provider(slow_s=0.05) as shop:
        await shop.put(next=["slow"])
        started = asyncio.get_running_loop().time()
        assert (await shop.pay()).status == 201
        assert asyncio.get_running_loop().time() - started >= 0.05


@pytest.mark.parametrize(("kind", "charges"), KINDS)
async def test_each_fault_charges_or_not_and_the_second_attempt_never_charges_again(
    kind: str,
    charges: int,
) -> None:
    async with provider(slow_s=0.01, hang_s=0.01) as shop:
        await shop.put(next=[kind])
        _, writer = await shop.open_payment("k")
        await shop.until_settled(arrivals=1)
        assert await shop.charges() == charges
        writer.close()
        second = await shop.pay(key="k")
        assert (second.status, second.replayed) == (201, bool(charges))
        books = await shop.books()
        assert [charge["key"] for charge in books["charges"]] == ["k"]
        assert books["duplicates"] == []


async def test_a_fault_after_the_charge_spoils_a_replay_as_well() -> None:
    async with provider() as shop:
        await shop.pay(key="k")
        await shop.put(next=["reset_after", "cut_body"])
        with pytest.raises(ConnectionResetError):
            await shop.raw_payment("k")
        assert await shop.raw_payment("k")
        assert await shop.charges() == 1


@pytest.mark.parametrize(("kind", "replayed"), [("hang", False), ("hang_after", True)])
async def test_a_hang_ends_when_the_client_goes_and_leaves_the_key_usable(kind: str, replayed: bool) -> None:
    async with provider(hang_s=60) as shop:
        await shop.put(next=[kind])
        _, writer = await shop.open_payment("k")
        await shop.until_in_flight(1)
        writer.close()
        await shop.until_in_flight(0)
        second = await shop.pay(key="k")
        assert (second.status, second.replayed) == (201, replayed)


async def test_a_key_is_usable_while_its_first_request_still_hangs() -> None:
    async with provider(hang_s=60) as shop:
        await shop.put(next=["hang"])
        _, writer = await shop.open_payment("k")
        await shop.until_in_flight(1)
        assert (await shop.pay(key="k")).status == 201
        writer.close()


async def test_a_failure_rate_of_one_fails_every_payment() -> None:
    async with provider() as shop:
        only_500 = dict.fromkeys(("http_503", "hang", "reset_before", "reset_after"), 0)
        await shop.put(failure_rate=1, kinds=only_500)
        assert [(await shop.pay()).status for _ in range(5)] == [500] * 5
        assert await shop.charges() == 0
