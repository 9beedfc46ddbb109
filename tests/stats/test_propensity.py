"""Propensities against statsmodels, and the data on which they cannot exist."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from jurat.stats.propensity import fit_propensity, overlap_summary


def _sample(seed: int = 3, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) * [1.0, 100.0, 1e-3]
    t = rng.random(n) < 1 / (1 + np.exp(-(0.3 + x @ [0.8, -0.01, 500.0])))
    return t, x


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_coefficients_propensities_and_likelihood_are_those_of_statsmodels(link: str) -> None:
    t, x = _sample()
    model = fit_propensity(t, x, link=link)
    family = {"logit": sm.Logit, "probit": sm.Probit}[link]
    known = family(t.astype(float), sm.add_constant(x)).fit(disp=0, tol=1e-13, method="newton", maxiter=200)
    assert model.coefficients == pytest.approx(known.params, rel=1e-7)
    assert model.propensity == pytest.approx(known.predict(), rel=1e-8)
    assert model.log_likelihood == pytest.approx(known.llf, rel=1e-12)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_influence_values_sum_to_zero_and_slopes_are_derivatives(link: str) -> None:
    t, x = _sample()
    model = fit_propensity(t, x, link=link)
    assert np.abs(model.influence.mean(axis=0)).max() < 1e-6 * np.abs(model.influence).max()
    design = sm.add_constant(x)
    family = {"logit": sm.Logit, "probit": sm.Probit}[link](t.astype(float), design)
    index = design @ model.coefficients
    assert model.slope == pytest.approx((family.cdf(index + 1e-6) - family.cdf(index - 1e-6)) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_covariates_that_separate_the_arms_are_refused_not_fitted(link: str) -> None:
    with pytest.raises(ValueError, match="separate the arms"):
        fit_propensity([0, 0, 0, 1, 1, 1], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], link=link)
    rng = np.random.default_rng(0)
    dummy = np.repeat([0, 1], 50)
    quasi = np.where(dummy == 1, 1, rng.random(100) < 0.5)  # everyone with the mark is treated, others may be
    with pytest.raises(ValueError, match="separate the arms"):
        fit_propensity(quasi, dummy, link=link)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_a_strong_predictor_and_a_rare_treatment_are_still_fitted(link: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=20_000)
    t = rng.random(20_000) < 1 / (1 + np.exp(-(-7 + 2.5 * x)))
    family = {"logit": sm.Logit, "probit": sm.Probit}[link]
    known = family(t.astype(float), sm.add_constant(x)).fit(disp=0, tol=1e-12)
    assert fit_propensity(t, x, link=link).coefficients == pytest.approx(known.params, rel=1e-6)


@pytest.mark.parametrize(
    ("treated", "covariates", "said"),
    [
        ([0, 1, 2, 1], [1.0, 2, 3, 4], "0 or 1, got"),
        ([1, 1, 1, 1], [1.0, 2, 3, 4], "both arms"),
        ([0, 1, 0, 1], [1.0, 2, np.nan, 4], "row 2, column 0"),
        ([0, 1, 0, 1], [1.0, 2, 3], "shape"),
        ([0, 1, 0, 1], [[1.0, 2], [2, 4], [4, 8], [3, 6]], "singular"),
    ],
    ids=["not binary", "one arm", "not finite", "short", "collinear"],
)
def test_impossible_input_is_named(treated: list[int], covariates: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit_propensity(treated, covariates)


def test_an_unknown_link_is_named() -> None:
    with pytest.raises(ValueError, match="cloglog"):
        fit_propensity([0, 1], [1.0, 2.0], link="cloglog")  # type: ignore[arg-type]


def test_the_overlap_counts_every_row_and_its_effective_sizes_are_kishs() -> None:
    rng = np.random.default_rng(2)
    e = rng.uniform(0.001, 0.999, 500)
    t = rng.random(500) < e
    found = overlap_summary(e, t, bins=10, floor=0.05)
    assert (sum(found.treated), sum(found.control)) == (t.sum(), (~t).sum())
    assert found.share_outside == pytest.approx(np.mean((e < 0.05) | (e > 0.95)))
    w = 1 / e[t]
    assert found.effective_treated == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert found.effective_treated < t.sum()
    even = overlap_summary(np.full(10, 0.5), [0, 1] * 5)
    assert (even.effective_treated, even.effective_control) == (5.0, 5.0)


@pytest.mark.parametrize(
    ("e", "options", "said"),
    [([0.0, 0.5], {}, "strictly"), ([0.3, 0.5], {"bins": 0}, "bins"), ([0.3, 0.5], {"floor": 0.5}, "floor")],
    ids=["zero", "bins", "floor"],
)
def test_impossible_overlaps_are_named(e: list[float], options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        overlap_summary(e, [0, 1], **options)
