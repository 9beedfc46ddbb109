"""Reference results of the research that span several modules: sample sizes, clustered regression, ratios, multiplicity."""

from __future__ import annotations

import csv
import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats as sps

from jurat.stats.compare import mcnemar
from jurat.stats.mean import cluster_robust_ols
from jurat.stats.moments import Moments, MomentTable, adjusted_difference, functional_interval, ratio_of
from jurat.stats.multiplicity import benjamini_hochberg, benjamini_yekutieli, holm
from jurat.stats.power import non_inferiority_size, two_proportions_size
from jurat.stats.quantile import order_statistic_ranks
from jurat.stats.wild import wild_cluster_test
from tests.conftest import data_folder

Floats = npt.NDArray[np.float64]


def test_case_11_sizes_of_52_against_53_per_cent() -> None:
    sizes = {f: two_proportions_size(0.52, 0.53, formula=f).exact for f in ("pooled", "unpooled", "arcsine")}  # type: ignore[arg-type]
    assert sizes["pooled"] == pytest.approx(39_145.1087176, rel=1e-8)
    assert sizes["unpooled"] == pytest.approx(39_142.3632352, rel=1e-8)
    # The published size counts a rejection on the wrong side as power; ours does not, and asks for a tenth of a unit more.
    shift = 2 * abs(math.asin(math.sqrt(0.52)) - math.asin(math.sqrt(0.53))) * math.sqrt(39_144.8737838 / 2)
    z = float(sps.norm.isf(0.025))
    assert sps.norm.sf(z - shift) + sps.norm.cdf(-z - shift) == pytest.approx(0.8, abs=1e-10)
    assert sizes["arcsine"] == pytest.approx(39_144.8737838, rel=3e-6)
    assert two_proportions_size(0.52, 0.53, power=0.9).exact == pytest.approx(52_400.5188, rel=1e-8)


def test_case_12_sizes_of_rare_events_and_the_arcsine_refused() -> None:
    assert two_proportions_size(0.001, 0.002, formula="pooled").exact == pytest.approx(23_510.1402730, rel=1e-8)
    assert two_proportions_size(0.001, 0.002).exact == pytest.approx(23_507.3948, rel=1e-8)
    with pytest.raises(ValueError, match="arcsine"):
        two_proportions_size(0.001, 0.002, formula="arcsine")


def test_case_13_size_of_a_non_inferiority_comparison() -> None:
    assert non_inferiority_size(0.02, 0.02, 0.005).exact == pytest.approx(12_307.0434235, rel=1e-8)


def test_case_16_power_shared_by_a_success_and_three_guardrails() -> None:
    assert two_proportions_size(0.52, 0.53, power=1 - 0.2 / 4).exact == pytest.approx(64_804.6188304, rel=1e-8)


def test_case_18_ranks_around_a_95th_percentile() -> None:
    ranks = order_statistic_ranks(1_000, 0.95)
    assert (ranks.low, ranks.high) == (936, 964)
    assert ranks.coverage == pytest.approx(0.9580952682, rel=1e-8)


@pytest.fixture(scope="module")
def petersen() -> tuple[Floats, Floats, Floats, Floats]:
    """Design, response, firm and year of Petersen's panel."""
    with (data_folder("experiments") / "petersen.csv").open(newline="", encoding="utf-8") as stream:
        rows = [[float(r[k]) for k in ("x", "y", "firm", "year")] for r in csv.DictReader(stream)]
    x, y, firm, year = np.array(rows).T
    return np.column_stack([np.ones(len(x)), x]), y, firm, year


def test_case_19_petersens_panel_by_firm_by_year_and_by_both(petersen: tuple[Floats, ...]) -> None:
    design, y, firm, year = petersen
    fits = [cluster_robust_ols(design, y, c) for c in (firm, year, np.arange(len(y)))]
    assert fits[0].coefficients == pytest.approx([0.0296797207, 1.0348334395], rel=1e-8)
    errors = [float(f.standard_errors[1]) for f in fits]
    # A row as its own cluster is HC1.
    assert errors == pytest.approx([0.0505957259, 0.0333889134, 0.0283951615], rel=1e-8)
    both = math.sqrt(errors[0] ** 2 + errors[1] ** 2 - errors[2] ** 2)
    assert both == pytest.approx(0.0535580229, rel=1e-6)


@pytest.mark.parametrize(
    ("null", "counted", "strict"),
    [(1.0, 0.326171875, 0.32421875), (0.95, 0.0390625, 0.037109375), (1.1, 0.0859375, 0.083984375)],
)
def test_case_20_petersens_panel_by_the_wild_bootstrap_over_years(
    petersen: tuple[Floats, ...], null: float, counted: float, strict: float
) -> None:
    design, y, _, year = petersen
    found = wild_cluster_test(design, y, year, coefficient=1, null=null)
    assert found.p_value == counted
    assert wild_cluster_test(design, y, year, coefficient=1, null=null, ties="ignore").p_value == strict
    if null == 1.0:
        assert found.statistic == pytest.approx(1.0432636436, rel=1e-8)


def test_case_21_a_ratio_of_sums_from_moments() -> None:
    sums = {"s": [3.0, 0, 5, 2, 7, 1, 4, 6], "d": [10.0, 4, 12, 9, 15, 5, 11, 14]}
    table = MomentTable(groups={"a": Moments.from_clusters(sums)}, arms=("a",))
    found = functional_interval(table, ratio_of(table, "a", "s", "d"), level=0.95, n=80, n_clusters=8, method="CR1")
    assert (found.value, found.se) == pytest.approx((0.35, 0.0401559460105), rel=1e-10)


def from_sums(n: int, sx: float, sxx: float, sy: float, syy: float, sxy: float) -> Moments:
    """Moments of single units from their sums; n counts each unit once."""
    mean = np.array([sy / n, sx / n, 1.0])
    spread = np.zeros((3, 3))
    spread[0, 0], spread[1, 1] = (syy - sy * sy / n) / (n - 1), (sxx - sx * sx / n) / (n - 1)
    spread[0, 1] = spread[1, 0] = (sxy - sx * sy / n) / (n - 1)
    return Moments(names=("y", "x", "n"), clusters=n, rows=n, mean=mean, covariance=spread)


def test_case_22_adjustment_by_a_covariate_from_sums() -> None:
    groups = {
        "c": from_sums(1_000, 5_000, 29_000, 5_100, 30_250, 28_700),
        "t": from_sums(1_000, 5_020, 29_240, 5_220, 31_600, 29_500),
    }
    table = MomentTable(groups=groups, arms=("t", "c"))
    y, x = ([ratio_of(table, arm, v, "n") for arm in "tc"] for v in "yx")
    effect, theta = adjusted_difference(table, y[0], y[1], [(x[0], x[1])])
    found, raw = (
        functional_interval(table, f, level=0.95, n=2_000, n_clusters=2_000, method="t") for f in (effect, y[0] - y[1])
    )
    assert theta[0] == pytest.approx(0.8079506443, rel=1e-8)
    assert (found.value, found.se) == pytest.approx((0.1038409871, 0.0578517296), rel=1e-8)
    assert (raw.value, raw.se) == pytest.approx((0.12, 0.0927372644), rel=1e-8)
    assert ((found.se or 0) / (raw.se or 1)) ** 2 == pytest.approx(0.3891563614, rel=1e-8)


def test_case_27_mcnemar() -> None:
    assert mcnemar(86, 150, method="chi2").statistic == pytest.approx(17.3559322034, rel=1e-8)
    assert mcnemar(86, 150, method="exact").p_value == pytest.approx(3.7159361396e-5, rel=1e-8)
    assert mcnemar(86, 150).p_value < mcnemar(86, 150, method="exact").p_value


def test_case_28_fifteen_p_values() -> None:
    p = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1,
    ]  # fmt: skip
    rejections = [int(f(p).rejected(0.05).sum()) for f in (benjamini_hochberg, benjamini_yekutieli, holm)]
    assert rejections == [4, 3, 3]
    assert sum(x * len(p) <= 0.05 for x in p) == 3
    assert benjamini_hochberg(p).adjusted[3] == pytest.approx(0.035625)


def test_normal_power_at_the_planned_size_is_what_was_asked_for() -> None:
    n = two_proportions_size(0.52, 0.53).exact
    assert n is not None
    se = math.sqrt((0.52 * 0.48 + 0.53 * 0.47) / n)
    assert sps.norm.cdf(0.01 / se - sps.norm.isf(0.025)) == pytest.approx(0.8)
