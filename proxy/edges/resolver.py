"""From a provider's name to its addresses, in threads of its own: a hung look-up holds up nobody else's.

The system's resolver (getaddrinfo) can't be interrupted and tells no time to live, so that is decided here, along the
lines of RFC 8767 (serving stale data): an old answer is better than none.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]
"""What getaddrinfo tells of one address: family, type, protocol, canonical name, socket address."""
Address = tuple[str, int]
"""An IP address in its text form, and a port."""
LookUp = Callable[[str, int], Sequence[AddressInfo]]
"""Finds the addresses of a host and port; blocks for as long as it likes, and raises OSError or UnicodeError."""

FRESH_SECONDS = 30.0
"""An answer is used for so long before the name is looked up again."""
STALE_SECONDS = 3600.0
"""An answer is used for so long at most, while no newer one can be had."""
STALE_WAIT_SECONDS = 0.2
"""A look-up gets so long to replace an answer that has gone stale, which is then used all the same."""
RECHECK_SECONDS = 5.0
"""While there is an answer to go on with, a name is looked up no more often than this."""
HUNG_SECONDS = 10.0
"""A look-up that is silent for so long is left to itself, and another one started."""
MOST_THREADS = 2
"""Look-ups of one name under way at a time, hung ones included."""


def look_up(host: str, port: int) -> Sequence[AddressInfo]:
    """Ask the system's resolver, in whatever way it is configured to find names."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)  # type: ignore[return-value]


@dataclass(slots=True, eq=False)
class _LookUp:
    """One look-up under way; `done` is set by whatever comes of it."""

    started: float
    done: asyncio.Future[None]


class Resolver:
    """The addresses of one name: one look-up at a time whoever asks, and the last good answer kept.

    An address instead of a name needs no look-up. `now`: monotonic seconds.
    """

    __slots__ = (
        *("_addresses", "_error", "_fresh_until", "_host", "_known", "_look_up", "_looking", "_now", "_port"),
        "_told_at",
    )

    def __init__(
        self, host: str, port: int, *, look_up: LookUp = look_up, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._host = host
        self._port = port
        self._look_up = look_up
        self._now = now
        self._addresses: Sequence[AddressInfo] = _literal(host, port)
        self._known = frozenset(map(address_of, self._addresses))
        self._told_at = self._fresh_until = float("inf") if self._addresses else float("-inf")
        self._error: Exception = socket.gaierror(socket.EAI_AGAIN, "not looked up yet")
        self._looking: list[_LookUp] = []

    async def addresses(self) -> Sequence[AddressInfo]:
        """The addresses as they are known now, never none; waits for a look-up only where it has to.

        Raises what the look-up raised if there is no answer to go on with.
        """
        now = self._now()
        if now < self._fresh_until:
            return self._addresses
        current = self._look(now)
        usable = now - self._told_at < STALE_SECONDS
        patience = max(0.0, current.started + STALE_WAIT_SECONDS - now) if usable else None
        await asyncio.wait({current.done}, timeout=patience)
        if self._now() - self._told_at >= STALE_SECONDS:
            raise self._error
        return self._addresses

    def holds(self, address: Address) -> bool:
        """Whether an address is among the ones known, which is looked into when they have gone stale. Never waits."""
        now = self._now()
        if now >= self._fresh_until:
            self._look(now)
        return address in self._known or not self._known

    def doubt(self) -> None:
        """The addresses don't do what they should: look the name up again soon."""
        self._fresh_until = min(self._fresh_until, self._told_at + RECHECK_SECONDS)

    def _look(self, now: float) -> _LookUp:
        """The look-up under way; a new one where there is none, or only hung ones and room for another."""
        if self._looking and (now - self._looking[-1].started < HUNG_SECONDS or len(self._looking) >= MOST_THREADS):
            return self._looking[-1]
        loop = asyncio.get_running_loop()
        current = _LookUp(now, loop.create_future())
        self._looking.append(current)
        # A daemon: the interpreter's end does not wait for it, as it would for an executor's thread.
        thread = threading.Thread(target=self._ask, args=(loop, current), name=f"dns {self._host}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread left to give
            loop.call_soon(self._take_in, current, OSError(errno.EAGAIN, str(error)))
        return current

    def _ask(self, loop: asyncio.AbstractEventLoop, current: _LookUp) -> None:
        """The thread's work."""
        told: Sequence[AddressInfo] | Exception
        try:
            told = self._look_up(self._host, self._port)
        except Exception as error:  # noqa: BLE001 - whatever it is, the one who asked is told
            told = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(self._take_in, current, told)

    def _take_in(self, current: _LookUp, told: Sequence[AddressInfo] | Exception) -> None:
        now = self._now()
        self._looking.remove(current)
        if isinstance(told, Exception):
            self._error = told
            self._fresh_until = now + RECHECK_SECONDS if now - self._told_at < STALE_SECONDS else now
        elif told and current.started >= self._told_at:  # a hung one may come back after its successor
            self._addresses, self._known = told, frozenset(map(address_of, told))
            self._told_at, self._fresh_until = now, now + FRESH_SECONDS
        if not current.done.done():
            current.done.set_result(None)


class Resolvers:
    """A resolver for each upstream, kept over reloads with what it knows."""

    def __init__(self, *, look_up: LookUp = look_up, now: Callable[[], float] = time.monotonic) -> None:
        self._look_up = look_up
        self._now = now
        self._known: dict[tuple[str, str, int], Resolver] = {}

    def of(self, upstream: str, host: str, port: int) -> Resolver:
        """The one resolver for a host as this upstream names it."""
        key = upstream, host, port
        if key not in self._known:
            self._known[key] = Resolver(host, port, look_up=self._look_up, now=self._now)
        return self._known[key]


def _literal(host: str, port: int) -> Sequence[AddressInfo]:
    """The address that `host` is, or none if it is a name."""
    try:
        ipaddress.ip_address(host)
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)  # type: ignore[return-value]
    except (ValueError, OSError):
        return ()


def address_of(info: AddressInfo) -> Address:
    """Where it leads: the same for the same place, whatever else is told of it."""
    return info[4][0], info[4][1]
