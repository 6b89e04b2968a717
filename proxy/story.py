"""What has happened to one payment so far, and what is therefore known of it."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.core import retry
from proxy.core.errors import RequestRefused
from proxy.core.ledger import OF_OUTCOME, UNTRACKED, Claim, Settlement, State, Write
from proxy.core.model import Headers, Kind, Outcome, Response, Result, header
from proxy.core.outcome import Row
from proxy.core.profiles import Profile
from proxy.core.retry import TABLE

LONGEST_ID = 128


@dataclass(slots=True)
class Story:
    """One call.

    Of the attempts before the last: `sent`, one reached the provider; `doubt`, one may have been carried out, or an
    earlier call with the same key was. `broken`: what is known of an attempt that was itself cut off.
    """

    kind: Kind
    claim: Claim = UNTRACKED
    attempts: int = 0
    sent: bool = False
    doubt: bool = False
    last: tuple[Result, Row] | None = None
    broken: Outcome | None = None

    def add(self, result: Result, row: Row) -> None:
        """Take in one finished attempt."""
        if self.last is not None:
            before = self.last[1]
            self.sent = self.sent or TABLE[before].outcome is not Outcome.NOT_SENT
            self.doubt = self.doubt or (self.kind is not Kind.READ and retry.leaves_doubt(before))
        self.attempts += 1
        self.last = (result, row)

    def break_off(self, error: BaseException) -> None:
        """Note that an attempt under way was cut off."""
        self.broken = error.outcome if isinstance(error, RequestRefused) else Outcome.UNKNOWN

    @property
    def outcome(self) -> Outcome:
        """What is known now, earlier calls with the same key included."""
        if self.broken is Outcome.UNKNOWN:
            return Outcome.UNKNOWN
        if self.last is None:
            return Outcome.UNKNOWN if self.doubt else Outcome.NOT_SENT
        return retry.outcome_after(self.last[1], self.kind, doubtful=self.doubt, sent=self.sent)

    def settlement(self, write: Write, owner: str, profile: Profile) -> Settlement:
        """What the ledger is told of it.

        A refusal because the key came with another body says nothing of the payment whose key it is.
        """
        result, row = self.last or (None, None)
        foreign = row is Row.KEY_MISMATCH and not self.claim.same_body
        response = result if isinstance(result, Response) and self.broken is None else None
        return Settlement(
            write,
            owner,
            State.UNKNOWN if foreign else OF_OUTCOME[self.outcome],
            settles=row is not None and TABLE[row].settles and not foreign,
            attempts=self.attempts + (self.broken is not None),
            status=None if response is None or foreign else response.status,
            provider_request_id=None if response is None or foreign else provider_id(response.headers, profile),
        )


def provider_id(headers: Headers, profile: Profile) -> str | None:
    """By what the provider calls this request, if it says so in plain letters."""
    names = (*profile.request_id_headers, "request-id", "x-request-id")
    values = (header(headers, name.lower().encode()) for name in names)
    value = next(filter(None, values), b"").decode("latin-1")
    plain = value.isascii() and value.isprintable() and len(value) <= LONGEST_ID
    return value if value and plain else None
