"""Times, turns, sessions and incidents against brute force and the planted rhythm."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy import stats

from jurat.simulate.parameters import TrafficModel
from jurat.simulate.population import draw_population
from jurat.simulate.traffic import (
    HOUR_US,
    SESSION_GAP_US,
    Incident,
    Traffic,
    draw_incidents,
    draw_traffic,
    epoch_us,
    inside_incident,
    session_numbers,
)

START = datetime(2026, 11, 2, tzinfo=UTC)


def _traffic(turns: int, *, days: int = 14, seed: int = 1, model: TrafficModel | None = None) -> Traffic:
    model = model or TrafficModel()
    population = draw_population(max(1, turns // 12), seed=seed, traffic=model)
    return draw_traffic(population, turns, start=START, days=days, seed=seed, model=model)


def test_turns_count_up_within_each_conversation_of_one_user_at_one_endpoint() -> None:
    traffic = _traffic(3_000)
    seen: dict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
    rows = zip(traffic.conversation, traffic.turn, traffic.user, traffic.endpoint, traffic.time_us, strict=True)
    for conversation, turn, user, endpoint, time in rows:
        seen[int(conversation)].append((int(turn), int(user), int(endpoint), int(time)))
    assert sorted(seen) == list(range(traffic.conversations))
    for turns in seen.values():
        assert [turn for turn, *_ in turns] == list(range(1, len(turns) + 1))
        assert len({(user, endpoint) for _, user, endpoint, _ in turns}) == 1


def test_sessions_are_those_a_plain_loop_finds() -> None:
    traffic = _traffic(4_000)
    last: dict[int, int] = {}
    number: dict[int, int] = defaultdict(int)
    for user, time, session in zip(traffic.user, traffic.time_us, traffic.session, strict=True):
        if user not in last or time - last[user] > SESSION_GAP_US:
            number[user] += 1
        last[user] = time
        assert session == number[user]


def test_a_session_ends_after_more_than_thirty_minutes_and_not_at_thirty() -> None:
    for gap, expected in ((SESSION_GAP_US, 1), (SESSION_GAP_US + 1, 2)):
        assert session_numbers(np.array([3, 3]), np.array([7, 7 + gap])).tolist() == [1, expected]


@pytest.mark.parametrize(("turns", "days"), [(1, 1), (7, 1), (5_000, 1), (5_000, 30)])
def test_every_turn_lies_in_the_window_in_order(turns: int, days: int) -> None:
    traffic = _traffic(turns, days=days)
    begin, end = epoch_us(START), epoch_us(START + timedelta(days=days))
    assert len(traffic.user) == turns
    assert (np.diff(traffic.time_us) >= 0).all()
    assert begin <= traffic.time_us[0]
    assert traffic.time_us[-1] < end


def test_conversations_longer_than_the_window_are_squeezed_into_it() -> None:
    model = TrafficModel(turns_per_conversation=400.0, pause_share=0.5)
    traffic = _traffic(2_000, days=1, model=model)
    assert np.ptp(traffic.time_us) < 24 * HOUR_US
    first = traffic.conversation == traffic.conversation[0]
    assert np.array_equal(np.sort(traffic.turn[first]), traffic.turn[first])


def test_conversations_start_by_the_planted_daily_and_weekly_load() -> None:
    model = TrafficModel(turns_per_conversation=1.0)
    traffic = _traffic(60_000, model=model)
    hour = (traffic.time_us - epoch_us(START)) // HOUR_US
    clock, weekend = np.arange(336) % 24, (np.arange(336) // 24) % 7 >= 5
    load = (1 + model.daily_swing * np.cos(2 * np.pi * (clock - 14) / 24)) * np.where(weekend, model.weekend_load, 1)
    expected = 60_000 * load / load.sum()
    assert stats.chisquare(np.bincount(hour, minlength=336), expected).pvalue > 1e-4


def test_conversation_lengths_and_pauses_have_the_planted_means() -> None:
    model = TrafficModel(pause_share=0.2)
    traffic = _traffic(40_000, model=model)
    lengths = np.bincount(traffic.conversation)
    assert lengths.mean() == pytest.approx(4.0, abs=4 * np.sqrt(12 / len(lengths)))
    order = np.lexsort((traffic.turn, traffic.conversation))
    gaps = np.diff(traffic.time_us[order])[traffic.turn[order][1:] > 1]
    paused = (gaps > SESSION_GAP_US).mean()
    assert paused == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / len(gaps)))


def test_incidents_cover_what_a_plain_scan_says() -> None:
    times = np.array([0, 5, 10, 15, 20])
    incidents = (Incident(start_us=5, end_us=10), Incident(start_us=9, end_us=16))
    expected = [any(i.start_us <= t < i.end_us for i in incidents) for t in times.tolist()]
    assert inside_incident(times, incidents).tolist() == expected


def test_the_number_of_incidents_has_the_planted_mean() -> None:
    model = TrafficModel(incidents_per_week=3.0)
    counts = [len(draw_incidents(start=START, days=14, seed=seed, model=model)) for seed in range(200)]
    assert np.mean(counts) == pytest.approx(6.0, abs=4 * np.sqrt(6 / 200))
