"""The story the demo tells: payments on a flaky provider, an outage, and the way back."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Sequence

from demo import report
from demo.customer import Answer, Customer

FAILURE_RATE = 0.3
AT_ONCE = 8
PACE_SECONDS = 0.1
ENOUGH_TO_OPEN = 6
DURING_OUTAGE = 30
PATIENCE_SECONDS = 15.0

Say = Callable[[str], None]


class Tour:
    """Tells it once, through the replicas at `ports`. `dot` shows one character of progress."""

    def __init__(self, customer: Customer, ports: Sequence[int], say: Say, dot: Say) -> None:
        self._customer = customer
        self._ports = ports
        self._say = say
        self._dot = dot
        self._prefix = f"demo-{secrets.token_hex(3)}-"
        self._references = (f"{self._prefix}{number}" for number in itertools.count(1))
        self._turn = itertools.cycle(ports)

    async def run(self, payments: int) -> None:
        """Every chapter, ending with the provider as flaky as it was."""
        await self._payments(payments)
        await self._outage()
        await self._recovery()
        await self._words()
        await self._customer.set_faults(failure_rate=FAILURE_RATE)

    async def _payments(self, number: int) -> None:
        self._say(
            f"\n1. {number} payments, by turns through both replicas; the provider fails {FAILURE_RATE:.0%} of them"
        )
        self._dot("   ")
        gate = asyncio.Semaphore(AT_ONCE)
        tasks = []
        async with asyncio.TaskGroup() as group:
            for _ in range(number):
                await gate.acquire()
                task = group.create_task(self._pay(next(self._turn), shown=True))
                task.add_done_callback(lambda _: gate.release())
                tasks.append(task)
                await asyncio.sleep(PACE_SECONDS)
        answers = [task.result() for task in tasks]
        self._say(f"\n   {report.LEGEND}\n")
        self._lines([*report.table(answers), "", report.effort(answers)])
        paid = sum(answer.paid for answer in answers)
        self._lines([report.books(await self._customer.ledger(), self._prefix, paid)])

    async def _outage(self) -> None:
        seen, other = self._ports
        self._say("\n2. The provider goes down; payments that meet it go through one replica only")
        await self._customer.set_faults(failure_rate=0, outage=True)
        before = await self._arrivals()
        async with asyncio.TaskGroup() as group:
            for _ in range(ENOUGH_TO_OPEN):
                group.create_task(self._pay(seen))
            opened = await self._until("open")
        self._say(f"   breaker on {seen}: {opened[seen]}")
        self._say(f"   breaker on {other}: {opened[other]}, though it has met none of these failures")
        answers = [await self._pay(next(self._turn)) for _ in range(DURING_OUTAGE)]
        last = next((answer for answer in reversed(answers) if answer.port == other), answers[-1])
        self._say(f"   a payment through {other}: {report.refusal(last)}")
        arrived = await self._arrivals() - before
        asked = ENOUGH_TO_OPEN + DURING_OUTAGE
        self._say(f"   {asked} payments were asked for, {arrived} attempts reached the provider that is down")

    async def _recovery(self) -> None:
        self._say("\n3. The provider is back; payments go on, and the first after the cooldown is the probe")
        await self._customer.set_faults(outage=False)
        started = time.monotonic()
        self._dot("   ")
        while time.monotonic() - started < PATIENCE_SECONDS:
            answer = await self._pay(next(self._turn), shown=True)
            if answer.paid:
                break
            await asyncio.sleep(PACE_SECONDS)
        self._say(f"   {time.monotonic() - started:.1f} s")
        closed = await self._until("closed")
        self._say("   " + ", ".join(f"breaker on {port}: {state}" for port, state in closed.items()))

    async def _words(self) -> None:
        self._say("\n4. The same in words: GET /api/status/summary")
        self._lines(report.wrapped(await self._customer.summary(self._ports[0])))

    async def _pay(self, port: int, *, shown: bool = False) -> Answer:
        answer = await self._customer.pay(port, next(self._references))
        if shown:
            self._dot(answer.mark)
        return answer

    async def _arrivals(self) -> int:
        return int((await self._customer.ledger())["arrivals"])

    async def _until(self, wanted: str) -> dict[int, str]:
        """The breaker's state on every replica, once all say `wanted` or patience ends."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            states = {port: await self._customer.breaker(port) for port in self._ports}
            if set(states.values()) == {wanted} or time.monotonic() > deadline:
                return states
            await asyncio.sleep(PACE_SECONDS / 5)

    def _lines(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._say(f"   {line}".rstrip())
