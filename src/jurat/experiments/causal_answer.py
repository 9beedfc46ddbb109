"""The answer of a study without randomisation: effect, assumption, placebo, cap.

Without randomisation a claim about risk goes no further than "not enough evidence", whatever the interval says, unless a
policy lifts that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scipy import stats as sps

from jurat.errors import SpecError
from jurat.stats.difference_in_differences import DifferenceInDifferences
from jurat.stats.event_study import EventStudy
from jurat.stats.local_level import LocalLevelEffect
from jurat.stats.result import Interval
from jurat.stats.synthetic_control import SyntheticControl
from jurat.stats.synthetic_difference_in_differences import SyntheticDifferenceInDifferences
from jurat.stats.weighting import WeightedEffect

__all__ = ["CausalAnswer", "PlaceboCheck", "RiskPolicy", "check_null_effect", "risk_cap"]

RiskPolicy = Literal["capped", "if placebo passes", "uncapped"]
Diagnostics = tuple[tuple[str, float | str | None], ...]
Result = (
    DifferenceInDifferences
    | EventStudy
    | SyntheticControl
    | SyntheticDifferenceInDifferences
    | WeightedEffect
    | LocalLevelEffect
)

CAP = "not enough evidence"
UNCAPPED = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceboCheck:
    """A test made where no effect may show.

    Attributes
    ----------
    test
        What was tested, in a sentence.
    passes
        Whether nothing showed; ``None`` where the test could not be made. Passing does not prove the assumption.
    p_value
        Of the test; ``None`` where it has none.
    effect
        The estimate that should be 0; ``None`` for joint tests and where none was made.
    reason
        Why there is no test.
    """

    test: str
    passes: bool | None
    p_value: float | None = None
    effect: Interval | None = None
    reason: str | None = None

    def __str__(self) -> str:
        if self.passes is None:
            return f"{self.test}: not tested ({self.reason})"
        p = "" if self.p_value is None else f", p = {self.p_value:.3g}"
        return f"{self.test}: {'passes' if self.passes else 'fails'}{p}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalAnswer:
    """An effect without randomisation, and all that is needed to doubt it.

    Attributes
    ----------
    method
        Name of the method.
    effect
        Treated less untreated, with its interval.
    assumption
        What must be true for the effect to be causal, in one sentence.
    placebo
        A test where no effect may show.
    diagnostics
        Further figures by name.
    cap
        The most a claim about risk may say: ``"not enough evidence"``, or ``"none"`` where a policy lifts the cap.
    result
        What the estimator returned, for pictures and tables.
    """

    method: str
    effect: Interval
    assumption: str
    placebo: PlaceboCheck
    diagnostics: Diagnostics
    cap: str
    result: Result

    def __str__(self) -> str:
        lines = [
            f"{self.method}: {self.effect}",
            f"  assumes  {self.assumption}",
            f"  placebo  {self.placebo}",
            f"  cap on risk claims  {self.cap}",
        ]
        return "\n".join([*lines, *(f"  {name}  {_shown(value)}" for name, value in self.diagnostics)])


def _shown(value: float | str | None) -> str:
    return "—" if value is None else value if isinstance(value, str) else f"{value:.4g}"


def risk_cap(policy: RiskPolicy, placebo: PlaceboCheck, place: str) -> str:
    """Say how far a claim about risk may go."""
    if policy not in ("capped", "if placebo passes", "uncapped"):
        raise SpecError(
            f"{place}: unknown policy for claims about risk",
            seen=repr(policy),
            next_step="use 'capped', 'if placebo passes' or 'uncapped'",
        )
    lifted = policy == "uncapped" or (policy == "if placebo passes" and placebo.passes is True)
    return UNCAPPED if lifted else CAP


def check_null_effect(test: str, effect: Interval) -> PlaceboCheck:
    """Judge an estimate that should be 0 by its interval."""
    if effect.value is None or effect.low is None or effect.high is None:
        return PlaceboCheck(test=test, passes=None, effect=effect, reason=effect.reason or "it has no interval")
    p_value = None
    if effect.se is not None and effect.df is not None and effect.se > 0:
        p_value = float(2 * sps.t.sf(abs(effect.value) / effect.se, effect.df))
    return PlaceboCheck(test=test, passes=effect.low <= 0 <= effect.high, p_value=p_value, effect=effect)
