"""The local-level model against statsmodels and dense algebra, and its forecasts against simulation."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats as sps
from statsmodels.datasets import nile

from jurat.stats.difference import difference_of_means
from jurat.stats.local_level import fit_local_level, intervention_effect


@pytest.fixture(scope="module")
def flow() -> np.ndarray:
    """Volume of the Nile at Aswan, 1871 to 1970."""
    return np.asarray(nile.load_pandas().data["volume"], dtype=float)


def test_case_38_the_nile_has_its_published_variances_and_means(flow: np.ndarray) -> None:
    fit = fit_local_level(flow)
    assert fit.observation_variance == pytest.approx(15_099, rel=0.005)
    assert fit.level_variance == pytest.approx(1_469, rel=0.005)
    params = [fit.observation_variance, fit.level_variance]
    exact = sm.tsa.UnobservedComponents(flow, "local level", use_exact_diffuse=True)
    assert fit.log_likelihood == pytest.approx(exact.loglike(params), rel=1e-10)
    # −632.5377 is the same optimum with a start of variance 1e6 in place of the diffuse one, less the first period's term.
    approximate = sm.tsa.UnobservedComponents(flow, "local level").loglike(params)
    assert approximate == pytest.approx(-632.5377, abs=1e-3)
    assert fit.log_likelihood + 0.5 * np.log(2 * np.pi) == pytest.approx(approximate, abs=0.01)
    change = difference_of_means(flow[28:], flow[:28])
    assert (flow[:28].mean(), flow[28:].mean()) == pytest.approx((1097.75, 849.9722222), rel=1e-9)
    assert change.value == pytest.approx(-247.7777778, rel=1e-9)
    assert -change.value / change.se == pytest.approx(8.4145165, rel=1e-7)


def test_no_other_variances_are_likelier(flow: np.ndarray) -> None:
    fit = fit_local_level(flow)
    model = sm.tsa.UnobservedComponents(flow, "local level", use_exact_diffuse=True)
    for a in (0.9, 1.0, 1.1):
        for b in (0.8, 1.0, 1.2):
            assert model.loglike([a * fit.observation_variance, b * fit.level_variance]) <= fit.log_likelihood + 1e-9


def test_regressors_are_fitted_as_by_statsmodels() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 2)).cumsum(axis=0)
    y = x @ [2.0, -1.0] + rng.normal(size=120) + rng.normal(0, 0.5, 120).cumsum()
    fit = fit_local_level(y, controls=x)
    model = sm.tsa.UnobservedComponents(y, "local level", exog=x, use_exact_diffuse=True)
    known = model.fit(disp=0, maxiter=500)
    here = [fit.observation_variance, fit.level_variance, *fit.coefficients]
    assert fit.log_likelihood == pytest.approx(model.loglike(here), rel=1e-10)
    assert fit.log_likelihood >= known.llf - 1e-9
    assert here == pytest.approx(known.params, rel=2e-3)


@pytest.mark.parametrize(("kind", "share"), [("noise", 0.0), ("walk", 1.0)])
def test_the_ends_of_the_range_are_reached(kind: str, share: float) -> None:
    rng = np.random.default_rng(3)
    steps = rng.normal(size=300)
    y = np.diff(steps, prepend=0) if kind == "noise" else np.cumsum(steps)
    if kind == "walk":
        y = np.cumsum(steps + 0.5 * np.r_[0, steps[:-1]])  # smoother than any local level
    fit = fit_local_level(y)
    assert fit.level_variance / (fit.level_variance + fit.observation_variance) == pytest.approx(share, abs=1e-9)


def test_forecasts_and_their_spread_are_those_of_dense_algebra() -> None:
    """The whole mixture rebuilt from n × n covariance matrices, without a filter."""
    rng = np.random.default_rng(4)
    n, first = 26, 18
    x = rng.normal(size=n).cumsum()
    y = 1.5 * x + rng.normal(size=n) + 0.6 * rng.normal(size=n).cumsum()
    found = intervention_effect(y, first, controls=x)
    ratio = (np.arange(40) + 0.5) / 40
    X, F = np.column_stack([np.ones(n), x])[:first], np.column_stack([np.ones(n), x])[first:]
    heights, means, spreads = [], [], []
    for share in ratio**2 / (ratio**2 + (1 - ratio) ** 2):
        V = share * np.minimum.outer(np.arange(n), np.arange(n)) + (1 - share) * np.eye(n)
        inverse = np.linalg.inv(V[:first, :first])
        gram = X.T @ inverse @ X
        beta = np.linalg.solve(gram, X.T @ inverse @ y[:first])
        rest = y[:first] - X @ beta
        scale = rest @ inverse @ rest / (first - 2)
        heights.append(
            -0.5 * (np.linalg.slogdet(V[:first, :first])[1] + np.linalg.slogdet(gram)[1] + (first - 2) * np.log(scale))
        )
        cross = V[first:, :first] @ inverse
        extra = F - cross @ X
        covariance = V[first:, first:] - cross @ V[:first, first:] + extra @ np.linalg.solve(gram, extra.T)
        means.append(np.mean(y[first:] - F @ beta - cross @ rest))
        spreads.append(np.sqrt(scale * covariance.mean()))
    weights = np.exp(np.array(heights) - max(heights))
    weights /= weights.sum()
    assert found.average.value == pytest.approx(weights @ means, rel=1e-8)
    for bound, tail in ((found.average.low, 0.025), (found.average.high, 0.975)):
        assert weights @ sps.t.cdf((bound - np.array(means)) / spreads, first - 2) == pytest.approx(tail, abs=1e-9)
    assert found.total.low == pytest.approx(8 * found.average.low, rel=1e-9)
    assert np.mean([e.value for e in found.effects]) == pytest.approx(found.average.value, rel=1e-9)
    for effect, forecast, seen in zip(found.effects, found.counterfactual, y[first:], strict=True):
        assert effect.value == pytest.approx(seen - forecast.value)
        assert effect.low == pytest.approx(seen - forecast.high, abs=1e-8)


def _coverage(wandering: float, repeats: int) -> tuple[float, float]:
    """Shares of simulated series whose mean effect, and last observation, lie in their intervals."""
    hits = single = 0
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=60) + wandering * rng.normal(size=60).cumsum()
        found = intervention_effect(y, 50)
        hits += found.average.low <= 0 <= found.average.high
        single += found.counterfactual[-1].low <= y[-1] <= found.counterfactual[-1].high
    return hits / repeats, single / repeats


@pytest.mark.parametrize("wandering", [0.0, 0.3])
def test_intervals_cover_however_much_the_level_wanders(wandering: float) -> None:
    assert min(_coverage(wandering, 60)) >= 0.87


@pytest.mark.slow
@pytest.mark.parametrize("wandering", [0.0, 0.1, 0.3, 1.0, 3.0])
def test_intervals_cover_in_many_series(wandering: float) -> None:
    assert min(_coverage(wandering, 1000)) >= 0.925


def test_controls_sharpen_the_answer_and_the_placebo_is_near_zero() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=90).cumsum()
    y = 2 * x + rng.normal(0, 0.5, 90) + 3.0 * (np.arange(90) >= 60)
    with_controls, without = intervention_effect(y, 60, controls=x), intervention_effect(y, 60)
    assert with_controls.average.low < 3.0 < with_controls.average.high
    assert with_controls.average.se < without.average.se / 5
    assert with_controls.in_time_start == 40
    assert with_controls.in_time.low < 0 < with_controls.in_time.high


def test_a_short_past_has_no_placebo_and_says_so() -> None:
    found = intervention_effect([3.0, 1.0, 2.0, 4.0, 2.0, 9.0], 5)
    assert found.in_time.value is None and "too few" in found.in_time.reason and found.in_time_start is None


@pytest.mark.parametrize(
    ("series", "first", "controls", "said"),
    [
        (np.ones(20), 10, None, "does not vary"),
        (np.arange(20.0), 4, None, "too few"),
        (np.arange(20.0), 20, None, "index from 1 to 19"),
        (np.arange(20.0), 0, None, "index from 1 to 19"),
        (np.r_[np.arange(19.0), np.nan], 10, None, "finite"),
        (np.sin(np.arange(20.0)), 10, np.ones(20), "does not change"),
        (np.sin(np.arange(20.0)), 10, np.column_stack([np.arange(20.0), np.arange(20.0) * 2]), "determined"),
        (np.sin(np.arange(20.0)), 10, np.ones(19), "shape"),
    ],
    ids=["flat", "short", "late", "at once", "nan", "constant control", "collinear", "lengths"],
)
def test_impossible_input_is_named(series: np.ndarray, first: int, controls: np.ndarray | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        intervention_effect(series, first, controls=controls)


def test_a_series_that_its_control_explains_without_rest_is_refused() -> None:
    x = np.random.default_rng(7).normal(size=30).cumsum()
    with pytest.raises(ValueError, match="does not vary beyond"):
        intervention_effect(1e6 + 3 * x, 20, controls=x)


def test_a_level_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="level"):
        intervention_effect(np.sin(np.arange(20.0)), 10, level=95)
