"""Writes and settlements, with the ordinary as default."""

from __future__ import annotations

from proxy.core.ledger import Settlement, State, Write

UP = "mock"


def write(id_: str = "a", *, keyed: bool = True, body: str = "b1", request_id: str = "req-1") -> Write:
    return Write(id_, UP, "POST", "/api/payment", request_id, "order-7", keyed, body)


def told(
    state: State,
    owner: str = "r1/1",
    *,
    id_: str = "a",
    settles: bool | None = None,
    status: int | None = None,
    body: str = "b1",
) -> Settlement:
    settling = state is State.FINAL if settles is None else settles
    code = status or (201 if state is State.FINAL else None)
    return Settlement(write(id_, body=body), owner, state, settling, 1, code, "prov-1" if code else None)
