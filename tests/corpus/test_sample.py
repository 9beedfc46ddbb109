"""Sampling: exact counts, exact probabilities, nested draws, capped mixtures."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.corpus.mixture import mix_sources
from jurat.corpus.sample import (
    allocate_equally,
    allocate_proportionally,
    draw_balanced,
    draw_by_hash,
    draw_stratified,
)
from jurat.corpus.unequal import horvitz_thompson_total, inclusion_probabilities

COUNTS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 10**12), max_size=8)


@given(COUNTS, st.floats(0, 1))
def test_proportional_counts_are_exact_and_within_one_of_their_quota(available: dict[str, int], share: float) -> None:
    total = sum(available.values())
    size = min(int(share * total), total)
    counts = allocate_proportionally(available, size).counts
    assert sum(counts.values()) == size
    for name, count in counts.items():
        quota = Fraction(size * available[name], total) if total else Fraction(0)
        assert abs(count - quota) < 1
        assert 0 <= count <= available[name]


def test_largest_remainders_show_the_alabama_paradox() -> None:
    # The Alabama paradox: one seat more in all is one less for the smallest (Balinski and Young, 2001).
    populations = {"a": 6, "b": 6, "c": 2}
    assert allocate_proportionally(populations, 10).counts == {"a": 4, "b": 4, "c": 2}
    assert allocate_proportionally(populations, 11).counts == {"a": 5, "b": 5, "c": 1}


def test_equal_allocation_says_what_is_missing() -> None:
    found = allocate_equally({"a": 100, "b": 3, "c": 0}, 11)
    assert found.counts == {"a": 4, "b": 3, "c": 0}
    assert found.missing == {"b": 1, "c": 3}
    assert "c lacks 3" in str(found)


def test_stratified_draws_keep_counts_and_take_each_unit_equally_often() -> None:
    categories = ["a"] * 6 + ["b"] * 3 + ["c"]
    rng = np.random.default_rng(11)
    times = np.zeros(10)
    for _ in range(4000):
        draw = draw_stratified(categories, 5, rng)
        assert Counter(categories[unit] for unit in draw.units) == {"a": 3, "b": 2}
        times[draw.units] += 1
    expected = {"a": 3 / 6, "b": 2 / 3, "c": 0.0}
    assert np.allclose(times / 4000, [expected[c] for c in categories], atol=0.04)


@settings(max_examples=100)
@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=30), st.data())
def test_inclusion_probabilities_add_up_and_are_proportional_below_one(sizes: list[float], data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(sizes)))
    chances = inclusion_probabilities(sizes, size)
    assert np.isclose(chances.sum(), size)
    assert np.all((chances >= 0) & (chances <= 1))
    free = chances < 1
    if free.any() and size:
        ratio = chances[free] / np.asarray(sizes)[free]
        assert np.allclose(ratio, ratio[0], rtol=1e-9)


def test_balanced_draws_have_the_probabilities_they_state_and_prefer_long_conversations() -> None:
    rng = np.random.default_rng(3)
    categories = ["a"] * 8 + ["b"] * 5
    lengths = np.array([1, 2, 3, 4, 5, 6, 7, 40, 1, 1, 2, 2, 4], float)
    repeats = 6000
    times, stated = np.zeros(13), np.zeros(13)
    for _ in range(repeats):
        draw = draw_balanced(categories, lengths, 6, rng)
        assert len(set(draw.units.tolist())) == 6
        assert draw.allocation.counts == {"a": 3, "b": 3}  # type: ignore[union-attr]
        times[draw.units] += 1
        stated[draw.units] = draw.probabilities
    error = np.sqrt(stated * (1 - stated) / repeats)
    assert np.all(np.abs(times / repeats - stated) <= 4.5 * error + 1e-12)
    assert stated[7] == 1.0
    assert stated[6] == pytest.approx(7 * stated[0])


def test_horvitz_thompson_recovers_totals_from_balanced_draws() -> None:
    rng = np.random.default_rng(8)
    categories = ["x"] * 60 + ["y"] * 20
    lengths = rng.integers(1, 30, 80).astype(float)
    values = lengths * 2 + rng.normal(0, 3, 80)
    totals = []
    for _ in range(3000):
        draw = draw_balanced(categories, lengths, 20, rng, preference=0.7)
        totals.append(horvitz_thompson_total(values[draw.units], draw.probabilities))
    error = np.std(totals) / np.sqrt(len(totals))
    assert abs(np.mean(totals) - values.sum()) < 4 * error
    naive = [80 * np.mean(values[draw_balanced(categories, lengths, 20, rng).units]) for _ in range(50)]
    assert np.mean(naive) > values.sum() * 1.15


@given(st.lists(st.text(), unique=True, max_size=60), st.floats(0, 1), st.floats(0, 1), st.integers())
def test_hash_samples_are_nested_and_do_not_depend_on_order(ids: list[str], p: float, q: float, seed: int) -> None:
    low, high = sorted((p, q))
    small = {ids[unit] for unit in draw_by_hash(ids, low, seed=seed).units}
    large = {ids[unit] for unit in draw_by_hash(ids, high, seed=seed).units}
    back = ids[::-1]
    assert small <= large
    assert small == {back[unit] for unit in draw_by_hash(back, low, seed=seed).units}


def test_hash_samples_have_their_share_and_differ_by_seed() -> None:
    ids = [f"part-{i % 7}#{i}" for i in range(20_000)]
    first, second = (set(draw_by_hash(ids, 0.25, seed=seed).units.tolist()) for seed in (1, 2))
    assert abs(len(first) - 5000) < 4 * np.sqrt(20_000 * 0.25 * 0.75)
    assert abs(len(first & second) - 1250) < 4 * np.sqrt(20_000 * 0.0625 * 0.9375)
    assert len(draw_by_hash(ids, 1.0).units) == 20_000
    assert len(draw_by_hash(ids, 0.0).units) == 0


def test_mixtures_pass_on_what_a_capped_source_cannot_give() -> None:
    mix = mix_sources({"web": 1000, "books": 10, "code": 100}, {"web": 2, "books": 1, "code": 1}, 1000, most_epochs=2)
    assert mix.tokens == {"web": 780, "books": 20, "code": 200}
    assert mix.capped == ("books", "code")
    assert mix.shortfall == 0
    spread = sum(share**2 / size for share, size in ((0.78, 780), (0.02, 10), (0.2, 100)))
    assert mix.effective_size == pytest.approx(1 / spread)


@given(
    st.dictionaries(st.sampled_from("abcde"), st.tuples(st.integers(1, 10**9), st.floats(0, 10)), min_size=1),
    st.integers(0, 10**9),
    st.floats(0.5, 8),
)
def test_mixtures_fill_the_budget_or_say_what_is_missing(
    sources: dict[str, tuple[int, float]], budget: int, epochs: float
) -> None:
    sizes = {name: size for name, (size, _) in sources.items()}
    weights = {name: weight for name, (_, weight) in sources.items()}
    mix = mix_sources(sizes, weights, budget, most_epochs=epochs)
    assert sum(mix.tokens.values()) + mix.shortfall == budget
    assert all(mix.tokens[name] <= sizes[name] * epochs + 1 for name in sizes)
    assert all(mix.tokens[name] == 0 for name in sizes if weights[name] == 0)
    assert 0 <= mix.effective_size <= sum(sizes.values()) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: allocate_proportionally({"a": 3}, 4), "from 0 to 3"),
        (lambda: allocate_proportionally({"a": -3}, 0), "at least 0"),
        (lambda: allocate_equally({}, 4), "no category"),
        (lambda: draw_stratified(["a"], 1, np.random.default_rng(), allocation="neyman"), "neyman"),
        (lambda: draw_balanced(["a"], [0], 1, np.random.default_rng()), "positive"),
        (lambda: draw_balanced(["a"], [1], 1, np.random.default_rng(), preference=-1), "preference"),
        (lambda: inclusion_probabilities([1, np.inf], 1), "positive finite"),
        (lambda: draw_by_hash(["a"], 1.5), "share"),
        (lambda: horvitz_thompson_total([1.0], [0.0]), "probabilities"),
        (lambda: mix_sources({"a": 1}, {"b": 1}, 1), "sources"),
        (lambda: mix_sources({"a": 1}, {"a": -1}, 1), "weight"),
        (lambda: mix_sources({"a": 0}, {"a": 1}, 1), "positive"),
    ],
    ids=range(12),
)
def test_impossible_requests_are_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
