"""What people write and read: durations, sizes, money, instants."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.units import (
    format_bytes,
    format_duration,
    format_instant,
    format_usd,
    parse_duration,
    parse_instant,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0.2", 0.2),
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1d", 86400),
        (" 50ms ", 0.05),
        ("50us", 0.00005),
        ("1H", 3600),
        ("0", 0),
        ("1 h", 3600),
    ],
)
def test_durations_that_are_understood(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", " ", "s", "-1", "1x", "x1", "1,5s", "1e3", "inf", "nan", "1m?", "١s"])
def test_what_is_no_duration_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 0\.2, 90s, 15m, 2h or 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("64MB", 64_000_000), ("500kb", 500_000), ("1000000", 1_000_000), ("1.5 GB", 1_500_000_000), ("7B", 7)],
)
def test_sizes_are_decimal(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "MB", "-1", "64MiB", "1e6", "64 M B"])
def test_what_is_no_size_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="write 64MB, 500KB or a number of bytes"):
        parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.2, "0.2 s"),
        (1.96, "2 s"),
        (9.99, "10 s"),
        (45, "45 s"),
        (59.6, "1 min 00 s"),
        (761, "12 min 41 s"),
        (3599.7, "1 h 00 min"),
        (11_100, "3 h 05 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations_as_people_say_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KB"),
        (2_149, "2.1 KB"),
        (999_949, "999.9 KB"),
        (999_950, "1.0 MB"),
        (64_000_000, "64.0 MB"),
        (999_950_000, "1.0 GB"),
        (1_200_000_000, "1.2 GB"),
    ],
)
def test_sizes_as_people_say_them(size_bytes: int, text: str) -> None:
    assert format_bytes(size_bytes) == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        ("0", "$0.00"),
        ("0.000123", "$0.000123"),
        ("0.01", "$0.01"),
        ("3000", "$3,000.00"),
        ("1234567.891", "$1,234,567.89"),
        ("-0.004", "$-0.004000"),
    ],
)
def test_money_is_never_rounded_to_nothing(usd: str, text: str) -> None:
    assert format_usd(Decimal(usd)) == text


@given(st.integers(0, 4_000_000_000))
def test_an_instant_is_read_back_as_it_was_written(second: int) -> None:
    assert parse_instant(format_instant(second * 1_000_000)) == second * 1_000_000


def test_instants_of_the_service_are_exact_to_the_microsecond_in_any_zone() -> None:
    assert parse_instant("2026-11-22T17:30:00.123456Z") == 1_795_368_600_123_456
    assert parse_instant("2026-11-22T18:30:00.123456+01:00") == 1_795_368_600_123_456
    assert parse_instant("2026-11-22T17:30:00") == 1_795_368_600_000_000
    with pytest.raises(ValueError, match="soon"):
        parse_instant("soon")
