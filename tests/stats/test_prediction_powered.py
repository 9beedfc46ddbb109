"""Prediction-powered intervals against ppi-python, full enumeration of audits, and their own coverage."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats as sps

from jurat.stats.interval import clustered_proportion
from jurat.stats.mean import clustered_mean, mean
from jurat.stats.prediction_powered import (
    PredictionPowered,
    prediction_powered_difference,
    prediction_powered_mean,
    stratified_prediction_powered_mean,
)

Floats = npt.NDArray[np.float64]


def _numbers(rng: np.random.Generator, n: int, total: int) -> tuple[Floats, Floats, Floats]:
    y = rng.normal(1.0, 1.0, n)
    return y, y + 0.6 * rng.normal(size=n), rng.normal(1.0, math.sqrt(1.36), total)


def _judged(rng: np.random.Generator, share: float, accuracy: float, n: int) -> tuple[Floats, Floats]:
    truth = rng.random(n) < share
    return truth.astype(float), np.where(rng.random(n) < accuracy, truth, ~truth).astype(float)


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_a_given_weight_has_the_estimate_and_standard_error_of_ppi_python(weight: float) -> None:
    ppi = pytest.importorskip("ppi_py")
    y, f, others = _numbers(np.random.default_rng(1), 300, 300)
    found = prediction_powered_mean(y, f, others, power_tuning=weight).interval
    low, high = (float(np.squeeze(b)) for b in ppi.ppi_mean_ci(y, f, others, alpha=0.05, lam=weight))
    assert found.value == pytest.approx((low + high) / 2, rel=1e-12)
    # ppi-python divides by n, not n − 1, and takes normal quantiles; with n = N both are one factor.
    theirs = (high - low) / 2 / sps.norm.isf(0.025) * math.sqrt(300 / 299)
    assert found.se == pytest.approx(theirs, rel=1e-12)
    assert found.high == pytest.approx(found.value + sps.t.isf(0.025, 299) * theirs, rel=1e-12)


@pytest.mark.parametrize(("n", "total"), [(200, 200), (500, 50_000)])
def test_the_estimated_weight_is_that_of_ppi_python(n: int, total: int) -> None:
    ppi = pytest.importorskip("ppi_py")
    y, f, others = _numbers(np.random.default_rng(2), n, total)
    found = prediction_powered_mean(y, f, others)
    low, high = (float(np.squeeze(b)) for b in ppi.ppi_mean_ci(y, f, others, alpha=0.05))
    assert 0.3 < found.power_tuning < 1.0
    # They centre the covariance differently by one part in n.
    assert found.interval.value == pytest.approx((low + high) / 2, abs=2 / n * float(np.std(y)) / math.sqrt(n))
    assert found.interval.se == pytest.approx((high - low) / 2 / sps.norm.isf(0.025), rel=1.5 / n)


def test_the_weight_makes_the_standard_error_nearly_least() -> None:
    # The silver spread comes from all units , as in PPI++, not from the audited ones alone.
    y, f, others = _numbers(np.random.default_rng(3), 400, 4_000)
    best = prediction_powered_mean(y, f, others)
    tried = [prediction_powered_mean(y, f, others, power_tuning=w).interval.se for w in np.linspace(0, 1, 101)]
    assert best.interval.se is not None
    assert best.interval.se <= min(t for t in tried if t is not None) * (1 + 1e-2)


def test_silver_that_says_nothing_or_the_opposite_gets_no_weight() -> None:
    y, f, others = _numbers(np.random.default_rng(4), 100, 1_000)
    for silver, rest in ((-f, -others), (np.full(100, 3.0), np.full(1_000, 3.0))):
        found = prediction_powered_mean(y, silver, rest)
        assert found.power_tuning == 0.0
        assert found.interval.value == pytest.approx(mean(y).value)
        assert found.interval.low == pytest.approx(mean(y).low)


def test_the_gold_only_interval_beside_it_is_that_of_the_gold_alone() -> None:
    y, f, others = _numbers(np.random.default_rng(5), 80, 800)
    found = prediction_powered_mean(y, f, others)
    assert (found.gold_only.low, found.gold_only.high) == pytest.approx((mean(y).low, mean(y).high))
    assert (found.n_gold, found.n_silver) == (80, 800)
    assert found.width_ratio is not None and found.width_ratio < 0.9


def test_over_all_possible_audits_the_finite_population_variance_is_exact() -> None:
    rng = np.random.default_rng(6)
    y, n = rng.normal(size=9), 4
    f = y + rng.normal(size=9)
    audits = [list(c) for c in itertools.combinations(range(9), n)]
    found = [prediction_powered_mean(y[a], f[a], f, finite_population=True, power_tuning=0.7).interval for a in audits]
    values = np.array([i.value for i in found])
    squares = np.array([i.se for i in found]) ** 2
    # Cochran (1977), theorems 2.1, 2.2 and 2.4: unbiased, and so is the estimate of its variance.
    assert values.mean() == pytest.approx(y.mean(), rel=1e-12)
    assert squares.mean() == pytest.approx(values.var(), rel=1e-12)


def test_auditing_every_unit_leaves_no_doubt() -> None:
    rng = np.random.default_rng(7)
    for y, f in (_judged(rng, 0.3, 0.8, 60), _judged(rng, 0.3, 1.0, 60), _numbers(rng, 60, 1)[:2]):
        found = prediction_powered_mean(y, f, f, finite_population=True).interval
        assert (found.low, found.value, found.high) == pytest.approx((y.mean(),) * 3)


@pytest.mark.parametrize("finite", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("clustered", [False, True])
def test_perfect_agreement_never_gives_a_width_of_zero(finite: bool, share: float, clustered: bool) -> None:
    rng = np.random.default_rng(8)
    silver = (rng.random(500) < share).astype(float)
    cluster = np.arange(50) // 5 if clustered else None
    found = prediction_powered_mean(
        silver[:50], silver[:50], silver if finite else silver[50:], cluster=cluster, finite_population=finite
    )
    for interval in (found.interval, found.gold_only):
        assert interval.low is not None and interval.high is not None
        assert interval.high - interval.low > 0.02
        assert 0.0 <= interval.low <= interval.high <= 1.0


def test_residuals_that_are_all_alike_are_no_evidence_of_their_spread() -> None:
    y, rest = np.random.default_rng(9).normal(size=30), np.random.default_rng(10).normal(size=300)
    found = prediction_powered_mean(y, y + 0.5, rest, power_tuning=1.0).interval
    assert found.value is not None and (found.low, found.high) == (None, None)
    assert "alike" in (found.reason or "")


def test_clusters_widen_the_interval_and_the_gold_only_one() -> None:
    rng = np.random.default_rng(11)
    cluster = np.repeat(np.arange(30), 8)
    shared = rng.normal(size=30)[cluster]
    y = shared + 0.3 * rng.normal(size=240)
    f = 0.5 * y + rng.normal(size=30)[cluster]
    others = rng.normal(size=5_000)
    plain, clustered = (prediction_powered_mean(y, f, others, cluster=c) for c in (None, cluster))
    assert clustered.interval.value == pytest.approx(plain.interval.value)
    assert clustered.interval.se > 1.5 * plain.interval.se  # type: ignore[operator]
    assert clustered.gold_only == clustered_mean(y, cluster)
    assert clustered.interval.n_clusters == 30


def test_few_disagreements_in_clusters_are_priced_by_their_design_effect() -> None:
    gold = np.zeros(200)
    silver = np.zeros(200)
    silver[:4] = 1.0  # four false alarms, all in the first cluster
    cluster = np.repeat(np.arange(50), 4)
    others = (np.random.default_rng(12).random(2_000) < 0.02).astype(float)
    spread = prediction_powered_mean(gold, silver, others).interval
    together = prediction_powered_mean(gold, silver, others, cluster=cluster)
    widths = [i.high - i.low for i in (spread, together.interval)]  # type: ignore[operator]
    assert widths[1] > 1.4 * widths[0]
    assert together.gold_only == clustered_proportion(np.zeros(50), np.full(50, 4.0))


def test_one_stratum_is_the_plain_estimate_and_many_are_their_weighted_sum() -> None:
    rng = np.random.default_rng(13)
    strata = [_numbers(rng, 40, 400) for _ in range(3)]
    plain = [prediction_powered_mean(*s) for s in strata]
    alone = stratified_prediction_powered_mean(strata[:1], [1.0]).interval
    assert (alone.value, alone.low, alone.high) == pytest.approx(
        (plain[0].interval.value, plain[0].interval.low, plain[0].interval.high)
    )
    weights = [0.2, 0.3, 0.5]
    found = stratified_prediction_powered_mean(strata, weights)
    assert found.interval.value == pytest.approx(
        sum(w * p.interval.value for w, p in zip(weights, plain, strict=True))  # type: ignore[operator]
    )
    half = math.sqrt(
        sum((w * (p.interval.high - p.interval.value)) ** 2 for w, p in zip(weights, plain, strict=True))  # type: ignore[operator]
    )
    assert found.interval.high - found.interval.value == pytest.approx(half)  # type: ignore[operator]
    assert (found.n_gold, found.n_silver) == (120, 1_200)


@pytest.mark.parametrize("paired", [False, True])
def test_a_difference_changes_its_sign_with_the_order(paired: bool) -> None:
    rng = np.random.default_rng(14)
    one, two = _numbers(rng, 50, 500), _numbers(rng, 50, 500)
    ahead = prediction_powered_difference(one, two, paired=paired).interval
    back = prediction_powered_difference(two, one, paired=paired).interval
    assert (ahead.value, ahead.low, ahead.high) == pytest.approx((-back.value, -back.high, -back.low))  # type: ignore[operator]


def test_pairing_pays_where_the_arms_err_together() -> None:
    rng = np.random.default_rng(15)
    hard, rest = rng.normal(size=100), rng.normal(size=1_000)
    one = (hard + 0.1 * rng.normal(size=100), hard, rest)
    two = (hard + 0.1 * rng.normal(size=100), 0.2 * hard, 0.2 * rest)
    widths = [
        (i.high - i.low)  # type: ignore[operator]
        for i in (prediction_powered_difference(one, two, paired=p).interval for p in (True, False))
    ]
    assert widths[0] < widths[1]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([1.0], [1.0], [1.0]), "two or more units"),
        (([1.0, 0.0], [1.0], [1.0]), "same two or more"),
        (([1.0, math.nan], [1.0, 0.0], [1.0]), "finite"),
        (([1.0, 0.0], [1.0, 0.0], []), "silver labels of all units"),
    ],
)
def test_labels_that_do_not_fit_are_refused(arguments: tuple[list[float], ...], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        prediction_powered_mean(*arguments)


def test_an_audit_larger_than_its_population_and_stray_clusters_or_weights_are_refused() -> None:
    y = [1.0, 0.0, 1.0]
    with pytest.raises(ValueError, match="silver labels of all units"):
        prediction_powered_mean(y, y, [1.0, 0.0], finite_population=True)
    with pytest.raises(ValueError, match="cluster for each audited"):
        prediction_powered_mean(y, y, y, cluster=[0, 1])
    with pytest.raises(ValueError, match="one weight a stratum"):
        stratified_prediction_powered_mean([(y, y, y)], [0.9])
    with pytest.raises(ValueError, match="same units"):
        prediction_powered_difference((y, y, y), (y[:2], y[:2], y), paired=True)


def _covers(found: PredictionPowered, truth: float) -> bool:
    i = found.interval
    return (i.low is None or i.low - 1e-12 <= truth) and (i.high is None or truth <= i.high + 1e-12)


def _share_covered(trial: Callable[[np.random.Generator], bool], runs: int, seed: int) -> int:
    rng = np.random.default_rng(seed)
    return sum(trial(rng) for _ in range(runs))


def _superpopulation(n: int, share: float, accuracy: float) -> Callable[[np.random.Generator], bool]:
    def trial(rng: np.random.Generator) -> bool:
        y, f = _judged(rng, share, accuracy, n + 2_000)
        return _covers(prediction_powered_mean(y[:n], f[:n], f[n:]), share)

    return trial


def _finite(n: int, share: float, accuracy: float) -> Callable[[np.random.Generator], bool]:
    def trial(rng: np.random.Generator) -> bool:
        y, f = _judged(rng, share, accuracy, 450)
        a = rng.choice(450, n, replace=False)
        return _covers(prediction_powered_mean(y[a], f[a], f, finite_population=True), float(y.mean()))

    return trial


def _clustered(clusters: int) -> Callable[[np.random.Generator], bool]:
    def trial(rng: np.random.Generator) -> bool:
        code = np.repeat(np.arange(clusters), 5)
        y = 0.7 * rng.normal(size=clusters)[code] + rng.normal(size=len(code))
        f = y + 0.7 * rng.normal(size=clusters)[code]
        others = math.sqrt(0.49 + 1 + 0.49) * rng.normal(size=20_000)
        return _covers(prediction_powered_mean(y, f, others, cluster=code), 0.0)

    return trial


def _paired(n: int) -> Callable[[np.random.Generator], bool]:
    def trial(rng: np.random.Generator) -> bool:
        total = n + 1_500
        one, judged_one = _judged(rng, 0.30, 0.9, total)
        two, judged_two = _judged(rng, 0.22, 0.9, total)
        first, second = ((y[:n], f[:n], f[n:]) for y, f in ((one, judged_one), (two, judged_two)))
        return _covers(prediction_powered_difference(first, second, paired=True), 0.08)

    return trial


SCENES = {
    "50 of many, three in ten": _superpopulation(50, 0.3, 0.9),
    "100 of many, three in ten": _superpopulation(100, 0.3, 0.9),
    "200 of many, three in ten": _superpopulation(200, 0.3, 0.9),
    "50 of many, three in a hundred, good silver": _superpopulation(50, 0.03, 0.97),
    "200 of many, three in a hundred": _superpopulation(200, 0.03, 0.9),
    "50 of 450": _finite(50, 0.3, 0.9),
    "100 of 450, nearly all yes": _finite(100, 0.97, 0.97),
    "200 of 450": _finite(200, 0.3, 0.85),
    "25 clusters of five": _clustered(25),
    "60 clusters of five": _clustered(60),
    "50 pairs": _paired(50),
    "200 pairs": _paired(200),
}


@pytest.mark.parametrize("scene", SCENES)
def test_the_interval_covers_as_promised(scene: str) -> None:
    runs = 300
    # Half a point is conceded to weights and t quantiles that are estimated from the same audit.
    assert _share_covered(SCENES[scene], runs, seed=41) >= sps.binom.ppf(1e-3, runs, 0.94)


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
def test_the_interval_covers_as_promised_in_many_runs(scene: str) -> None:
    runs = 4_000
    assert _share_covered(SCENES[scene], runs, seed=42) >= sps.binom.ppf(1e-3, runs, 0.94)
