"""How many client connections fit under the limit on open files, so that nothing ever runs out of it."""

from __future__ import annotations

from proxy.core.config import Config

RESERVE = 32
"""Connections beyond the limit that are still heard: health is answered, a payment is told to come back."""
OWN = 32
"""What the process itself needs: listeners, the store's connections, files, the log."""
MOST = 16_384
LEAST = 16


def most_connections(config: Config, descriptors: int) -> int:
    """The limit on client connections: as configured, else what is left when every provider has all it may take.

    Each payment under way needs one descriptor more, towards its provider, and the control plane's port has as many
    in reserve as the data port.
    """
    if config.limits.max_connections is not None:
        return config.limits.max_connections
    room = descriptors - 2 * RESERVE - OWN
    upstreams = sum(upstream.max_concurrency for upstream in config.upstreams)
    return max(LEAST, min(MOST, room - min(upstreams, room // 2)))
