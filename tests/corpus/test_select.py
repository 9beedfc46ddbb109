"""Selection: the greedy choice against brute force, and coverage against chance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import sparse

from jurat.corpus.select import coverage_curve, select_subset


def similarity(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.clip(unit @ unit.T, 0, 1)


def objective(s: np.ndarray, chosen: list[int], quality: np.ndarray, weight: float, size: int) -> float:
    return (1 - weight) * s[:, chosen].max(axis=1).mean() + weight * quality[chosen].sum() / size


def plain_greedy(s: np.ndarray, size: int, quality: np.ndarray, weight: float) -> list[int]:
    chosen: list[int] = []
    for _ in range(size):
        rest = [row for row in range(len(s)) if row not in chosen]
        chosen.append(max(rest, key=lambda row: (objective(s, [*chosen, row], quality, weight, size), -row)))
    return chosen


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_lazy_greedy_equals_plain_greedy_and_its_gains_add_up(weight: float, kind: str) -> None:
    rng = np.random.default_rng(2)
    rows, quality = rng.normal(size=(60, 5)), rng.random(60)
    s = similarity(rows)
    given = sparse.csr_matrix(rows) if kind == "sparse" else rows
    found = select_subset(given, 12, quality=quality, quality_weight=weight)
    assert found.units.tolist() == plain_greedy(s, 12, quality, weight)
    assert found.gains.sum() == pytest.approx(objective(s, found.units.tolist(), quality, weight, 12))
    assert np.all(np.diff(found.gains) <= 1e-12)


def test_greedy_keeps_its_guarantee_against_every_subset() -> None:
    for seed in range(5):
        rows = np.random.default_rng(seed).normal(size=(11, 3))
        s, quality = similarity(rows), np.zeros(11)
        best = max(objective(s, list(c), quality, 0.0, 4) for c in itertools.combinations(range(11), 4))
        assert select_subset(rows, 4).gains.sum() >= (1 - 1 / np.e) * best


def test_lazy_evaluation_saves_most_gains() -> None:
    rows = np.random.default_rng(4).normal(size=(600, 16))
    assert select_subset(rows, 60).evaluations < 600 * 60 / 3


def test_k_center_is_within_twice_the_best_radius() -> None:
    rng = np.random.default_rng(6)
    rows = np.abs(rng.normal(size=(11, 3)))
    s = similarity(rows)

    def radius(chosen: list[int]) -> float:
        # The chord, unlike one minus the cosine, is a metric.
        return float(np.sqrt(np.maximum(2 - 2 * s[:, chosen].max(axis=1), 0)).max())

    best = min(radius(list(c)) for c in itertools.combinations(range(11), 3))
    assert radius(select_subset(rows, 3, method="k-center").units.tolist()) <= 2 * best + 1e-12


def test_selection_covers_more_than_chance_where_a_majority_repeats_itself() -> None:
    rng = np.random.default_rng(9)
    centres = rng.normal(size=(30, 20))
    weights = 1 / np.arange(1, 31) ** 1.5
    kinds = rng.choice(30, 700, p=weights / weights.sum())
    rows = centres[kinds] + 0.15 * rng.normal(size=(700, 20))
    order = select_subset(rows[:500], 40).units
    curve = coverage_curve(rows[:500], order, rows[500:], [5, 20, 40], rng)
    values = [point.selected.value for point in curve.points]
    assert values == sorted(values)
    assert all(point.difference.low is not None and point.difference.low > 0 for point in curve.points)
    assert curve.points[0].selected.n == 200
    assert "difference" in str(curve)


def test_chance_does_not_beat_chance() -> None:
    hits = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(300, 6))
        curve = coverage_curve(rows[:200], rng.permutation(200)[:20], rows[200:], [20], rng, draws=40)
        gap = curve.points[0].difference
        hits += abs(gap.value) < 0.05  # type: ignore[arg-type]
    assert hits >= 36


def test_empty_rows_are_similar_to_nothing_and_chosen_last() -> None:
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    assert select_subset(rows, 3).units.tolist() == [1, 2, 0]
    assert select_subset(sparse.csr_array(rows), 3).units.tolist() == [1, 2, 0]
    assert select_subset(np.empty((0, 2)), 0).units.tolist() == []


ROWS = np.eye(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: select_subset(ROWS, 4), "from 0 to 3"),
        (lambda: select_subset(ROWS, 1, method="best"), "best"),
        (lambda: select_subset(ROWS, 1, quality_weight=0.5), "needs the quality"),
        (lambda: select_subset(ROWS, 1, quality=[2, 0, 0], quality_weight=0.5), "quality must be"),
        (lambda: select_subset(ROWS * np.nan, 1), "finite"),
        (lambda: coverage_curve(ROWS, [0], np.eye(3)[:1], [1], np.random.default_rng()), "two held-out"),
        (lambda: coverage_curve(ROWS, [0], np.eye(2), [1], np.random.default_rng()), "3 columns"),
        (lambda: coverage_curve(ROWS, [0], ROWS, [2], np.random.default_rng()), "sizes"),
        (lambda: coverage_curve(ROWS, [0, 0], ROWS, [2], np.random.default_rng()), "none twice"),
    ],
    ids=range(9),
)
def test_impossible_requests_are_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
