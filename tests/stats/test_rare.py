"""Rare events: published digits, exact coverage by enumeration of the binomial, and peeking after every unit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize, special
from scipy import stats as sps

from jurat.stats.interval import proportion, zero_failure_bound
from jurat.stats.rare import anytime_proportion, beta_bound, failure_plan
from jurat.stats.result import Interval


def test_case_01_no_event_in_ten_thousand() -> None:
    assert proportion(0, 10_000, method="clopper-pearson", side="upper").high == pytest.approx(
        2.9952835978e-4, rel=1e-8
    )
    assert proportion(0, 10_000, method="clopper-pearson").high == pytest.approx(3.6881991462e-4, rel=1e-8)
    assert proportion(0, 10_000).high == pytest.approx(3.8399837068e-4, rel=1e-8)
    assert proportion(0, 10_000, method="jeffreys", side="upper").high == pytest.approx(1.9204969529e-4, rel=1e-8)
    assert beta_bound(0, 10_000, side="upper").high == pytest.approx(2.9949841442e-4, rel=1e-8)
    assert beta_bound(0, 10_000, prior=(0.5, 0.5), side="upper").high == pytest.approx(1.9204969529e-4, rel=1e-8)
    assert zero_failure_bound(10_000, method="poisson").high == pytest.approx(2.9957322736e-4, rel=1e-8)


def test_case_02_three_events_in_ten_thousand() -> None:
    exact = proportion(3, 10_000, method="clopper-pearson")
    assert (exact.low, exact.high) == pytest.approx((6.1871485748e-5, 8.7647452251e-4), rel=1e-8)
    assert proportion(3, 10_000, method="clopper-pearson", side="upper").high == pytest.approx(
        7.7518137901e-4, rel=1e-8
    )
    assert beta_bound(3, 10_000, side="upper").high == pytest.approx(7.7510388705e-4, rel=1e-8)
    assert beta_bound(3, 10_000, prior=(0.5, 0.5), side="upper").high == pytest.approx(7.0319760214e-4, rel=1e-8)


@pytest.mark.parametrize(
    ("bound", "expected"), [(1e-4, [29_956, 47_437, 62_956, 77_535]), (1e-3, [2_995, 4_742, 6_294, 7_752])]
)
def test_case_03_units_for_none_to_three_failures(bound: float, expected: list[int]) -> None:
    assert [failure_plan(bound, c).n for c in range(4)] == expected


@pytest.mark.parametrize(
    ("n", "prior", "expected"),
    [
        (10_000, (0.5, 0.5), 8.1699406871e-4),
        (10_000, (1.0, 1.0), 1.2198726138e-3),
        (1_000, (0.5, 0.5), 6.9975025214e-3),
    ],
)
def test_case_04_the_anytime_bound_of_no_event(n: int, prior: tuple[float, float], expected: float) -> None:
    assert anytime_proportion(0, n, prior=prior, side="upper").high == pytest.approx(expected, rel=1e-8)
    assert anytime_proportion(0, n, prior=prior).high == pytest.approx(expected, rel=1e-8)


def test_case_05_the_anytime_interval_of_three_events() -> None:
    found = anytime_proportion(3, 10_000)
    # The reference's lower bound is 2e-8 too small: the next test recomputes it from a sum of logarithms.
    assert found.low == pytest.approx(8.3156595749e-6, rel=3e-8)
    assert found.high == pytest.approx(1.5820331436e-3, rel=1e-8)


def test_the_anytime_interval_equals_a_computation_without_beta_functions() -> None:
    successes, n = 3, 10_000
    terms = [math.log(0.5 + i) for i in range(successes)] + [math.log(0.5 + i) for i in range(n - successes)]
    mixture = math.fsum(terms + [-math.log(1.0 + i) for i in range(n)])

    def excess(log_p: float) -> float:
        likelihood = successes * log_p + (n - successes) * math.log1p(-math.exp(log_p))
        return likelihood - mixture - math.log(0.05)

    peak = math.log(successes / n)
    low, high = optimize.brentq(excess, -20, peak, xtol=1e-14), optimize.brentq(excess, peak, -3, xtol=1e-14)
    found = anytime_proportion(successes, n)
    assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)), rel=1e-10)


@pytest.mark.parametrize(("successes", "n", "prior"), [(2, 9, (0.5, 0.5)), (0, 30, (1.0, 1.0)), (7, 12, (2.0, 5.0))])
def test_the_anytime_interval_ends_where_an_integrated_mixture_says(
    successes: int, n: int, prior: tuple[float, float]
) -> None:
    def mixed(u: float) -> float:
        # Integrated over the quantile of the prior, which has no singular ends.
        p = float(special.betaincinv(*prior, u))
        return p**successes * (1 - p) ** (n - successes)

    mixture = integrate.quad(mixed, 0, 1, epsabs=0, epsrel=1e-10, limit=200)[0]
    found = anytime_proportion(successes, n, prior=prior, level=0.9)
    for bound in (found.low, found.high):
        assert bound is not None
        if 0 < bound < 1:
            assert mixture / (bound**successes * (1 - bound) ** (n - successes)) == pytest.approx(10.0, rel=1e-6)


def _exact_coverage(bound_of: object, n: int, p: float) -> float:
    """Coverage of an upper bound at ``p``, by the first count whose bound reaches it."""
    assert callable(bound_of)
    for k in range(n + 1):
        found = bound_of(k, n)
        assert isinstance(found, Interval) and found.high is not None
        if found.high >= p:
            return float(sps.binom.sf(k - 1, n, p))
    return 0.0


@pytest.mark.parametrize("n", [1_000, 10_000, 29_955, 29_956, 100_000, 470_000])
def test_the_exact_and_the_anytime_bound_cover_one_in_ten_thousand_at_every_size(n: int) -> None:
    exact = _exact_coverage(lambda k, m: proportion(k, m, method="clopper-pearson", side="upper"), n, 1e-4)
    anytime = _exact_coverage(lambda k, m: anytime_proportion(k, m, side="upper"), n, 1e-4)
    assert exact >= 0.95
    assert anytime >= exact


def test_jeffreys_covers_on_average_but_not_everywhere() -> None:
    sizes = np.unique(np.geomspace(20_000, 2_000_000, 60).astype(int))
    coverage = [
        _exact_coverage(lambda k, m: proportion(k, m, method="jeffreys", side="upper"), int(n), 1e-4) for n in sizes
    ]
    assert np.mean(coverage) == pytest.approx(0.95, abs=0.01)
    assert 0.80 < min(coverage) < 0.94


def _misses_under_peeking(p: float, n: int, level: float) -> tuple[float, float]:
    """Share of 1,000 runs whose interval misses ``p`` at any look: fixed-size exact, and anytime."""
    rng = np.random.default_rng(20)
    runs = rng.random((1_000, n)) < p
    counts, looks = np.cumsum(runs, axis=1), np.arange(1, n + 1)
    alpha = 1 - level
    lower_tail, upper_tail = sps.binom.cdf(counts, looks, p), sps.binom.sf(counts - 1, looks, p)
    fixed = np.minimum(lower_tail, upper_tail) < alpha / 2
    mixture = special.betaln(counts + 0.5, looks - counts + 0.5) - special.betaln(0.5, 0.5)
    ratio = mixture - special.xlogy(counts, p) - special.xlog1py(looks - counts, -p)
    anytime = ratio > -math.log(alpha)
    return float(fixed.any(axis=1).mean()), float(anytime.any(axis=1).mean())


@pytest.mark.parametrize("p", [0.02, 0.3])
def test_peeking_after_every_unit_breaks_the_fixed_interval_but_not_the_anytime_one(p: float) -> None:
    fixed, anytime = _misses_under_peeking(p, 1_500, 0.95)
    assert anytime <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1_000)
    assert fixed > 0.10


@pytest.mark.slow
def test_peeking_at_one_in_ten_thousand_keeps_the_error_of_the_anytime_interval() -> None:
    # Between events the interval only moves downwards: its upper end matters just before an event, its lower end at one.
    rng = np.random.default_rng(4)
    p, horizon, runs, misses = 1e-4, 300_000, 2_000, 0
    for _ in range(runs):
        times = np.cumsum(rng.geometric(p, 80))
        times = times[times <= horizon]
        at = [(k + 1, int(t)) for k, t in enumerate(times)]
        before = [(k, int(t) - 1) for k, t in enumerate([*times, horizon + 1]) if t > 1]
        low_fails = any((anytime_proportion(k, t).low or 0.0) > p for k, t in at)
        high_fails = any((anytime_proportion(k, t).high or 1.0) < p for k, t in before)
        misses += low_fails or high_fails
    assert misses / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)


def test_the_simulated_rule_is_the_interval_that_is_published() -> None:
    for k, n in ((0, 40), (3, 200), (55, 150)):
        found = anytime_proportion(k, n)
        for p in (0.001, 0.02, 0.1, 0.3, 0.6):
            ratio = special.betaln(k + 0.5, n - k + 0.5) - special.betaln(0.5, 0.5)
            ratio -= special.xlogy(k, p) + special.xlog1py(n - k, -p)
            assert found.low is not None and found.high is not None
            assert (found.low <= p <= found.high) == (ratio <= math.log(20))


@given(
    n=st.integers(1, 10**9),
    share=st.floats(0, 1),
    level=st.sampled_from([0.5, 0.95, 1 - 1e-9]),
    prior=st.sampled_from([(0.5, 0.5), (1.0, 1.0), (0.5, 500.0)]),
)
def test_the_anytime_interval_holds_its_share_and_is_wider_than_the_exact_one(
    n: int, share: float, level: float, prior: tuple[float, float]
) -> None:
    k = round(share * n)
    found = anytime_proportion(k, n, level=level, prior=prior)
    assert found.low is not None and found.high is not None
    assert 0 <= found.low <= k / n <= found.high <= 1
    mirrored = anytime_proportion(n - k, n, level=level, prior=(prior[1], prior[0]))
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low), rel=1e-6, abs=1e-12)


def test_effective_counts_need_not_be_whole() -> None:
    between = anytime_proportion(2.5, 900.5)
    below, above = anytime_proportion(2, 900), anytime_proportion(3, 901)
    assert between.n == 900
    for name in ("low", "high"):
        assert getattr(below, name) < getattr(between, name) < getattr(above, name)


@given(
    bound=st.floats(1e-4, 0.9),
    failures=st.integers(0, 40),
    level=st.sampled_from([0.8, 0.95, 0.999]),
)
def test_a_plan_is_the_smallest_whose_exact_bound_does_not_exceed_the_rate(
    bound: float, failures: int, level: float
) -> None:
    plan = failure_plan(bound, failures, level=level)
    assert plan.n is not None and plan.exact is not None
    assert plan.n == math.ceil(plan.exact)
    assert sps.binom.cdf(failures, plan.n, bound) <= (1 - level) * (1 + 1e-9)
    if plan.n > failures + 1:
        assert sps.binom.cdf(failures, plan.n - 1, bound) > (1 - level) * (1 - 1e-9)


def test_a_plan_with_power_allows_the_fewest_failures_that_have_it() -> None:
    plan = failure_plan(1e-3, 0, power=0.9, true_rate=2e-4)
    powers = []
    for c in range(6):
        n = failure_plan(1e-3, c).n
        assert n is not None
        powers.append(float(sps.binom.cdf(c, n, 2e-4)))
    fewest = next(c for c, power in enumerate(powers) if power >= 0.9)
    assert plan.n == failure_plan(1e-3, fewest).n
    assert f"{fewest} failures allowed" in plan.formula
    assert f"{powers[fewest]:.3f}" in plan.formula
    assert failure_plan(1e-3, 5, power=0.5, true_rate=2e-4).n == failure_plan(1e-3, 5).n


def test_plans_that_no_one_could_run_give_the_reason() -> None:
    hopeless = failure_plan(1e-3, 0, power=0.9, true_rate=9.999e-4)
    assert hopeless.n is None and "next to the bound" in (hopeless.reason or "")
    assert failure_plan(1e-13, 0).n is None
    assert "units would be needed" in (failure_plan(1e-13, 3).reason or "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bound": 0.0, "failures": 0}, "bound must lie"),
        ({"bound": 1e-3, "failures": -1}, "whole number"),
        ({"bound": 1e-3, "failures": 1.5}, "whole number"),
        ({"bound": 1e-3, "failures": 0, "true_rate": 1.0}, "true rate must lie"),
        ({"bound": 1e-3, "failures": 0, "power": 0.8}, "power needs a true rate"),
        ({"bound": 1e-3, "failures": 0, "power": 0.8, "true_rate": 1e-3}, "power needs a true rate"),
        ({"bound": 1e-3, "failures": 0, "power": 1.0, "true_rate": 1e-4}, "power must lie"),
        ({"bound": 1e-3, "failures": 0, "level": 1.0}, "level must lie"),
    ],
)
def test_impossible_plans_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        failure_plan(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("estimator", [anytime_proportion, beta_bound])
def test_impossible_counts_and_priors_are_refused_and_no_units_are_told(estimator: object) -> None:
    assert callable(estimator)
    empty = estimator(0, 0)
    assert (empty.value, empty.low, empty.high) == (None, None, None)
    assert empty.reason == "there are no units"
    with pytest.raises(ValueError, match="need counts"):
        estimator(3, 2)
    with pytest.raises(ValueError, match="need counts"):
        estimator(0, math.inf)
    with pytest.raises(ValueError, match="prior must be positive"):
        estimator(1, 2, prior=(0.0, 1.0))
    with pytest.raises(ValueError, match="side must be"):
        estimator(1, 2, side="left")


@pytest.mark.parametrize(("k", "n"), [(0, 12), (4, 12), (12, 12)])
@pytest.mark.parametrize("prior", [(1.0, 1.0), (0.5, 0.5), (2.0, 8.0)])
def test_the_beta_bound_is_the_quantile_of_the_posterior(k: int, n: int, prior: tuple[float, float]) -> None:
    found = beta_bound(k, n, prior=prior, level=0.9)
    low, high = sps.beta(prior[0] + k, prior[1] + n - k).interval(0.9)
    assert found.low == pytest.approx(0.0 if k == 0 else low, rel=1e-9)
    assert found.high == pytest.approx(1.0 if k == n else high, rel=1e-9)
