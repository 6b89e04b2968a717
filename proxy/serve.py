"""A replica's life: start, serve, reload on SIGHUP, drain on SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import uvloop
from aiohttp import web
from structlog.typing import FilteringBoundLogger

from proxy.app import Fanout, Parts, make_parts, make_runtime
from proxy.core.config import Address, Config
from proxy.core.errors import ConfigError
from proxy.core.summary import summarize
from proxy.edges.log import LogSink, configure
from proxy.edges.log_writer import LogWriter
from proxy.fleet import BEAT_SECONDS
from proxy.narrator import Narrator
from proxy.runtime import Runtime
from proxy.runtimes import Runtimes
from proxy.web.observer import Observer
from proxy.web.operations import Operations
from proxy.web.payments import Payments
from proxy.web.server import PaymentRunner

DRAIN_STEP_SECONDS = 0.02
EXIT_CANNOT_LISTEN = 1


def serve(load: Callable[[], Config], base: Path) -> int:
    """Run one replica until it is told to stop; the exit code. `load` is called again on SIGHUP.

    ConfigError from the first `load` is the caller's; paths in the configuration are relative to `base`.
    """
    config = load()
    _calm_collector()
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
        self._parts: Parts = make_parts(config, sinks, self._runtimes)
        self._runtimes.put_in_force(make_runtime(config, base, self._parts))
        self._stop = asyncio.Event()
        self.draining = False

    async def run(self) -> int:
        """Listen until SIGTERM or SIGINT, then drain; the exit code."""
        await self._runtimes.start()
        runners = make_runners(self._current, self._parts, draining=lambda: self.draining)
        try:
            await self._listen(runners)
        except OSError as error:
            self._log.error("listen.failed", message=_why_not(error, self._current().config))
            await self._runtimes.leave()
            return EXIT_CANNOT_LISTEN
        self._handle_signals()
        await self._stop.wait()
        await self._drain([runner for runner, _ in runners])
        return 0

    def _current(self) -> Runtime:
        return self._runtimes.current

    async def _summary(self) -> str:
        await asyncio.sleep(2 * BEAT_SECONDS)  # by then every replica has told of what it saw
        observer = Observer(self._current, self._parts.replica, self._parts.clock, lambda: self.draining)
        return summarize(await observer.status())

    async def _listen(self, runners: list[tuple[PaymentRunner, Address]]) -> None:
        for runner, address in runners:
            await runner.setup()
            await web.TCPSite(runner, address.host, address.port, backlog=1024).start()
        heard = [_address(runner) for runner, _ in runners]
        self._log.info("replica.started", replica=self._parts.replica.id, pid=os.getpid(), listen=heard)

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
            runtime = make_runtime(config, self._base, self._parts)
        except ConfigError as error:
            self._log.error("config.refused", problems=error.problems)
            return
        self._runtimes.replace(runtime)
        self._log.info("config.reloaded")

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
        left = await self._runtimes.finish(drain.timeout)
        for runner in runners:
            await runner.cleanup()
        await self._runtimes.leave()
        if self._parts.redis is not None:
            await self._parts.redis.aclose()
        self._log.info("replica.stopped", unfinished=left)


def make_runners(
    current: Callable[[], Runtime], parts: Parts, *, draining: Callable[[], bool]
) -> list[tuple[PaymentRunner, Address]]:
    """What is served, and where it listens: one application, or two where the control plane has its own address."""
    config = current().config
    payments = Payments(current, clock=parts.clock, new_id=lambda: uuid.uuid4().hex, events=parts.events)
    operations = Operations(
        current,
        parts.replica,
        metrics=parts.metrics,
        totals=parts.totals,
        clock=parts.clock,
        draining=draining,
    )
    control = web.Application()
    control.add_routes(operations.routes())
    if config.admin.listen is None:
        return [(PaymentRunner(control, payments.handle), config.listen)]
    data = web.Application()
    return [(PaymentRunner(data, payments.handle), config.listen), (PaymentRunner(control), config.admin.listen)]


def _check_reload(old: Config, new: Config) -> None:
    fixed = [name for name in ("listen", "admin", "redis", "log") if getattr(old, name) != getattr(new, name)]
    if fixed:
        raise ConfigError([f"{name}: cannot change while running; restart the replica" for name in fixed])


def _address(runner: PaymentRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://{host}:{port}"


def _why_not(error: OSError, config: Config) -> str:
    wanted = " or ".join(str(address) for address in (config.listen, config.admin.listen) if address)
    return f"cannot listen on {wanted}: {error.strerror or error}; choose another with PORT or --listen HOST:PORT"
