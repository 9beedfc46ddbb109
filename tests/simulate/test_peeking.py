"""The false-positive table: its rates follow from what was simulated, and its draws have the moments they claim."""

from __future__ import annotations

import numpy as np
import pytest

from jurat.simulate.peeking import READINGS, UNITS, FalsePositiveTable, _looks, _ratings, false_positive_table
from jurat.stats.difference import difference_of_means
from jurat.stats.moments import Moments, MomentTable, ratio_of, variance_and_df


@pytest.fixture(scope="module")
def table() -> FalsePositiveTable:
    return false_positive_table(experiments=300, users=80, days=14, icc=0.3, seed=5)


def test_peeking_and_ignored_clusters_each_add_false_positives(table: FalsePositiveTable) -> None:
    value = {(r, u): table.rate(r, u).value or 0.0 for r in READINGS for u in UNITS}
    once, daily, always = READINGS
    users, rows = UNITS
    assert value[once, users] < value[daily, users] < value[daily, rows]
    assert value[once, users] < value[once, rows] < value[daily, rows]
    assert value[always, users] <= value[once, users]


def test_one_clustered_look_and_the_sequence_keep_the_level(table: FalsePositiveTable) -> None:
    once = table.rate(READINGS[0], "users")
    always = table.rate(READINGS[2], "users")
    assert once.low is not None and once.high is not None and once.low <= 0.05 <= once.high
    assert always.low is not None and always.low <= 0.05


def test_every_rate_has_its_interval_and_its_number_of_experiments(table: FalsePositiveTable) -> None:
    assert len(table.rates) == 6
    for cell in table.rates:
        assert cell.rate.n == 300 and cell.rate.method == "Wilson"
        assert cell.rate.low is not None and cell.rate.high is not None


def test_the_same_seed_gives_the_same_table_and_another_one_another() -> None:
    first, second, third = (false_positive_table(60, 50, 3, 0.2, seed=s) for s in (1, 1, 2))
    assert first == second != third


def test_the_table_is_markdown_of_three_rows(table: FalsePositiveTable) -> None:
    lines = str(table).splitlines()
    assert len(lines) == 5 and all(line.count("|") == 4 for line in lines)
    assert lines[2].startswith("| one look at the end |")


def test_sums_and_squares_have_the_moments_of_rows() -> None:
    sums, squares, rows = _ratings(np.random.default_rng(3), (40, 2, 200, 5), 0.3)
    m = rows[..., -1]
    assert np.mean(squares[..., -1]) / np.mean(m) == pytest.approx(1.0, abs=0.02)
    expected = np.mean(m * (1 + (m - 1) * 0.3))
    assert np.var(sums[..., -1]) == pytest.approx(expected, rel=0.04)


def test_both_standard_errors_are_those_of_the_estimators() -> None:
    rng = np.random.default_rng(4)
    rows = rng.integers(1, 5, (1, 2, 60, 1))
    values = [[rng.normal(size=k) for k in rows[0, a, :, 0]] for a in (0, 1)]
    sums = np.array([[v.sum() for v in arm] for arm in values])[None, :, :, None]
    squares = np.array([[(v**2).sum() for v in arm] for arm in values])[None, :, :, None]
    effect, by_user, units = _looks(sums, squares, rows, by_user=True)
    groups = {n: Moments.from_clusters({"s": sums[0, a, :, 0], "n": rows[0, a, :, 0]}) for a, n in enumerate("ab")}
    table = MomentTable(groups=groups, arms=("a", "b"))
    difference = ratio_of(table, "b", "s", "n") - ratio_of(table, "a", "s", "n")
    assert effect[0, 0] == pytest.approx(difference.value, rel=1e-12)
    assert by_user[0, 0] ** 2 == pytest.approx(variance_and_df(table, difference)[0], rel=1e-12)
    assert units[0, 0] == 120
    welch = difference_of_means(np.concatenate(values[1]), np.concatenate(values[0]))
    _, by_row, units = _looks(sums, squares, rows, by_user=False)
    assert by_row[0, 0] == pytest.approx(welch.se, rel=1e-12)
    assert units[0, 0] == rows.sum()


@pytest.mark.parametrize(
    "wrong", [{"experiments": 0}, {"users": 49}, {"days": 0}, {"icc": 1.0}, {"icc": -0.1}], ids=str
)
def test_impossible_arguments_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"need experiments|icc must"):
        false_positive_table(**{"experiments": 10, "users": 50, "days": 2, "icc": 0.1, **wrong})  # type: ignore[arg-type]
