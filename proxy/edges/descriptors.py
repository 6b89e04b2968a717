"""The process's limit on open files (setrlimit(2))."""

from __future__ import annotations

import resource

USUAL = 65_536


def descriptor_limit() -> int:
    """How many descriptors this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return USUAL if soft == resource.RLIM_INFINITY else soft


def raise_limit() -> None:
    """Raise the soft limit as far as may be and is of use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = USUAL if hard == resource.RLIM_INFINITY else min(hard, USUAL)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):  # a sandbox may forbid what the hard limit allows
            return
