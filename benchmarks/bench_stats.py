"""Cluster-robust standard errors, the cluster bootstrap and prediction-powered means, beside their peers."""

from __future__ import annotations

import numpy as np
import scipy.stats

from benchmarks.record import Row, report, side_by_side
from jurat.stats.mean import cluster_robust_ols, clustered_mean
from jurat.stats.prediction_powered import prediction_powered_mean
from jurat.stats.resample import bootstrap_ratio


def cluster_robust() -> list[Row]:
    """One million rows in 1e5 clusters: a mean, and a regression on one covariate."""
    try:
        import statsmodels.api as sm
    except ImportError:
        sm = None
    rng = np.random.default_rng(0)
    cluster = rng.integers(0, 100_000, 1_000_000)
    y = rng.normal(size=1_000_000) + rng.normal(size=100_000)[cluster]
    ones = np.ones((len(y), 1))
    X = np.column_stack([ones, rng.normal(size=len(y))])

    def peer(design: np.ndarray) -> np.ndarray:
        fit = sm.OLS(y, design).fit(cov_type="cluster", cov_kwds={"groups": cluster})
        return np.asarray(fit.bse)

    if sm is not None:
        ours = clustered_mean(y, cluster, correction="CR1").se
        assert ours is not None and abs(ours / peer(ones)[0] - 1) < 1e-9
        assert np.allclose(cluster_robust_ols(X, y, cluster).standard_errors, peer(X), rtol=1e-9, atol=0)
    return [
        side_by_side(
            "cluster-robust SE of a mean, 1e6 rows, 1e5 clusters",
            lambda: clustered_mean(y, cluster, correction="CR1"),
            None if sm is None else lambda: peer(ones),
            peer_name="statsmodels OLS",
            goal=50.0,
            rounds=15,
        ),
        side_by_side(
            "cluster-robust SE of a slope, 1e6 rows, 1e5 clusters",
            lambda: cluster_robust_ols(X, y, cluster),
            None if sm is None else lambda: peer(X),
            peer_name="statsmodels OLS",
            goal=None,
        ),
    ]


def bootstrap() -> list[Row]:
    """One thousand resamples of 1e5 clusters (1e6 rows)."""
    rng = np.random.default_rng(1)
    sizes = rng.poisson(10, 100_000).astype(float) + 1
    sums = sizes * rng.normal(0.5, 0.3, 100_000)
    yes = rng.binomial(sizes.astype(int), 0.3).astype(float)

    def numpy_bootstrap(sums: np.ndarray = sums) -> float:
        draws = np.empty(1_000)
        inner = np.random.default_rng(2)
        for b in range(1_000):
            picked = inner.integers(0, len(sizes), len(sizes))
            draws[b] = sums[picked].sum() / sizes[picked].sum()
        return float(draws.std(ddof=1))

    def scipy_bootstrap() -> object:
        return scipy.stats.bootstrap(
            (sums, sizes),
            lambda y, x, axis: y.sum(axis=axis) / x.sum(axis=axis),
            paired=True,
            vectorized=True,
            n_resamples=1_000,
            batch=50,
            method="percentile",
            rng=np.random.default_rng(2),
        )

    ours = bootstrap_ratio(sums, sizes, rng=np.random.default_rng(3)).interval.se
    assert ours is not None and abs(ours / numpy_bootstrap() - 1) < 0.15  # two Monte-Carlo errors of 1,000 replicates
    share = bootstrap_ratio(yes, sizes, rng=np.random.default_rng(3)).interval.se
    assert share is not None and abs(share / numpy_bootstrap(yes) - 1) < 0.15
    return [
        side_by_side(
            "cluster bootstrap of a mean, BCa, 1,000 replicates, 1e5 clusters",
            lambda: bootstrap_ratio(sums, sizes, rng=np.random.default_rng(3)),
            numpy_bootstrap,
            peer_name="NumPy index bootstrap",
            goal=None,
            rounds=3,
        ),
        side_by_side(
            "cluster bootstrap of a share, BCa, 1,000 replicates, 1e5 clusters",
            lambda: bootstrap_ratio(yes, sizes, rng=np.random.default_rng(3)),
            lambda: numpy_bootstrap(yes),
            peer_name="NumPy index bootstrap",
            goal=None,
            rounds=3,
        ),
        side_by_side(
            "cluster bootstrap of a mean, percentile, 1,000 replicates, 1e5 clusters",
            lambda: bootstrap_ratio(sums, sizes, rng=np.random.default_rng(3), method="percentile"),
            scipy_bootstrap,
            peer_name="scipy.stats.bootstrap",
            goal=5.0,
            rounds=2,
        ),
    ]


def prediction_powered() -> list[Row]:
    """A thousand gold and a million silver labels."""
    try:
        from ppi_py import ppi_mean_ci
    except ImportError:
        ppi_mean_ci = None
    rng = np.random.default_rng(4)
    y = rng.normal(size=1_000)
    f = y + 0.5 * rng.normal(size=1_000)
    others = 1.1 * rng.normal(size=1_000_000)
    if ppi_mean_ci is not None:
        ours = prediction_powered_mean(y, f, others).interval
        low, high = (float(b[0]) for b in ppi_mean_ci(y, f, others, alpha=0.05))
        assert ours.low is not None and ours.high is not None
        assert abs(ours.low - low) < 5e-4 and abs(ours.high - high) < 5e-4  # t against normal quantiles
    return [
        side_by_side(
            "prediction-powered mean, n = 1e3, N = 1e6",
            lambda: prediction_powered_mean(y, f, others),
            None if ppi_mean_ci is None else lambda: ppi_mean_ci(y, f, others, alpha=0.05),
            peer_name="ppi-python",
            goal=None,
        )
    ]


if __name__ == "__main__":
    report("bench-stats", [*cluster_robust(), *bootstrap(), *prediction_powered()])
