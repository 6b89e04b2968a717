"""`python -m prove.unsafe MUTANT[,MUTANT...] ARGS`: Holdfast with a safety rule switched off: the proof must fail.

Not a mode of the product: this launcher rebinds names before it starts an otherwise untouched replica. Each mutant is
a few lines at a seam and breaks one rule of docs/proof.md at least; `MUTANTS` says which.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import proxy.app
from prove.books import FINAL_UNCHARGED, NOT_SENT_ARRIVED, REFUSED_YET_OPEN, STILL_IN_FLIGHT, UNLISTED
from prove.conduct import AFTER_END, KEYLESS_TWICE, MOVED_ON, RESENT, TOGETHER, TWO_KEYS
from prove.stage import DRAIN_SECONDS, LAST_TRIES_SECONDS
from prove.verdict import CUT, DUPLICATE, INVENTED, MUTE, NOBODY, STRANGE, STUCK, UNCOUNTED
from prove.words import ABETTED, ARRIVED, BLIND, DENIED, FORGOT, HASTY, HIDDEN
from proxy import forward
from proxy.bookkeeper import Bookkeeper
from proxy.cli import main
from proxy.core import answers, retry
from proxy.core.ledger import UNTRACKED, State
from proxy.core.model import Certainty, Kind, Outcome, Response, TransportFailure
from proxy.core.outcome import Row
from proxy.edges.upstream import HttpUpstream
from proxy.serve import Service
from proxy.web import response

NOTHING_TO_MEND = frozenset(
    row for row, rule in retry.TABLE.items() if rule.outcome is Outcome.FINAL and not rule.again
)
KEY_FIELDS = frozenset({b"idempotency-key", b"cko-idempotency-key"})


def _rebind(owner: object, name: str, make: Callable[[Any], object]) -> None:
    """Put `make(what stands there)` in its place; fails aloud where the product no longer has it."""
    if not hasattr(owner, name):
        raise SystemExit(f"prove.unsafe: {owner!r} has no {name} any more; mend the test build")
    setattr(owner, name, make(getattr(owner, name)))


# What may be sent again.


def _repeats(kinds: frozenset[Kind]) -> None:
    def make(usual: Callable[..., bool]) -> Callable[..., bool]:
        def may_repeat(row: Row, kind: Kind, *rest: object, **more: object) -> bool:
            return row not in NOTHING_TO_MEND if kind in kinds else usual(row, kind, *rest, **more)

        return may_repeat

    _rebind(retry, "may_repeat", make)


def _never_injects() -> None:
    def make(usual: Callable[..., object]) -> Callable[..., object]:
        def settle_kind(*rest: object, **more: object) -> object:
            return usual(*rest, **{**more, "inject": False})

        return settle_kind

    _rebind(forward, "settle_kind", make)


def rash() -> None:
    """Every failed attempt is repeated and no key is injected: what a proxy does that retries as it is told."""
    _repeats(frozenset(Kind))
    _never_injects()


def heedless() -> None:
    """A key makes every repeat safe, whatever its provider does with it."""
    _repeats(frozenset({Kind.KEYED}))


def keyless() -> None:
    """A write without a key is repeated, too."""
    _repeats(frozenset({Kind.UNKEYED}))


# What goes over the wire.

Send = Callable[..., Awaitable[Any]]


def _sends(instead: Callable[[Send, HttpUpstream, Any, dict[str, Any]], Awaitable[Any]]) -> None:
    def make(usual: Send) -> Send:
        async def send(self: HttpUpstream, payment: Any, **more: Any) -> Any:
            return await instead(usual, self, payment, more)

        return send

    _rebind(HttpUpstream, "send", make)


def rekeys() -> None:
    """Each attempt gets a key of its own."""

    async def instead(usual: Send, self: HttpUpstream, payment: Any, more: dict[str, Any]) -> Any:
        fresh = str(uuid.uuid4()).encode()
        headers = tuple((name, fresh if name.lower() in KEY_FIELDS else value) for name, value in payment.headers)
        return await usual(self, replace(payment, headers=headers), **more)

    _sends(instead)


def renames() -> None:
    """The body is not what the client sent."""

    async def instead(usual: Send, self: HttpUpstream, payment: Any, more: dict[str, Any]) -> Any:
        body = re.sub(rb'"reference": "c', b'"reference": "x', payment.body)
        return await usual(self, replace(payment, body=body), **more)

    _sends(instead)


def denies() -> None:
    """No answer means that nothing was sent."""

    async def instead(usual: Send, self: HttpUpstream, payment: Any, more: dict[str, Any]) -> Any:
        result = await usual(self, payment, **more)
        unanswered = isinstance(result, TransportFailure) and result.certainty is Certainty.NO_ANSWER
        return replace(result, certainty=Certainty.NOT_SENT) if unanswered else result

    _sends(instead)


def wishful() -> None:
    """No answer means that all went well."""

    async def instead(usual: Send, self: HttpUpstream, payment: Any, more: dict[str, Any]) -> Any:
        result = await usual(self, payment, **more)
        unanswered = isinstance(result, TransportFailure) and result.certainty is Certainty.NO_ANSWER
        return Response(201, b"Created", ((b"Content-Type", b"application/json"),), b"{}") if unanswered else result

    _sends(instead)


def _targets() -> dict[int, Any]:
    """Where each transport sends, by its id; transports live as long as the process here."""
    found: dict[int, Any] = {}
    kept: list[HttpUpstream] = []

    def make(usual: Callable[..., None]) -> Callable[..., None]:
        def init(self: HttpUpstream, target: Any, *rest: Any, **more: Any) -> None:
            usual(self, target, *rest, **more)
            found[id(self)] = target
            kept.append(self)

        return init

    _rebind(HttpUpstream, "__init__", make)
    return found


def follows() -> None:
    """An upstream is a name: what is under way goes where the name leads now."""
    targets = _targets()
    latest: dict[str, HttpUpstream] = {}
    named: list[tuple[Any, str]] = []

    def make(usual: Callable[..., Any]) -> Callable[..., Any]:
        def target_of(upstream: Any, base: Any) -> Any:
            target = usual(upstream, base)
            latest[upstream.name] = HttpUpstream(target)
            named.append((target, upstream.name))
            return target

        return target_of

    async def instead(usual: Send, self: HttpUpstream, payment: Any, more: dict[str, Any]) -> Any:
        name = next(name for target, name in named if target is targets[id(self)])
        return await usual(latest[name], payment, **more)

    _rebind(proxy.app, "target_of", make)
    _sends(instead)


def lingers() -> None:
    """What was sent last is sent once more when everything has ended."""
    targets = _targets()
    last: deque[tuple[Any, Any]] = deque(maxlen=20)  # many, since a provider may be out just then

    async def instead(usual: Send, self: HttpUpstream, payment: Any, more: dict[str, Any]) -> Any:
        last.append((targets[id(self)], payment))
        return await usual(self, payment, **more)

    def make(usual: Callable[[Service], Awaitable[None]]) -> Callable[[Service], Awaitable[None]]:
        async def close_books(self: Service) -> None:
            await usual(self)
            await asyncio.sleep(DRAIN_SECONDS + LAST_TRIES_SECONDS + 1)
            for target, payment in [*last]:
                await HttpUpstream(target).send(payment, timeout=1.0)

        return close_books

    _sends(instead)
    _rebind(Service, "_close_books", make)


def hangs_up() -> None:
    """A replica that is told to end does not wait for anybody."""

    async def drain(*_: object) -> None:
        os._exit(0)

    _rebind(Service, "_drain", lambda _: drain)


# What is known, and what is said.


def _rows(rows: Sequence[Row], **changes: object) -> None:
    for row in rows:
        retry.TABLE[row] = replace(retry.TABLE[row], **changes)  # type: ignore[arg-type]


def settles() -> None:
    """A refusal settles what was in doubt before it."""
    _rows((Row.REJECTED, Row.RATE_LIMITED), settles=True)


def hasty() -> None:
    """That the same key is in flight is the provider's last word."""
    _rows((Row.IN_FLIGHT, Row.CONCURRENT), again=frozenset(), outcome=Outcome.FINAL)


def _answers(name: str, make: Callable[[Any], object]) -> None:
    _rebind(answers, name, make)


def invites() -> None:
    """A client without a key of its own is told 504 as well."""

    def make(usual: Callable[..., object]) -> Callable[..., object]:
        def problem(status: int, *rest: object, **more: object) -> object:
            return usual(504 if status == 424 else status, *rest, **more)  # noqa: PLR2004

        return problem

    _answers("problem", make)


def _provider_answers(change: Callable[[Any], Any]) -> None:
    def make(usual: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *rest, **more: change(usual(*rest, **more))

    _answers("provider_answer", make)


def fussy() -> None:
    """The provider's words are improved upon."""
    _provider_answers(lambda answer: replace(answer, status=418) if answer.status == 403 else answer)  # noqa: PLR2004


def stubborn() -> None:
    """A success is never believed."""
    _provider_answers(
        lambda answer: replace(answer, outcome=Outcome.UNKNOWN) if answer.status < 300 else answer  # noqa: PLR2004
    )


def _heads(change: Callable[[bytes, bytes], bytes | None]) -> None:
    def make(usual: Callable[..., Any]) -> Callable[..., Any]:
        def answer_headers(*rest: object, **more: object) -> Any:
            told = ((name, change(name, value)) for name, value in usual(*rest, **more))
            return tuple((name, value) for name, value in told if value is not None)

        return answer_headers

    _rebind(response, "answer_headers", make)


def mute() -> None:
    """Nothing is said of the outcome."""
    _heads(lambda name, value: None if name == b"X-Payment-Outcome" else value)


def miscounts() -> None:
    """The first attempt is not counted."""
    _heads(lambda name, value: b"%d" % max(0, int(value) - 1) if name == b"X-Proxy-Attempts" else value)


# The ledger.


def _claims(change: Callable[[Any], Any]) -> None:
    def make(usual: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def claim(self: Bookkeeper, *rest: object, **more: object) -> Any:
            granted = await usual(self, *rest, **more)
            return granted if granted is None else change(granted)

        return claim

    _rebind(Bookkeeper, "claim", make)


def _holds(*_: object) -> bool:
    """In the place of asking whether a claim still holds."""
    return True


def forgetful() -> None:
    """An earlier call with the same key is no reason to doubt."""
    _claims(lambda claim: replace(claim, doubt=False))
    _rebind(Bookkeeper, "holds", lambda _: _holds)


def blind() -> None:
    """Without the ledger, nothing was ever sent before."""
    _claims(lambda claim: replace(claim, doubt=False) if claim.degraded else claim)
    _rebind(Bookkeeper, "holds", lambda _: _holds)


def crowds() -> None:
    """Calls with the same key do not wait for one another."""

    def make(_: object) -> object:
        async def claim(*_: object, **__: object) -> Any:
            return UNTRACKED

        return claim

    _rebind(Bookkeeper, "claim", make)


def _tells(change: Callable[[Any], Any]) -> None:
    def make(usual: Callable[..., None]) -> Callable[..., None]:
        def settle(self: Bookkeeper, told: Any) -> None:
            changed = change(told)
            if changed is not None:
                usual(self, changed)

        return settle

    _rebind(Bookkeeper, "settle", make)


def glosses() -> None:
    """What is unknown is written down as never sent."""
    _tells(lambda told: replace(told, state=State.NOT_SENT) if told.state is State.UNKNOWN else told)


def leaves_open() -> None:
    """A call that has ended is never settled, and its lease is renewed for ever."""
    _tells(lambda _: None)


@dataclass(frozen=True, slots=True)
class Mutant:
    """How the product is changed, and the rules that this must break."""

    change: Callable[[], None]
    breaks: frozenset[str]


def _mutant(change: Callable[[], None], *rules: str) -> Mutant:
    return Mutant(change, frozenset(rules))


MUTANTS: dict[str, Mutant] = {
    "rash": _mutant(rash, DUPLICATE),
    "heedless": _mutant(heedless, RESENT),
    "keyless": _mutant(keyless, KEYLESS_TWICE),
    "rekeys": _mutant(rekeys, TWO_KEYS),
    "crowds": _mutant(crowds, TOGETHER),
    "follows": _mutant(follows, MOVED_ON),
    "lingers": _mutant(lingers, AFTER_END),
    "wishful": _mutant(wishful, INVENTED, FINAL_UNCHARGED),
    "denies": _mutant(denies, HIDDEN, ARRIVED, NOT_SENT_ARRIVED),
    "forgetful": _mutant(forgetful, FORGOT),
    "blind": _mutant(blind, BLIND),
    "hasty": _mutant(hasty, DENIED),
    "settles": _mutant(settles, HASTY, REFUSED_YET_OPEN),
    "invites": _mutant(invites, ABETTED),
    "mute": _mutant(mute, MUTE),
    "hangs-up": _mutant(hangs_up, CUT),
    "miscounts": _mutant(miscounts, UNCOUNTED),
    "fussy": _mutant(fussy, STRANGE),
    "stubborn": _mutant(stubborn, STUCK),
    "renames": _mutant(renames, NOBODY),
    "glosses": _mutant(glosses, UNLISTED),
    "leaves-open": _mutant(leaves_open, STILL_IN_FLIGHT),
}
"""By name; every rule of the proof is in one of them."""


def switch_off(names: str) -> None:
    """Make the changes of mutants, given by their names with commas between."""
    for name in names.split(","):
        MUTANTS[name].change()


if __name__ == "__main__":
    switch_off(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
