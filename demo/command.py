"""The demo's command line and its life: check the ports, start everything, tell the story, stay, end everything."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from demo import report
from demo.customer import PATIENCE, Customer
from demo.ports import HIGHEST, Ports
from demo.processes import Processes, StartFailure
from demo.store import StoreMissing
from demo.tour import FAILURE_RATE, Tour

SEED = 11
START_SECONDS = 30.0
LOOK_SECONDS = 0.5
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when it was ended by Ctrl-C or SIGTERM, 1 when it could not run."""
    options = _parser().parse_args(arguments)
    ports = Ports((options.port, options.port + 1), options.provider_port, options.store_port)
    if complaint := ports.complaint():
        return _told(complaint)
    folder = Path(tempfile.mkdtemp(prefix="holdfast-demo-"))
    try:
        asyncio.run(_run(ports, options.payments, folder))
    except (StartFailure, StoreMissing) as error:
        return _told(f"{error}\nall logs are in {folder}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads; the interpreter will flush
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def _told(problem: str) -> int:
    sys.stderr.write(f"demo: {problem}\n")
    return 1


def _say(line: str) -> None:
    _dot(f"{line}\n")


def _dot(mark: str) -> None:
    sys.stdout.write(mark)
    sys.stdout.flush()


async def _run(ports: Ports, payments: int, folder: Path) -> None:
    """Until a signal comes or the story breaks off. A signal ends the story and never interrupts the end."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop.set)
    processes = Processes(folder)
    try:
        await _until_stopped(asyncio.ensure_future(_story(ports, payments, processes)), stop)
    finally:
        await processes.end()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


async def _until_stopped(story: asyncio.Future[None], stop: asyncio.Event) -> None:
    """Cancel the story once told to stop, as often as it takes; what broke it off before is raised."""
    told = asyncio.ensure_future(stop.wait())
    either: set[asyncio.Future[Any]] = {story, told}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    while not story.done():
        story.cancel()
        await asyncio.wait({story}, timeout=LOOK_SECONDS)
    broken = None if story.cancelled() else story.exception()
    if broken is not None and not stop.is_set():
        raise broken


async def _story(ports: Ports, payments: int, processes: Processes) -> None:
    token = os.environ.get("HOLDFAST_ADMIN_TOKEN") or secrets.token_hex(8)
    async with aiohttp.ClientSession(timeout=PATIENCE) as session:
        customer = Customer(session, ports.provider)
        await _start(ports, processes, token, customer)
        if payments:
            await _tour(Tour(customer, ports.replicas, _say, _dot), payments, processes)
        _farewell(ports, token)
        while True:
            processes.check()
            await asyncio.sleep(LOOK_SECONDS)


async def _tour(tour: Tour, payments: int, processes: Processes) -> None:
    try:
        await tour.run(payments)
    except (aiohttp.ClientError, TimeoutError, ExceptionGroup) as error:
        processes.check()
        raise StartFailure(f"the tour broke off: {error!r}") from error


async def _start(ports: Ports, processes: Processes, token: str, customer: Customer) -> None:
    """Store, provider and replicas, until they are ready."""
    _say(f"Holdfast demo: a flaky provider, two replicas, one breaker. Ctrl-C ends it. Logs: {processes.folder}")
    started = time.monotonic()
    store = processes.start_store(ports.store)
    processes.start_provider(ports.provider, FAILURE_RATE, SEED)
    for port in ports.replicas:
        processes.start_replica(port, store.url, ports.provider, token)
    await _until_ready(processes, customer, ports)
    first, second = ports.replicas
    took = time.monotonic() - started
    _say(f"store {store.port}, provider {ports.provider}, replicas {first} and {second}: ready in {took:.1f} s")


async def _until_ready(processes: Processes, customer: Customer, ports: Ports) -> None:
    deadline = time.monotonic() + START_SECONDS
    for port in ports.replicas:
        while not await customer.ready(port):
            processes.check()
            if time.monotonic() > deadline:
                raise StartFailure(f"the replica on port {port} was not ready after {START_SECONDS:g} s")
            await asyncio.sleep(LOOK_SECONDS / 10)


def _farewell(ports: Ports, token: str) -> None:
    _say("\nLook around:")
    for line in report.urls(ports.replicas, ports.provider):
        _say(f"   {line}")
    _say("\nTry:")
    for line in report.examples(ports.replicas[0], _python(), token):
        _say(f"   {line}")
    _say(f"\nEverything stays up, with the provider failing {FAILURE_RATE:.0%} of the attempts. Ctrl-C ends it all.")


def _python() -> str:
    """The interpreter as one would type it here."""
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < HIGHEST:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {HIGHEST - 1}, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= 10_000:  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 10000, got {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__, allow_abbrev=False)
    parser.add_argument("--port", type=_port, default=3000, help="of the first replica; the second takes the next one")
    parser.add_argument("--provider-port", type=_port, default=4000)
    parser.add_argument("--store-port", type=_port, help="default: any free one")
    parser.add_argument("--payments", type=_count, default=40, help="sample payments of the tour (default 40)")
    parser.add_argument("--no-payments", dest="payments", action="store_const", const=0, help="no tour: just stay up")
    return parser
