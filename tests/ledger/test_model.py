"""Many replicas, some of which die, on one ledger: any interleaving, against what really happened."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from proxy.core.ledger import FOLLOWS, Entry, Settlement, State
from proxy.edges.memory_ledger import MemoryLedger
from tests.ledger.entries import UP, told, write

LEASE = 5.0
RETENTION = 50.0
IDS = st.sampled_from("ab")


@dataclass
class Call:
    """One call that has a claim. `charged`: the provider carried it out."""

    id: str
    owner: str
    until: float
    charged: bool = False


@dataclass
class Truth:
    """What has really become of one payment."""

    charged: bool = False
    doubt: bool = False
    seen: list[State] = field(default_factory=list)


class Replicas(RuleBasedStateMachine):
    """Claims, sends, settlements (late, lost, told twice), renewals and crashes, in any order."""

    calls: Bundle[Call] = Bundle("calls")
    told: Bundle[tuple[Call, Settlement]] = Bundle("told")

    @initialize()
    def start(self) -> None:
        self.now = 1000.0
        self.number = 0
        self.live: list[Call] = []
        self.truth = {id_: Truth() for id_ in "ab"}
        self.last: dict[str, Entry | None] = dict.fromkeys("ab")
        self.ledger = MemoryLedger(lambda: self.now, retention_seconds=RETENTION, most_unknown=10)

    def do(self, operation: Any) -> Any:
        return asyncio.run(operation)

    @rule(seconds=st.floats(0.1, 8.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=calls, id_=IDS)
    def claim(self, id_: str) -> Any:
        self.number += 1
        call = Call(id_, f"r/{self.number}", self.now + LEASE)
        answer = self.do(self.ledger.claim(write(id_), call.owner, LEASE))
        holders = [other for other in self.live if other.id == id_ and other.until > self.now]
        assert answer.held == bool(holders), "held exactly while a live owner has it"
        if answer.held:
            call.until = 0.0
            return call
        self.live = [other for other in self.live if other.id != id_]
        self.live.append(call)
        prior = answer.prior and answer.prior.state
        if self.truth[id_].doubt:
            assert prior in {State.UNKNOWN, State.FINAL, State.IN_FLIGHT}, "the next owner is told of the doubt"
        self.truth[id_].doubt = True  # from now on it may be sent
        return call

    @rule(call=calls)
    def renew(self, call: Call) -> None:
        if call in self.live:
            self.do(self.ledger.renew(UP, [(call.id, call.owner)], LEASE))
            call.until = self.now + LEASE

    @rule(call=calls)
    def send(self, call: Call) -> None:
        """It is carried out; a late owner, whose lease is over, may do so as well."""
        if call.until:
            self.truth[call.id].charged = call.charged = True

    @rule(target=told, call=consumes(calls), answered=st.booleans())
    def settle(self, call: Call, answered: bool) -> Any:
        if not call.until:
            return (call, told(State.NOT_SENT, call.owner, id_=call.id))
        state = State.FINAL if call.charged and answered else State.UNKNOWN if call.charged else State.NOT_SENT
        settlement = told(state, call.owner, id_=call.id, settles=state is State.FINAL)
        self.do(self.ledger.settle(UP, [settlement]))
        self.live = [other for other in self.live if other is not call]
        return (call, settlement)

    @rule(last=told)
    def tell_twice(self, last: tuple[Call, Settlement]) -> None:
        if last[0].until:
            self.do(self.ledger.settle(UP, [last[1]]))

    @rule(call=consumes(calls))
    def crash(self, call: Call) -> None:
        """Nothing more is heard of it; its lease goes on."""

    @invariant()
    def nothing_is_lost_or_invented(self) -> None:
        for id_, truth in self.truth.items():
            entry = self.do(self.ledger.entry(UP, id_))
            self._check_step(self.last[id_], entry)
            self.last[id_] = entry
            if entry is None:
                assert self._may_be_gone(id_), "an entry went that was in doubt"
                truth.doubt = False
                continue
            if entry.state is State.FINAL:
                assert truth.charged, "final without a charge"
            if entry.state is State.NOT_SENT:
                truth.doubt = False
            if truth.charged:
                assert entry.state is not State.NOT_SENT, "not sent with a charge"
            if entry.state is State.IN_FLIGHT:
                assert entry.held(self.now), "a crashed owner's call is UNKNOWN"

    def _may_be_gone(self, id_: str) -> bool:
        before = self.truth[id_].seen[-1:] or [State.NOT_SENT]
        return before[0] in {State.FINAL, State.NOT_SENT}

    def _check_step(self, before: Entry | None, after: Entry | None) -> None:
        if after is None:
            return
        seen = self.truth[after.write.id].seen
        if before is not None and before.state is not after.state:
            reached = {before.state} | FOLLOWS[before.state]
            assert after.state in reached | {s for one in reached - {State.FINAL} for s in FOLLOWS[one]}
            assert before.state is not State.FINAL
        seen.append(after.state)


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
