"""The wild cluster bootstrap: published digits by enumeration, and its level with few clusters."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from jurat.stats import wild
from jurat.stats.wild import wild_cluster_mean, wild_cluster_test
from tests.conftest import data_folder


@pytest.mark.parametrize(
    ("null", "p", "strict"),
    [(1.0, 0.326171875, 0.32421875), (0.95, 0.0390625, 0.037109375), (1.1, 0.0859375, 0.083984375)],
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
    for inside, outside in (
        (found.low + 0.02 * width, found.low - 0.02 * width),
        (found.high - 0.02 * width, found.high + 0.02 * width),
    ):
        assert wild_cluster_test(X, y, cluster, coefficient=0, null=inside).p_value > 0.05
        assert wild_cluster_test(X, y, cluster, coefficient=0, null=outside).p_value <= 0.05


def test_clusters_too_few_to_reject_give_a_value_without_bounds() -> None:
    for clusters, level in ((1, 0.95), (4, 0.95), (5, 0.95), (9, 0.999)):
        found = wild_cluster_mean(np.arange(2.0 * clusters), np.repeat(np.arange(clusters), 2), level=level)
        assert found.value == clusters - 0.5 and found.low is None and found.high is None and found.reason
    # Five clusters have 2/32 as their smallest p-value.
    assert wild_cluster_mean(np.arange(10.0), np.repeat(np.arange(5), 2), level=0.93).low is not None


def test_a_shift_moves_the_interval_and_nothing_else() -> None:
    rng = np.random.default_rng(5)
    cluster = np.repeat(np.arange(8), 4)
    y = rng.normal(size=32) + rng.normal(size=8)[cluster]
    near, far = wild_cluster_mean(y, cluster), wild_cluster_mean(y + 1e8, cluster)
    assert near.low is not None and near.high is not None and far.low is not None and far.high is not None
    assert (far.low - 1e8, far.high - 1e8) == pytest.approx((near.low, near.high), abs=1e-6)


def test_drawn_patterns_agree_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    cluster = np.repeat(np.arange(14), 3)
    y = 0.3 + rng.normal(size=14)[cluster] + rng.normal(size=42)
    X = np.ones((42, 1))
    drawn = wild_cluster_test(X, y, cluster, coefficient=0, rng=np.random.default_rng(7), replicates=20_000)
    monkeypatch.setattr(wild, "ENUMERATED", 2**14)
    exact = wild_cluster_test(X, y, cluster, coefficient=0)
    assert "enumerated" in exact.method and "enumerated" not in drawn.method
    slack = 4 * np.sqrt(exact.p_value * (1 - exact.p_value) / 20_000)
    assert drawn.p_value == pytest.approx(exact.p_value, abs=slack)


def test_wrong_input_is_refused_and_says_what_is_accepted() -> None:
    X, y, cluster = np.ones((30, 1)), np.arange(30.0), np.arange(30)
    with pytest.raises(ValueError, match="pass rng"):
        wild_cluster_test(X, y, cluster, coefficient=0)
    with pytest.raises(ValueError, match="column of X, 0 to 0, got 1"):
        wild_cluster_test(X, y, cluster % 3, coefficient=1)
    with pytest.raises(ValueError, match="'count' or 'ignore'"):
        wild_cluster_test(X, y, cluster % 3, coefficient=0, ties="strict")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two clusters"):
        wild_cluster_test(X, y, np.zeros(30, dtype=int), coefficient=0)
    with pytest.raises(ValueError, match="singular"):
        wild_cluster_test(np.ones((30, 2)), y, cluster % 3, coefficient=0)
