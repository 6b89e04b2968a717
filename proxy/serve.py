"""A replica's life: start, serve, reload on SIGHUP, drain on SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvloop
from aiohttp import web
from structlog.typing import FilteringBoundLogger

from proxy.app import Fanout, Parts, make_parts, make_runtime
from proxy.core.config import Address, Config
from proxy.core.descriptors import RESERVE, most_connections
from proxy.core.errors import ConfigError
from proxy.core.summary import summarize
from proxy.edges.config_file import warnings_of
from proxy.edges.descriptors import descriptor_limit, raise_limit
from proxy.edges.log import LogSink, configure
from proxy.edges.log_writer import LogWriter
from proxy.edges.redis_client import warm
from proxy.edges.tls import renew, server_context
from proxy.fleet import BEAT_SECONDS
from proxy.narrator import Narrator
from proxy.runtime import Runtime
from proxy.runtimes import Runtimes
from proxy.web.door import Door
from proxy.web.observer import Observer
from proxy.web.operations import Operations
from proxy.web.payments import Payments
from proxy.web.refusals import Refusals
from proxy.web.server import Handler, PaymentRunner

LEDGER_DRAIN_SECONDS = 2.0
NO_LEDGER = (
    "unknown outcomes are not kept and calls with the same key do not wait for one another: "
    "set HOLDFAST_LEDGER_SECRET, the same on every replica"
)
EXIT_CANNOT_LISTEN = 1


def serve(load: Callable[[], Config], base: Path) -> int:
    """Run one replica until it is told to stop; the exit code. `load` is called again on SIGHUP.

    ConfigError from the first `load` is the caller's; paths in the configuration are relative to `base`.
    """
    config = load()
    _calm_collector()
    raise_limit()
    writer = LogWriter(sys.stdout.buffer)
    log = configure(config.log.level, config.log.format, writer)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(Service(config, load, base, log).run())
    finally:
        writer.close()


def _calm_collector() -> None:
    """Look for cycles less often: a payment makes none, and a look costs more than many payments' own allocations."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


class Service:
    """One replica: what listens, what is in force, and how it ends."""

    def __init__(self, config: Config, load: Callable[[], Config], base: Path, log: FilteringBoundLogger) -> None:
        self._load = load
        self._base = base
        self._log = log
        self._runtimes = Runtimes()
        sinks = Fanout(LogSink(log), Narrator(self._summary, log))
        self._tls = server_context(config.listen_tls, base) if config.listen_tls else None
        self._parts: Parts = make_parts(config, sinks, self._runtimes)
        self._runtimes.put_in_force(make_runtime(config, base, self._parts))
        self._stop = asyncio.Event()
        self._books: asyncio.Task[None] | None = None
        self.draining = False

    async def run(self) -> int:
        """Listen until SIGTERM or SIGINT, then drain; the exit code."""
        if self._parts.redis is not None:
            await warm(self._parts.redis)
        await self._runtimes.start()
        self._keep_books()
        runners = make_runners(self._current, self._parts, draining=lambda: self.draining)
        try:
            await self._listen(runners)
        except OSError as error:
            self._log.error("listen.failed", message=_why_not(error, self._current().config))
            await self._runtimes.leave()
            await self._close_books()
            return EXIT_CANNOT_LISTEN
        self._warn()
        self._tell_of_books()
        self._handle_signals()
        await self._stop.wait()
        await self._drain([runner for runner, _ in runners])
        return 0

    def _keep_books(self) -> None:
        """Start the ledger, if there is one."""
        if self._parts.ledger is not None:
            self._books = asyncio.create_task(self._parts.ledger.run())
        if self._parts.inspection is not None:
            self._parts.inspection.look()

    def _warn(self) -> None:
        """Say what is allowed in the configuration and still looks like a mistake."""
        for line in warnings_of(self._current().config, self._base):
            self._log.warning("config.warning", message=line)

    def _tell_of_books(self) -> None:
        """Say whether there is a ledger, and what is missing without one."""
        if self._parts.ledger is None:
            self._log.info("ledger.off", message=NO_LEDGER)
        else:
            self._log.info("ledger.on", shared=self._parts.redis is not None)

    async def _close_books(self) -> None:
        """Write down what is left; what cannot be is found out by its lease."""
        if self._parts.ledger is None or self._books is None:
            return
        self._books.cancel()
        with suppress(asyncio.CancelledError):
            await self._books
        if left := await self._parts.ledger.drain(LEDGER_DRAIN_SECONDS):
            self._log.warning("ledger.unwritten", count=left)

    def _current(self) -> Runtime:
        return self._runtimes.current

    async def _summary(self) -> str:
        await asyncio.sleep(2 * BEAT_SECONDS)  # by then every replica has told of what it saw
        observer = Observer(self._current, self._parts.replica, self._parts.clock, lambda: self.draining)
        return summarize(await observer.status())

    async def _listen(self, runners: list[tuple[PaymentRunner, Address]]) -> None:
        for runner, _ in runners:
            await runner.setup()
        heard = []
        for runner, address, tls in self._sites(runners):
            known = len(runner.addresses)
            await web.TCPSite(runner, address.host, address.port, backlog=1024, ssl_context=tls).start()
            heard.append(_url(runner.addresses[known], tls))
        self._log.info("replica.started", replica=self._parts.replica.id, pid=os.getpid(), listen=heard)

    def _sites(
        self, runners: list[tuple[PaymentRunner, Address]]
    ) -> list[tuple[PaymentRunner, Address, ssl.SSLContext | None]]:
        """Where each application listens: TLS instead of the plain data port, or at an address of its own beside it."""
        sites = [(runner, address, None) for runner, address in runners]
        tls = self._current().config.listen_tls
        if tls is None:
            return [*sites]
        data, address = runners[0]
        return [*(sites if tls.listen else sites[1:]), (data, tls.listen or address, self._tls)]

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _reload(self) -> None:
        """Put the configuration in force as it stands now; a bad one is refused and the old one stays."""
        try:
            config = self._load()
            _check_reload(self._current().config, config)
            if config.listen_tls and self._tls:
                renew(self._tls, config.listen_tls, self._base)
            runtime = make_runtime(config, self._base, self._parts)
        except ConfigError as error:
            self._log.error("config.refused", problems=error.problems)
            return
        self._runtimes.replace(runtime)
        self._log.info("config.reloaded")
        self._warn()

    async def _drain(self, runners: list[PaymentRunner]) -> None:
        """Not ready; finish what is in flight; flush counts, give back leases, say goodbye."""
        drain = self._current().config.drain
        self.draining = True
        for runner in runners:
            runner.end_connections()
        self._log.info("replica.draining", grace_seconds=drain.grace, timeout_seconds=drain.timeout)
        await asyncio.sleep(drain.grace)
        for runner in runners:
            for site in list(runner.sites):
                await site.stop()
        left = await self._runtimes.finish(drain.timeout, self._parts.followup)
        for runner in runners:
            await runner.cleanup()
        await self._runtimes.leave()
        await self._close_books()
        if self._parts.redis is not None:
            await self._parts.redis.aclose()
        self._log.info("replica.stopped", unfinished=left)


def make_runners(
    current: Callable[[], Runtime], parts: Parts, *, draining: Callable[[], bool]
) -> list[tuple[PaymentRunner, Address]]:
    """What is served, and where it listens: one application, or two where the control plane has its own address."""
    config = current().config
    payments = Payments(current, clock=parts.clock, new_id=_new_id, events=parts.events, chain=parts.chain)
    operations = Operations(
        current,
        parts.replica,
        metrics=parts.metrics,
        totals=parts.totals,
        clock=parts.clock,
        draining=draining,
    )
    refusals = Refusals(parts.events, _new_id)
    descriptors = descriptor_limit()

    def runner(app: web.Application, otherwise: Handler | None, most: Callable[[], int]) -> PaymentRunner:
        return PaymentRunner(app, otherwise, refusals=refusals, door=Door(most), limits=lambda: current().config.limits)

    def most() -> int:
        return most_connections(current().config, descriptors)

    control = web.Application()
    control.add_routes(operations.routes())
    if config.admin.listen is None:
        return [(runner(control, payments.handle, most), config.listen)]
    data = web.Application()
    return [
        (runner(data, payments.handle, most), config.listen),
        (runner(control, None, lambda: RESERVE), config.admin.listen),
    ]


def _new_id() -> str:
    return secrets.token_hex(16)


def _check_reload(old: Config, new: Config) -> None:
    names = ("listen", "listen_tls", "admin", "redis", "ledger", "log")
    fixed = [name for name in names if getattr(old, name) != getattr(new, name)]
    if fixed:
        raise ConfigError([f"{name}: cannot change while running; restart the replica" for name in fixed])


def _url(address: tuple[str, int], tls: ssl.SSLContext | None) -> str:
    return f"http{'s' if tls else ''}://{Address(host=address[0], port=address[1])}"


def _why_not(error: OSError, config: Config) -> str:
    tls = config.listen_tls.listen if config.listen_tls else None
    wanted = " or ".join(str(address) for address in (config.listen, tls, config.admin.listen) if address)
    return f"cannot listen on {wanted}: {error.strerror or error}; choose another with PORT or --listen HOST:PORT"
