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

from prove.market import BY_NAME, CREDENTIAL, MOVED, Place
from prove.story import MARK, Custom, Move, Payment, Trouble, Try
from prove.tongues import CHARGE_HEADER

PATIENCE_SECONDS = 15.0
MOST_TRIES = 4
CUSTOMS = {
    Custom.OWN_KEY: 4,
    Custom.NO_KEY: 2,
    Custom.TOLD_KEY: 2,
    Custom.NEW_KEY: 2,
    Custom.TWINS: 2,
    Custom.LEAVER: 2,
    Custom.LIBRARY: 2,
}
KEYLESS = {Custom.NO_KEY: 3, Custom.LIBRARY: 1}
"""Where no key is honoured."""
HOLDERS = frozenset({Custom.OWN_KEY, Custom.NEW_KEY, Custom.TWINS, Custom.LEAVER})
CLASSIC_CUSTOMS = {Custom.OWN_KEY: 5, Custom.NO_KEY: 3, Custom.TOLD_KEY: 2}
TWIN_LAG_SECONDS = 0.3
CLASSIC = Place("mock", "generic", "/api/payment")
"""The mock provider's only route (`prove.compare`)."""
DECLINED_SHARE = 0.04
FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 2.0
KEPT = frozenset({402, 500})
"""What a provider that keeps its first result says for ever: if that tells nothing, no asking helps."""


@dataclass(frozen=True, slots=True)
class Shop:
    """Where the clients pay: the replicas' URLs, the session they share, and the providers behind."""

    urls: Sequence[str]
    session: aiohttp.ClientSession
    places: Sequence[Place] = (CLASSIC,)
    move: Move = field(default_factory=Move)

    def place_of(self, payment: Payment) -> Place:
        return BY_NAME.get(payment.place, CLASSIC)

    def strands(self, payment: Payment) -> bool:
        """Whether its upstream is another provider's by now, or will soon be: asking there again would pay anew."""
        moving = payment.place in MOVED and self.move.at <= time.time()
        return moving and payment.tries[0].started <= self.move.done

    async def request(self, payment: Payment, replica: int, mark: str) -> Try:
        """Send a payment once; whatever comes of it is a value."""
        started = time.time()
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
        place = self.place_of(payment)
        named = {MARK: mark, "X-Request-Id": mark, "Content-Type": "application/json", "Authorization": CREDENTIAL}
        headers = {**named, place.key_header: key} if key else named
        url = self.urls[replica] + place.path
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
            charge=(told.get(CHARGE_HEADER) or _charge(content)) if answer.ok else None,
            retry_after=float(_number(told, "Retry-After") or 0),
            ours="Proxy-Status" in told,
            degraded=told.get("X-Proxy-Degraded", ""),
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
    return name if isinstance(name, str) and name.startswith("pay_") else None


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
            await self._send(payment, start + number)
            payment.stranded = self.shop.strands(payment)
            if not payment.may_repeat():
                return
            await asyncio.sleep(self._wait(number, payment.tries[-1].retry_after))
            if payment.stranded or self.shop.strands(payment):
                payment.stranded = True
                return

    async def _send(self, payment: Payment, replica: int) -> None:
        """Once, or, from twins, twice at once."""
        urls, mark = len(self.shop.urls), payment.next_mark
        if payment.custom is not Custom.TWINS or payment.tries:
            payment.add(await self.shop.request(payment, replica % urls, mark))
            return
        other = self._random.randrange(urls)
        one, two = await asyncio.gather(
            self.shop.request(payment, replica % urls, mark), self._late(payment, other, mark + "b")
        )
        for each in sorted((one, two), key=lambda each: each.ended):
            payment.add(each)

    async def _late(self, payment: Payment, replica: int, mark: str) -> Try:
        await asyncio.sleep(TWIN_LAG_SECONDS * self._random.random())
        return await self.shop.request(payment, replica, mark)

    def _new_payment(self) -> Payment:
        (place,) = self._random.choices(self.shop.places, [one.weight for one in self.shop.places])
        customs = self._customs(place)
        (custom,) = self._random.choices(list(customs), list(customs.values()))
        reference = f"{self.name}-{len(self.payments) + 1}"
        made_up = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        key = made_up if custom in HOLDERS else None
        declined = self._random.random() < DECLINED_SHARE
        return Payment(reference, custom, key, declined, place=place.name)

    def _customs(self, place: Place) -> Mapping[Custom, int]:
        if place is CLASSIC:
            return CLASSIC_CUSTOMS
        if not place.honours:
            return KEYLESS
        return {Custom.TWINS: 1} if place.name == "patient" else CUSTOMS

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
            while payment.asks_again() and time.monotonic() < end:
                await asyncio.sleep(min(1.0, max(FIRST_WAIT_SECONDS, payment.tries[-1].retry_after)))
                payment.stranded = shop.strands(payment)
                if not payment.stranded:
                    number = len(payment.tries) % len(shop.urls)
                    payment.add(await shop.request(payment, number, payment.next_mark))
                if payment.tries[-1].status in KEPT:
                    return

    await asyncio.gather(*(ask(one) for one in payments if one.asks_again()))
