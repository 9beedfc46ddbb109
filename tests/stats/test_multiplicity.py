"""Adjusted p-values against published digits, statsmodels, and their own promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.stats.multiplicity import benjamini_hochberg, benjamini_yekutieli, holm

BENJAMINI_HOCHBERG_1995 = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0,
]  # fmt: skip
PROCEDURES = {"holm": holm, "fdr_bh": benjamini_hochberg, "fdr_by": benjamini_yekutieli}
p_vectors = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30)


@pytest.mark.parametrize(("name", "rejections"), [("fdr_bh", 4), ("fdr_by", 3), ("holm", 3)])
def test_the_fifteen_p_values_of_benjamini_and_hochberg_1995_give_the_published_rejections(
    name: str, rejections: int
) -> None:
    assert PROCEDURES[name](BENJAMINI_HOCHBERG_1995).rejected(0.05).sum() == rejections


def test_the_fourth_adjusted_p_value_of_benjamini_and_hochberg_1995_is_that_of_r() -> None:
    assert benjamini_hochberg(BENJAMINI_HOCHBERG_1995).adjusted[3] == pytest.approx(0.035625, rel=1e-12)


@pytest.mark.parametrize("name", PROCEDURES)
@settings(max_examples=60, deadline=None)
@given(p=p_vectors)
def test_adjusted_p_values_equal_those_of_statsmodels(name: str, p: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    expected = multitest.multipletests(p, method=name)[1]
    np.testing.assert_allclose(PROCEDURES[name](p).adjusted, expected, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("name", PROCEDURES)
@settings(max_examples=40, deadline=None)
@given(p=p_vectors, seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_findings_does_not_matter(name: str, p: list[float], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(p))
    adjusted = PROCEDURES[name](p).adjusted
    np.testing.assert_array_equal(PROCEDURES[name](np.array(p)[order]).adjusted, adjusted[order])


@pytest.mark.parametrize("name", PROCEDURES)
@settings(max_examples=40, deadline=None)
@given(p=p_vectors)
def test_an_adjustment_never_lowers_a_p_value_and_never_swaps_two(name: str, p: list[float]) -> None:
    adjusted, order = PROCEDURES[name](p).adjusted, np.argsort(p, kind="stable")
    assert np.all(adjusted >= np.array(p) * (1 - 1e-12))
    assert np.all(adjusted <= 1.0)
    assert np.all(np.diff(adjusted[order]) >= 0)


@pytest.mark.parametrize("name", PROCEDURES)
def test_no_findings_stay_no_findings_and_one_stays_as_it_is(name: str) -> None:
    assert PROCEDURES[name]([]).adjusted.shape == (0,)
    assert PROCEDURES[name]([0.03]).adjusted.tolist() == [0.03]


@pytest.mark.parametrize("p", [[-0.1], [1.1], [float("nan")], [[0.1, 0.2]]])
def test_what_is_not_a_vector_of_p_values_is_refused(p: list[float]) -> None:
    for procedure in PROCEDURES.values():
        with pytest.raises(ValueError, match="p-values must be a vector within"):
            procedure(p)


def test_holm_keeps_the_family_wise_error_and_benjamini_hochberg_the_false_discovery_rate() -> None:
    rng, runs, level = np.random.default_rng(95), 2_000, 0.05
    from scipy import stats as sps

    shift = np.concatenate([np.full(10, 3.0), np.zeros(30)])  # the first ten findings are real
    p = sps.norm.sf(rng.normal(size=(runs, 40)) + shift)
    false_claim, false_share = np.zeros(runs), np.zeros(runs)
    for i, row in enumerate(p):
        false_claim[i] = holm(row).rejected(level)[10:].any()
        rejected = benjamini_hochberg(row).rejected(level)
        false_share[i] = rejected[10:].sum() / max(rejected.sum(), 1)
    assert false_claim.mean() <= level + 3 * np.sqrt(level * (1 - level) / runs)
    # Independent tests: the false discovery rate is exactly level * (true nulls) / (all).
    assert false_share.mean() == pytest.approx(level * 30 / 40, abs=3 * false_share.std() / np.sqrt(runs))
