"""Agreement coefficients against published digits, an independent library, brute force and simulation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from jurat.stats.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha

NAN = float("nan")
RATERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]
ENCYCLOPEDIA = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("scale", "value"),
    [("nominal", 0.7434210526), ("ordinal", 0.8153875038), ("interval", 0.8491071429), ("ratio", 0.7974027747)],
)
def test_case_32_krippendorffs_alpha_with_missing_labels(scale: str, value: float) -> None:
    found = krippendorff_alpha(np.array(RATERS).T, rng=rng(), scale=scale)  # type: ignore[arg-type]
    assert found.value == pytest.approx(value, rel=1e-8)
    assert found.n == 11
    assert found.low is not None and found.high is not None and found.low < value < found.high <= 1


def test_case_33_fleiss_and_cohens_kappa() -> None:
    assert fleiss_kappa(ENCYCLOPEDIA, rng=rng()).value == pytest.approx(0.2099307044, rel=1e-8)
    found = cohen_kappa([1] * 25 + [0] * 25, [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15)
    assert found.value == pytest.approx(0.4)
    assert found.se == pytest.approx(0.1269960629, rel=1e-8)


@pytest.mark.parametrize(("weights", "theirs"), [("none", None), ("linear", "linear"), ("quadratic", "quadratic")])
def test_cohens_kappa_agrees_with_an_independent_library(weights: str, theirs: str | None) -> None:
    rater = pytest.importorskip("statsmodels.stats.inter_rater")
    first = rng(1).integers(0, 4, 200)
    second = np.where(rng(2).random(200) < 0.6, first, rng(3).integers(0, 4, 200))
    table = np.zeros((4, 4))
    np.add.at(table, (first, second), 1)
    oracle = rater.cohens_kappa(table, wt=theirs)
    found = cohen_kappa(first, second, weights=weights)  # type: ignore[arg-type]
    assert (found.value, found.se) == pytest.approx((oracle.kappa, oracle.std_kappa), rel=1e-10)


def test_fleiss_kappa_agrees_with_an_independent_library() -> None:
    rater = pytest.importorskip("statsmodels.stats.inter_rater")
    counts = rng(4).multinomial(5, [0.2, 0.5, 0.3], size=40)
    assert fleiss_kappa(counts, rng=rng()).value == pytest.approx(rater.fleiss_kappa(counts), rel=1e-12)


def alpha_by_pairs(ratings: npt.NDArray[np.float64], squared: npt.NDArray[np.float64]) -> float:
    """Krippendorff's alpha by walking over every pair of labels; ``squared`` is the distance of codes."""
    within, labels = 0.0, []
    for row in ratings:
        known = row[~np.isnan(row)].astype(int)
        if len(known) >= 2:
            labels += known.tolist()
            within += sum(squared[a, b] for i, a in enumerate(known) for j, b in enumerate(known) if i != j) / (
                len(known) - 1
            )
    between = sum(squared[a, b] for i, a in enumerate(labels) for j, b in enumerate(labels) if i != j)
    return 1 - (len(labels) - 1) * within / between


def test_alpha_is_that_of_all_pairs() -> None:
    ratings = rng(5).integers(0, 4, (30, 3)).astype(float)
    ratings[:, 1] = np.where(rng(6).random(30) < 0.7, ratings[:, 0], ratings[:, 1])
    ratings[rng(7).random((30, 3)) < 0.2] = NAN
    gap = np.subtract.outer(np.arange(4), np.arange(4))
    for scale, squared in (("nominal", (gap != 0).astype(float)), ("interval", gap.astype(float) ** 2)):
        found = krippendorff_alpha(ratings, rng=rng(), scale=scale)  # type: ignore[arg-type]
        assert found.value == pytest.approx(alpha_by_pairs(ratings, squared))


def test_alpha_of_two_complete_annotators_is_near_kappa_and_blind_to_relabelling() -> None:
    first = rng(8).integers(0, 3, 500)
    second = np.where(rng(9).random(500) < 0.7, first, rng(10).integers(0, 3, 500))
    both = np.column_stack([first, second])
    alpha = krippendorff_alpha(both, rng=rng())
    assert alpha.value == pytest.approx(cohen_kappa(first, second).value, abs=0.002)
    assert krippendorff_alpha(np.array([7, 2, 5])[both], rng=rng()).value == pytest.approx(alpha.value)
    ordinal = [krippendorff_alpha(x, rng=rng(), scale="ordinal").value for x in (both, np.array([1, 8, 900])[both])]
    assert ordinal[0] == pytest.approx(ordinal[1])


def test_the_bootstrap_of_alpha_covers_its_value() -> None:
    def world(items: int, seed: int) -> npt.NDArray[np.float64]:
        g = rng(seed)
        truth = g.integers(0, 3, items)
        return np.where(g.random((items, 3)) < 0.75, truth[:, None], g.integers(0, 3, (items, 3))).astype(float)

    truth = krippendorff_alpha(world(200_000, 1), rng=rng(), replicates=39).value
    covered = 0
    for seed in range(150):
        found = krippendorff_alpha(world(80, 100 + seed), rng=rng(seed), replicates=400)
        assert found.low is not None and found.high is not None and truth is not None
        covered += found.low <= truth <= found.high
    assert 0.89 <= covered / 150 <= 0.99


def test_copied_items_in_clusters_do_not_narrow_the_interval() -> None:
    first = rng(11).integers(0, 2, 120)
    second = np.where(rng(12).random(120) < 0.8, first, 1 - first)
    plain = cohen_kappa(first, second)
    five = [np.repeat(x, 5) for x in (first, second)]
    cluster = np.repeat(np.arange(120), 5)
    found = cohen_kappa(*five, cluster=cluster, rng=rng())
    assert found.value == pytest.approx(plain.value)
    assert found.se == pytest.approx(plain.se, rel=0.1)
    assert (found.n, found.n_clusters) == (600, 120)
    naive = cohen_kappa(*five)
    assert naive.se == pytest.approx((plain.se or 0) / np.sqrt(5))
    alpha = krippendorff_alpha(np.column_stack(five), rng=rng(), cluster=cluster)
    assert alpha.se == pytest.approx(plain.se, rel=0.15)


def test_one_seed_gives_one_interval() -> None:
    assert fleiss_kappa(ENCYCLOPEDIA, rng=rng(3)) == fleiss_kappa(ENCYCLOPEDIA, rng=rng(3))


def test_perfect_agreement_has_no_width_to_show_and_one_category_no_value() -> None:
    same = cohen_kappa(["a", "b", "a"], ["a", "b", "a"])
    assert same.value == pytest.approx(1) and same.low is None and same.reason
    alike = cohen_kappa(["a", "a"], ["a", "a"])
    assert alike.value is None and "one category" in str(alike.reason)
    constant = krippendorff_alpha([[1, 1], [1, 1]], rng=rng())
    assert constant.value is None and constant.reason
    assert fleiss_kappa([[3, 0], [3, 0]], rng=rng()).value is None
    assert cohen_kappa([], []).value is None
    assert krippendorff_alpha([[1, NAN], [NAN, 2]], rng=rng()).value is None


def test_categories_give_the_order_that_words_lack() -> None:
    first, second = ["low", "mid", "high", "low"], ["low", "high", "high", "mid"]
    with pytest.raises(ValueError, match="order"):
        cohen_kappa(first, second, weights="linear")
    given = cohen_kappa(first, second, weights="linear", categories=["low", "mid", "high"])
    assert given.value == pytest.approx(cohen_kappa([0, 1, 2, 0], [0, 2, 2, 1], weights="linear").value)
    with pytest.raises(ValueError, match="one of the"):
        cohen_kappa(first, second, categories=["low", "high"])


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="missing"):
        cohen_kappa([1.0, NAN], [1.0, 1.0])
    with pytest.raises(ValueError, match="two labels"):
        cohen_kappa([1, 2], [1])
    with pytest.raises(ValueError, match="pass rng"):
        cohen_kappa([1, 2], [1, 2], cluster=[0, 1])
    with pytest.raises(ValueError, match="same number of annotators"):
        fleiss_kappa([[2, 1], [1, 1]], rng=rng())
    with pytest.raises(ValueError, match="ratio scale"):
        krippendorff_alpha([[-1, 1]], rng=rng(), scale="ratio")
    with pytest.raises(ValueError, match="round the values"):
        krippendorff_alpha(rng(1).random((400, 2)), rng=rng(), scale="interval")
