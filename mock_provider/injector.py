"""The faults while the process runs: current settings, seeded chance, script and schedule.

Owns every change of them. Scheduled steps need no timer: whoever asks first after their moment applies them.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

from mock_provider.faults import Draws, Fault, Plan, Settings, decide
from mock_provider.patch import Patch, Step


class Injector:
    """Give each arrival its plan; the same seed and arrival order give the same plans."""

    def __init__(self, settings: Settings, *, seed: int, now: Callable[[], float]) -> None:
        """Start the random sequence at `seed`; `now` is a monotonic clock in seconds."""
        self._settings = settings
        self._seed = seed
        self._random = random.Random(seed)
        self._now = now
        self._script: deque[Fault] = deque()
        self._pending: deque[tuple[float, Step]] = deque()

    def settings(self) -> Settings:
        """Return the settings in force now."""
        if self._pending:
            self._apply_due()
        return self._settings

    def plan(self) -> Plan:
        """Return the plan of the next payment arrival; scripted or not, it uses up the same chance."""
        settings = self.settings()
        draw = self._random.random
        draws = Draws(draw(), draw(), draw())
        return decide(settings, draws, self._script.popleft() if self._script else None)

    def put(self, patch: Patch) -> None:
        """Change what `patch` names; a new schedule replaces what is left of the old one."""
        self.settings()
        self._change(patch)
        if patch.schedule is not None:
            start = self._now()
            self._pending = deque((start + step.after_s, step) for step in patch.schedule)

    def document(self) -> dict[str, Any]:
        """Return the whole current setting; `next` and `schedule` are what is left of them."""
        settings = self.settings()
        return {
            **{field.name: getattr(settings, field.name) for field in fields(settings)},
            "kinds": dict(settings.kinds),
            "latency_ms": asdict(settings.latency_ms),
            "seed": self._seed,
            "next": list(self._script),
            "schedule": [step.document for _, step in self._pending],
        }

    def _apply_due(self) -> None:
        while self._pending and self._pending[0][0] <= self._now():
            self._change(self._pending.popleft()[1].patch)

    def _change(self, patch: Patch) -> None:
        self._settings = patch.apply(self._settings)
        if patch.script is not None:
            self._script = deque(patch.script)
        if patch.seed is not None:
            self._seed = patch.seed
            self._random.seed(patch.seed)
