"""A breaker record as JSON text in the store, and a script's reply as a view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from proxy.core.breaker import Closed, Counts, HalfOpen, Open, Override, Record, State
from proxy.ports import Shared

_STATES: dict[str, type[State]] = {"closed": Closed, "open": Open, "half_open": HalfOpen}


def encode(record: Record) -> bytes:
    """The record as JSON; its epoch is stored beside it."""
    return orjson.dumps({"name": record.name, **_plain(record)})


def _plain(record: Record) -> dict[str, Any]:
    state = {slot: getattr(record.state, slot) for slot in record.state.__slots__}
    return {
        "state": state,
        "since": record.since,
        "opens": record.opens,
        "cause": record.cause,
        "override": record.override,
    }


def decode(epoch: int, text: bytes | str) -> Record:
    """The record of an epoch; an empty text is a store that never heard of the upstream."""
    if not text:
        return Record(epoch=epoch)
    plain = orjson.loads(text)
    override = plain["override"]
    return Record(
        epoch=epoch,
        state=_STATES[plain["name"]](**plain["state"]),
        since=plain["since"],
        opens=plain["opens"],
        cause=plain["cause"],
        override=None if override is None else Override(**override),
    )


def view(reply: Sequence[Any]) -> Shared:
    """The Shared in what a script returned: epoch, record, run, passes, calls, failures, now_ms, hold_ms."""
    epoch, text, run, passes, calls, failures, now_ms, hold_ms = reply
    counts = Counts(int(run), int(calls), int(failures))
    return Shared(decode(int(epoch), text), counts, int(passes), now_ms / 1000, hold_ms / 1000)
