"""Numbers as people write them: shares in per cent, differences with their sign, intervals beside what they belong to.

Every sentence and table that shows a number takes it from here, so that no two pages write the same number differently.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["amount", "interval_text", "signed_amount", "three_digits"]


def amount(value: float | None, shape: str, *, digits: int = 1, scale: str = "") -> str:
    """Write a level in its unit: shares as per cent, other numbers with three significant digits.

    Examples
    --------
    >>> amount(0.1254, "share"), amount(0.0042, "share"), amount(2840.4, "number", scale="ms")
    ('12.5 %', '0.42 %', '2,840 ms')
    """
    if value is None:
        return "undefined"
    if shape == "share":
        # Below one per cent the first decimal alone would hide the number.
        places = digits if abs(value) >= 0.01 or value == 0 else max(digits + 1, _rare_places(value))
        return f"{100 * value:.{places}f} %"
    return three_digits(value) + (f" {scale}" if scale else "")


def _rare_places(value: float) -> int:
    """Decimals of a per cent: two, and as many as show two digits of a share below one in ten thousand."""
    return 2 if abs(value) >= 1e-4 else 1 - math.floor(math.log10(100 * abs(value)))


def signed_amount(value: float | None, shape: str) -> str:
    """Write a difference with its sign: shares in percentage points.

    Examples
    --------
    >>> signed_amount(-0.172, "share"), signed_amount(12.0, "number"), signed_amount(-0.0001, "share")
    ('−17.2', '+12', '−0.01')
    """
    if value is None:
        return "undefined"
    if shape == "share":
        places = 1 if abs(value) >= 0.005 or value == 0 else 2
        text = f"{100 * value:+.{places}f}"
    else:
        text = ("+" if value >= 0 else "") + three_digits(value)
    if not any(c in "123456789" for c in text):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def three_digits(value: float) -> str:
    """Write a number with three significant digits, thousands apart."""
    magnitude = abs(value)
    if magnitude >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def interval_text(estimate: Mapping[str, Any], shape: str, *, difference: bool) -> str:
    """Write ``[low, high]`` on the scale of the value it belongs to.

    Examples
    --------
    >>> interval_text({"low": -0.22, "high": -0.124}, "share", difference=True)
    '[−22.0, −12.4]'
    """
    if difference:
        low, high = (signed_amount(estimate[k], shape) for k in ("low", "high"))
    else:
        low, high = (amount(estimate[k], shape).removesuffix(" %") for k in ("low", "high"))
    if estimate["low"] is None:
        low = "no lower bound"
    if estimate["high"] is None:
        high = "no upper bound"
    return f"[{low}, {high}]"
