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
from prove.stage import CALM, FAULTS, Stage
from prove.story import Payment
from prove.verdict import Breach, Case, breaches, figures

SAFE, UNSAFE = "proxy", "prove.unsafe"
SETTLE_SECONDS = 20.0
CALM_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Options:
    """How much of everything."""

    replicas: int = 3
    seconds: float = 30.0
    seed: int = 1
    rate: float = 100.0
    clients: int = 64
    unsafe: bool = False
    spare_store: bool = False
    """The store is left in peace, so that nothing may be missing from Holdfast's ledger."""

    @property
    def module(self) -> str:
        return UNSAFE if self.unsafe else SAFE

    @property
    def victims(self) -> frozenset[str]:
        return ALL - {STORE} if self.spare_store else ALL


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
async def open_stage(seed: int) -> AsyncIterator[Stage]:
    """A stage with its provider running; everything on it is gone afterwards."""
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    with tempfile.TemporaryDirectory(prefix="holdfast-proof-") as folder:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
            stage = Stage(Path(folder), seed, session)
            try:
                await stage.start_provider()
                yield stage
            finally:
                await asyncio.to_thread(stage.end)


async def prove(options: Options) -> Proof:
    """Run it all; raises StartFailure or StoreMissing where something does not even start."""
    async with open_stage(options.seed) as stage:
        await stage.start_fleet(options.replicas, options.module)
        shop = Shop([replica.url for replica in stage.replicas], stage.session)
        chaos = Chaos(stage, options.seed, pause=min(2.0, options.seconds / 8), victims=options.victims)
        payments = await storm(chaos, shop, options)
        await settle(shop, payments, SETTLE_SECONDS)
        case = Case(payments, await stage.evidence(), stage.kills)
        books = await compare_books(stage, case, complete=options.spare_store)
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
