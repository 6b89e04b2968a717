"""docs/providers.md: what was seen of every provider and case, as the run of the tests saw it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.sdk.cases import VARIANTS
from tests.sdk.node_cases import SDKS
from tests.sdk.stage import Seen

HEAD = """# Official SDKs through Holdfast

Written by `make sdk`: each official SDK, unmodified, calls a running Holdfast with its provider's profile, and behind
that a stub that keeps books the way the provider documents it (keys, replays, answers in flight). What is told below
was counted there. Settings: 3 attempts in all, 0.7 s each, 5 s together.

**Charges** is what the provider booked, **calls** how many requests reached it, **outcome** is Holdfast's
`X-Payment-Outcome`, and **the SDK** is what the shop's code sees: a result, or the class of the exception.
`500 after the charge` books the charge and answers 500 all the same; `in flight` means that an earlier call with the
same key is still being processed at the provider, and its charge lands a moment later.
"""


WANTED = {name: len(it.rows) for name, it in VARIANTS.items()} | {
    f"{name}, Node": len(it.rows) for name, it in SDKS.items()
}


@dataclass
class Table:
    """Lines by variant, in the order they came."""

    lines: dict[str, list[str]] = field(default_factory=dict)

    def add(self, variant: str, case: str, seen: Seen) -> None:
        """One row."""
        sdk = f"`{seen.kinds[0]}`" if seen.kinds else f"`{_shown(seen.value or '')}`"
        row = f"| {case} | {seen.charges} | {seen.calls} | `{seen.outcome}` | {seen.status} | {sdk} |"
        self.lines.setdefault(variant, []).append(row)

    def write(self, path: Path) -> str:
        """Write the document; what came of it, in a sentence. A run with rows missing must not pass for a whole one."""
        counts = {name: count - len(self.lines.get(name, ())) for name, count in WANTED.items()}
        if missing := [f"{name} ({count})" for name, count in counts.items() if count]:
            return f"{path} is not written: rows are missing of {', '.join(missing)}"
        head = "| case | charges | calls | outcome | status | the SDK |\n| --- | --- | --- | --- | --- | --- |"
        parts = ["\n".join([f"## {name}", "", head, *self.lines[name], ""]) for name in WANTED]
        path.write_text("\n".join([HEAD, *parts]))
        return f"{path} is written"


def _shown(value: str) -> str:
    """The value without what differs from run to run."""
    return value.partition(" ")[2] or value
