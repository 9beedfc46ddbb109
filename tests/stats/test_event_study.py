"""Event studies against two-way fixed effects, brute force over cohorts, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm

from jurat.stats.difference import difference_of_means
from jurat.stats.event_study import event_study


def _panel(rng: np.random.Generator, units: int = 30, times: int = 6, first: float = 3.0, effect: float = 0.0):
    unit, time = np.repeat(np.arange(units), times), np.tile(np.arange(times), units)
    adoption = np.where(unit < units // 3, first, math.inf)
    y = rng.normal(size=units)[unit] + 0.3 * time + effect * (time >= adoption) + rng.normal(size=units * times)
    return y, unit, time, adoption


def test_with_one_adoption_time_it_is_two_way_fixed_effects() -> None:
    y, unit, time, adoption = _panel(np.random.default_rng(1), effect=2.0)
    found = event_study(y, unit, time, adoption)
    relative = np.where(np.isinf(adoption), -1, time - np.where(np.isinf(adoption), 0, adoption))
    ks = [k for k in range(-3, 3) if k != -1]
    leads = np.column_stack([(relative == k) * np.isfinite(adoption) for k in ks]).astype(float)
    design = np.column_stack([unit[:, None] == np.arange(30), time[:, None] == np.arange(1, 6), leads]).astype(float)
    known = sm.OLS(y, design).fit()
    path = {e.event_time: e.effect for e in found.path}
    assert sorted(path) == [-3, -2, -1, 0, 1, 2]
    assert [path[k].value for k in ks] == pytest.approx(known.params[-5:], rel=1e-9)
    assert found.average.value == pytest.approx(np.mean([path[k].value for k in (0, 1, 2)]))


def test_each_effect_is_welchs_difference_of_changes_from_the_base_period() -> None:
    y, unit, time, adoption = _panel(np.random.default_rng(2), effect=1.0)
    wide, treated = y.reshape(30, 6), np.arange(30) < 10
    for base in (-1, -3):
        found = event_study(y, unit, time, adoption, base_period=base)
        for entry in found.path:
            if entry.event_time == base:
                assert entry.effect.value == 0.0 and entry.effect.low is None
                continue
            change = wide[:, 3 + entry.event_time] - wide[:, 3 + base]
            welch = difference_of_means(change[treated], change[~treated])
            assert (entry.effect.value, entry.effect.se, entry.effect.df) == pytest.approx(
                (welch.value, welch.se, welch.df), rel=1e-9
            )


def test_staggered_cohorts_are_averaged_by_their_units_and_compared_with_the_never_treated_only() -> None:
    rng = np.random.default_rng(3)
    unit, time = np.repeat(np.arange(40), 8), np.tile(np.arange(8), 40)
    start = np.where(np.arange(40) < 6, 3.0, np.where(np.arange(40) < 16, 5.0, math.inf))
    # Effects grow with time and differ by cohort, which biases plain two-way fixed effects.
    adoption = start[unit]
    size = np.where(adoption == 3, 4.0, 1.0) * np.maximum(time - np.where(np.isinf(adoption), 99, adoption) + 1, 0)
    y = unit * 0.2 + time * 0.5 + size + rng.normal(0, 0.1, 320)
    shuffled = rng.permutation(320)
    found = event_study(y[shuffled], unit[shuffled], time[shuffled], adoption[shuffled])
    wide = y.reshape(40, 8)
    for entry in found.path:
        k = entry.event_time
        sums, count = 0.0, 0
        for g in (3, 5):
            if 0 <= g + k < 8 and k != -1:
                change = wide[:, g + k] - wide[:, g - 1]
                own = start == g
                sums += own.sum() * (change[own].mean() - change[np.isinf(start)].mean())
                count += own.sum()
        if k != -1:
            assert entry.effect.value == pytest.approx(sums / count, rel=1e-9)
            assert entry.effect.n == count
    assert found.cohorts == ((3, 6), (5, 10)) and found.never_treated == 24
    assert found.pre_trend.p_value > 0.001


def test_standard_errors_of_staggered_effects_match_a_simulation() -> None:
    start = np.where(np.arange(30) < 6, 2.0, np.where(np.arange(30) < 14, 4.0, math.inf))
    unit, time = np.repeat(np.arange(30), 6), np.tile(np.arange(6), 30)
    values, errors, hits = [], [], 0
    for seed in range(250):
        rng = np.random.default_rng(seed)
        y = np.cumsum(rng.normal(size=(30, 6)), axis=1).ravel()
        average = event_study(y, unit, time, start[unit]).average
        values.append(average.value)
        errors.append(average.se)
        hits += average.low <= 0 <= average.high
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.12)
    assert 0.91 <= hits / 250 <= 0.985


def test_the_joint_test_keeps_its_level_with_few_treated_units_and_sees_a_trend() -> None:
    rejected = seen = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        y, unit, time, adoption = _panel(rng, units=24, times=7, first=5.0)
        rejected += event_study(y, unit, time, adoption).pre_trend.p_value < 0.05
        drift = y + 1.5 * time * np.isfinite(adoption)
        seen += event_study(drift, unit, time, adoption).pre_trend.p_value < 0.05
    assert 0.015 <= rejected / 300 <= 0.085
    assert seen / 300 > 0.8


def test_what_cannot_be_tested_says_why() -> None:
    rng = np.random.default_rng(4)
    y, unit, time, adoption = _panel(rng, units=9, times=6, first=1.0)
    assert "no period before" in event_study(y, unit, time, adoption).pre_trend_reason
    few = event_study(*_panel(rng, units=6, times=12, first=10.0))
    assert few.pre_trend is None and ("too many" in few.pre_trend_reason or "tell apart" in few.pre_trend_reason)
    y, unit, time, adoption = _panel(rng, units=5, times=6)
    alone = event_study(y, unit, time, adoption)
    assert alone.average.low is None and "one unit" in alone.average.reason
    assert alone.pre_trend is None and "one unit" in alone.pre_trend_reason
    still = event_study(np.zeros(54), *_panel(rng, units=9)[1:])
    assert still.average.low is None and "alike" in still.average.reason


def test_adoption_after_the_last_period_counts_as_never() -> None:
    y, unit, time, adoption = _panel(np.random.default_rng(5))
    late = np.where(np.isinf(adoption) & (unit % 2 == 0), 99.0, adoption)
    assert event_study(y, unit, time, late) == event_study(y, unit, time, adoption)


def _without(values: list, row: int) -> list:
    return [np.delete(v, row) for v in values]


def test_impossible_panels_are_named() -> None:
    y, unit, time, adoption = _panel(np.random.default_rng(6))
    with pytest.raises(ValueError, match="unit 0 has 0 rows at time 3"):
        event_study(*_without([y, unit, time, adoption], 3))
    with pytest.raises(ValueError, match="one length"):
        event_study(y, unit[1:], time, adoption)
    with pytest.raises(ValueError, match="whole numbers"):
        event_study(y, unit, time, np.where(np.isinf(adoption), np.nan, adoption))
    with pytest.raises(ValueError, match="whole numbers"):
        event_study(y, unit, time + 0.5, adoption)
    with pytest.raises(ValueError, match="several"):
        event_study(y, unit, time, np.where((unit == 2) & (time > 2), 4.0, adoption))
    with pytest.raises(ValueError, match="never treated, got 30 and 0"):
        event_study(y, unit, time, np.full(180, 3.0))
    with pytest.raises(ValueError, match="adopts at 0 was not seen"):
        event_study(y, unit, time, np.where(unit == 0, 0.0, adoption))
    with pytest.raises(ValueError, match="base_period"):
        event_study(y, unit, time, adoption, base_period=0)
    with pytest.raises(ValueError, match="vector"):
        event_study(y[:, None], unit, time, adoption)
    with pytest.raises(ValueError, match="row 7"):
        event_study(np.where(np.arange(180) == 7, np.nan, y), unit, time, adoption)
