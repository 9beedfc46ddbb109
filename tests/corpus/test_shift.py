"""Distances against SciPy, their intervals by simulation, and words that were planted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as sps
from scipy.spatial.distance import jensenshannon

from jurat.corpus.shift import category_shift, jensen_shannon, number_shift, population_stability, word_shift


def test_jensen_shannon_is_the_square_of_scipys_distance() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 30, 8), rng.integers(0, 30, 8)
        assert float(jensen_shannon(a, b)) == pytest.approx(jensenshannon(a, b, base=2) ** 2, abs=1e-12)


def test_population_stability_is_its_formula_on_smoothed_counts() -> None:
    a, b = np.array([10, 0, 30]), np.array([5, 5, 10])
    p, q = (a + 0.5) / (a + 0.5).sum(), (b + 0.5) / (b + 0.5).sum()
    expected = sum(x * np.log(x / y) + y * np.log(y / x) for x, y in zip(p, q, strict=True))
    assert float(population_stability(a, b)) == pytest.approx(expected)


def test_equal_distributions_show_no_distance_and_a_quiet_test() -> None:
    rng = np.random.default_rng(1)
    low = 0
    for _ in range(40):
        a, b = rng.multinomial(400, np.full(20, 0.05)), rng.multinomial(300, np.full(20, 0.05))
        found = category_shift("s", {f"c{i}": int(x) for i, x in enumerate(a)}, {f"c{i}": int(x) for i, x in enumerate(b)},
                               rng=rng)  # fmt: skip
        low += found.jensen_shannon.low == 0.0
    assert low >= 34


def test_the_interval_of_the_divergence_covers_a_true_one() -> None:
    rng = np.random.default_rng(2)
    p, q = np.array([0.5, 0.3, 0.1, 0.1]), np.array([0.25, 0.25, 0.25, 0.25])
    truth, inside = float(jensen_shannon(p, q)), 0
    for _ in range(60):
        a, b = rng.multinomial(300, p), rng.multinomial(300, q)
        found = category_shift("s", dict(zip("abcd", a.tolist(), strict=True)), dict(zip("abcd", b.tolist(), strict=True)),
                               rng=rng).jensen_shannon  # fmt: skip
        assert found.low is not None and found.high is not None
        inside += found.low <= truth <= found.high
    assert inside >= 51


def test_numbers_have_scipys_statistics_and_a_band_that_holds() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(0.5, 1, 400), rng.normal(0, 1, 500)
    found = number_shift("n", x, y, rng=rng)
    expected = sps.ks_2samp(x, y, method="asymp")
    assert found.kolmogorov_smirnov.value == pytest.approx(expected.statistic)
    assert found.test is not None and found.test.p_value == pytest.approx(expected.pvalue)
    truth = 2 * sps.norm.cdf(0.25) - 1
    assert found.kolmogorov_smirnov.low < truth < found.kolmogorov_smirnov.high  # type: ignore[operator]
    assert found.wasserstein.value == pytest.approx(sps.wasserstein_distance(x, y) / np.std(y, ddof=1), abs=0.05)
    assert found.wasserstein.low < 0.5 < found.wasserstein.high  # type: ignore[operator]


def test_what_cannot_be_compared_has_a_reason() -> None:
    rng = np.random.default_rng(4)
    assert category_shift("s", {}, {"a": 1}, rng=rng).jensen_shannon.reason
    assert number_shift("n", [1.0, np.nan], [1.0, 2.0], rng=rng).test is None
    constant = number_shift("n", [1.0, 2.0, 3.0], [2.0, 2.0, 2.0], rng=rng)
    assert constant.wasserstein.value is None and constant.kolmogorov_smirnov.value == pytest.approx(2 / 3 - 1 / 3)
    assert word_shift([], ["a"], rng=rng).jensen_shannon.reason
    assert word_shift(["a"], ["b"], rng=rng).jensen_shannon.value is None


def test_a_word_that_was_added_heads_the_list() -> None:
    rng = np.random.default_rng(5)

    def texts(extra: str, share: float) -> list[str]:
        return [
            " ".join(f"w{i}" for i in rng.integers(0, 60, 30)) + (f" {extra}" if rng.random() < share else "")
            for _ in range(200)
        ]

    found = word_shift(texts("Neuland", 0.4), texts("altland", 0.3), rng=rng)
    assert found.more[0].word == "neuland" and found.fewer[0].word == "altland"
    assert found.more[0].share == pytest.approx(0.4, abs=0.1) and found.more[0].reference_share == 0.0
    assert found.more[0].difference.low > 0  # type: ignore[operator]
    assert found.jensen_shannon.low > 0  # type: ignore[operator]
