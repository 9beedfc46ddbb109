"""Measured rates against nominal ones: the Monte-Carlo error is part of every assertion.

A rate from N independent experiments has the standard error sqrt(p (1 - p) / N); an assertion allows three of them. The seeds
are fixed, so a test that passes keeps passing until an estimator changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

__all__ = ["Record", "at_least", "at_most", "nominal", "within"]

Record = Callable[[str, object], None]
"""pytest's ``record_property``."""

SIGMAS = 3.0


def _error(rate: float, experiments: int) -> float:
    return SIGMAS * math.sqrt(rate * (1 - rate) / experiments)


def _written(record: Record, name: str, rate: float, relation: str, error: float, experiments: int) -> str:
    text = f"{name:<62} {100 * rate:7.3f} %   {relation} ± {100 * error:.3f} (3 sigma, {experiments:,} experiments)"
    record("calibration", text)
    return text


def nominal(record: Record, name: str, hits: np.ndarray, expected: float = 0.05) -> None:
    """The share of hits is the expected one within Monte-Carlo error."""
    rate, count = float(np.mean(hits)), len(hits)
    error = _error(expected, count)
    text = _written(record, name, rate, f"nominal {100 * expected:g} %", error, count)
    assert abs(rate - expected) <= error, text


def at_most(record: Record, name: str, hits: np.ndarray, limit: float = 0.05) -> None:
    """The share of hits does not exceed the limit beyond Monte-Carlo error."""
    rate, count = float(np.mean(hits)), len(hits)
    error = _error(limit, count)
    text = _written(record, name, rate, f"at most {100 * limit:g} %", error, count)
    assert rate <= limit + error, text


def at_least(record: Record, name: str, hits: np.ndarray, limit: float) -> None:
    """The share of hits does not fall short of the limit beyond Monte-Carlo error."""
    rate, count = float(np.mean(hits)), len(hits)
    error = _error(limit, count)
    text = _written(record, name, rate, f"at least {100 * limit:g} %", error, count)
    assert rate >= limit - error, text


def within(record: Record, name: str, hits: np.ndarray, expected: float, points: float = 0.02) -> None:
    """The share of hits lies within so many points of the expected one; the Monte-Carlo error must fit well inside."""
    rate, count = float(np.mean(hits)), len(hits)
    error = _error(expected, count)
    text = _written(record, name, rate, f"planned {100 * expected:.3f} % within {100 * points:g}", error, count)
    assert error <= points / 1.5, f"too few experiments to tell {points}: {text}"
    assert abs(rate - expected) <= points, text
