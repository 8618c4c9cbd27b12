"""Quantities as people write them."""

from __future__ import annotations

import pytest

from scalesearch.spec.errors import SettingsError
from scalesearch.spec.units import format_duration, format_flops, parse_duration, parse_flops


@pytest.mark.parametrize(
    ("text", "flops"),
    [
        ("400M", 400_000_000),
        ("0.4G", 400_000_000),
        ("1.6B", 1_600_000_000),
        ("4e8", 400_000_000),
        ("400_000_000", 400_000_000),
        ("2.5T", 2_500_000_000_000),
        ("7k", 7_000),
        ("  390 m ", 390_000_000),
        (".4g", 400_000_000),
        ("4.E2M", 400_000_000),
        ("+1", 1),
        ("385814752", 385_814_752),
    ],
)
def test_parse_flops(text: str, flops: int) -> None:
    assert parse_flops(text) == flops


@pytest.mark.parametrize("text", ["", "M", "400X", "four", "4 0M", "_4M", "4_M", "400MM", "1,6G", "0x10", "nan", "inf"])
def test_parse_flops_refuses_what_is_not_a_quantity(text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse_flops(text)
    assert str(raised.value) == (
        f"FLOPs must be a number with a unit like 400M, 0.4G, 1.6B, 4e8 or 400_000_000, got {text!r}"
    )


@pytest.mark.parametrize("text", ["0", "-400M", "0.2", "1e-10G"])
def test_parse_flops_refuses_less_than_one(text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse_flops(text)
    assert str(raised.value) == f"FLOPs must be at least 1, got {text!r}; write it like 400M"


def test_parse_flops_refuses_infinity() -> None:
    with pytest.raises(SettingsError) as raised:
        parse_flops("1e308G")
    assert str(raised.value) == (
        "FLOPs must be finite, got '1e308G'; write it like 400M, 0.4G, 1.6B, 4e8 or 400_000_000"
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("2d", 172_800), ("10 M", 600)],
)
def test_parse_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_parse_duration_refuses() -> None:
    with pytest.raises(SettingsError) as raised:
        parse_duration("10 minutes")
    assert str(raised.value) == ("a duration must be a number with a unit like 90s, 10m, 1.5h or 2d, got '10 minutes'")
    with pytest.raises(SettingsError) as raised:
        parse_duration("0s")
    assert str(raised.value) == "a duration must be positive, got '0s'; write it like 10m"
    with pytest.raises(SettingsError) as raised:
        parse_duration("1e308d")
    assert str(raised.value) == ("a duration must be finite, got '1e308d'; write it like 90s, 10m, 1.5h or 2d")


@pytest.mark.parametrize(
    ("flops", "text"),
    [
        (385_814_752, "385.8M"),
        (37_745_884_192, "37.75G"),
        (1_000, "1.000K"),
        (999, "999"),
        (0, "0"),
        (999_999_999, "1.000G"),
        (2.5e12, "2.500T"),
        (1e15, "1000T"),
    ],
)
def test_format_flops(flops: float, text: str) -> None:
    assert format_flops(flops) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (44.6, "45s"), (59.6, "1m00s"), (245, "4m05s"), (3600, "1h00m"), (7380, "2h03m"), (-3, "0s")],
)
def test_format_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
