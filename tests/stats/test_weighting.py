"""Weighted effects against Stata's published figures, brute force and what is known to be true."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import statsmodels
import statsmodels.api as sm
from scipy import stats as sps

from jurat.stats.difference import difference_of_means
from jurat.stats.propensity import fit_propensity, overlap_summary
from jurat.stats.weighting import (
    augmented_inverse_probability_weighting,
    e_value,
    inverse_probability_weighting,
    lin_regression_adjustment,
    regression_adjustment,
)
from tests.conftest import data_folder


@pytest.fixture(scope="module")
def cattaneo() -> dict[str, np.ndarray]:
    """Birth weights and smoking (Cattaneo, 2010), as statsmodels' own tests hold them."""
    path = Path(statsmodels.__file__).parent / "treatment/tests/results/cataneo2.csv"
    if not path.is_file():
        pytest.skip(f"this statsmodels comes without its tests: {path}")
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    names = ("bweight", "mbsmoke_", "mmarried_", "mage", "mage2", "fbaby_", "medu", "prenatal1_")
    return {name: np.array([float(r[name]) for r in rows]) for name in names}


def _columns(data: dict[str, np.ndarray], *names: str) -> np.ndarray:
    return np.column_stack([data[n] for n in names])


def test_case_35_smoking_and_birth_weight_agree_with_published_figures(cattaneo: dict[str, np.ndarray]) -> None:
    y, t = cattaneo["bweight"], cattaneo["mbsmoke_"]
    treatment = _columns(cattaneo, "mmarried_", "mage", "mage2", "fbaby_", "medu")
    response = _columns(cattaneo, "prenatal1_", "mmarried_", "mage", "fbaby_")
    lines = regression_adjustment(y, t, response).effect
    assert lines.value == pytest.approx(-239.6392114643, rel=1e-11)
    assert lines.se == pytest.approx(23.82402100183, rel=1e-8)  # Stata's teffects ra
    weighted = inverse_probability_weighting(y, t, treatment, link="probit")
    assert weighted.effect.value == pytest.approx(-230.6886377953, rel=1e-11)
    assert weighted.effect.se == pytest.approx(25.815243801554, rel=1e-8)  # Stata's teffects ipw
    assert weighted.control_mean.se == pytest.approx(9.5713688979534, rel=1e-8)
    both = augmented_inverse_probability_weighting(y, t, treatment, response, link="probit").effect
    assert both.value == pytest.approx(-230.9892011126, rel=1e-11)
    assert both.se == pytest.approx(25.3857648, abs=1e-7)
    stacked = augmented_inverse_probability_weighting(y, t, treatment, response, link="probit", se="stacked").effect
    assert stacked.se == pytest.approx(26.210564625435, rel=1e-8)  # Stata's teffects aipw


def test_case_34_job_training_agrees_with_plain_formulas_and_adjustments() -> None:
    causaldata = pytest.importorskip("causaldata")
    data = causaldata.nsw_mixtape.load_pandas().data
    y, x = data["re78"].to_numpy(float), data["re75"].to_numpy(float)
    t = data["treat"].to_numpy() == 1
    raw = difference_of_means(y[t], y[~t])
    assert len(y) == 445
    assert raw.value == pytest.approx(1794.3423818501, rel=1e-9)
    assert raw.value / raw.se == pytest.approx(2.6741454880, rel=1e-9)
    assert 2 * sps.t.sf(raw.value / raw.se, raw.df) == pytest.approx(0.0078929783, rel=1e-7)
    u = sps.mannwhitneyu(y[t], y[~t], method="asymptotic")
    assert (u.statistic, u.pvalue) == pytest.approx((27402.5, 0.0109466445), rel=1e-8)
    # CUPED with the slope over all rows, then Welch on what it leaves; the slope within arms is 0.16668 (ANCOVA's).
    theta = np.cov(x, y)[0, 1] / np.var(x, ddof=1)
    adjusted = difference_of_means(y[t] - theta * x[t], y[~t] - theta * x[~t])
    assert theta == pytest.approx(0.1780465817, rel=1e-8)
    assert (adjusted.value, adjusted.se) == pytest.approx((1747.1339897587, 668.9619076), rel=1e-9)
    lin = lin_regression_adjustment(y, t, x)
    assert (lin.value, lin.se) == pytest.approx((1749.0515127, 669.5239980), rel=1e-9)


def test_lin_is_ordinary_least_squares_with_hc2() -> None:
    rng = np.random.default_rng(8)
    x, t = rng.normal(size=(60, 2)), rng.random(60) < 0.4
    y = x @ [1.0, 2.0] + t * (1 + x[:, 0]) + rng.normal(size=60)
    c = x - x.mean(axis=0)
    known = sm.OLS(y, np.column_stack([np.ones(60), t, c, t[:, None] * c])).fit(cov_type="HC2")
    found = lin_regression_adjustment(y, t, x)
    assert (found.value, found.se) == pytest.approx((known.params[1], known.bse[1]), rel=1e-10)
    assert found.value == pytest.approx(regression_adjustment(y, t, x).effect.value, rel=1e-10)
    assert found.n_clusters is None and found.df < 60


def test_clusters_widen_what_repeats() -> None:
    rng = np.random.default_rng(9)
    x, t = rng.normal(size=120), rng.random(120) < 0.5
    y = x + t + rng.normal(size=120)
    again = np.tile(np.arange(120), 4)
    plain = augmented_inverse_probability_weighting(y, t, x, se="stacked").effect
    fourfold = augmented_inverse_probability_weighting(y[again], t[again], x[again], se="stacked", cluster=again).effect
    assert fourfold.value == pytest.approx(plain.value, rel=1e-9)
    assert fourfold.se == pytest.approx(plain.se * np.sqrt(120 / 119), rel=1e-9)
    assert (fourfold.n, fourfold.n_clusters) == (480, 120)
    lin, lin_again = (
        lin_regression_adjustment(y, t, x),
        lin_regression_adjustment(y[again], t[again], x[again], cluster=again),
    )
    assert lin_again.value == pytest.approx(lin.value, rel=1e-9)
    assert lin_again.se > 0.95 * lin.se


def test_the_augmented_estimate_survives_either_model_being_wrong() -> None:
    rng = np.random.default_rng(10)
    x = rng.normal(size=40_000)
    t = rng.random(len(x)) < 1 / (1 + np.exp(-x))
    y = 1.0 * t + x + x**2 + rng.normal(size=len(x))
    full, junk = np.column_stack([x, x**2]), rng.normal(size=len(x))
    for treatment, response in ((x, junk), (junk, full)):
        effect = augmented_inverse_probability_weighting(y, t, treatment, response, se="stacked").effect
        assert effect.low < 1.0 < effect.high
    wrong = augmented_inverse_probability_weighting(y, t, junk, junk, se="stacked").effect
    assert wrong.low > 1.2


@pytest.mark.parametrize("estimator", ["ra", "ipw", "aipw", "aipw stacked"])
def test_intervals_cover_at_their_level(estimator: str) -> None:
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=250)
        t = rng.random(250) < 1 / (1 + np.exp(-0.7 * x))
        y = 0.5 * t * (1 + x) + x + rng.normal(size=250)
        if estimator == "ra":
            found = regression_adjustment(y, t, x).effect
        elif estimator == "ipw":
            found = inverse_probability_weighting(y, t, x).effect
        else:
            kind = "stacked" if "stacked" in estimator else "influence"
            found = augmented_inverse_probability_weighting(y, t, x, se=kind).effect
        hits += found.low <= 0.5 <= found.high
    assert 0.91 <= hits / 200 <= 0.985


def test_covariates_move_the_lalonde_answer_and_the_overlap_says_how_little_it_rests_on() -> None:
    path = data_folder("experiments") / "lalonde_matchit.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    t = np.array([int(r["treat"]) for r in rows])
    y = np.array([float(r["re78"]) for r in rows])
    numbers = [[float(r[n]) for n in ("age", "educ", "married", "nodegree", "re74", "re75")] for r in rows]
    race = [[r["race"] == "black", r["race"] == "hispan"] for r in rows]
    x = np.hstack([np.array(numbers), np.array(race, dtype=float)])
    raw = difference_of_means(y[t == 1], y[t == 0])
    found = inverse_probability_weighting(y, t, x)
    assert raw.value == pytest.approx(-635.03, abs=0.01)
    assert found.effect.value == pytest.approx(
        224.676, abs=5e-4
    )  # closed form, in place of a loose optimiser's 224.742
    assert found.overlap is not None and found.propensity is not None
    assert (sum(found.overlap.treated), sum(found.overlap.control)) == (185, 429)
    assert found.overlap.effective_treated < 60 and found.overlap.share_outside > 0.05
    again = overlap_summary(fit_propensity(t, x).propensity, t)
    assert again == found.overlap


def test_what_cannot_vary_has_no_bounds_but_a_reason() -> None:
    x, t = np.arange(12.0) % 5, np.arange(12) % 2
    still = regression_adjustment(3.0 + t, t, x).effect
    assert still.value == pytest.approx(1.0)
    assert still.low is None and "does not vary" in still.reason
    alone = inverse_probability_weighting(np.arange(12.0), t, x, cluster=t).effect
    assert alone.low is None and "one cluster" in alone.reason


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"outcome": [1.0, np.nan, 2.0, 3.0, 1.0, 1.0]}, "finite"),
        ({"treated": [0, 0, 0, 0, 0, 0]}, "both arms"),
        ({"treated": [0, 0, 0, 0, 0, 1]}, "treated arm has 1 rows"),
        ({"level": 1.0}, "level"),
        ({"cluster": [1, 2]}, "length 6"),
    ],
    ids=["nan", "no arm", "too few", "level", "clusters"],
)
def test_impossible_input_is_named(change: dict, said: str) -> None:
    given = {
        "outcome": [1.0, 2, 3, 4, 5, 6],
        "treated": [0, 1, 0, 1, 0, 1],
        "covariates": [1.0, 2, 2, 1, 3, 0],
    } | change
    with pytest.raises(ValueError, match=said):
        regression_adjustment(**given)


def test_a_standard_error_must_be_a_known_one() -> None:
    with pytest.raises(ValueError, match="bootstrap"):
        augmented_inverse_probability_weighting([1.0, 2], [0, 1], [1.0, 2], se="bootstrap")  # type: ignore[arg-type]


def test_e_values_are_the_published_ones_and_alike_for_a_ratio_and_its_inverse() -> None:
    found = e_value(3.9, 1.8, 8.7)  # VanderWeele and Ding (2017): breast feeding
    assert (round(found.point, 1), round(found.bound, 1)) == (7.3, 3.0)
    inverse = e_value(1 / 3.9, 1 / 8.7, 1 / 1.8)
    assert (inverse.point, inverse.bound) == pytest.approx((found.point, found.bound))
    assert e_value(1.3, 0.9, 1.9).bound == 1.0 == e_value(0.8, 0.5, 1.1).bound
    assert e_value(1.0).point == 1.0 and e_value(2.0).bound is None


@pytest.mark.parametrize("given", [(0.0,), (-1.0,), (float("inf"),), (2.0, 3.0, 4.0), (2.0, 1.0, 1.5)])
def test_impossible_ratios_are_refused(given: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"ratio|enclose"):
        e_value(*given)
