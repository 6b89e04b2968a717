"""A flood is told of, with how much of it was left out."""

from __future__ import annotations

from proxy.core.throttle import Throttle


def test_a_burst_then_so_many_a_second_and_the_rest_is_counted() -> None:
    now = [100.0]
    throttle = Throttle(lambda: now[0], burst=3, per_second=2)
    assert [throttle.take() for _ in range(5)] == [0, 0, 0, None, None]
    now[0] += 0.4
    assert throttle.take() is None
    now[0] += 0.1
    assert throttle.take() == 3
    assert throttle.take() is None
    now[0] += 60
    assert [throttle.take() for _ in range(4)] == [1, 0, 0, None]
