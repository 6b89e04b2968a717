"""Every profile, rule, kind and result, whole and cut: what may go out again, against promises written down by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.core.key_terms import KeyTerms
from proxy.core.model import Certainty, Kind, Outcome, Result, TransportFailure, WireError
from proxy.core.outcome import row_of
from proxy.core.retry import carried_out, may_repeat, settles, shortest_wait
from proxy.core.rows import CUT_OF, TABLE, Row
from proxy.edges.config_file import builtin_profiles, load_profile
from tests.core.providers import rules
from tests.fakes import failure, response

EVERY = {name: load_profile(name, Path()) for name in builtin_profiles()}


@dataclass(frozen=True)
class Promise:
    """Of one key rule: whether the same key is safe after a 500, after a gateway's 502, 503 or 504, and after silence.

    `limit`: whether it is after a 429. `busy`: the status that means "in flight" whatever the body says.
    """

    after_500: bool
    after_gateway: bool
    unseen: bool
    limit: bool = True
    busy: int | None = None


ALWAYS = Promise(after_500=True, after_gateway=True, unseen=True)
PROMISES = {
    ("stripe", 0): Promise(after_500=False, after_gateway=True, unseen=True, busy=409),
    ("stripe", 1): Promise(after_500=False, after_gateway=False, unseen=False, busy=409),
    ("adyen", 0): Promise(after_500=False, after_gateway=False, unseen=True),
    ("paypal", 0): Promise(after_500=True, after_gateway=True, unseen=True, busy=409),
    **{("square", at): ALWAYS for at in range(4)},
    ("checkout_com", 0): Promise(after_500=False, after_gateway=False, unseen=False, busy=409),
    ("braintree", 0): ALWAYS,
    ("mollie", 0): Promise(after_500=True, after_gateway=True, unseen=True, busy=409),
    ("razorpay", 0): ALWAYS,
    ("razorpay", 1): Promise(after_500=False, after_gateway=False, unseen=False, limit=False, busy=409),
    ("gocardless", 0): ALWAYS,
    ("generic", 0): Promise(after_500=True, after_gateway=True, unseen=True, busy=409),
}
GATEWAY = {502, 503, 504, *range(520, 527)}
SILENCES = [
    failure(Certainty.NO_ANSWER, WireError.TIMEOUT),
    failure(Certainty.NO_ANSWER, WireError.RESET),
    failure(Certainty.NO_ANSWER, WireError.JUNK),
    failure(Certainty.CUT, WireError.CUT),
]
NOT_SENT = [failure(Certainty.NOT_SENT, error) for error in (WireError.DNS, WireError.REFUSED, WireError.TLS)]
CUTS = [
    failure(Certainty.CUT, error, status) for status in range(100, 600) for error in (WireError.CUT, WireError.TIMEOUT)
]
RESULTS: list[Result] = [*map(response, range(100, 600)), *CUTS, *SILENCES, *NOT_SENT]


def allowed(result: Result, kind: Kind, promise: Promise | None) -> bool:
    """From the promises alone."""
    if isinstance(result, TransportFailure) and result.certainty is Certainty.NOT_SENT:
        return True
    return kept(result, promise) if kind is Kind.KEYED and promise is not None else unprotected(result, kind)


def unprotected(result: Result, kind: Kind) -> bool:
    if kind is Kind.READ:
        return isinstance(result, TransportFailure) or read_again(result.status)
    return not isinstance(result, TransportFailure) and result.status == 421


def kept(result: Result, promise: Promise) -> bool:
    if (result.status or 0) >= 500:  # whole or cut
        return promise.after_gateway if result.status in GATEWAY else promise.after_500
    if isinstance(result, TransportFailure):
        return promise.unseen
    if result.status in {408, promise.busy}:
        return promise.unseen
    return result.status == 421 or (result.status == 429 and promise.limit)


def read_again(status: int) -> bool:
    return status in {408, 421, 429} or status >= 500


def test_there_is_a_promise_for_every_rule() -> None:
    assert set(PROMISES) == {(name, at) for name, profile in EVERY.items() for at in range(len(rules(profile)))}


@pytest.mark.parametrize("name", list(EVERY))
@pytest.mark.parametrize("kind", list(Kind))
def test_it_goes_out_again_only_where_the_promise_says_so(name: str, kind: Kind) -> None:
    profile = EVERY[name]
    terms: list[tuple[KeyTerms | None, Promise | None]] = [(None, None)]
    if kind is Kind.KEYED:
        terms += [(one, PROMISES[name, at]) for at, one in enumerate(rules(profile))]
    for one, promise in terms:
        for result in RESULTS:
            row = row_of(result, kind, profile, one)
            found = may_repeat(row, kind, one)
            expected = allowed(result, kind, promise) and (kind is not Kind.KEYED or one is not None)
            assert found is expected, (row, result.status, one and one.scope.paths)


@pytest.mark.parametrize("name", list(EVERY))
def test_a_cut_5xx_is_what_the_whole_one_is(name: str) -> None:
    for status in range(500, 1000):
        whole = row_of(response(status), Kind.UNKEYED, EVERY[name], None)
        cut = row_of(failure(Certainty.CUT, WireError.TIMEOUT, status), Kind.UNKEYED, EVERY[name], None)
        assert cut is CUT_OF[whole]
        assert TABLE[cut] == TABLE[whole]


def test_the_terms_of_another_rule_are_nowhere_to_be_had() -> None:
    """Without terms nothing keyed goes out again: there is no rule to fall back to."""
    assert [row for row in Row if may_repeat(row, Kind.KEYED, None)] == []
    assert all(shortest_wait(row, None) == 0.0 for row in Row)


@pytest.mark.parametrize("row", list(Row))
def test_what_settles_is_final_and_never_goes_out_again(row: Row) -> None:
    if settles(row, Kind.KEYED):
        assert TABLE[row].outcome is Outcome.FINAL
        assert TABLE[row].again == frozenset()
        assert row in {Row.SUCCESS, Row.REPLAY, Row.DECLINE}
    assert not settles(row, Kind.UNKEYED)
    assert not carried_out(row) or settles(row, Kind.KEYED)


@pytest.mark.parametrize("name", list(EVERY))
def test_only_a_success_or_a_stored_result_settles(name: str) -> None:
    for at, terms in enumerate(rules(EVERY[name])):
        for result in RESULTS:
            if not settles(row_of(result, Kind.KEYED, EVERY[name], terms), Kind.KEYED):
                continue
            stored = result.status == 402 and (name, at) in {("stripe", 0), ("generic", 0)}
            assert not isinstance(result, TransportFailure)
            assert stored or result.status < 300
