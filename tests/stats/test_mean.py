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
        columns.append((hat[rows].T @ root @ X[rows] @ bread))
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


@pytest.mark.parametrize(("clusters", "correction", "least"), [(12, "CR2", 0.93), (40, "CR1", 0.93), (200, "CR1", 0.94)])
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
