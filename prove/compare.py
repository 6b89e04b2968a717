"""`python -m prove.compare`: the same clients, provider and faults before Holdfast and before other proxies, in turns.

One instance of each, none of them killed; the provider fails as in the proof, and dies and comes back.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.processes import StartFailure
from demo.store import StoreMissing
from prove.chaos import PROVIDER, Chaos
from prove.clients import Shop
from prove.contenders import CONTENDERS, OFF, POST, VARIANTS, Contender
from prove.report import say
from prove.run import Options, open_stage, storm
from prove.stage import UPSTREAM, Stage
from prove.story import Payment
from prove.verdict import Case

HEADINGS = (
    "proxy",
    "configuration",
    "payments",
    "charges",
    "charged twice",
    "told success, with a key",
    "told success, no key",
    "charged, client not told",
    "arrivals",
)


@dataclass(frozen=True, slots=True)
class Entrant:
    """One line of the table: a proxy in a configuration. No contender: Holdfast itself."""

    name: str
    variant: str
    contender: Contender | None = None
    binary: str = ""

    async def enter(self, stage: Stage) -> str:
        """Start it on the stage; its URL."""
        if self.contender is None:
            retries = {"max_retries": 0} if self.variant == OFF else {}
            await stage.start_fleet(1, ("proxy",), {"retry": {**_mapping(UPSTREAM["retry"]), **retries}})
            return stage.replicas[0].url
        server = self.contender.on(stage, self.variant, self.binary)
        stage.others.append(server)
        await server.start(stage.session)
        return server.url

    @property
    def configured(self) -> str:
        if self.contender is None and self.variant != OFF:
            return "retries, by its table"
        return VARIANTS[self.variant]


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def entrants(folders: str) -> Iterator[Entrant]:
    """Everybody who is installed; whoever is not is said aloud."""
    yield from (Entrant("Holdfast", variant) for variant in (OFF, POST))
    for contender in CONTENDERS:
        binary = contender.find(folders)
        if binary is None:
            say(f"SKIPPED: {contender.name} is not installed (docs/comparison.md says how)")
            continue
        name = f"{contender.name} {contender.version_of(binary)}"
        yield from (Entrant(name, variant, contender, binary) for variant in VARIANTS)


async def measure(entrant: Entrant, options: Options) -> tuple[str, ...]:
    """One run; its line of the table."""
    async with open_stage(options.seed) as stage:
        await stage.start_provider()
        shop = Shop([await entrant.enter(stage)], stage.session)
        chaos = Chaos(stage, options.seed, pause=min(2.0, options.seconds / 8), victims=frozenset({PROVIDER}))
        payments = await storm(chaos, shop, options)
        return line_of(entrant, Case(payments, await stage.evidence()))


def line_of(entrant: Entrant, case: Case) -> tuple[str, ...]:
    """What became of the payments, in the order of HEADINGS."""
    charges = case.charges_of()
    keyed = [payment for payment in case.payments if payment.tries[0].key is not None]
    keyless = [payment for payment in case.payments if payment.tries[0].key is None]
    untold = sum(payment.reference in charges and not payment.succeeded() for payment in case.payments)
    numbers = (
        len(case.payments),
        len(case.evidence.charges),
        sum(len(made) - 1 for made in charges.values()),
    )
    arrivals = sum(map(len, case.evidence.arrivals.values()))
    told = (_share(keyed), _share(keyless))
    return (entrant.name, entrant.configured, *map(str, numbers), *told, str(untold), str(arrivals))


def _share(payments: Sequence[Payment]) -> str:
    paid = [payment for payment in payments if not payment.declined]
    return f"{100 * sum(payment.succeeded() for payment in paid) / max(1, len(paid)):.1f} %"


def table(lines: Sequence[tuple[str, ...]]) -> str:
    """Markdown."""
    rows = [HEADINGS, ("---", "---", *["--:"] * (len(HEADINGS) - 2)), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everybody, print the table."""
    given = _parser().parse_args(arguments)
    options = Options(1, given.seconds, given.seed, given.rate, given.clients)
    lines = []
    for entrant in entrants(os.pathsep.join(map(str, given.bin))):
        try:
            lines.append(asyncio.run(measure(entrant, options)))
        except (StartFailure, StoreMissing) as problem:
            say(f"SKIPPED: {entrant.name}, {entrant.configured}: {problem}")
            continue
        say(" | ".join(lines[-1]))
    say("\n" + table(lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    usual = Options()
    parser = argparse.ArgumentParser(prog="prove.compare", description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each configuration (20)")
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--rate", type=float, default=usual.rate, help="payments a second (100)")
    parser.add_argument("--clients", type=int, default=usual.clients, help="who pay at once (64)")
    parser.add_argument("--bin", type=Path, action="append", default=[], metavar="DIR", help="where proxies are, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
