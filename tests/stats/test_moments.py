"""Moments and their functionals against brute force, an independent library, and simulation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from jurat.stats.moments import (
    Functional,
    Moments,
    MomentTable,
    adjusted_difference,
    covariance,
    functional_interval,
    joint_covariance,
    ratio_of,
    smooth,
    variance_and_df,
)

Floats = npt.NDArray[np.float64]


def from_sums(n: int, y: float, yy: float, x: float, xx: float, xy: float) -> Moments:
    """Moments of n clusters of one row from raw sums, as a published case gives them."""
    mean = np.array([y, x, float(n)]) / n
    raw = np.array([[yy, xy, y], [xy, xx, x], [y, x, float(n)]])
    return Moments(names=("y", "x", "n"), clusters=n, rows=n, mean=mean,
                   covariance=(raw - n * np.outer(mean, mean)) / (n - 1))  # fmt: skip


def table_of(**groups: Moments) -> MomentTable:
    return MomentTable(groups=groups, arms=tuple(groups))


def test_case_21_the_delta_method_of_a_ratio_is_the_cluster_error_of_the_rows() -> None:
    num = [3, 0, 5, 2, 7, 1, 4, 6]
    den = [10, 4, 12, 9, 15, 5, 11, 14]
    table = table_of(a=Moments.from_clusters({"s": num, "d": den}))
    variance, df = variance_and_df(table, ratio_of(table, "a", "s", "d"))
    assert ratio_of(table, "a", "s", "d").value == pytest.approx(0.35)
    assert math.sqrt(variance) == pytest.approx(0.0401559460105, rel=1e-10) and df == 7
    statsmodels = pytest.importorskip("statsmodels.api")
    y = np.concatenate([np.r_[np.ones(a), np.zeros(b - a)] for a, b in zip(num, den, strict=True)])
    fit = statsmodels.OLS(y, np.ones(len(y))).fit(
        cov_type="cluster", cov_kwds={"groups": np.repeat(np.arange(8), den), "use_correction": False}
    )
    assert math.sqrt(variance) == pytest.approx(fit.bse[0] * math.sqrt(8 / 7), rel=1e-10)


def test_case_22_the_covariate_adjusted_difference_from_sums() -> None:
    table = table_of(c=from_sums(1_000, 5_100, 30_250, 5_000, 29_000, 28_700),
                     t=from_sums(1_000, 5_220, 31_600, 5_020, 29_240, 29_500))  # fmt: skip
    y = {a: ratio_of(table, a, "y", "n") for a in "ct"}
    x = {a: ratio_of(table, a, "x", "n") for a in "ct"}
    raw = y["t"] - y["c"]
    effect, theta = adjusted_difference(table, y["t"], y["c"], [(x["t"], x["c"])])
    assert theta[0] == pytest.approx(0.8079506443, rel=1e-9)
    assert effect.value == pytest.approx(0.1038409871, rel=1e-9)
    errors = [math.sqrt(variance_and_df(table, f)[0]) for f in (effect, raw)]
    assert errors == [pytest.approx(0.0578517296, rel=1e-8), pytest.approx(0.0927372644, rel=1e-8)]
    assert (errors[0] / errors[1]) ** 2 == pytest.approx(0.3891563614, rel=1e-8)


def draws(count: int, seed: int) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    n = 1.0 + rng.poisson(3, count)
    return {"s": n * rng.normal(5, 1, count), "d": n, "x": n * rng.normal(2, 1, count)}


def test_merging_parts_gives_the_moments_of_the_whole() -> None:
    whole = draws(500, 1)
    parts = [Moments.from_clusters({k: v[a:b] for k, v in whole.items()}) for a, b in ((0, 1), (1, 130), (130, 500))]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    again = parts[2].merge(parts[0].merge(parts[1]))
    expected = Moments.from_clusters(whole)
    for found in (merged, again):
        assert (found.clusters, found.rows) == (500, 500)
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
        np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-10)


def test_a_shift_of_a_hundred_million_leaves_the_covariance() -> None:
    values = draws(400, 2)
    near, far = Moments.from_clusters(values), Moments.from_clusters({k: v + 1e8 for k, v in values.items()})
    np.testing.assert_allclose(far.covariance, near.covariance, rtol=1e-6)
    halves = [Moments.from_clusters({k: v[i::2] + 1e8 for k, v in values.items()}) for i in (0, 1)]
    np.testing.assert_allclose(halves[0].merge(halves[1]).covariance, near.covariance, rtol=1e-6)


def test_different_variables_are_not_merged() -> None:
    with pytest.raises(ValueError, match="same variables"):
        Moments.from_clusters({"a": [1.0, 2.0]}).merge(Moments.from_clusters({"b": [1.0, 2.0]}))


@pytest.mark.parametrize("values", [{"a": []}, {"a": [1.0, math.nan]}, {"a": [math.inf, 1.0]}])
def test_clusters_that_are_none_or_not_finite_are_refused(values: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="finite vectors"):
        Moments.from_clusters(values)


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError):
        Moments.from_clusters({"a": [1.0, 2.0], "b": [1.0]})


def test_any_smooth_function_has_the_gradient_of_finite_differences() -> None:
    table = table_of(a=Moments.from_clusters(draws(300, 3)))
    keys = [("a", "s"), ("a", "d"), ("a", "x")]

    def function(x: npt.NDArray[np.generic]) -> object:
        return np.log(x[0]) * x[1] ** 2 / x[2]  # type: ignore[operator, call-overload]

    found = smooth(table, keys, function)
    means = np.array([table.mean(*k) for k in keys])
    for i, key in enumerate(keys):
        step = np.zeros(3)
        step[i] = 1e-5
        numeric = (function(means + step) - function(means - step)) / 2e-5  # type: ignore[operator]
        assert found.gradient[key] == pytest.approx(numeric, rel=1e-6)
    ratio = smooth(table, keys[:2], lambda x: x[0] / x[1])
    plain = ratio_of(table, "a", "s", "d")
    assert ratio.value == plain.value
    assert ratio.gradient == {k: pytest.approx(v, rel=1e-12) for k, v in plain.gradient.items()}


def test_functionals_add_and_scale_like_the_numbers_they_are() -> None:
    f, g = Functional(2.0, {("a", "s"): 1.0}), Functional(1.0, {("a", "s"): 3.0, ("b", "s"): 1.0})
    h = 2.0 * f - g + f
    assert h.value == 5.0 and h.gradient == {("a", "s"): 0.0, ("b", "s"): -1.0}


def test_independent_arms_add_their_variances_and_joint_ones_their_covariance() -> None:
    values = draws(200, 4)
    apart = table_of(a=Moments.from_clusters({"s": values["s"]}), b=Moments.from_clusters({"s": values["x"]}))
    together = MomentTable(
        groups={"": Moments.from_clusters({"a/s": values["s"], "b/s": values["x"]})}, arms=("a", "b"), joint=True
    )
    difference = Functional(0.0, {("b", "s"): 1.0, ("a", "s"): -1.0})
    s, x = values["s"].var(ddof=1), values["x"].var(ddof=1)
    assert variance_and_df(apart, difference)[0] == pytest.approx((s + x) / 200, rel=1e-12)
    paired = (values["x"] - values["s"]).var(ddof=1) / 200
    assert variance_and_df(together, difference)[0] == pytest.approx(paired, rel=1e-10)
    assert together.clusters("a") == together.clusters("b") == 200


def test_degrees_of_freedom_are_welchs() -> None:
    from scipy import stats as sps

    rng = np.random.default_rng(5)
    a, b = rng.normal(0, 1, 12), rng.normal(0, 4, 7)
    table = table_of(a=Moments.from_clusters({"s": a}), b=Moments.from_clusters({"s": b}))
    found = Functional(float(b.mean() - a.mean()), {("b", "s"): 1.0, ("a", "s"): -1.0})
    welch = sps.ttest_ind(b, a, equal_var=False)
    assert variance_and_df(table, found)[1] == pytest.approx(welch.df, rel=1e-10)
    interval = functional_interval(table, found, level=0.95, n=19, n_clusters=19, method="m")
    assert (interval.low, interval.high) == tuple(pytest.approx(v) for v in welch.confidence_interval(0.95))


def test_several_functionals_have_one_covariance_matrix() -> None:
    values = draws(2_000, 6)
    table = table_of(a=Moments.from_clusters(values))
    fs = [ratio_of(table, "a", v, "d") for v in "sx"]
    matrix = joint_covariance(table, fs)
    residuals = np.array([values[v] - f.value * values["d"] for v, f in zip("sx", fs, strict=True)])
    expected = np.cov(residuals) / values["d"].mean() ** 2 / 2_000
    np.testing.assert_allclose(matrix, expected, rtol=1e-9)
    assert covariance(table, *fs)["a"] == pytest.approx(matrix[0, 1])


def test_a_covariate_that_does_not_vary_or_repeats_another_changes_nothing() -> None:
    values = [{**draws(400, s), "one": np.ones(400)} for s in (7, 8)]
    table = table_of(c=Moments.from_clusters(values[0]), t=Moments.from_clusters(values[1]))
    metric = [ratio_of(table, a, "s", "d") for a in "tc"]
    x = (ratio_of(table, "t", "x", "d"), ratio_of(table, "c", "x", "d"))
    constant = (Functional(1.0, {("t", "one"): 1.0}), Functional(1.0, {("c", "one"): 1.0}))
    once, _ = adjusted_difference(table, *metric, [x])
    twice, theta = adjusted_difference(table, *metric, [x, x, constant])
    assert twice.value == pytest.approx(once.value, rel=1e-9) and theta[2] == 0.0
    assert variance_and_df(table, twice)[0] == pytest.approx(variance_and_df(table, once)[0], rel=1e-9)
    plain, none = adjusted_difference(table, *metric, [])
    assert none.size == 0 and plain.value == metric[0].value - metric[1].value


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(9)
    hits = 0
    for _ in range(1_000):
        n = 1.0 + rng.poisson(3, 40)
        table = table_of(a=Moments.from_clusters({"s": n * rng.normal(5, 1, 40), "d": n}))
        found = functional_interval(table, ratio_of(table, "a", "s", "d"), level=0.9, n=1, n_clusters=40, method="m")
        assert found.low is not None and found.high is not None
        hits += found.low <= 5.0 <= found.high
    assert abs(hits / 1_000 - 0.9) < 0.01 + 3 * math.sqrt(0.09 / 1_000)


def test_one_cluster_and_no_spread_give_no_bounds_but_a_reason() -> None:
    for values, reason in (([3.0], "one cluster"), ([3.0, 3.0, 3.0], "all clusters are alike")):
        table = table_of(a=Moments.from_clusters({"s": values}))
        found = functional_interval(
            table, Functional(3.0, {("a", "s"): 1.0}), level=0.95, n=3, n_clusters=len(values), method="m"
        )
        assert found.low is None and found.high is None and found.se is None and reason in str(found.reason)


def test_a_denominator_of_none_is_refused() -> None:
    table = table_of(a=Moments.from_clusters({"s": [1.0, 2.0], "d": [0.0, 0.0]}))
    with pytest.raises(ZeroDivisionError, match="denominator d of a"):
        ratio_of(table, "a", "s", "d")


def test_a_covariance_that_was_not_taken_is_told() -> None:
    moments = Moments(
        names=("s", "d"), clusters=3, rows=3, mean=np.ones(2), covariance=np.array([[1.0, math.nan], [math.nan, 1.0]])
    )
    table = table_of(a=moments)
    with pytest.raises(ValueError, match="is missing"):
        variance_and_df(table, ratio_of(table, "a", "s", "d"))
