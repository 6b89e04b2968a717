"""Writes and settlements, with the ordinary as default."""

from __future__ import annotations

from proxy.core.ledger import Ground, Settlement, State, Write

UP = "mock"


RULE = "generic:Idempotency-Key"


def write(
    id_: str = "a", *, keyed: bool = True, body: str = "b1", request_id: str = "req-1", rule: str = RULE
) -> Write:
    return Write(id_, UP, "POST", "/api/payment", request_id, "order-7", keyed, body, rule)


def told(
    state: State,
    owner: str = "r1/1",
    *,
    id_: str = "a",
    settles: bool = True,
    ground: Ground | None = None,
    status: int | None = None,
    body: str = "b1",
) -> Settlement:
    """`settles`: a success; else a refusal that settles nothing. `ground` says it exactly."""
    if state is State.FINAL:
        ground = ground or (Ground.SUCCESS if settles else Ground.REFUSAL)
    code = status or (201 if state is State.FINAL else None)
    return Settlement(write(id_, body=body), owner, state, ground, 1, code, "prov-1" if code else None)
