"""A replica's life: start, serve, reload on SIGHUP, drain on SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
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
from proxy.narrator import Narrator
from proxy.runtime import Runtime
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
        sinks = Fanout(LogSink(log), Narrator(self._summary, log))
        self._parts: Parts = make_parts(config, sinks, lambda: self._runtime)
        self._runtime: Runtime = make_runtime(config, base, self._parts)
        self._loops: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self.draining = False

    async def run(self) -> int:
        """Listen until SIGTERM or SIGINT, then drain; the exit code."""
        await self._start_loops()
        runners = make_runners(lambda: self._runtime, self._parts, draining=lambda: self.draining)
        try:
            await self._listen(runners)
        except OSError as error:
            self._log.error("listen.failed", message=_why_not(error, self._runtime.config))
            await self._end_loops()
            return EXIT_CANNOT_LISTEN
        self._handle_signals()
        await self._stop.wait()
        await self._drain([runner for runner, _ in runners])
        return 0

    async def _summary(self) -> str:
        observer = Observer(lambda: self._runtime, self._parts.replica, self._parts.clock, lambda: self.draining)
        return summarize(await observer.status())

    async def _start_loops(self) -> None:
        fleet = self._runtime.fleet
        await asyncio.gather(*(gate.refresh() for gate in fleet.gates.values()))
        self._loops = asyncio.create_task(fleet.run())

    async def _end_loops(self) -> None:
        if self._loops is not None:
            self._loops.cancel()
            with suppress(asyncio.CancelledError):
                await self._loops

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
            _check_reload(self._runtime.config, config)
            runtime = make_runtime(config, self._base, self._parts)
        except ConfigError as error:
            self._log.error("config.refused", problems=error.problems)
            return
        retired, loops = self._runtime, self._loops
        self._runtime = runtime
        retiring = asyncio.ensure_future(self._retire(retired, loops))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
        self._log.info("config.reloaded")

    async def _retire(self, runtime: Runtime, loops: asyncio.Task[None] | None) -> None:
        """Let the old configuration's payments end before its loops and connections do."""
        await self._start_loops()
        await _until_idle(runtime, runtime.config.drain.timeout)
        if loops is not None:
            loops.cancel()
        await _close(runtime)

    async def _drain(self, runners: list[PaymentRunner]) -> None:
        """Not ready; finish what is in flight; flush counts, give back leases, say goodbye."""
        drain = self._runtime.config.drain
        self.draining = True
        self._log.info("replica.draining", grace_seconds=drain.grace, timeout_seconds=drain.timeout)
        await asyncio.sleep(drain.grace)
        for runner in runners:
            for site in list(runner.sites):
                await site.stop()
        await _until_idle(self._runtime, drain.timeout)
        left = _under_way(self._runtime)
        for runner in runners:
            await runner.cleanup()
        await self._end_loops()
        await self._runtime.fleet.leave()
        await _close(self._runtime)
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
    data = web.Application()
    control = data if config.admin.listen is None else web.Application()
    control.add_routes(operations.routes())
    data.router.add_route("*", "/{tail:(?s:.*)}", payments.handle, expect_handler=_hold_expect)
    runners = [(PaymentRunner(data, payments.handle), config.listen)]
    if config.admin.listen is not None:
        runners.append((PaymentRunner(control), config.admin.listen))
    return runners


def _under_way(runtime: Runtime) -> int:
    return sum(forwarder.under_way for forwarder in runtime.forwarders.values())


async def _until_idle(runtime: Runtime, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while _under_way(runtime) and loop.time() < deadline:
        await asyncio.sleep(DRAIN_STEP_SECONDS)  # once in a life: an event on every settled call would cost more


async def _close(runtime: Runtime) -> None:
    for forwarder in runtime.forwarders.values():
        await forwarder.aclose()


async def _hold_expect(_: web.Request) -> None:
    """Say nothing yet: `100 Continue` goes out when the body is about to be read, or never if it is refused."""


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
