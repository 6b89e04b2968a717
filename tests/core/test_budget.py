"""The retry budget holds for the fleet, though every replica spends without asking.

What the design allows beyond `ratio * requests + min_per_second * window`: a replica may still hold the share it was
given at its last exchange while others spend what is left. With N replicas that is at most N - 1 shares; a share is
1/N of what was left, but a whole base (`min_per_second * window`) for a replica that has had no exchange at all.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.budget import Budget, Spent
from proxy.core.config import RetryBudget

POLICY = RetryBudget(ratio=0.2, min_per_second=1.0)  # over the default window of 10 s
BASE = 10.0


def spend_all(budget: Budget) -> int:
    """How many retries it still grants."""
    granted = 0
    while budget.spend():
        granted += 1
    return granted


def exchange(budget: Budget, fleet: Spent, replicas: int) -> Spent:
    """One exchange with a journal that nothing ever leaves."""
    fleet += budget.report()
    budget.learn(fleet, replicas)
    return fleet


def test_a_replica_alone_spends_base_and_ratio_and_no_more() -> None:
    budget = Budget(POLICY)
    for _ in range(50):
        budget.request()
    assert spend_all(budget) == 20
    exchange(budget, Spent(), 1)
    assert spend_all(budget) == 0


def test_new_requests_earn_new_retries() -> None:
    budget = Budget(POLICY)
    spend_all(budget)
    exchange(budget, Spent(), 1)
    for _ in range(4):
        budget.request()
        assert not budget.spend()
    budget.request()
    assert budget.spend()
    assert not budget.spend()


@pytest.mark.parametrize(("replicas", "granted"), [(1, 10), (2, 5), (5, 2), (11, 0), (0, 10)])
def test_a_replica_takes_an_equal_share(replicas: int, granted: int) -> None:
    budget = Budget(POLICY)
    budget.learn(Spent(), replicas)
    assert spend_all(budget) == granted


def test_what_others_spent_is_gone() -> None:
    budget = Budget(POLICY)
    budget.learn(Spent(requests=100, retries=30), 1)
    assert not budget.spend()
    budget.learn(Spent(requests=100, retries=300), 3)
    assert not budget.spend()
    assert budget.left < 0


def test_a_report_that_was_never_answered_is_still_owed() -> None:
    budget = Budget(POLICY)
    for _ in range(10):
        budget.request()
        budget.spend()
    assert budget.report() == Spent(10, 10)
    assert budget.left == 2.0
    assert budget.report() == Spent(10, 10)


def test_nothing_is_reported_twice_once_it_is_learnt() -> None:
    budget = Budget(POLICY)
    budget.request()
    assert budget.report() == Spent(1, 0)
    budget.request()
    budget.learn(Spent(1, 0), 1)
    assert budget.report() == Spent(1, 0)
    budget.learn(Spent(2, 0), 1)
    assert budget.report() == Spent()
    assert budget.fleet == Spent(2, 0)


def test_no_budget_at_all_grants_nothing() -> None:
    budget = Budget(RetryBudget(ratio=0.0, min_per_second=0.0))
    for _ in range(1000):
        budget.request()
    assert not budget.spend()


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["requests", "retries", "exchange", "exchange"]), st.integers(1, 40)),
    max_size=80,
)


def walk(steps: list[tuple[int, str, int]], *, told_first: bool) -> tuple[Spent, Spent]:
    """What four replicas really did, and what the journal knows at the end."""
    budgets = [Budget(POLICY) for _ in range(4)]
    done, fleet = Spent(), Spent()
    if told_first:
        for budget in budgets:
            fleet = exchange(budget, fleet, 4)
    for who, what, times in steps:
        budget = budgets[who]
        if what == "exchange":
            fleet = exchange(budget, fleet, 4)
            continue
        for _ in range(times):
            if what == "requests":
                budget.request()
                done += Spent(requests=1)
            else:
                done += Spent(retries=int(budget.spend()))
    return done, fleet


@given(STEPS)
def test_the_fleet_overspends_by_no_more_than_the_shares_the_others_hold(steps: list[tuple[int, str, int]]) -> None:
    done, _ = walk(steps, told_first=True)
    allowed = 0.2 * done.requests + BASE
    assert done.retries <= allowed + 3 * allowed / 4 + 1e-6


@given(STEPS)
def test_at_a_cold_start_every_replica_may_spend_one_base(steps: list[tuple[int, str, int]]) -> None:
    done, _ = walk(steps, told_first=False)
    allowed = 0.2 * done.requests + BASE
    assert done.retries <= allowed + 3 * max(BASE, allowed / 4) + 1e-6


@given(STEPS)
def test_in_step_the_fleet_keeps_the_budget_exactly(steps: list[tuple[int, str, int]]) -> None:
    """Where all exchange after every turn, nobody holds a stale share."""
    budgets = [Budget(POLICY) for _ in range(4)]
    done, fleet = Spent(), Spent()

    def all_exchange() -> None:
        nonlocal fleet
        for _ in range(2):
            for budget in budgets:
                fleet = exchange(budget, fleet, 4)

    all_exchange()
    for who, what, times in steps:
        for _ in range(times):
            if what == "requests":
                budgets[who].request()
                done += Spent(requests=1)
            elif what == "retries":
                done += Spent(retries=int(budgets[who].spend()))
        all_exchange()
        assert done.retries <= 0.2 * done.requests + BASE + 1e-6


def test_the_worst_case_is_reached_so_the_tolerance_is_not_padding() -> None:
    """Three replicas sit on their share while the fourth drains the rest; then they spend theirs."""
    big = RetryBudget(ratio=0.2, min_per_second=100.0)  # over 10 s
    budgets = [Budget(big) for _ in range(4)]
    fleet = Spent()
    for budget in budgets:
        fleet = exchange(budget, fleet, 4)
    total = 0
    for _ in range(60):
        total += spend_all(budgets[0])
        fleet = exchange(budgets[0], fleet, 4)
    total += sum(spend_all(budget) for budget in budgets[1:])
    assert 1.7 * 1000 < total <= 1.75 * 1000
