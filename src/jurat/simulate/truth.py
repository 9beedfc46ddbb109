"""What a correct method must find in a simulated world, and how the world was made.

For each metric and release the truth holds the *expected* value, by a closed form in the planted parameters
where there is one, and the *realised* value over all turns of this very world. An interval for the population
should cover the expected value; a census of the world would give the realised one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jurat.errors import UnknownName
from jurat.simulate.audits import VERDICTS, SilverLabels, Thumbs, verdict
from jurat.simulate.outcomes import Outcomes, mean_refusal_tokens, mean_tokens_out
from jurat.simulate.parameters import LabellerQuality, ReleaseEffects, WorldParameters

__all__ = ["QUANTILES", "ReleaseValue", "Truth", "silver_values", "true_values"]

QUANTILES = (0.5, 0.95, 0.99)
_HARMFUL_COMPLIANCE, _HARMFUL_REFUSED = (
    VERDICTS.index("harmful_compliance"),
    VERDICTS.index("harmful_refused"),
)
_BENIGN_REFUSED, _BENIGN_ANSWERED = VERDICTS.index("benign_refused"), VERDICTS.index("benign_answered")

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseValue:
    """The value of one metric under one release.

    Attributes
    ----------
    metric, release
        Which number it is.
    expected
        Expected value given the parameters; ``None`` with a ``reason`` where there is no closed form.
    realised
        Value over all units of this world; ``None`` where the world has no unit.
    n
        Units behind ``realised``.
    quantile
        For a quantile metric, which one.
    reason
        Why a value is ``None``, or on what the expected value is conditional.
    """

    metric: str
    release: str
    expected: float | None
    realised: float | None
    n: int
    quantile: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The record of a simulated world.

    Attributes
    ----------
    seed, turns, start, days
        Arguments of the simulation; ``start`` in ISO 8601.
    parameters
        Everything that was planted, as plain JSON types.
    values
        True values by metric and release.
    apparent
        Values that the silver labels of a source would give if they were taken for the truth.
    design
        How the data were collected: split, audit strata, thumbs, incidents.
    tables
        Rows and content digest of each table.
    versions
        Versions of the packages that drew the world; the same versions give the same world, bit for bit.
    """

    seed: int
    turns: int
    start: str
    days: int
    parameters: Mapping[str, Any]
    values: tuple[ReleaseValue, ...]
    apparent: Mapping[str, tuple[ReleaseValue, ...]]
    design: Mapping[str, Any]
    tables: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]

    def value(self, metric: str, release: str, *, quantile: float | None = None) -> ReleaseValue:
        """Look up one true value.

        Raises
        ------
        UnknownName
            Where there is no such metric, release or quantile.
        """
        found = {(v.metric, v.release, v.quantile): v for v in self.values}
        key = (metric, release, quantile)
        if key not in found:
            shown = [f"{m} {r}" + ("" if q is None else f" {q:g}") for m, r, q in found]
            asked = f"{metric} {release}" + ("" if quantile is None else f" {quantile:g}")
            raise UnknownName("true value", asked, shown)
        return found[key]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; nothing is rounded."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Truth:
        """Rebuild a truth from `to_json`."""
        fields = dict(document)
        fields["values"] = tuple(ReleaseValue(**value) for value in fields["values"])
        fields["apparent"] = {
            source: tuple(ReleaseValue(**value) for value in values) for source, values in fields["apparent"].items()
        }
        return cls(**fields)

    def to_text(self) -> str:
        """Return the truth as the JSON text that `jurat.simulate.assistant.write_world` writes."""
        return json.dumps(self.to_json(), indent=2, sort_keys=True, allow_nan=False) + "\n"

    def __str__(self) -> str:
        rows = [("metric", "release", "expected", "realised", "n")]
        for v in self.values:
            name = v.metric if v.quantile is None else f"{v.metric} p{100 * v.quantile:g}"
            rows.append((name, v.release, _shown(v.expected), _shown(v.realised), f"{v.n:,}"))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        return "\n".join(
            "  ".join(
                cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        )


def _shown(number: float | None) -> str:
    return "–" if number is None else f"{number:.4g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rates:
    """Closed forms of one release, over turns that got a response."""

    harmful: float
    over_refusal: float
    harmful_compliance: float
    refusal: float
    satisfaction: float
    thumbs_up: float | None
    tokens_out: float


def _rates(parameters: WorldParameters, release: ReleaseEffects) -> _Rates:
    behaviour, thumbs = parameters.behaviour, parameters.thumbs
    borderline = behaviour.borderline_share
    over = (1.0 - borderline) * release.over_refusal + borderline * parameters.borderline_over_refusal(release)
    harmful = behaviour.harmful_share
    refusal = harmful * (1.0 - release.harmful_compliance) + (1.0 - harmful) * over
    satisfaction = refusal * thumbs.satisfied_refused + (1.0 - refusal) * thumbs.satisfied_answered
    up = satisfaction * thumbs.response_satisfied
    pressed = up + (1.0 - satisfaction) * thumbs.response_dissatisfied
    answer = sum(endpoint.share * mean_tokens_out(endpoint) for endpoint in parameters.traffic.endpoints)
    return _Rates(
        harmful=harmful,
        over_refusal=over,
        harmful_compliance=release.harmful_compliance,
        refusal=refusal,
        satisfaction=satisfaction,
        thumbs_up=up / pressed if pressed else None,
        tokens_out=refusal * mean_refusal_tokens() + (1.0 - refusal) * answer,
    )


def true_values(
    outcomes: Outcomes, thumbs: Thumbs, *, days: int, parameters: WorldParameters
) -> tuple[ReleaseValue, ...]:
    """Return the true value of each metric under each release.

    Parameters
    ----------
    outcomes
        What happened in each turn.
    thumbs
        Which thumbs were pressed.
    days
        Length of the window.
    parameters
        What was planted.
    """
    values: list[ReleaseValue] = []
    up = np.zeros(len(outcomes.error), dtype=np.bool_)
    pressed = up.copy()
    up[thumbs.turn], pressed[thumbs.turn] = thumbs.up, True
    for release, served in zip(parameters.releases, (~outcomes.candidate, outcomes.candidate), strict=True):
        rates = _rates(parameters, release)
        responded = served & outcomes.answered_or_refused
        harmful, benign = responded & outcomes.harmful, responded & ~outcomes.harmful
        share = _share_in(release.name)
        values += [
            share("refusal_rate", rates.refusal, outcomes.refused, responded),
            share("over_refusal_rate", rates.over_refusal, outcomes.refused, benign),
            share("harmful_compliance_rate", rates.harmful_compliance, ~outcomes.refused, harmful),
            share("harmful_intent_share", rates.harmful, outcomes.harmful, responded),
            share("satisfaction_share", rates.satisfaction, outcomes.satisfied, responded),
            share("thumbs_up_share", rates.thumbs_up, up, responded & pressed),
            _error_rate(outcomes, served, release.name),
            _mean_tokens(outcomes, responded, release.name, rates.tokens_out),
            *_latency_quantiles(outcomes, responded, release.name),
            _requests_per_day(served, days, release.name),
        ]
    return tuple(values)


def _share_in(release: str) -> Callable[[str, float | None, Flags, Flags], ReleaseValue]:
    """Return a function that makes the value of a share under one release."""

    def share(metric: str, expected: float | None, hits: Flags, among: Flags) -> ReleaseValue:
        n = int(among.sum())
        reason = None if n else "no unit in this world"
        if expected is None:
            reason = "these parameters leave nothing to take a share of"
        return ReleaseValue(
            metric=metric,
            release=release,
            expected=expected,
            realised=int((hits & among).sum()) / n if n else None,
            n=n,
            reason=reason,
        )

    return share


def _error_rate(outcomes: Outcomes, served: Flags, release: str) -> ReleaseValue:
    n = int(served.sum())
    return ReleaseValue(
        metric="error_rate",
        release=release,
        expected=float(outcomes.error_probability[served].mean()) if n else None,
        realised=float(outcomes.error[served].mean()) if n else None,
        n=n,
        reason="expected given the turns that fell into incidents" if n else "no unit in this world",
    )


def _mean_tokens(outcomes: Outcomes, responded: Flags, release: str, expected: float) -> ReleaseValue:
    n = int(responded.sum())
    return ReleaseValue(
        metric="mean_tokens",
        release=release,
        expected=expected,
        realised=float(outcomes.tokens_out[responded].mean()) if n else None,
        n=n,
        reason=None if n else "no unit in this world",
    )


def _latency_quantiles(outcomes: Outcomes, responded: Flags, release: str) -> list[ReleaseValue]:
    latency = outcomes.latency_ms[responded]
    found = np.quantile(latency, QUANTILES) if len(latency) else [None] * len(QUANTILES)
    return [
        ReleaseValue(
            metric="latency_quantile",
            release=release,
            expected=None,
            realised=None if value is None else float(value),
            n=len(latency),
            quantile=quantile,
            reason="no closed form: a mixture over endpoints, lengths and users",
        )
        for quantile, value in zip(QUANTILES, found, strict=True)
    ]


def _requests_per_day(served: Flags, days: int, release: str) -> ReleaseValue:
    n = int(served.sum())
    return ReleaseValue(
        metric="requests_per_day",
        release=release,
        expected=None,
        realised=n / days,
        n=n,
        reason="the number of turns is an argument; their split follows the activity of the users",
    )


def silver_values(
    outcomes: Outcomes, labels: SilverLabels, *, quality: LabellerQuality, parameters: WorldParameters
) -> tuple[ReleaseValue, ...]:
    """Return what the rates look like if the labels of one machine labeller are taken for the truth.

    Parameters
    ----------
    outcomes
        What happened in each turn.
    labels
        What the labeller said.
    quality
        How often it errs; the closed form mixes the true classes by it (Rogan & Gladen, 1978).
    parameters
        What was planted.
    """
    said = np.full(len(outcomes.error), -1, dtype=np.int64)
    said[labels.turn] = labels.value
    values = []
    for release, served in zip(parameters.releases, (~outcomes.candidate, outcomes.candidate), strict=True):
        cells = _apparent_cells(_rates(parameters, release), quality)
        share = _share_in(release.name)
        for metric, hit, miss in (
            ("over_refusal_rate", _BENIGN_REFUSED, _BENIGN_ANSWERED),
            ("harmful_compliance_rate", _HARMFUL_COMPLIANCE, _HARMFUL_REFUSED),
        ):
            total = cells[hit] + cells[miss]
            among = served & ((said == hit) | (said == miss))
            values.append(share(metric, float(cells[hit] / total) if total else None, said == hit, among))
    return tuple(values)


def _apparent_cells(rates: _Rates, quality: LabellerQuality) -> npt.NDArray[np.float64]:
    """Probability of each verdict of a labeller, by the law of total probability over the true verdicts."""
    cells = np.zeros(len(VERDICTS))
    for harmful in (False, True):
        says_harmful = quality.harmful_sensitivity if harmful else 1.0 - quality.harmful_specificity
        class_share = rates.harmful if harmful else 1.0 - rates.harmful
        refusal = 1.0 - rates.harmful_compliance if harmful else rates.over_refusal
        says_refused = refusal * quality.refusal_sensitivity + (1.0 - refusal) * (1.0 - quality.refusal_specificity)
        for called, p_class in ((True, says_harmful), (False, 1.0 - says_harmful)):
            for called_refused, p_refused in ((True, says_refused), (False, 1.0 - says_refused)):
                code = int(verdict(np.array([called]), np.array([called_refused]))[0])
                cells[code] += class_share * p_class * p_refused
    return cells
