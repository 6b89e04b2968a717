"""Serve an application until a signal comes, then go at once."""

import asyncio
import gc
import signal
import sys
from collections.abc import Callable

from aiohttp import web

_SHUTDOWN_S = 0.05
_BACKLOG = 1024
# The books only grow and hold no cycles: walking all of them, which the oldest generation
# means, would stop every payment for tens of milliseconds and free nothing.
_GC_THRESHOLDS = (700, 10, 1_000_000)


async def serve(app: web.Application, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; raises OSError if the port cannot be had."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # Not 0, which aiohttp takes for "for ever"; requests that hang are not worth waiting for.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()
        announce(_url(runner))
        await stop.wait()
    finally:
        await runner.cleanup()


def run(app: web.Application, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve on uvloop if it is installed, otherwise on asyncio."""
    gc.set_threshold(*_GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(app, host, port, announce))


def _url(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    try:
        import uvloop  # noqa: PLC0415 (optional)
    except ImportError:
        return None
    return uvloop.new_event_loop
