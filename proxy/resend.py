"""One more call for a payment that ended unknown, through the same corridor: claim → admit → send → classify → settle.

It is never a probe (payments.md section 6, rule 7): while the breaker is not closed, it waits for real traffic to find
out. It spends from the retry budget, and is single flight with the clients' own calls.
"""

from __future__ import annotations

from dataclasses import replace

from proxy.core.model import Outcome
from proxy.followup import Case
from proxy.forward import Caller, Forwarder, discard
from proxy.gate import Permit, Refusal
from proxy.story import Story

_OPEN_DOOR = frozenset({"closed", "forced_closed"})


async def resend(forwarder: Forwarder, case: Case) -> Outcome | None:
    """What is known now; NOT_SENT if it could not be tried yet; None if it must not be tried again."""
    if (forwarder.destination, forwarder.profile) != (case.destination, case.profile):
        return None  # a reload made it another provider, or one of which other things are known
    gate = forwarder.gate
    if gate.view.record.label(gate.now()) not in _OPEN_DOOR or forwarder.budget.left < 1:
        return Outcome.NOT_SENT
    claim = await forwarder.claim(case.keyed, lambda: 0.0)
    if claim is None:
        return Outcome.NOT_SENT
    story = Story(case.keyed.write, replace(claim, doubt=True))
    try:
        return await _once(forwarder, case, story)
    finally:
        forwarder.settle(story)


async def _once(forwarder: Forwarder, case: Case, story: Story) -> Outcome | None:
    if story.claim.settled:  # somebody else has found out
        return Outcome.FINAL
    permit = None if story.claim.degraded else await forwarder.gate.admit()
    if permit is None or isinstance(permit, Refusal):
        return Outcome.NOT_SENT
    if permit.probe is not None or not forwarder.budget.spend():
        forwarder.gate.release(permit)
        return Outcome.NOT_SENT
    return await _send(forwarder, case, story, permit)


async def _send(forwarder: Forwarder, case: Case, story: Story, permit: Permit) -> Outcome | None:
    caller = Caller(forwarder.now(), lambda: False, key_age=story.claim.age)
    await forwarder.attempt(case.keyed, caller, story, permit)
    if story.last is None:
        return None
    result, row = story.last
    case.rest = forwarder.rest_after(case.keyed, row, result)
    await discard(story)
    if story.outcome is Outcome.UNKNOWN and not forwarder.may_repeat(case.keyed, caller, row, result):
        return None
    return story.outcome
