"""A breaker record as JSON text in the store, and a script's reply as a view.

Members that this version does not know are ignored, since a newer replica may have written them; one that is missing or
of another kind, a state of another name and a later schema make the record Unreadable, and never a guess.
"""

from __future__ import annotations

from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from proxy.core.breaker import Closed, Counts, HalfOpen, Open, Override, Record, State
from proxy.edges.redis_client import readable
from proxy.edges.redis_reply import MOST, listed, seconds, whole
from proxy.ports import Shared

SCHEMA = 1
"""Raised when an older version would misunderstand what a newer one writes; a further member is no reason."""
_LATEST_SECONDS = 1e11


class _Stored(BaseModel):
    """One part of the text."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class _StoredOverride(_Stored):
    forced: Literal["open", "closed"]
    actor: str
    reason: str
    until: float | None = Field(ge=0, le=_LATEST_SECONDS)


class _StoredState(_Stored):
    until: float | None = Field(None, ge=0, le=_LATEST_SECONDS)
    cooldown: float | None = Field(None, ge=0, le=_LATEST_SECONDS)


class _StoredRecord(_Stored):
    version: int = Field(SCHEMA, alias="schema", ge=1, le=SCHEMA)
    name: Literal["closed", "open", "half_open"]
    state: _StoredState
    since: float = Field(ge=0, le=_LATEST_SECONDS)
    opens: int = Field(ge=0, le=MOST)
    cause: str
    override: _StoredOverride | None


_RECORD = TypeAdapter(_StoredRecord)


def encode(record: Record) -> bytes:
    """The record as JSON; its epoch is stored beside it."""
    state = {slot: getattr(record.state, slot) for slot in record.state.__slots__}
    return orjson.dumps(
        {
            "schema": SCHEMA,
            "name": record.name,
            "state": state,
            "since": record.since,
            "opens": record.opens,
            "cause": record.cause,
            "override": record.override,
        }
    )


def decode(epoch: int, text: bytes | str) -> Record:
    """The record of an epoch; an empty text is a store that never heard of the upstream. Raises on anything else."""
    if not text:
        return Record(epoch=epoch)
    stored = _RECORD.validate_json(text)
    return Record(
        epoch=epoch,
        state=_state(stored.name, stored.state),
        since=stored.since,
        opens=stored.opens,
        cause=stored.cause,
        override=None if stored.override is None else Override(**stored.override.model_dump()),
    )


def _state(name: str, stored: _StoredState) -> State:
    if name == "closed":
        return Closed()
    if stored.cooldown is None:
        raise ValueError("no cooldown")
    if name == "half_open":
        return HalfOpen(stored.cooldown)
    if stored.until is None:
        raise ValueError("no until")
    return Open(stored.until, stored.cooldown)


def view(operation: str, reply: Any) -> Shared:
    """The Shared in what a script returned: epoch, record, run, passes, calls, failures, now_ms, hold_ms."""
    epoch, stored, run, passes, calls, failures, now_ms, hold_ms = listed(reply, 8)
    if not isinstance(stored, bytes | str):
        raise TypeError("expected a record")
    counts = Counts(whole(run), whole(calls), whole(failures))
    record = readable("its breaker's record", operation, decode, whole(epoch), stored)
    return Shared(record, counts, whole(passes), seconds(now_ms), seconds(hold_ms))
