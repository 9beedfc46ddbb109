"""The wild cluster bootstrap: published digits by enumeration, and its level with few clusters."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from jurat.stats.wild import wild_cluster_mean, wild_cluster_test
from tests.conftest import data_folder


@pytest.mark.parametrize(
    ("null", "p", "strict"), [(1.0, 0.326171875, 0.32421875), (0.95, 0.0390625, 0.037109375), (1.1, 0.0859375, 0.083984375)]
)
def test_petersen_2009_panel_by_year_over_all_sign_patterns(null: float, p: float, strict: float) -> None:
    with (data_folder("experiments") / "petersen.csv").open(encoding="utf-8") as stream:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]
    X = np.array([[1.0, r["x"]] for r in rows])
    y, year = (np.array([r[k] for r in rows]) for k in ("y", "year"))
    assert wild_cluster_test(X, y, year, coefficient=1, null=null).p_value == p
    assert wild_cluster_test(X, y, year, coefficient=1, null=null, ties="ignore").p_value == strict


def test_each_statistic_is_that_of_a_refit_from_scratch() -> None:
    from jurat.stats.mean import cluster_robust_ols
    from jurat.stats.wild import _prepare, _signs, _statistics

    rng = np.random.default_rng(2)
    cluster = np.repeat(np.arange(5), [3, 5, 2, 4, 6])
    X = np.column_stack([np.ones(20), rng.normal(size=20)])
    y = rng.normal(size=20)
    signs = _signs(5, None, 0)
    _, drawn = _statistics(_prepare(X, y, cluster, 1), 0.3, signs)
    restricted = y - 0.3 * X[:, 1]
    base, residual = restricted.mean() + 0.3 * X[:, 1], restricted - restricted.mean()
    for pattern, t in zip(signs, drawn, strict=True):
        fit = cluster_robust_ols(X, base + pattern[cluster] * residual, cluster)
        assert (fit.coefficients[1] - 0.3) / fit.standard_errors[1] == pytest.approx(t, rel=1e-8, abs=1e-8)


def test_the_test_keeps_its_level_with_ten_unequal_clusters() -> None:
    rng = np.random.default_rng(3)
    runs, rejected = 400, 0
    for _ in range(runs):
        sizes = rng.integers(2, 40, 10)
        cluster = np.repeat(np.arange(10), sizes)
        y = rng.normal(size=10)[cluster] + rng.normal(size=len(cluster))
        rejected += wild_cluster_test(np.ones((len(y), 1)), y, cluster, coefficient=0).p_value <= 0.05
    assert rejected / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


def test_the_interval_ends_where_the_test_begins_to_reject() -> None:
    rng = np.random.default_rng(4)
    cluster = np.repeat(np.arange(9), 6)
    y = 2 + rng.normal(size=9)[cluster] + rng.normal(size=54)
    found = wild_cluster_mean(y, cluster)
    assert found.low is not None and found.high is not None
    X, width = np.ones((54, 1)), found.high - found.low
    for inside, outside in ((found.low + 0.02 * width, found.low - 0.02 * width), (found.high - 0.02 * width, found.high + 0.02 * width)):
        assert wild_cluster_test(X, y, cluster, coefficient=0, null=inside).p_value > 0.05
        assert wild_cluster_test(X, y, cluster, coefficient=0, null=outside).p_value <= 0.05


def test_too_few_clusters_and_a_missing_generator_are_refused() -> None:
    with pytest.raises(ValueError, match="too few sign patterns"):
        wild_cluster_mean(np.arange(8.0), np.repeat([0, 1, 2, 3], 2))
    with pytest.raises(ValueError, match="pass rng"):
        wild_cluster_test(np.ones((30, 1)), np.arange(30.0), np.arange(30), coefficient=0)
