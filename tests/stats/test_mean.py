"""Means with clustered data: statsmodels, a textbook CR2, published digits, coverage."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats as sps

from jurat.stats.mean import (
    cluster_codes,
    cluster_robust_ols,
    clustered_mean,
    clustered_mean_from_sums,
    mean,
    mean_from_sums,
)
from tests.conftest import data_folder


def sample(seed: int, clusters: int = 25) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 12, clusters)
    cluster = np.repeat(np.arange(clusters), sizes)
    x = rng.normal(size=len(cluster))
    y = 1 + 0.5 * x + rng.normal(size=clusters)[cluster] + rng.normal(size=len(cluster))
    return np.column_stack([np.ones(len(x)), x]), y, cluster


def textbook_cr2(X: np.ndarray, y: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bell and McCaffrey's estimator with full matrices, straight from Imbens and Kolesár (2016), section 4."""
    n, p = X.shape
    bread = np.linalg.inv(X.T @ X)
    hat = np.eye(n) - X @ bread @ X.T
    e = hat @ y
    meat, columns = np.zeros((p, p)), []
    for g in np.unique(cluster):
        rows = cluster == g
        values, vectors = np.linalg.eigh(hat[np.ix_(rows, rows)])
        root = vectors @ np.diag(np.where(values > 1e-12, values, np.inf) ** -0.5) @ vectors.T
        s = X[rows].T @ root @ e[rows]
        meat += np.outer(s, s)
        columns.append(hat[rows].T @ root @ X[rows] @ bread)
    df = np.empty(p)
    for j in range(p):
        G = np.column_stack([c[:, j] for c in columns])
        eigenvalues = np.linalg.eigvalsh(G.T @ G)
        df[j] = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    return np.sqrt(np.diag(bread @ meat @ bread)), df


@pytest.mark.parametrize("seed", range(4))
def test_cr1_equals_statsmodels(seed: int) -> None:
    X, y, cluster = sample(seed)
    fit = sm.OLS(y, X).fit(cov_type="cluster", cov_kwds={"groups": cluster})
    assert cluster_robust_ols(X, y, cluster).standard_errors == pytest.approx(fit.bse, rel=1e-10)
    one = sm.OLS(y, X[:, :1]).fit(cov_type="cluster", cov_kwds={"groups": cluster})
    found = clustered_mean(y, cluster, correction="CR1")
    assert (found.value, found.se) == pytest.approx((one.params[0], one.bse[0]), rel=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_cr2_and_its_degrees_of_freedom_equal_the_textbook_matrices(seed: int) -> None:
    X, y, cluster = sample(seed, clusters=9)
    se, df = textbook_cr2(X, y, cluster)
    found = cluster_robust_ols(X, y, cluster, correction="CR2")
    assert found.standard_errors == pytest.approx(se, rel=1e-9)
    assert found.df == pytest.approx(df, rel=1e-9)
    se, df = textbook_cr2(X[:, :1], y, cluster)
    only = clustered_mean(y, cluster, correction="CR2")
    assert (only.se, only.df) == pytest.approx((se[0], df[0]), rel=1e-9)


def test_petersen_2009_panel_standard_errors() -> None:
    with (data_folder("experiments") / "petersen.csv").open(encoding="utf-8") as stream:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]
    X = np.array([[1.0, r["x"]] for r in rows])
    y, firm, year = (np.array([r[k] for r in rows]) for k in ("y", "firm", "year"))
    by_firm = cluster_robust_ols(X, y, firm)
    assert by_firm.coefficients == pytest.approx((0.0296797207, 1.0348334395), rel=1e-8)
    assert by_firm.standard_errors[1] == pytest.approx(0.0505957259, rel=1e-8)
    assert cluster_robust_ols(X, y, year).standard_errors[1] == pytest.approx(0.0333889134, rel=1e-8)


def test_the_t_interval_equals_scipy_and_its_sums() -> None:
    x = np.random.default_rng(0).gamma(2, size=37)
    expected = sps.ttest_1samp(x, 0).confidence_interval(0.9)
    found = mean(x, level=0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    sums = mean_from_sums(len(x), float(x.sum()), float((x**2).sum()), level=0.9)
    assert (sums.low, sums.high) == pytest.approx((found.low, found.high), rel=1e-10)


@pytest.mark.parametrize("correction", ["CR1", "CR2"])
def test_a_shift_of_a_hundred_million_leaves_the_standard_error(correction: str) -> None:
    _, y, cluster = sample(1)
    near, far = (clustered_mean(y + s, cluster, correction=correction).se for s in (0.0, 1e8))
    assert far == pytest.approx(near, rel=1e-6)


def test_rows_and_sums_give_one_answer_whatever_the_labels_are() -> None:
    _, y, cluster = sample(2)
    names = np.array([f"user {c}" for c in cluster])
    n, total = np.bincount(cluster), np.bincount(cluster, weights=y)
    for found in (clustered_mean(y, names), clustered_mean_from_sums(n, total), clustered_mean(y, cluster * 1_000_003)):
        assert (found.value, found.se) == pytest.approx(
            (clustered_mean(y, cluster).value, clustered_mean(y, cluster).se), rel=1e-10
        )
    assert sorted(set(cluster_codes(names).tolist())) == list(range(25))


def test_auto_takes_cr2_below_forty_clusters() -> None:
    assert clustered_mean(*sample(0, 39)[1:]).method == "CR2"
    assert clustered_mean(*sample(0, 40)[1:]).method == "CR1"


def test_what_is_undefined_has_a_reason_and_what_is_wrong_an_error() -> None:
    assert mean([]).reason == "there are no units"
    assert mean([1.0]).low is None and mean([1.0]).value == 1.0
    assert "one cluster" in (clustered_mean([1.0, 2.0], ["a", "a"]).reason or "")
    with pytest.raises(ValueError, match="nan in row 1"):
        clustered_mean([1.0, float("nan")], [0, 1])
    with pytest.raises(ValueError, match="singular"):
        cluster_robust_ols(np.ones((4, 2)), [1, 2, 3, 4], [0, 0, 1, 1])
    with pytest.raises(ValueError, match="cannot be of real values"):
        mean_from_sums(3, 10.0, 1.0)


@pytest.mark.parametrize(
    ("clusters", "correction", "least"), [(12, "CR2", 0.93), (40, "CR1", 0.93), (200, "CR1", 0.94)]
)
def test_clustered_means_cover_with_unequal_clusters(clusters: int, correction: str, least: float) -> None:
    rng = np.random.default_rng(clusters)
    runs, held = 2_000, 0
    for _ in range(runs):
        sizes = rng.integers(2, 25, clusters)
        effects = rng.normal(scale=np.sqrt(0.1), size=clusters)
        sums = sizes * effects + rng.normal(scale=np.sqrt(0.9 * sizes))
        found = clustered_mean_from_sums(sizes, sums, correction=correction)
        held += bool(found.low is not None and found.high is not None and found.low <= 0 <= found.high)
    assert held / runs >= least, held / runs


@pytest.mark.parametrize("seed", range(3))
def test_cr2_of_a_few_large_clusters_and_three_columns_equals_the_textbook(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    cluster = np.repeat(np.arange(6), rng.integers(20, 60, 6))
    treated = (cluster < 2).astype(float)  # constant within clusters: far fewer degrees of freedom than clusters
    X = np.column_stack([np.ones(len(cluster)), treated, rng.normal(size=len(cluster))])
    y = rng.normal(size=6)[cluster] + rng.normal(size=len(cluster))
    se, df = textbook_cr2(X, y, cluster)
    fit = cluster_robust_ols(X, y, cluster, correction="CR2")
    assert fit.standard_errors == pytest.approx(se, rel=1e-9)
    assert fit.df == pytest.approx(df, rel=1e-8)
    assert fit.df[1] < 3


def test_cr2_of_the_mean_is_cr2_of_the_regression_on_a_constant() -> None:
    _, y, cluster = sample(9, clusters=7)
    found, fit = clustered_mean(y, cluster), cluster_robust_ols(np.ones((len(y), 1)), y, cluster, correction="CR2")
    expected = fit.interval(0)
    assert (found.low, found.high, found.df) == pytest.approx((expected.low, expected.high, expected.df), rel=1e-10)
    assert expected.n_clusters == 7


def test_a_column_of_dates_beside_the_constant_keeps_its_digits() -> None:
    X, y, cluster = sample(5)
    far = np.column_stack([X[:, 0], 1_700_000_000 + X[:, 1]])
    for correction in ("CR1", "CR2"):
        near_fit = cluster_robust_ols(X, y, cluster, correction=correction)
        far_fit = cluster_robust_ols(far, y, cluster, correction=correction)
        # The sum itself rounds x to 2e-7.
        assert far_fit.coefficients[1] == pytest.approx(near_fit.coefficients[1], rel=1e-5)
        assert far_fit.standard_errors[1] == pytest.approx(near_fit.standard_errors[1], rel=1e-5)


def test_columns_of_very_different_scale_are_not_called_singular() -> None:
    X, y, cluster = sample(6)
    fit, scaled = cluster_robust_ols(X, y, cluster), cluster_robust_ols(X * [1.0, 1e-12], y, cluster)
    assert scaled.standard_errors * [1.0, 1e-12] == pytest.approx(fit.standard_errors, rel=1e-9)


def test_a_coefficient_of_one_cluster_alone_is_refused_by_cr2() -> None:
    X, y, cluster = sample(7)
    lone = np.column_stack([X, cluster == 3])
    with pytest.raises(ValueError, match="coefficient 2 rests on one cluster alone"):
        cluster_robust_ols(lone, y, cluster, correction="CR2")
    with pytest.raises(ValueError, match="coefficient 0 rests on one cluster alone"):
        cluster_robust_ols([[1.0], [1.0], [0.0]], [1.0, 2.0, 3.0], [0, 0, 1], correction="CR2")


@pytest.mark.parametrize(
    ("design", "says"),
    [
        (np.column_stack([np.ones(6), np.ones(6)]), "singular"),
        (np.column_stack([np.ones(6), np.zeros(6)]), "singular"),
        (np.column_stack([np.ones(6), [1, 2, 3, 4, 5, np.nan]]), "finite"),
        (np.eye(6), "more rows than columns"),
    ],
)
def test_a_design_that_cannot_be_fitted_is_refused(design: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        cluster_robust_ols(design, np.arange(6.0), [0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize("labels", [["a", None, "b"], [1.0, float("nan"), 2.0], np.array([1, None, 2], dtype=object)])
def test_a_row_without_a_cluster_is_refused_by_its_number(labels: list[object]) -> None:
    with pytest.raises(ValueError, match="missing in row 1"):
        clustered_mean([1.0, 2.0, 3.0], labels)  # type: ignore[arg-type]


def test_arguments_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match=r"level must lie in \(0, 1\), got 95"):
        mean([1.0, 2.0], level=95)
    with pytest.raises(ValueError, match="side must be"):
        mean([1.0, 2.0], side="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wild_cluster_mean"):
        clustered_mean([1.0, 2.0], [0, 1], correction="wild")
    with pytest.raises(ValueError, match="n must be a whole number of at least 0, got -3"):
        mean_from_sums(-3, 1.0, 1.0)
    with pytest.raises(ValueError, match="-2 units"):
        clustered_mean_from_sums([2, -2], [1.0, 1.0])
    with pytest.raises(ValueError, match="0 units with sum 1"):
        clustered_mean_from_sums([2, 0, 3], [1.0, 1.0, 2.0])


def test_the_kernel_equals_its_plain_reference() -> None:
    from jurat.stats.mean import _centred_sums

    rng = np.random.default_rng(8)
    codes, values = rng.integers(0, 9, 500), rng.normal(size=500)
    sums, finite = _centred_sums(values, codes, 0.25, 10)
    assert finite and np.array_equal(sums[:, 0], np.bincount(codes, minlength=10))
    assert sums[:, 1] == pytest.approx(np.bincount(codes, weights=values - 0.25, minlength=10), rel=1e-12)
    values[7] = np.inf
    assert not _centred_sums(values, codes, 0.25, 10)[1]
