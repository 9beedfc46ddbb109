"""Monitors: the budget of false alarms is kept, shifts are found in time, and every state is reached and left as it should."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from jurat.stats.change_detection import (
    advance_evidence,
    binomial_log_ratio,
    evidence_threshold,
    mixture_evidence,
    normal_log_ratio,
    shifted_shares,
)
from jurat.telemetry.baselines import Baseline, Count, Hour, dispersion_of, expected_level, fold, levels_at
from jurat.telemetry.monitor_document import state_from_json, state_to_json
from jurat.telemetry.monitors import Acknowledge, Minute, Monitor, MonitorState, Resolve, replay, step
from tests.telemetry.detection import PROOF, SCENARIOS, summary, trial

FIXED = Monitor(
    name="m",
    metric="refusal_rate",
    kind="share",
    direction="above",
    baseline=Baseline(kind="fixed", value=0.05),
    shift=0.03,
)
ALL = ()


def minutes(counts: list[tuple[int, int]], *, first: int = 0) -> list[Minute]:
    return [
        Minute(minute=first + i, counts={ALL: Count.of_share(k, n)} if n else {}) for i, (k, n) in enumerate(counts)
    ]


def statuses(changes: object) -> list[str]:
    return [c.after for c in changes]  # type: ignore[attr-defined]


# The detector -------------------------------------------------------------------------------------------------


def test_log_ratios_equal_those_of_the_full_likelihoods() -> None:
    from scipy import stats as sps

    expected = sps.binom.logpmf(48, 600, 0.08) - sps.binom.logpmf(48, 600, 0.05)
    assert binomial_log_ratio(48, 600, 0.05, 0.08) == pytest.approx(expected)
    assert binomial_log_ratio(48, 600, 0.05, 0.08, dispersion=2.0) == pytest.approx(expected / 2)
    normal = sps.norm.logpdf(1_010, 1_005, 10) - sps.norm.logpdf(1_010, 1_000, 10)
    assert normal_log_ratio(1_010.0, 100, 10.0, 0.05, 1.0) == pytest.approx(normal)


@pytest.mark.parametrize("rate", [0.02, 0.05])
def test_the_ratio_has_expectation_at_most_one_under_every_share_of_the_null(rate: float) -> None:
    from scipy import stats as sps

    k = np.arange(0, 601)
    chances = sps.binom.pmf(k, 600, rate)
    for alternative in shifted_shares(0.05, 0.05, 0.03):
        ratios = np.array([np.exp(min(binomial_log_ratio(int(x), 600, 0.05, alternative), 600)) for x in k])
        assert float(chances @ ratios) <= 1 + 1e-9


def test_evidence_is_the_sum_over_all_starts_of_the_likelihood_ratio_since() -> None:
    draw = np.random.default_rng(3)
    steps = draw.normal(-0.1, 0.4, size=(12, 4))
    evidence = (0.0,) * 4
    for row in steps:
        evidence = advance_evidence(evidence, row)
    brute = [sum(np.exp(steps[j:, c].sum()) for j in range(12)) for c in range(4)]
    assert evidence == pytest.approx(brute)
    assert mixture_evidence(evidence) == pytest.approx(np.dot([0.7, 0.15, 0.1, 0.05], brute))


def test_false_alarms_at_the_null_itself_stay_within_the_budget() -> None:
    """Null exactly true, small threshold so that alarms do occur: expected alarms <= steps / threshold."""
    draw = np.random.default_rng(8)
    threshold, steps, runs = evidence_threshold(1.0, 100), 200, 300
    alternatives = shifted_shares(0.05, 0.05, 0.03)
    alarms = 0
    for _ in range(runs):
        evidence = (0.0,) * 4
        for k in draw.binomial(60, 0.05, size=steps).tolist():
            evidence = advance_evidence(evidence, [binomial_log_ratio(k, 60, 0.05, p) for p in alternatives])
            if mixture_evidence(evidence) >= threshold:
                alarms, evidence = alarms + 1, (0.0,) * 4
    budget = runs * steps / threshold
    assert 0.1 * budget < alarms <= budget + 3 * budget**0.5


def test_the_detector_refuses_what_cannot_be() -> None:
    for wrong in (
        lambda: evidence_threshold(0.0, 10),
        lambda: shifted_shares(0.0, 0.0, 0.03),
        lambda: binomial_log_ratio(5, 4, 0.1, 0.2),
        lambda: binomial_log_ratio(1, 4, 0.1, 0.2, dispersion=0.5),
        lambda: normal_log_ratio(1.0, 0, 0.0, 1.0, 1.0),
        lambda: advance_evidence((0.0,), (0.0,), share=0.0),
        lambda: replace(FIXED, shift=0.0),
        lambda: replace(FIXED, false_alarms_per_week=2.0),
        lambda: replace(FIXED, hold_minutes=0),
        lambda: replace(FIXED, baseline=Baseline(kind="fixed", value=1.0)),
        lambda: Baseline(kind="fixed"),
        lambda: Baseline(kind="reference", hours=0),
    ):
        with pytest.raises(ValueError, match=r"need|must|has"):
            wrong()


# The baseline -------------------------------------------------------------------------------------------------


def _hours(shares: list[float], *, n: int = 600, first: int = 0) -> list[Hour]:
    hours = []
    for i, share in enumerate(shares):
        hour = Hour(first + i)
        for _ in range(60):
            hour = fold(hour, Count.of_share(round(n * share), n))
        hours.append(hour)
    return hours


def test_a_reference_window_leaves_the_gap_out_and_its_null_is_a_bound() -> None:
    hours = _hours([0.04] * 24 + [0.5])
    level = levels_at(Baseline(kind="reference"), hours, 25, share=True, dispersion=1.0)[1]
    assert level is not None
    assert level.value == pytest.approx(0.04)
    assert 0.04 < level.bound < 0.041


def test_the_same_hour_last_week_is_found_and_drawn_straight_between_hours() -> None:
    hours = _hours([0.02, 0.04, 0.08])
    levels = levels_at(Baseline(kind="same hour last week"), hours, 169, share=True, dispersion=1.0)
    assert [round(level.value, 3) for level in levels if level is not None] == [0.02, 0.04, 0.08]
    middle, quarter = expected_level(levels, 169 * 60 + 30), expected_level(levels, 169 * 60 + 45)
    assert middle is not None and middle.value == pytest.approx(0.04)
    assert quarter is not None and quarter.value == pytest.approx(0.05)


def test_where_last_week_was_an_incident_yesterday_stands_in() -> None:
    hours = [*_hours([0.02], first=0), *_hours([0.06], first=145)]
    level = levels_at(Baseline(kind="same hour last week"), hours, 169, share=True, dispersion=1.0)[1]
    assert level is not None and level.value == pytest.approx(0.06)


def test_dispersion_of_clustered_minutes_is_found() -> None:
    draw = np.random.default_rng(4)
    hours = []
    for h in range(24):
        hour = Hour(h)
        for p in draw.beta(0.05 * 199, 0.95 * 199, size=60):  # correlation 1/200
            hour = fold(hour, Count.of_share(int(draw.binomial(400, p)), 400))
        hours.append(hour)
    assert dispersion_of(hours) == pytest.approx(1 + 399 / 200, rel=0.1)


# States -------------------------------------------------------------------------------------------------------


def test_an_incident_goes_through_every_state_and_back() -> None:
    quiet, bad = [(30, 600)] * 60, [(48, 600)] * 20
    first = replay(FIXED, minutes(quiet + bad))
    assert statuses(first.changes) == ["ok", "warning", "firing"]
    fired = first.changes[-1]
    assert fired.onset == 60 and fired.minute <= 64 and fired.incident == 1
    assert fired.observed is not None and fired.observed.value == pytest.approx(0.08)
    assert fired.baseline == pytest.approx(0.05)
    seen = replay(FIXED, [Acknowledge(minute=80, slice=ALL, by="ada")], state=first.state)
    assert [(c.after, c.by) for c in seen.changes] == [("acknowledged", "ada")]
    back = replay(FIXED, minutes(quiet, first=80), state=seen.state)
    assert statuses(back.changes) == ["resolved", "ok"]
    assert back.changes[0].minute <= 86
    assert back.changes[1].minute == back.changes[0].minute + FIXED.cooldown_minutes


def test_a_second_alarm_within_the_cooldown_reopens_the_incident() -> None:
    done = replay(FIXED, minutes([(30, 600)] * 30 + [(60, 600)] * 10 + [(30, 600)] * 8 + [(60, 600)] * 8))
    fired = [c for c in done.changes if c.after == "firing"]
    assert [(c.incident, c.reopened) for c in fired] == [(1, False), (1, True)]


def test_one_good_minute_does_not_resolve_and_a_standing_alarm_is_told_again_after_the_cooldown() -> None:
    counts = [(30, 600)] * 10 + [(48, 600)] * 20 + [(30, 600)] + [(48, 600)] * 40
    done = replay(FIXED, minutes(counts))
    assert "resolved" not in statuses(done.changes)
    again = [c for c in done.changes if c.before == c.after == "firing"]
    assert again and again[0].minute - done.changes[-len(again) - 1].minute >= FIXED.cooldown_minutes


def test_a_warning_comes_before_an_alarm_of_slow_evidence_and_goes_when_it_fades() -> None:
    slow = replace(FIXED, memory_minutes=600)
    done = replay(slow, minutes([(30, 600)] * 10 + [(44, 600)] * 4 + [(30, 600)] * 20))
    assert statuses(done.changes) == ["ok", "warning", "ok"]


def test_nothing_fires_on_fewer_units_than_the_minimum() -> None:
    few = [(5, 5)] * 4
    assert "firing" in statuses(replay(replace(FIXED, minimum_n=20), minutes(few)).changes)
    assert "firing" not in statuses(replay(replace(FIXED, minimum_n=21), minutes(few)).changes)


def test_silence_is_no_data_only_where_units_should_have_come() -> None:
    busy = replay(FIXED, minutes([(30, 600)] * 30 + [(0, 0)] * 15 + [(30, 600)]))
    assert statuses(busy.changes) == ["ok", "no data", "ok"]
    assert busy.changes[1].minute == 29 + FIXED.no_data_minutes
    rare = [(0, 1) if m % 7 == 0 else (0, 0) for m in range(300)]
    assert statuses(replay(FIXED, minutes(rare + [(0, 0)] * 60)).changes) == ["ok"]


def test_silence_does_not_resolve_an_alarm() -> None:
    done = replay(FIXED, minutes([(30, 600)] * 30 + [(60, 600)] * 5 + [(0, 0)] * 120))
    assert done.state.slices[ALL].status == "firing"


def test_accepting_a_new_level_makes_it_usual() -> None:
    monitor = replace(FIXED, baseline=Baseline(kind="reference"))
    bad = replay(monitor, minutes([(30, 600)] * 300 + [(60, 600)] * 10))
    assert bad.state.slices[ALL].status == "firing"
    accepted = replay(
        monitor,
        [Resolve(minute=310, slice=ALL, by="ada", accept=True), *minutes([(60, 600)] * 400, first=310)],
        state=bad.state,
    )
    assert statuses(accepted.changes) == ["resolved", "no data", "ok"]


def test_an_alarm_of_two_days_still_knows_what_was_usual() -> None:
    monitor = replace(FIXED, baseline=Baseline(kind="reference"))
    done = replay(monitor, minutes([(30, 600)] * 300 + [(60, 600)] * 2_880 + [(30, 600)] * 20))
    assert done.state.slices[ALL].status == "resolved"


def test_below_watches_the_other_way() -> None:
    monitor = replace(FIXED, direction="below", baseline=Baseline(kind="fixed", value=0.95))
    done = replay(monitor, minutes([(570, 600)] * 30 + [(552, 600)] * 10))
    fired = done.changes[-1]
    assert fired.after == "firing" and fired.baseline == pytest.approx(0.95)
    assert fired.observed is not None and fired.observed.value == pytest.approx(0.92)
    assert statuses(replay(monitor, minutes([(570, 600)] * 30 + [(590, 600)] * 30)).changes) == ["ok"]


def _latency(draw: np.random.Generator, n: int, factor: float) -> Count:
    x = 1_800 * factor * np.exp(0.5 * draw.standard_normal(n))
    return Count(n=n, total=float(x.sum()), total_sq=float((x * x).sum()))


def test_a_latency_regression_is_found_and_skewed_minutes_cry_no_wolf() -> None:
    draw = np.random.default_rng(5)
    monitor = Monitor(
        name="l", metric="latency_ms", kind="mean", direction="above", baseline=Baseline(kind="reference"), shift=0.1,
        relative=True,
    )  # fmt: skip
    events = [Minute(minute=m, counts={ALL: _latency(draw, 120, 1.0)}) for m in range(3_000)]
    events += [Minute(minute=3_000 + m, counts={ALL: _latency(draw, 120, 1.15)}) for m in range(30)]
    done = replay(monitor, events)
    assert statuses([c for c in done.changes if c.after != "warning" and c.minute < 3_000]) == ["ok"]
    fired = [c for c in done.changes if c.after == "firing"]
    assert fired and 3_000 <= fired[0].minute <= 3_010
    assert fired[0].observed is not None and fired[0].observed.value == pytest.approx(2_040 * 1.15, rel=0.06)


def test_few_units_of_a_mean_are_pooled_first() -> None:
    monitor = Monitor(
        name="l", metric="x", kind="mean", direction="above", baseline=Baseline(kind="reference"), shift=1.0
    )
    draw = np.random.default_rng(6)

    def count(n: int) -> Count:
        x = draw.normal(10, 2, n)
        return Count(n=n, total=float(x.sum()), total_sq=float((x * x).sum()))

    done = replay(monitor, [Minute(minute=m, counts={ALL: count(4)}) for m in range(500)])
    assert done.state.slices[ALL].status == "ok"


def test_slices_share_the_budget_and_only_the_hurt_one_fires() -> None:
    monitor = replace(FIXED, by=("tier",))
    free, pro = (("tier", "free"),), (("tier", "pro"),)
    events = [
        Minute(minute=m, counts={free: Count.of_share(48 if m >= 30 else 30, 600), pro: Count.of_share(30, 600)})
        for m in range(40)
    ]
    done = replay(monitor, events)
    assert [c.slice for c in done.changes if c.after == "firing"] == [free]
    alone = step(FIXED, MonitorState(), minutes([(30, 600)])[0]).state.slices[ALL].evidence
    shared = step(monitor, MonitorState(), events[0]).state.slices[free].evidence
    assert shared == pytest.approx([x / 2 for x in alone])


def test_slices_beyond_the_most_are_counted_not_watched() -> None:
    monitor = replace(FIXED, by=("tier",), max_slices=2)
    counts = {(("tier", f"t{i}"),): Count.of_share(1, 10) for i in range(5)}
    state = step(monitor, MonitorState(), Minute(minute=0, counts=counts)).state
    assert (len(state.slices), state.beyond) == (2, 30)


# Purity -------------------------------------------------------------------------------------------------------


def test_a_replay_in_parts_through_json_is_the_replay_at_once() -> None:
    draw = np.random.default_rng(7)
    monitor = replace(FIXED, baseline=Baseline(kind="reference"))
    counts = [(int(draw.binomial(600, 0.05 if m < 700 else 0.09)), 600) for m in range(760)]
    events = minutes(counts)
    at_once = replay(monitor, events)
    first = replay(monitor, events[:333])
    stored = state_from_json(json.loads(json.dumps(state_to_json(first.state), allow_nan=False)))
    assert stored == first.state
    second = replay(monitor, events[333:], state=stored)
    assert second.state == at_once.state
    assert first.changes + second.changes == at_once.changes
    assert replay(monitor, events) == at_once


def test_a_late_minute_changes_nothing_but_a_count() -> None:
    state = replay(FIXED, minutes([(30, 600)] * 5)).state
    late = step(FIXED, state, minutes([(600, 600)], first=2)[0])
    assert late.changes == () and late.state == replace(state, late=600)


def test_only_an_alarm_can_be_acknowledged() -> None:
    state = replay(FIXED, minutes([(30, 600)] * 5)).state
    with pytest.raises(ValueError, match="only an alarm"):
        step(FIXED, state, Acknowledge(minute=6, slice=ALL, by="ada"))


# The proof ----------------------------------------------------------------------------------------------------


def test_three_points_at_ten_requests_a_second_are_found_in_minutes_and_a_week_is_quiet() -> None:
    trials = [trial(PROOF, seed) for seed in range(3)]
    assert [t.false_alarms for t in trials] == [0, 0, 0]
    found = sorted(t.minutes for t in trials if t.minutes is not None)
    assert len(found) == 3 and found[1] <= 5 and found[2] <= 6


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name.replace(" ", "-")[:30])
def test_detection_over_twenty_seeds(scenario: object) -> None:
    trials = [trial(scenario, seed) for seed in range(20)]  # type: ignore[arg-type]
    print(summary(scenario, trials))  # type: ignore[arg-type]
    assert sum(t.false_alarms for t in trials) == 0
    assert all(t.minutes is not None for t in trials)
    if scenario is PROOF:
        # The onset falls anywhere within a minute, and a minute is read when it is over: that alone is up to one more.
        within = [t.minutes for t in trials if t.minutes is not None and t.minutes <= 5]
        assert len(within) >= 19 and max(t.minutes for t in trials if t.minutes is not None) <= 6
