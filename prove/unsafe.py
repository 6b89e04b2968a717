"""`python -m prove.unsafe ARGS`: Holdfast with its safety rules switched off, to show that the proof can fail.

Not a mode of the product: this launcher rebinds two names before it starts an otherwise untouched replica. Every
failed attempt is repeated, whatever the decision table says, and no key is injected: what a proxy does that retries
as it is told.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from proxy import forward
from proxy.cli import main
from proxy.core import retry
from proxy.core.idempotency import Keyed, settle_kind
from proxy.core.model import Payment
from proxy.core.outcome import Row
from proxy.core.profiles import Profile

NOTHING_TO_MEND = frozenset(
    {Row.SUCCESS, Row.DECLINE, Row.UNSETTLED_DECLINE, Row.REJECTED, Row.KEY_MISMATCH, Row.REDIRECT}
)


def repeat_anything(row: Row, *_: object, **__: object) -> bool:
    """In the place of `retry.may_repeat`."""
    return row not in NOTHING_TO_MEND


def without_injection(
    payment: Payment,
    profile: Profile,
    *,
    inject: bool,  # noqa: ARG001 - never
    new_key: Callable[[], str],
    base_path: bytes = b"",
) -> Keyed:
    """In the place of `settle_kind`: the client's key is left alone, and none is made."""
    return settle_kind(payment, profile, inject=False, new_key=new_key, base_path=base_path)


def switch_off() -> None:
    """Rebind both; fails aloud where the product no longer has them."""
    for module, name, instead in (
        (retry, "may_repeat", repeat_anything),
        (forward, "settle_kind", without_injection),
    ):
        if not hasattr(module, name):
            raise SystemExit(f"prove.unsafe: {module.__name__} has no {name} any more; mend the test build")
        setattr(module, name, instead)


if __name__ == "__main__":
    switch_off()
    sys.exit(main(sys.argv[1:]))
