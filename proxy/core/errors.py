"""The exception tree. Inside the corridor a failure is a value; these are refusals and broken surroundings.

HoldfastError
├── ConfigError         a configuration a person has to mend: says where, what stands there, what was expected
├── RequestRefused      a request we will not forward: status, and what the caller should do
└── StoreUnavailable    the shared store refused, froze, failed or spoke nonsense; callers go on without it
    └── Unreadable      the store is well, but what it keeps under one key is nothing this version understands
"""

from __future__ import annotations

import traceback

from proxy.core.model import Headers, Outcome


class HoldfastError(Exception):
    """Base of everything Holdfast raises on purpose."""


class ConfigError(HoldfastError):
    """One or more problems in a configuration; `problems` holds a line for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RequestRefused(HoldfastError):
    """A request we answer `status` ourselves; `error` is an RFC 9209 error type, `extra` more fields of the answer.

    `reason` is a word for the log where the request itself is at fault. The outcome is NOT_SENT, save where the client
    broke off while its body was already on its way, which was its one attempt, or an earlier call left it in doubt.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        error: str = "http_request_error",
        outcome: Outcome = Outcome.NOT_SENT,
        reason: str | None = None,
        extra: Headers = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.error = error
        self.outcome = outcome
        self.attempts = 0 if outcome is Outcome.NOT_SENT else 1
        self.reason = reason
        self.extra = extra


class StoreUnavailable(HoldfastError):
    """The shared store could not do `operation` in time."""

    def __init__(self, operation: str, cause: str) -> None:
        super().__init__(f"{operation}: {cause}")
        self.operation = operation
        self.cause = cause


class Unreadable(StoreUnavailable):
    """What the store keeps for one upstream or one payment cannot be read: it is away for that one alone."""


def where(bug: BaseException) -> str:
    """An exception's type and where it was raised; not its text, which may quote what must not be told."""
    frames = traceback.extract_tb(bug.__traceback__)
    if not frames:
        return type(bug).__name__
    file = frames[-1].filename.rpartition("/")[2]
    return f"{type(bug).__name__} at {file}:{frames[-1].lineno}"
