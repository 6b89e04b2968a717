"""Durations and sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.units import format_duration, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("10s", 10), ("5m", 300), ("1h", 3600), ("2d", 172800), ("1.5s", 1.5), (" 1 s ", 1), ("0s", 0)],
)
def test_a_duration_has_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["10", "", "s", "-1s", "1 week", "1e3s", "1s 2s", "1S", 10, 1.5, True, None, ["1s"]])
def test_anything_else_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="expected a duration with its unit"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (10, 10),
        ("10", 10),
        ("10B", 10),
        ("64KiB", 65536),
        ("1MiB", 1 << 20),
        ("1 GiB", 1 << 30),
        ("2kB", 2000),
        ("3MB", 3_000_000),
    ],
)
def test_a_size_has_a_number_and_perhaps_a_unit(value: object, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize("value", ["", "-1", -1, "1.5MiB", "1mib", True, None, 1.5, []])
def test_anything_else_is_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="expected a size in bytes"):
        parse_size(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ms"), (0.4, "400 ms"), (1, "1 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h")],
)
def test_a_duration_is_told_in_the_unit_that_reads_best(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.text() | st.none() | st.integers() | st.floats() | st.booleans())
def test_junk_is_refused_by_value_error_only(value: object) -> None:
    for parse in (parse_duration, parse_size):
        try:
            assert parse(value) >= 0
        except ValueError:
            continue
