"""What has happened to one payment so far, and what is therefore known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proxy.core import retry
from proxy.core.errors import RequestRefused
from proxy.core.ids import plain_id
from proxy.core.ledger import OF_OUTCOME, UNTRACKED, Claim, Ground, Settlement, Write
from proxy.core.model import Headers, Outcome, Response, Result, header
from proxy.core.outcome import Row
from proxy.core.profiles import Profile
from proxy.core.retry import TABLE

_SETTLED_BY = {Row.REPLAY: Ground.REPLAY, Row.DECLINE: Ground.DECLINE}


@dataclass(slots=True)
class Story:
    """One call.

    `write`: it may change something at the provider, so that doubt counts. `holds`: whether the claim still stands;
    once its lease is over, another call with the key may have gone out beside this one. Of the attempts before the
    last: `sent`, one reached the provider; `doubt`, one may have been carried out. `settles`: the last answer comes
    from the layer that knows the key. `broken`: what is known of an attempt that has begun and not ended; UNKNOWN from
    before its first byte until it is classified, so that whatever goes wrong in between leaves nothing else.
    """

    write: bool = True
    claim: Claim = UNTRACKED
    holds: Callable[[], bool] = lambda: True
    attempts: int = 0
    sent: bool = False
    doubt: bool = False
    last: tuple[Result, Row] | None = None
    settles: bool = False
    broken: Outcome | None = None

    def begin(self) -> None:
        """An attempt is about to be sent."""
        self.broken = Outcome.UNKNOWN

    def add(self, result: Result, row: Row, *, settles: bool) -> None:
        """Take in one finished attempt."""
        if self.last is not None:
            before = self.last[1]
            self.sent = self.sent or TABLE[before].outcome is not Outcome.NOT_SENT
            self.doubt = self.doubt or (self.write and retry.leaves_doubt(before))
        self.attempts += 1
        self.last, self.settles, self.broken = (result, row), settles, None

    def break_off(self, error: BaseException) -> None:
        """Note that an attempt was cut off, if it had begun."""
        if self.broken is not None and isinstance(error, RequestRefused):
            self.broken = error.outcome

    def answer_cut(self, result: Result, row: Row) -> None:
        """The answer that was being read broke off: what it said at its head is not the whole of it."""
        self.last, self.settles = (result, row), False

    @property
    def outcome(self) -> Outcome:
        """What is known now, earlier calls with the same key included."""
        if self.broken is Outcome.UNKNOWN:
            return Outcome.UNKNOWN
        earlier = self.claim.doubt or not self.holds()
        if self.last is None:
            return Outcome.UNKNOWN if earlier else Outcome.NOT_SENT
        return self._known(self.last[1], doubt=self.doubt or (earlier and not self._apart(self.last[1])))

    def _apart(self, row: Row) -> bool:
        """Whether this call's answer stands by itself beside an earlier one whose outcome is known.

        A key that was refused for another body tells its client nothing new of the payment whose key it is, and a
        success under a key that the provider has forgotten is a payment of its own.
        """
        return self.claim.settled and (row is Row.SUCCESS or (row is Row.KEY_MISMATCH and not self.claim.same_body))

    def _known(self, row: Row, *, doubt: bool) -> Outcome:
        return retry.known(row, settles=self.settles, doubtful=doubt, sent=self.sent)

    def settlement(self, write: Write, owner: str, profile: Profile) -> Settlement:
        """What the ledger is told: what this call came to by itself. What earlier ones left is the ledger's to add."""
        outcome = self._own_outcome
        response = self.last[0] if self.last is not None and self.broken is None else None
        answered = isinstance(response, Response)
        return Settlement(
            write,
            owner,
            OF_OUTCOME[outcome],
            ground=self._ground(*self.last) if self.last is not None and outcome is Outcome.FINAL else None,
            attempts=self.attempts + (self.broken is not None),
            status=response.status if isinstance(response, Response) else None,
            provider_request_id=provider_id(response.headers, profile) if answered and response else None,
        )

    @property
    def _own_outcome(self) -> Outcome:
        if self.broken is Outcome.UNKNOWN:
            return Outcome.UNKNOWN
        return Outcome.NOT_SENT if self.last is None else self._known(self.last[1], doubt=self.doubt)

    def _ground(self, result: Result, row: Row) -> Ground:
        """What made it final. A key refused for another body was in use before, by whomever."""
        if self.settles:
            return _SETTLED_BY.get(row, Ground.SUCCESS)
        refused = result.status is not None and 400 <= result.status < 500  # noqa: PLR2004 - RFC 9110 section 15.5
        return Ground.REFUSAL if refused and row is not Row.KEY_MISMATCH else Ground.OTHER


def provider_id(headers: Headers, profile: Profile) -> str | None:
    """By what the provider calls this request, if it says so in words that may be kept."""
    names = (*profile.request_id_headers, "request-id", "x-request-id")
    values = (plain_id(header(headers, name.lower().encode())) for name in names)
    return next(filter(None, values), None)
