"""New connections: addresses, a race for TCP, and TLS on the winner. Nothing of a payment is sent here."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import aiohappyeyeballs

from proxy.core.model import TransportFailure, WireError
from proxy.edges.connection import Connection
from proxy.edges.resolver import address_of
from proxy.edges.wire import connect_failure, not_sent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.edges.connection import Keeper
    from proxy.edges.resolver import Address, AddressInfo, Resolver
    from proxy.edges.wire import Target

STAGGER_SECONDS = 0.25
"""RFC 8305 section 8: an address gets so long before the next one is tried beside it."""
SHORTEST_STAGGER_SECONDS = 0.01
SHUN_SECONDS = 300.0
"""An address that failed is tried after all others for so long."""
AGE_JITTER = 0.1


class Dialer:
    """Makes connections to one upstream; remembers which of its addresses failed."""

    __slots__ = ("_dialling", "_draw", "_keeper", "_now", "_resolver", "_shunned", "_target")

    def __init__(
        self, target: Target, resolver: Resolver, keeper: Keeper, *, now: Callable[[], float], draw: Callable[[], float]
    ) -> None:
        self._target = target
        self._resolver = resolver
        self._keeper = keeper
        self._now = now
        self._draw = draw
        self._shunned: dict[Address, float] = {}
        self._dialling: set[asyncio.Timeout] = set()

    async def dial(self, timeout: float) -> Connection | TransportFailure:
        """A new connection, TLS included, or why there is none. `timeout` (seconds) is for all of it, name included."""
        progress = _Progress()
        patience = min(timeout, self._target.connect_timeout)
        try:
            async with asyncio.timeout(patience) as limit:
                self._dialling.add(limit)
                try:
                    return await self._connect(progress, patience)
                finally:
                    self._dialling.discard(limit)
        except TimeoutError:
            failure = progress.timeout()
        except (OSError, UnicodeError, EOFError) as error:
            failure = connect_failure(error)
        self._missed(progress)
        return failure

    def give_up(self) -> None:
        """End every attempt to connect now, as its timeout would."""
        now = asyncio.get_running_loop().time()
        for limit in self._dialling:
            if not limit.expired():
                limit.reschedule(now)

    def shun(self, address: Address) -> None:
        """Try this address last for a while: it took a connection, or should have, and that came to nothing."""
        self._shunned[address] = self._now()

    def doubt(self) -> None:
        """Look the name up again soon: what answers there now says that it can't serve."""
        self._resolver.doubt()

    async def _connect(self, progress: _Progress, patience: float) -> Connection:
        addresses = self._best_first(await self._resolver.addresses())
        progress.stage = "TCP"
        await _race(addresses, progress, min(STAGGER_SECONDS, patience / (len(addresses) + 1)))
        progress.stage = "TLS"
        connection = Connection(asyncio.get_running_loop(), self._target.buffer_limit, self._keeper)
        await _open(progress.winner[0], connection, self._target)
        connection.address = self._reached(progress)
        age = self._target.max_age_seconds * (1 - AGE_JITTER + 2 * AGE_JITTER * self._draw())
        connection.retire_at = self._now() + age
        return connection

    def _best_first(self, addresses: Sequence[AddressInfo]) -> list[AddressInfo]:
        """In the resolver's order, but what failed lately goes last, the latest failure at the very end."""
        now = self._now()
        self._shunned = {address: at for address, at in self._shunned.items() if now - at < SHUN_SECONDS}
        return sorted(addresses, key=lambda info: self._shunned.get(address_of(info), float("-inf")))

    def _reached(self, progress: _Progress) -> Address:
        """The winner is good; what was tried before it failed, or was slower by a whole stagger."""
        before = progress.tried[: progress.tried.index(progress.winner)]
        for _, address in before:
            self.shun(address)
        self._shunned.pop(progress.winner[1], None)
        return progress.winner[1]

    def _missed(self, progress: _Progress) -> None:
        """Whatever was tried is tried last for a while, and the name looked up again soon."""
        for attempt in progress.tried:
            if progress.stage == "TCP" or attempt == progress.winner:
                self.shun(attempt[1])
        self._resolver.doubt()


class _Progress:
    """How far an attempt to connect has got; sockets are known by the addresses they were made for."""

    __slots__ = ("stage", "tried", "winner")

    def __init__(self) -> None:
        self.stage = "name resolution"
        self.tried: list[tuple[socket.socket, Address]] = []
        self.winner: tuple[socket.socket, Address]

    def timeout(self) -> TransportFailure:
        """What to call it that the time is over here."""
        dns = self.stage == "name resolution"
        return not_sent(WireError.DNS_TIMEOUT if dns else WireError.CONNECT_TIMEOUT, f"{self.stage}: not in time")


async def _race(addresses: Sequence[AddressInfo], progress: _Progress, stagger: float) -> None:
    """Connect to the first address that answers (RFC 8305); the losers are closed and carried no byte."""

    def begin(info: aiohappyeyeballs.AddrInfoType) -> socket.socket:
        sock = socket.socket(*info[:3])
        progress.tried.append((sock, address_of(info)))
        return sock

    try:
        won = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=max(stagger, SHORTEST_STAGGER_SECONDS), interleave=1, socket_factory=begin
        )
    except RuntimeError as error:  # what uvloop raises for a socket in an odd state
        raise OSError(str(error)) from error
    progress.winner = next(attempt for attempt in progress.tried if attempt[0] is won)


async def _open(sock: socket.socket, connection: Connection, target: Target) -> None:
    """Put the connection on a socket, through a TLS handshake where there is TLS; the socket is closed if it fails."""
    loop = asyncio.get_running_loop()
    if target.ssl is None:
        await loop.create_connection(lambda: connection, sock=sock)
        return
    raw, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
    if raw.is_closing():
        raise ConnectionResetError("closed before the handshake")
    try:
        transport = await loop.start_tls(raw, connection, target.ssl, server_hostname=target.server_hostname)
    except BaseException:
        raw.abort()
        raise
    if transport is None:
        raise ConnectionResetError("closed within the handshake")
    connection.connection_made(transport)
    connection.raw = raw
