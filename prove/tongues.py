"""What each provider says, and what of it it keeps under a key: its documentation as a table (docs/profiles.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

CHARGE_HEADER = "X-Prove-Charge"
"""Names the charge on every answer that says a payment was made, whatever became of the body."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`settles`: says what became of the payment. `clear`: says for certain that this request did nothing."""

    status: int
    body: Mapping[str, object]
    headers: Mapping[str, str] = field(default_factory=dict)
    settles: bool = False
    clear: bool = False

    def document(self) -> dict[str, object]:
        """For the journal."""
        return {"status": self.status, "body": self.body, "headers": dict(self.headers), "settles": self.settles}

    @property
    def bytes(self) -> bytes:
        return json.dumps(self.body).encode()


@dataclass(frozen=True, slots=True)
class Tongue:
    """One provider's words. `kept`: results whose status lies in one of these ranges are replayed under their key."""

    kept: tuple[range, ...]
    in_flight: Answer
    mismatch: Answer
    refusal: Answer
    declined: Answer
    replay: Mapping[str, str]
    """Header fields of a replay; `{key}` is the key."""
    try_again: Mapping[str, str]
    paid: Mapping[str, object]
    """Beside the id."""
    name: str = "id"
    safe: bool = False
    """After a 500 the same key gets what was really done."""

    def success(self, charge: str) -> Answer:
        """The charge, made."""
        return Answer(201, {self.name: charge, **self.paid}, {CHARGE_HEADER: charge}, settles=True)

    def kept_of(self, told: Answer, made: Answer | None) -> Answer | None:
        """What the same key gets again, of what was told and what was made; None: it is executed anew."""
        if any(told.status in statuses for statuses in self.kept):
            return told
        return made if self.safe else None

    def replayed(self, answer: Answer, key: str) -> Answer:
        """A kept answer, said again."""
        marks = {name: value.format(key=key) for name, value in self.replay.items()}
        return replace(answer, headers={**answer.headers, **marks})


def _error(status: int, kind: str, code: str) -> Answer:
    return Answer(status, {"error": {"type": kind, "code": code, "message": code}}, clear=True)


def _doubt(answer: Answer) -> Answer:
    return replace(answer, clear=False)


def _decline(answer: Answer) -> Answer:
    return replace(answer, settles=True)


def _adyen(status: int, code: str) -> Answer:
    return Answer(status, {"status": status, "errorCode": code, "message": "no"}, clear=True)


_SUCCESS, _ANY = range(200, 300), range(200, 600)
_IETF = Tongue(
    kept=(_SUCCESS, range(402, 403)),
    in_flight=Answer(409, {"title": "A request is outstanding for this Idempotency-Key"}),
    mismatch=Answer(422, {"title": "Idempotency-Key is already used"}, clear=True),
    refusal=Answer(422, {"title": "The amount must be positive"}, clear=True),
    declined=_decline(_error(402, "card_error", "card_declined")),
    replay={"Idempotent-Replayed": "true"},
    try_again={},
    paid={"status": "succeeded"},
    safe=True,
)
TONGUES: Mapping[str, Tongue] = {
    "generic": _IETF,
    "none": replace(_IETF, kept=(), refusal=_error(400, "invalid_request_error", "parameter_invalid")),
    "stripe": Tongue(
        kept=(_ANY,),  # "the first result once execution began, 500s included"; refusals at the edge never get here
        in_flight=_doubt(_error(409, "idempotency_error", "idempotency_key_in_use")),
        mismatch=_error(400, "idempotency_error", "idempotency_key_reused"),
        refusal=_error(400, "invalid_request_error", "parameter_invalid_integer"),
        declined=_decline(_error(402, "card_error", "card_declined")),
        replay={"Idempotent-Replayed": "true"},
        try_again={"Stripe-Should-Retry": "true"},
        paid={"object": "payment_intent", "status": "succeeded"},
    ),
    "adyen": Tongue(
        kept=(_ANY,),
        in_flight=_doubt(_adyen(422, "704")),
        mismatch=_adyen(422, "702"),
        refusal=_adyen(422, "130"),
        declined=Answer(200, {"pspReference": "0", "resultCode": "Refused"}, settles=True),
        replay={"Idempotency-Key": "{key}"},
        try_again={"transient-error": "true"},
        paid={"resultCode": "Authorised"},
        name="pspReference",
    ),
    "checkout_com": Tongue(
        kept=(_SUCCESS,),
        in_flight=_doubt(_error(409, "processing_error", "idempotency_in_flight")),
        mismatch=_error(422, "request_invalid", "idempotency_mismatch"),
        refusal=_error(422, "request_invalid", "amount_invalid"),
        declined=Answer(201, {"id": "0", "approved": False, "response_code": "20005"}, settles=True),
        replay={},
        try_again={},
        paid={"approved": True, "response_code": "10000"},
    ),
}
"""By profile."""
FORBIDDEN = _error(403, "authentication_error", "forbidden")
LIMITED = _error(429, "rate_limit_error", "rate_limited")
FAILED = Answer(500, {"error": {"type": "api_error", "code": "internal_error", "message": "x" * 200}})
UNAVAILABLE = Answer(503, {"error": {"type": "api_error", "code": "unavailable", "message": "later"}})
