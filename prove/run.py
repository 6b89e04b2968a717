"""One run: set the stage, let clients pay and chaos loose, calm everything down, then hear both sides."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from prove.books import Books, compare_books
from prove.chaos import ALL, STORE, Chaos
from prove.clients import PATIENCE_SECONDS, Shop, pay_all, settle
from prove.market import PLACES
from prove.stage import CALM, FAULTS, Stage
from prove.story import Payment
from prove.verdict import Breach, Case, breaches, figures

DURABLE, VOLATILE, SPARED = "durable", "volatile", "spared"
SETTLE_SECONDS = 20.0
CALM_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Options:
    """How much of everything."""

    replicas: int = 3
    seconds: float = 60.0
    seed: int = 1
    rate: float = 100.0
    clients: int = 64
    unsafe: str = ""
    """A mutant of the product (prove/unsafe.py) in its place."""
    store: str = VOLATILE
    """`durable`: keeps its data. `volatile`: comes back empty. `spared`: nothing is done to it."""

    @property
    def module(self) -> tuple[str, ...]:
        return ("prove.unsafe", self.unsafe) if self.unsafe else ("proxy",)

    @property
    def victims(self) -> frozenset[str]:
        return ALL - {STORE} if self.store == SPARED else ALL

    @property
    def complete(self) -> bool:
        """Whether nothing may be missing from Holdfast's ledger."""
        return self.store != VOLATILE


@dataclass(frozen=True, slots=True)
class Proof:
    """What a run found."""

    options: Options
    case: Case
    figures: dict[str, int]
    done: Counter[str]
    breaches: list[Breach]
    books: Books = field(default_factory=Books)

    @property
    def holds(self) -> bool:
        return not self.breaches and not self.books.breaches


@contextlib.asynccontextmanager
async def open_stage(seed: int, *, keeps: bool = False) -> AsyncIterator[Stage]:
    """A stage without anything on it yet; everything that is started on it is gone afterwards."""
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    with tempfile.TemporaryDirectory(prefix="holdfast-proof-") as folder:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
            stage = Stage(Path(folder), seed, session, keeps=keeps)
            try:
                yield stage
            finally:
                await asyncio.to_thread(stage.end)


async def prove(options: Options) -> Proof:
    """Run it all; raises StartFailure or StoreMissing where something does not even start."""
    async with open_stage(options.seed, keeps=options.store == DURABLE) as stage:
        await stage.start_acquirers()
        await stage.start_fleet(options.replicas, options.module)
        shop = Shop([replica.url for replica in stage.replicas], stage.session, PLACES, stage.move)
        pause = min(2.0, options.seconds / 8)
        chaos = Chaos(stage, options.seed, pause, options.victims, reload_after=options.seconds / 2)
        payments = await storm(chaos, shop, options)
        await settle(shop, payments, SETTLE_SECONDS)
        case = Case(payments, await stage.evidence(), stage.kills, stage.troubles, stage.move)
        books = await compare_books(stage, case, complete=options.complete)
    return Proof(options, case, figures(case), chaos.done, breaches(case), books)


async def storm(chaos: Chaos, shop: Shop, options: Options) -> list[Payment]:
    """Clients and chaos together for the given time, then calm."""
    await chaos.stage.faults(FAULTS)
    torment = asyncio.create_task(chaos.run())
    paying = asyncio.create_task(pay_all(shop, options.seed, options.clients, options.rate, options.seconds))
    done, _ = await asyncio.wait({torment, paying}, timeout=options.seconds, return_when=asyncio.FIRST_COMPLETED)
    chaos.stopped.set()
    for early in done:
        early.result()  # nothing may end before its time but with an error
    await torment
    await chaos.stage.faults(CALM)
    payments = await paying
    await asyncio.sleep(CALM_SECONDS)  # attempts under way end, breakers find out
    return payments
