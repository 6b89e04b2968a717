"""The ports the demo needs, and in one line what is wrong with them."""

from __future__ import annotations

import socket
from dataclasses import dataclass

LOCALHOST = "127.0.0.1"
HIGHEST = 65535


@dataclass(frozen=True, slots=True)
class Ports:
    """`store` None: any free one will do, as nobody needs to know it."""

    replicas: tuple[int, int]
    provider: int
    store: int | None

    def complaint(self) -> str | None:
        """Which port cannot be had and what to do about it; None if all is well."""
        named = [
            ("the first replica", self.replicas[0], "--port N (with make: PORT=N)"),
            ("the second replica", self.replicas[1], "--port N (with make: PORT=N), the replicas take N and N+1"),
            ("the mock provider", self.provider, "--provider-port N (with make: ARGS='--provider-port N')"),
            ("the store", self.store, "--store-port N, or leave it out"),
        ]
        seen: dict[int, str] = {}
        for who, port, remedy in named:
            if port is None:
                continue
            if port in seen:
                return f"port {port} cannot serve both {seen[port]} and {who}: choose another with {remedy}"
            if taken(port):
                return f"port {port} for {who} is taken: choose another with {remedy}"
            seen[port] = who
        return None


def taken(port: int) -> bool:
    """Whether somebody listens there already."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex((LOCALHOST, port)) == 0:
            return True
    with socket.socket() as probe:
        # As servers do: connections of an earlier run that are still dying away do not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return True
    return False
