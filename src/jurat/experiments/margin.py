"""Margins as people write them: ``"-1.0pp"``, ``"+5%"``, ``0.0005``.

Percentage points and plain numbers are absolute, on the metric's own scale; a per cent is relative to the control arm.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["Margin", "parse_margin"]

_TEXT = re.compile(r"\s*([+\-−]?)\s*(\d+(?:\.\d*)?(?:[eE][+\-]?\d+)?|\.\d+)\s*(pp|pt|%|)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """A margin on the scale treatment minus control.

    Attributes
    ----------
    value
        Signed: an absolute difference, or a share of the control's level where ``scale`` is ``"relative"``.
    scale
        ``"absolute"`` or ``"relative"``.
    text
        As it stood in the file.
    """

    value: float
    scale: Literal["absolute", "relative"]
    text: str

    def absolute(self, control: float) -> float:
        """Return the margin as a difference, at a level of the control arm."""
        return self.value if self.scale == "absolute" else self.value * abs(control)


def parse_margin(given: str | float | int) -> Margin:
    """Read a margin.

    Parameters
    ----------
    given
        A number, or text with a sign and ``pp`` (percentage points) or ``%`` (relative to control).

    Raises
    ------
    ValueError
        Where it is none of these, or not finite.

    Examples
    --------
    >>> parse_margin("-1.0pp").value, parse_margin("+5%").scale, parse_margin(0.002).value
    (-0.01, 'relative', 0.002)
    """
    if isinstance(given, bool) or (isinstance(given, int | float) and not math.isfinite(given)):
        raise ValueError(f"a margin is a finite number, '−1.0pp' or '+5%', got {given!r}")
    if isinstance(given, int | float):
        return Margin(value=float(given), scale="absolute", text=f"{given:g}")
    match = _TEXT.fullmatch(given)
    if match is None:
        raise ValueError(f"a margin is a number, '-1.0pp' (percentage points) or '+5%' (of control), got {given!r}")
    sign = -1.0 if match[1] in ("-", "−") else 1.0
    # Divided, not multiplied by 0.01: −1.0 / 100 is the double nearest to −0.01.
    number = sign * float(match[2]) / (100 if match[3] else 1)
    return Margin(value=number, scale="relative" if match[3] == "%" else "absolute", text=given.strip())
