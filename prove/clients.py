"""The clients: they pay, and repeat a payment as official SDKs and careful people do, and remember every answer."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from prove.story import MARK, Custom, Payment, Trouble, Try

PATIENCE_SECONDS = 15.0
MOST_TRIES = 4
CUSTOMS = (Custom.OWN_KEY, Custom.NO_KEY, Custom.TOLD_KEY)
WEIGHTS = (5, 3, 2)
DECLINED_SHARE = 0.04
FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Shop:
    """Where the clients pay: the replicas' URLs, and the session they share."""

    urls: Sequence[str]
    session: aiohttp.ClientSession

    async def request(self, payment: Payment, replica: int) -> Try:
        """Send a payment once; whatever comes of it is a value."""
        mark, started = payment.next_mark, time.time()
        try:
            return await self._answered(payment, replica, mark, started)
        except aiohttp.ClientConnectorError:
            trouble = Trouble.REFUSED
        except TimeoutError:
            trouble = Trouble.LATE
        except (aiohttp.ClientError, ConnectionError):
            trouble = Trouble.LOST
        return Try(mark, replica, payment.key, started, time.time(), trouble=trouble)

    async def _answered(self, payment: Payment, replica: int, mark: str, started: float) -> Try:
        key = payment.key
        named = {MARK: mark, "X-Request-Id": mark, "Content-Type": "application/json"}
        headers = {**named, "Idempotency-Key": key} if key else named
        url = self.urls[replica] + "/api/payment"
        async with self.session.post(url, data=_body(payment), headers=headers) as answer:
            content = await answer.read()
        told = answer.headers
        return Try(
            mark,
            replica,
            key,
            started,
            time.time(),
            status=answer.status,
            outcome=told.get("X-Payment-Outcome"),
            attempts=_number(told, "X-Proxy-Attempts"),
            told_key=told.get("X-Proxy-Idempotency-Key"),
            charge=_charge(content) if answer.ok else None,
            retry_after=float(_number(told, "Retry-After") or 0),
        )


def _body(payment: Payment) -> bytes:
    fields = {"amount": 1200, "currency": "EUR", "reference": payment.reference}
    return json.dumps({**fields, **({"source": "tok_declined"} if payment.declined else {})}).encode()


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "")
    return int(text) if text.isdecimal() else None


def _charge(content: bytes) -> str | None:
    try:
        document = json.loads(content)
    except ValueError:
        return None
    name = document.get("id") if isinstance(document, dict) else None
    return name if isinstance(name, str) else None


@dataclass(slots=True)
class Client:
    """One customer of the shop. The same seed and name make the same choices."""

    name: str
    seed: int
    shop: Shop
    payments: list[Payment] = field(default_factory=list)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.seed}/{self.name}")  # noqa: S311 - to be repeatable

    async def pay_until(self, end: float, every: float) -> None:
        """One payment after another, at most one each `every` seconds, until the monotonic time `end`."""
        due = time.monotonic() + every * self._random.random()
        while due < end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self.pay(self._new_payment())
            due = max(due + every, time.monotonic())

    async def pay(self, payment: Payment) -> None:
        """Send it, and send it again while a correct client may, a bounded number of times."""
        self.payments.append(payment)
        start = self._random.randrange(len(self.shop.urls))
        for number in range(MOST_TRIES):
            payment.add(await self.shop.request(payment, (start + number) % len(self.shop.urls)))
            if not payment.may_repeat():
                return
            await asyncio.sleep(self._wait(number, payment.tries[-1].retry_after))

    def _new_payment(self) -> Payment:
        (custom,) = self._random.choices(CUSTOMS, WEIGHTS)
        reference = f"{self.name}-{len(self.payments) + 1}"
        made_up = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        key = made_up if custom is Custom.OWN_KEY else None
        return Payment(reference, custom, key, declined=self._random.random() < DECLINED_SHARE)

    def _wait(self, number: int, retry_after: float) -> float:
        backoff: float = FIRST_WAIT_SECONDS * 2**number * (0.5 + self._random.random() / 2)
        return min(LONGEST_WAIT_SECONDS, max(backoff, retry_after))


async def pay_all(shop: Shop, seed: int, clients: int, rate: float, seconds: float) -> list[Payment]:
    """`clients` customers who together pay `rate` times a second, for a time; all their payments."""
    people = [Client(f"c{number}", seed, shop) for number in range(clients)]
    end = time.monotonic() + seconds
    await asyncio.gather(*(one.pay_until(end, clients / rate) for one in people))
    return [payment for one in people for payment in one.payments]


async def settle(shop: Shop, payments: Sequence[Payment], seconds: float) -> None:
    """Once all is calm: those who hold a key ask once more, until they are told something final or time is up."""
    end = time.monotonic() + seconds
    places = asyncio.Semaphore(16)

    async def ask(payment: Payment) -> None:
        async with places:
            while payment.word() != "final" and time.monotonic() < end:
                await asyncio.sleep(min(1.0, payment.tries[-1].retry_after))
                payment.add(await shop.request(payment, len(payment.tries) % len(shop.urls)))

    await asyncio.gather(*(ask(one) for one in payments if one.key is not None and one.word() == "unknown"))
