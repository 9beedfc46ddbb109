"""Checks that come before any number: are these data what the comparison takes them for?

A failed check does not lower a number's weight; it voids the comparison. Checks read sufficient statistics only, so the
same ones serve evaluations (the same items in both arms) and experiments (traffic split as planned).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy import stats as _scipy_stats

from jurat.errors import DataError, UnknownName

__all__ = ["CheckResult", "complete_pairs", "sample_ratio"]

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The result of one validity check.

    Attributes
    ----------
    name
        What was checked.
    passed
        Whether it holds.
    detail
        What was seen, in one sentence.
    n
        Units looked at.
    p_value
        For statistical checks; ``None`` for exact ones.
    method
        The test's name.
    """

    name: str
    passed: bool
    detail: str
    n: int
    method: str
    p_value: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)


def complete_pairs(units: Mapping[str, Sequence[str]], *, unit: str) -> CheckResult:
    """Check that every arm holds the same units, each once.

    Parameters
    ----------
    units
        Identifiers of the units by arm.
    unit
        What one unit is, for the message.

    Examples
    --------
    >>> complete_pairs({"a": ["q1", "q2"], "b": ["q1"]}, unit="prompt").detail
    "1 of 2 prompts are not in every arm: 'q2' is missing from b"
    """
    present = {arm: set(seen) for arm, seen in units.items()}
    everything = sorted(set().union(*present.values()))
    gaps = [(u, arm) for arm, seen in present.items() for u in everything if u not in seen]
    doubled = [(u, arm) for arm, seen in units.items() if len(present[arm]) < len(seen) for u in _doubles(seen)]
    if not everything:
        detail = f"there are no {unit}s at all"
    elif gaps:
        named = ", ".join(f"{u!r} is missing from {arm}" for u, arm in gaps[:_SHOWN])
        count = len({u for u, _ in gaps})
        detail = f"{count:,} of {len(everything):,} {unit}s are not in every arm: {named}"
    elif doubled:
        named = ", ".join(f"{u!r} in {arm}" for u, arm in doubled[:_SHOWN])
        detail = f"{len(doubled):,} {unit}s stand more than once: {named}"
    else:
        detail = f"all {len(everything):,} {unit}s are in every arm, each once"
    return CheckResult(
        name="complete pairs",
        passed=bool(everything) and not gaps and not doubled,
        detail=detail,
        n=len(everything),
        method="exact comparison of identifiers",
    )


def _doubles(seen: Sequence[str]) -> list[str]:
    counts: dict[str, int] = {}
    for unit in seen:
        counts[unit] = counts.get(unit, 0) + 1
    return sorted(u for u, k in counts.items() if k > 1)


def sample_ratio(
    counts: Mapping[str, int], expected: Mapping[str, float], *, alpha: float = 0.001, unit: str = "unit"
) -> CheckResult:
    """Check for a sample-ratio mismatch by Pearson's chi-squared test.

    Parameters
    ----------
    counts
        Units seen by arm.
    expected
        Planned shares by arm; they are normalised to one.
    alpha
        Level below which the split is not believed. Small, because the check is made often.
    unit
        What was assigned, for the message.

    Raises
    ------
    DataError
        Where there are no units, or a planned share is not positive.
    UnknownName
        Where an arm with a planned share was not seen under any name, or one was seen without a planned share.

    References
    ----------
    Fabijan, A. et al. (2019). Diagnosing sample ratio mismatch in online controlled experiments. KDD.

    Examples
    --------
    >>> check = sample_ratio({"control": 10_000, "treatment": 10_500}, {"control": 0.5, "treatment": 0.5})
    >>> check.passed, round(check.p_value, 9)
    (False, 0.000479146)
    """
    for arm in counts:
        if arm not in expected:
            raise UnknownName("arm", arm, expected, place="sample-ratio check")
    total = sum(counts.values())
    if total == 0 or any(share <= 0 for share in expected.values()):
        raise DataError(
            "the sample-ratio check has nothing to test",
            seen=f"counts {dict(counts)}, planned shares {dict(expected)}",
            next_step="give positive planned shares for the arms that were assigned",
        )
    scale = total / sum(expected.values())
    arms = sorted(expected)
    test = _scipy_stats.chisquare([counts.get(a, 0) for a in arms], [expected[a] * scale for a in arms])
    p_value = float(test.pvalue)
    seen = ", ".join(f"{a} {counts.get(a, 0):,}" for a in arms)
    planned = " : ".join(f"{expected[a]:g}" for a in arms)
    passed = p_value >= alpha
    verb = "agrees with" if passed else "does not agree with"
    return CheckResult(
        name="sample ratio",
        passed=passed,
        detail=f"{seen} {unit}s: this {verb} the planned split {planned} (p = {p_value:.2g})",
        n=total,
        method="Pearson chi-squared",
        p_value=p_value,
    )
