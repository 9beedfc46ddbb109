"""Numbers in words read back as the numbers they were."""

from __future__ import annotations

import re

import numpy as np
import pytest

from jurat.evidence.wording import amount, interval_text, signed_amount, three_digits


def number(text: str) -> float:
    return float(re.sub(r"[ %,]", "", text).replace("−", "-"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0 %"),
        (1.0, "100.0 %"),
        (0.5, "50.0 %"),
        (0.01, "1.0 %"),
        (0.0099, "0.99 %"),
        (0.0005, "0.05 %"),
        (None, "undefined"),
    ],
)
def test_a_share_is_a_per_cent_with_the_digits_that_matter(value: float | None, text: str) -> None:
    assert amount(value, "share") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.00123456, "0.00123"),
        (99.96, "100"),
        (123.6, "124"),
        (1_234_567.0, "1,234,567"),
        (-2_840.4, "-2,840"),
        (12.0, "12"),
    ],
)
def test_other_numbers_have_three_digits(value: float, text: str) -> None:
    assert three_digits(value) == text
    assert amount(value, "number", scale="ms") == f"{text} ms"


def test_a_level_reads_back_within_its_last_digit() -> None:
    for value in np.random.default_rng(1).random(400) ** 4:
        shown = number(amount(float(value), "share")) / 100
        assert shown == pytest.approx(value, abs=0.00051 if value >= 0.01 else 0.000051)


@pytest.mark.parametrize("value", [1e-4, 5e-5, 3e-5, 1e-6, 2.4e-8])
def test_a_rare_event_is_not_shown_as_none(value: float) -> None:
    """A hard line on a rate of one in a million must not read 0.00 %, nor its bound."""
    assert number(amount(value, "share")) / 100 == pytest.approx(value, rel=0.06)


@pytest.mark.parametrize(
    ("value", "shape", "text"),
    [
        (0.02, "share", "+2.0"), (-0.02, "share", "−2.0"), (0.0, "share", "0.0"), (-0.0, "share", "0.0"),
        (0.004, "share", "+0.40"), (12.0, "number", "+12"), (-12.0, "number", "−12"), (0.0, "number", "0"),
        (-0.0, "number", "0"), (None, "share", "undefined"), (1_500.0, "number", "+1,500"),
    ],
)  # fmt: skip
def test_a_difference_has_its_sign_and_none_where_it_is_nothing(value: float | None, shape: str, text: str) -> None:
    assert signed_amount(value, shape) == text


def test_the_sign_and_order_of_differences_are_kept() -> None:
    values = np.random.default_rng(2).normal(0, 0.01, 300)
    for shape in ("share", "number"):
        shown = [number(signed_amount(float(v), shape)) for v in values]
        assert all(s == 0 or (s > 0) == (v > 0) for s, v in zip(shown, values, strict=True))
        assert all(signed_amount(float(v), shape)[0] in "+−0" for v in values)
        assert "-" not in "".join(signed_amount(float(v), shape) for v in values if abs(v) > 1e-4)


def test_an_interval_is_on_the_scale_of_its_value() -> None:
    ends = {"low": 0.01, "high": 0.5}
    assert interval_text(ends, "share", difference=False) == "[1.0, 50.0]"
    assert interval_text(ends, "share", difference=True) == "[+1.0, +50.0]"
    assert interval_text({"low": -2_000.0, "high": 3.14159}, "number", difference=True) == "[−2,000, +3.14]"


@pytest.mark.parametrize("difference", [True, False])
def test_an_open_end_says_that_it_is_open(difference: bool) -> None:
    low = interval_text({"low": None, "high": 0.5}, "share", difference=difference)
    high = interval_text({"low": 0.5, "high": None}, "share", difference=difference)
    assert low.startswith("[no lower bound, ") and high.endswith(", no upper bound]")
    assert "undefined" not in low + high
