"""Effects over time: the slope of a fading effect, the days' errors, and what time did without the treatment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from jurat.experiments.drift import MOST_PERIODS, Drift, drift
from tests.experiments.case import opened

Floats = npt.NDArray[np.float64]


def daily(seed: int, effect: Floats, *, users: int = 500, trend: float = 0.0) -> pa.Table:
    """Users who come every day; the treatment adds the effect of the day, time adds its trend to both arms."""
    rng = np.random.default_rng(seed)
    days = len(effect)
    user, day = np.repeat(np.arange(users), days), np.tile(np.arange(days), users)
    treated = user % 2 == 1
    y = 5 + rng.normal(0, 1, users)[user] + effect[day] * treated + trend * day + rng.normal(0, 1, len(user))
    return pa.table(
        {
            "user": user, "arm": np.where(treated, "b", "a"), "y": y, "bad": rng.random(len(user)) < 0.1,
            "ts": np.datetime64("2026-03-01T08:00:00") + day.astype("timedelta64[D]"),
        }
    )  # fmt: skip


def followed(folder: Path, table: pa.Table) -> Drift:
    experiment, data = opened(folder, {"outcomes": table}, data__time="ts")
    found = drift(experiment, data, "y", "b")
    data.close()
    assert found is not None
    return found


def test_the_slope_of_a_fading_effect_is_found(tmp_path: Path) -> None:
    effect = np.linspace(1.0, 0.0, 8)
    found = followed(tmp_path, daily(1, effect))
    assert found.verdict == "fading"
    assert found.slope.low is not None and found.slope.high is not None
    assert found.slope.low < -1.0 < found.slope.high < 0
    assert found.halves.low is not None and found.halves.high is not None
    assert found.halves.low < effect[4:].mean() - effect[:4].mean() < found.halves.high


def test_a_growing_and_a_stable_effect_are_told_apart(tmp_path: Path) -> None:
    assert followed(tmp_path / "growing", daily(2, np.linspace(0.1, 1.2, 8))).verdict == "growing"
    assert followed(tmp_path / "stable", daily(3, np.full(8, 1.0))).verdict == "stable"


def test_a_loss_that_shrinks_is_fading(tmp_path: Path) -> None:
    assert followed(tmp_path, daily(4, np.linspace(-1.2, -0.1, 8))).verdict == "fading"


def test_no_effect_at_all_is_undecided_and_not_stable(tmp_path: Path) -> None:
    assert followed(tmp_path, daily(5, np.zeros(8))).verdict == "undecided"


def test_the_slope_and_its_error_are_those_of_each_users_own_slope(tmp_path: Path) -> None:
    effect = np.linspace(1.0, 0.4, 6)
    table = daily(6, effect, users=300)
    found = followed(tmp_path, table)
    y = table["y"].to_numpy().reshape(300, 6)
    x = np.linspace(-0.5, 0.5, 6)
    own = y @ (x / (x @ x))
    treated = np.arange(300) % 2 == 1
    assert found.slope.value == pytest.approx(own[treated].mean() - own[~treated].mean(), rel=1e-9)
    variance = own[treated].var(ddof=1) / 150 + own[~treated].var(ddof=1) / 150
    assert found.slope.se == pytest.approx(np.sqrt(variance), rel=1e-9)
    by_day = [i.value for _, i in found.periods]
    expected = y[treated].mean(axis=0) - y[~treated].mean(axis=0)
    assert by_day == pytest.approx(list(expected), rel=1e-9)
    assert [day for day, _ in found.periods][:2] == ["2026-03-01", "2026-03-02"]


def test_what_time_does_to_both_arms_is_trend_and_not_drift(tmp_path: Path) -> None:
    found = followed(tmp_path, daily(7, np.full(8, 1.0), trend=0.2))
    assert found.verdict == "stable"
    assert found.trend.low is not None and found.trend.high is not None
    assert found.trend.low < 0.8 < found.trend.high  # four days at 0.2


def test_a_slope_of_nothing_is_covered_about_as_often_as_it_says(tmp_path: Path) -> None:
    covered = 0
    for seed in range(30):
        found = followed(tmp_path / str(seed), daily(100 + seed, np.full(4, 0.5), users=80)).slope
        assert found.low is not None and found.high is not None
        covered += found.low <= 0 <= found.high
    assert covered >= 24  # 95 % of 30, less three standard errors and a bit


def test_many_days_are_told_by_the_week(tmp_path: Path) -> None:
    found = followed(tmp_path, daily(8, np.linspace(1.5, 0.0, MOST_PERIODS + 7), users=200))
    assert len(found.periods) == 5
    assert found.verdict == "fading"


def test_without_a_time_or_with_two_days_there_is_nothing_to_follow(tmp_path: Path) -> None:
    table = daily(9, np.full(2, 1.0), users=60)
    experiment, data = opened(tmp_path / "short", {"outcomes": table}, data__time="ts")
    assert drift(experiment, data, "y", "b") is None
    experiment, data = opened(tmp_path / "timeless", {"outcomes": table})
    assert drift(experiment, data, "y", "b") is None


def test_a_day_that_one_arm_lacks_is_left_out(tmp_path: Path) -> None:
    table = daily(10, np.full(6, 1.0), users=100)
    lone = (np.array(table["arm"].to_pylist()) == "a") & (table["ts"].to_numpy() < np.datetime64("2026-03-02"))
    found = followed(tmp_path, table.filter(pa.array(~lone)))
    assert found.periods[0][0] == "2026-03-02" and len(found.periods) == 5
