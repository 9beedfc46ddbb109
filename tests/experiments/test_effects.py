"""Effects against statsmodels and brute force: clusters, ratios, covariates, strata, two-way clusters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy import stats as sps

from jurat.experiments.analyse import analyse_file
from jurat.experiments.effects import MetricEffect, Scorecard, scan_scorecard
from tests.experiments.case import opened, users_table, write_case

Floats = npt.NDArray[np.float64]
RATE = {"kind": "ratio", "value": "num", "per": "den", "better": "higher"}


def card_of(folder: Path, table: pa.Table, **changes: object) -> Scorecard:
    return scan_scorecard(*opened(folder, {"outcomes": table}, **changes))


def codes(table: pa.Table, column: str = "user") -> npt.NDArray[np.int64]:
    return np.unique(np.array(table[column].to_pylist()), return_inverse=True)[1]


def treated(table: pa.Table) -> npt.NDArray[np.bool_]:
    return np.asarray(np.array(table["arm"].to_pylist()) == "b", dtype=np.bool_)


def arm_sums(table: pa.Table, arm: bool, *columns: str) -> list[Floats]:
    """Per-user sums of some columns (``one`` counts) on one arm."""
    kept = treated(table) == arm
    user = codes(table.filter(pa.array(kept)))
    values = [
        np.ones(int(kept.sum())) if c == "one" else table[c].to_numpy(zero_copy_only=False)[kept] for c in columns
    ]
    return [np.asarray(np.bincount(user, weights=v.astype(np.float64)), dtype=np.float64) for v in values]


def adjusted_by_hand(table: pa.Table, above: str, below: str, covariates: list[tuple[str, str]]) -> tuple[float, float]:
    """CUPED from influence values, one arm at a time; the coefficients are pooled within the arms."""
    parts = []
    for arm in (True, False):
        s, d = arm_sums(table, arm, above, below)
        influence = [(s - s.sum() / d.sum() * d) / d.mean()]
        levels = [s.sum() / d.sum()]
        for x, n in covariates:
            sx, dx = arm_sums(table, arm, x, n)
            influence.append((sx - sx.sum() / dx.sum() * dx) / dx.mean())
            levels.append(sx.sum() / dx.sum())
        parts.append((np.array(levels), np.array(influence)))
    gram = sum(i @ i.T for _, i in parts)
    theta = np.linalg.solve(gram[1:, 1:], gram[1:, 0]) if covariates else np.zeros(0)
    weights = np.concatenate([[1.0], -theta])
    value = float(weights @ (parts[0][0] - parts[1][0]))
    variance = sum(float(np.var(weights @ i, ddof=1)) / i.shape[1] for _, i in parts)
    return value, float(np.sqrt(variance))


def test_a_mean_is_the_ols_slope_with_clustered_errors(tmp_path: Path) -> None:
    pytest.importorskip("statsmodels")
    from statsmodels.regression.linear_model import OLS

    table = users_table(1_000, 1)
    found = card_of(tmp_path, table).effect("y", "b").effect
    y, arm, user = table["y"].to_numpy(), treated(table), codes(table)
    design = np.column_stack([np.ones(len(y)), arm])
    fit = OLS(y, design).fit(cov_type="cluster", cov_kwds={"groups": user})
    assert found.value == pytest.approx(fit.params[1], rel=1e-10)
    # statsmodels corrects once for both arms, by G/(G − 1) (N − 1)/(N − K); ours by G_a/(G_a − 1) in each.
    assert found.se == pytest.approx(fit.bse[1], rel=2e-3)
    exact = 0.0
    for one in (True, False):
        own = arm == one
        alone = OLS(y[own], np.ones(own.sum())).fit(
            cov_type="cluster", cov_kwds={"groups": codes(table.filter(pa.array(own))), "use_correction": False}
        )
        count = len(np.unique(user[own]))
        exact += float(alone.bse[0]) ** 2 * count / (count - 1)
    assert found.se == pytest.approx(np.sqrt(exact), rel=1e-9)
    assert found.n == len(y) and found.n_clusters == 1_000 and found.method == "CR1"


def test_a_mean_over_rows_is_weighted_least_squares_on_the_clusters_means(tmp_path: Path) -> None:
    pytest.importorskip("statsmodels")
    from statsmodels.regression.linear_model import WLS

    table = users_table(800, 2)
    found = card_of(tmp_path, table).effect("y", "b").effect
    sums = [arm_sums(table, arm, "y", "one") for arm in (True, False)]
    means = np.concatenate([s / d for s, d in sums])
    weights = np.concatenate([d for _, d in sums])
    arm = np.repeat([1.0, 0.0], [len(d) for _, d in sums])
    fit = WLS(means, np.column_stack([np.ones(len(arm)), arm]), weights=weights).fit(cov_type="HC0")
    assert found.value == pytest.approx(fit.params[1], rel=1e-9)
    assert found.se == pytest.approx(fit.bse[1] * np.sqrt(400 / 399), rel=1e-9)


def test_the_interval_uses_students_t_with_satterthwaites_degrees_of_freedom(tmp_path: Path) -> None:
    table = users_table(500, 3)
    table = table.filter(pa.array(_unbalanced(table)))
    found = card_of(tmp_path, table).effect("y", "b").effect
    parts = []
    for arm in (True, False):
        s, d = arm_sums(table, arm, "y", "one")
        influence = (s - s.sum() / d.sum() * d) / d.mean()
        parts.append((float(np.var(influence, ddof=1)) / len(s), len(s)))
    variance = sum(v for v, _ in parts)
    df = variance**2 / sum(v**2 / (g - 1) for v, g in parts)
    assert found.df == pytest.approx(df, rel=1e-9)
    assert found.value is not None and found.se is not None and found.low is not None
    assert found.low == pytest.approx(found.value - float(sps.t.isf(0.025, df)) * found.se, rel=1e-12)


def _unbalanced(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Keep all of one arm and a sixth of the other's users."""
    return np.asarray(~treated(table) | (codes(table) % 6 == 1), dtype=np.bool_)


def test_a_ratio_has_the_delta_method_error(tmp_path: Path) -> None:
    table = users_table(800, 4)
    found = card_of(tmp_path, table, metrics__rate=RATE).effect("rate", "b").effect
    value, se = adjusted_by_hand(table, "num", "den", [])
    assert found.value == pytest.approx(value, rel=1e-10)
    assert found.se == pytest.approx(se, rel=1e-9)
    assert found.method == "delta, CR1"


def test_a_ratios_error_is_that_of_the_jackknife_over_clusters(tmp_path: Path) -> None:
    table = users_table(600, 5)
    found = card_of(tmp_path, table, metrics__rate=RATE).effect("rate", "b").effect
    variance = 0.0
    for arm in (True, False):
        s, d = arm_sums(table, arm, "num", "den")
        left_out = (s.sum() - s) / (d.sum() - d)
        variance += (len(s) - 1) / len(s) * float(((left_out - left_out.mean()) ** 2).sum())
    assert found.se == pytest.approx(np.sqrt(variance), rel=5e-3)


@pytest.mark.parametrize("covariates", [["x"], ["x", "z"], ["x", "z", "x * z"]], ids=["one", "two", "three"])
def test_covariates_adjust_a_mean_as_by_hand(tmp_path: Path, covariates: list[str]) -> None:
    table = users_table(700, 6)
    product = table["x"].to_numpy() * table["z"].to_numpy()
    found = card_of(tmp_path, table, metrics__y__covariates=covariates).effect("y", "b")
    by_hand = table.append_column("x * z", pa.array(product))
    value, se = adjusted_by_hand(by_hand, "y", "one", [(c, "one") for c in covariates])
    assert found.effect.value == pytest.approx(value, rel=1e-8)
    assert found.effect.se == pytest.approx(se, rel=1e-8)
    assert found.unadjusted is not None and found.unadjusted.se is not None
    assert found.variance_kept == pytest.approx((se / found.unadjusted.se) ** 2, rel=1e-8)
    assert found.variance_kept is not None and found.variance_kept < 0.9


def test_covariates_adjust_a_ratio_as_by_hand(tmp_path: Path) -> None:
    table = users_table(700, 7)
    found = card_of(tmp_path, table, metrics__rate={**RATE, "covariates": ["x", "z"]}).effect("rate", "b").effect
    value, se = adjusted_by_hand(table, "num", "den", [("x", "one"), ("z", "one")])
    assert found.value == pytest.approx(value, rel=1e-8)
    assert found.se == pytest.approx(se, rel=1e-8)


def test_an_adjusted_mean_of_one_row_a_user_is_the_slope_of_ancova(tmp_path: Path) -> None:
    pytest.importorskip("statsmodels")
    from statsmodels.regression.linear_model import OLS

    table = users_table(600, 8, rows=1.0)
    found = card_of(tmp_path, table, metrics__y__covariates=["x", "z"]).effect("y", "b").effect
    design = np.column_stack([np.ones(table.num_rows), treated(table), table["x"].to_numpy(), table["z"].to_numpy()])
    fit = OLS(table["y"].to_numpy(), design).fit(cov_type="HC1")
    assert found.value == pytest.approx(fit.params[1], rel=1e-9)
    assert found.se == pytest.approx(fit.bse[1], rel=0.02)


def test_a_covariate_that_repeats_another_or_does_not_vary_adds_nothing(tmp_path: Path) -> None:
    table = users_table(500, 9)
    table = table.append_column("same", pa.array(table["x"].to_numpy() * 2)).append_column(
        "flat", pa.array(np.full(table.num_rows, 0.1))
    )
    one = card_of(tmp_path / "one", table, metrics__y__covariates=["x"]).effect("y", "b").effect
    three = card_of(tmp_path / "three", table, metrics__y__covariates=["x", "same", "flat"]).effect("y", "b").effect
    assert three.value == pytest.approx(one.value, rel=1e-8)
    assert three.se == pytest.approx(one.se, rel=1e-8)


def test_a_covariate_is_averaged_over_the_rows_where_it_is_known(tmp_path: Path) -> None:
    table = users_table(600, 10)
    x = table["x"].to_numpy().copy()
    known = codes(table) % 5 != 0
    table = table.set_column(table.schema.get_field_index("x"), "x", pa.array(x, mask=~known))
    found = card_of(tmp_path, table, metrics__y__covariates=["x"]).effect("y", "b").effect
    by_hand = table.append_column("sx", pa.array(np.where(known, x, 0.0))).append_column(
        "kx", pa.array(known.astype(np.float64))
    )
    value, se = adjusted_by_hand(by_hand, "y", "one", [("sx", "kx")])
    assert found.value == pytest.approx(value, rel=1e-8)
    assert found.se == pytest.approx(se, rel=1e-8)


def crossed(folder: Path, prompts: int) -> tuple[pa.Table, MetricEffect]:
    table = users_table(120, 11)
    prompt = np.random.default_rng(12).integers(0, prompts, table.num_rows)
    shift = np.random.default_rng(13).normal(0, 0.5, (2, prompts))[treated(table).astype(int), prompt]
    place = table.schema.get_field_index("y")
    table = table.set_column(place, "y", pa.array(table["y"].to_numpy() + shift))
    table = table.append_column("prompt", pa.array(prompt))
    return table, card_of(folder, table, inference__crossed="prompt").effect("y", "b")


@pytest.mark.parametrize("prompts", [15, 60])
def test_two_crossed_clusters_add_both_variances_less_that_of_their_pairs(tmp_path: Path, prompts: int) -> None:
    table, effect = crossed(tmp_path, prompts)
    arm, y = treated(table), table["y"].to_numpy()
    influence = np.where(arm, (y - y[arm].mean()) / arm.sum(), -(y - y[~arm].mean()) / (~arm).sum())
    variance = 0.0
    user, prompt = codes(table), table["prompt"].to_numpy()
    for by, sign in ((user, 1), (prompt, 1), (user * prompts + prompt, -1)):
        sums = np.bincount(np.unique(by, return_inverse=True)[1], weights=influence)
        variance += sign * len(sums) / (len(sums) - 1) * float(sums @ sums)
    assert effect.effect.se == pytest.approx(np.sqrt(variance), rel=1e-9)
    assert effect.effect.method == "two-way CR1"


def test_two_crossed_clusters_agree_with_statsmodels(tmp_path: Path) -> None:
    pytest.importorskip("statsmodels")
    from statsmodels.regression.linear_model import OLS
    from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

    table, effect = crossed(tmp_path, 60)
    fit = OLS(table["y"].to_numpy(), np.column_stack([np.ones(table.num_rows), treated(table)])).fit()
    plain = cov_cluster_2groups(fit, codes(table), table["prompt"].to_numpy(), use_correction=False)[0]
    assert effect.effect.se == pytest.approx(np.sqrt(plain[1, 1]), rel=0.02)


def test_clusters_that_span_the_arms_share_their_covariance(tmp_path: Path) -> None:
    pytest.importorskip("statsmodels")
    from statsmodels.regression.linear_model import OLS

    table = users_table(600, 14)
    org = np.random.default_rng(15).integers(0, 60, table.num_rows)
    table = table.append_column("org", pa.array(org))
    effect = card_of(tmp_path, table, inference__cluster="org").effect("y", "b").effect
    fit = OLS(table["y"].to_numpy(), np.column_stack([np.ones(table.num_rows), treated(table)])).fit(
        cov_type="cluster", cov_kwds={"groups": org, "use_correction": False}
    )
    assert effect.se == pytest.approx(fit.bse[1] * np.sqrt(60 / 59), rel=1e-9)
    assert effect.n_clusters == 60 and effect.method == "CR1"


def test_few_clusters_that_span_the_arms_are_not_called_what_they_are_not(tmp_path: Path) -> None:
    table = users_table(200, 16)
    table = table.append_column("org", pa.array(np.random.default_rng(17).integers(0, 12, table.num_rows)))
    assert card_of(tmp_path, table, inference__cluster="org").effect("y", "b").effect.method == "CR1"


def standardised_by_hand(table: pa.Table, kept: npt.NDArray[np.bool_]) -> float:
    """Difference at the pooled mix of strata."""
    y, arm, stratum = table["y"].to_numpy(), treated(table), np.array(table["stratum"].to_pylist())
    total = 0.0
    for s in ("p", "q"):
        own = kept & (stratum == s)
        total += own.sum() / kept.sum() * (y[own & arm].mean() - y[own & ~arm].mean())
    return float(total)


def test_the_effect_within_strata_is_the_post_stratified_one(tmp_path: Path) -> None:
    table = users_table(400, 18)
    found = analyse_file(write_case(tmp_path, {"outcomes": table}, simpson__stratifiers=["stratum"])).simpson[0]
    everyone = np.ones(table.num_rows, dtype=bool)
    assert found.standardised.value == pytest.approx(standardised_by_hand(table, everyone), rel=1e-9)
    user, arm = codes(table), treated(table)
    variance = 0.0
    for one in (True, False):
        members = np.unique(user[arm == one])
        left_out = np.array([standardised_by_hand(table, user != i) for i in members])
        variance += (len(members) - 1) / len(members) * float(((left_out - left_out.mean()) ** 2).sum())
    assert found.standardised.se == pytest.approx(np.sqrt(variance), rel=0.01)


def test_a_stratified_share_has_the_levels_of_its_cells(tmp_path: Path) -> None:
    table = users_table(400, 19)
    scans = analyse_file(write_case(tmp_path, {"outcomes": table}, simpson__stratifiers=["stratum"])).simpson
    found = next(s for s in scans if s.metric == "bad")
    bad = table["bad"].to_numpy(zero_copy_only=False)
    for stratum in found.strata:
        own = np.array(table["stratum"].to_pylist()) == stratum.name
        for arm, wanted in (("b", True), ("a", False)):
            cell = own & (treated(table) == wanted)
            assert stratum.levels[arm].value == pytest.approx(bad[cell].mean(), rel=1e-9)
            assert stratum.shares[arm] == pytest.approx(cell.sum() / (treated(table) == wanted).sum(), rel=1e-9)


def test_a_relative_effect_is_fiellers_ratio_to_the_control(tmp_path: Path) -> None:
    table = users_table(800, 20, effect=0.5)
    found = card_of(tmp_path, table).effect("y", "b")
    y, arm = table["y"].to_numpy(), treated(table)
    assert found.relative is not None and found.relative.low is not None and found.relative.high is not None
    assert found.relative.value == pytest.approx(y[arm].mean() / y[~arm].mean() - 1, rel=1e-9)
    # Far from zero the control's error is small and Fieller's bounds are those of the delta method.
    assert found.effect.se is not None
    assert found.relative.high - found.relative.low == pytest.approx(
        2 * 1.96 * found.effect.se / y[~arm].mean(), rel=0.05
    )


def test_the_one_sided_p_value_is_that_of_the_t_test(tmp_path: Path) -> None:
    found = card_of(tmp_path, users_table(600, 21, effect=0.2)).effect("y", "b")
    assert found.effect.value is not None and found.effect.se is not None and found.effect.df is not None
    greater, less = found.p_values(0.05, "absolute")
    assert greater == pytest.approx(float(sps.t.sf((found.effect.value - 0.05) / found.effect.se, found.effect.df)))
    assert greater + less == pytest.approx(1)


def test_an_effect_far_above_its_error_has_a_p_value_above_zero(tmp_path: Path) -> None:
    found = card_of(tmp_path, users_table(600, 22, effect=9.0)).effect("y", "b")
    assert 0 < found.p_values(0.0, "absolute")[0] <= 1e-10


def test_monitoring_widens_the_interval_and_keeps_the_estimate(tmp_path: Path) -> None:
    table = users_table(600, 23)
    changes = {"inference__method": "confidence_sequence", "inference__planned_clusters": 600}
    found = card_of(tmp_path, table, **changes).effect("y", "b")
    assert found.sequence is not None and found.sequence.value == found.effect.value
    assert found.sequence.low is not None and found.effect.low is not None
    assert found.sequence.low < found.effect.low
    assert found.deciding is found.sequence


def test_all_intervals_cover_the_truth_about_as_often_as_they_say(tmp_path: Path) -> None:
    covered = 0
    for seed in range(40):
        found = card_of(tmp_path / str(seed), users_table(120, 1_000 + seed, effect=0.3)).effect("y", "b").effect
        assert found.low is not None and found.high is not None
        covered += found.low <= 0.3 <= found.high
    assert covered >= 33  # 95 % of 40, less three standard errors and a bit
