"""What every estimator returns: a value with its interval, and how it was made.

`Interval` is the only shape in which a number leaves this package. An undefined value is ``None`` with a
``reason``; NaN and infinity are refused at construction so that neither can reach a file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Interval", "Test"]


def _finite(name: str, x: float | None) -> None:
    if x is not None and not math.isfinite(x):
        raise ValueError(f"{name} must be finite or None with a reason, got {x!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its confidence (or credible) interval.

    Attributes
    ----------
    value
        Point estimate; ``None`` where it is undefined (see ``reason``).
    low, high
        Bounds at ``level``; ``None`` on the open side of a one-sided bound, or where undefined.
    level
        Nominal coverage in (0, 1). For a one-sided bound, its own one-sided level.
    n
        Units that entered (rows, items, pairs).
    n_clusters
        Independent clusters, or ``None`` where the units themselves are independent.
    method
        The field's name for the method, with its variant: ``"Wilson"``, ``"CR2, t(7.3)"``.
    se
        Standard error where the method has one.
    df
        Degrees of freedom where the method has them.
    reason
        Why ``value`` or a bound is ``None``.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    n: int
    method: str
    n_clusters: int | None = None
    se: float | None = None
    df: float | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        for name in ("value", "low", "high", "se", "df"):
            _finite(name, getattr(self, name))
        if not 0.0 < self.level < 1.0:
            raise ValueError(f"level must lie in (0, 1), got {self.level!r}")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low!r} exceeds high {self.high!r}")
        if self.value is None and not self.reason:
            raise ValueError("an undefined value needs a reason")

    def __str__(self) -> str:
        if self.value is None:
            return f"undefined ({self.reason}) n={self.n}"
        low = "−∞" if self.low is None else f"{self.low:.4g}"
        high = "∞" if self.high is None else f"{self.high:.4g}"
        clusters = "" if self.n_clusters is None else f" clusters={self.n_clusters}"
        return f"{self.value:.4g} [{low}, {high}] {self.level:.4g} n={self.n}{clusters} {self.method}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """The result of a significance test.

    Attributes
    ----------
    statistic
        Test statistic; ``None`` for exact tests that have none.
    p_value
        In [0, 1].
    alternative
        ``"two-sided"``, ``"less"`` or ``"greater"``.
    n, n_clusters, method, df
        As in `Interval`.
    """

    __test__ = False  # not a test case

    statistic: float | None
    p_value: float
    alternative: str
    n: int
    method: str
    n_clusters: int | None = None
    df: float | None = None

    def __post_init__(self) -> None:
        _finite("statistic", self.statistic)
        if not 0.0 <= self.p_value <= 1.0:
            raise ValueError(f"p_value must lie in [0, 1], got {self.p_value!r}")
