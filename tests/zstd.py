"""zstd by whichever name this interpreter has it."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression.zstd import compress
else:
    from backports.zstd import compress


def packed(data: bytes) -> bytes:
    """One frame."""
    return compress(data)
