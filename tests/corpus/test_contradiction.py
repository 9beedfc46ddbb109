"""Partners against brute force, the rate against a planted truth, and a judge that is never asked too often."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jurat.corpus.contradiction import audit_contradictions, nearest_others


def test_partners_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in rng.integers(0, 40, 12)) for _ in range(60)]
    sets = [set(text.split()) for text in texts]
    held = {w: sum(w in s for s in sets) for s in sets for w in s}
    weight = {w: math.log(61 / (1 + k)) + 1e-9 for w, k in held.items()}

    def cosine(a: set[str], b: set[str]) -> float:
        norms = [math.sqrt(sum(weight[w] ** 2 for w in s)) for s in (a, b)]
        return sum(weight[w] ** 2 for w in a & b) / (norms[0] * norms[1])

    partner, likeness = nearest_others(texts, least=0.0)
    for i in range(60):
        best = max(cosine(sets[i], sets[j]) for j in range(60) if j != i)
        assert likeness[i] == pytest.approx(best)
        assert cosine(sets[i], sets[int(partner[i])]) == pytest.approx(best)


def _pairs() -> tuple[list[str], list[str], list[str]]:
    texts, ids, strata = [], [], []
    for i in range(120):
        stratum = "a" if i < 80 else "b"
        wrong = i % (2 if stratum == "b" else 8) == 0
        texts += [
            f"topic{i} thing{i} matter{i} is red",
            f"topic{i} thing{i} matter{i} is {'green no' if wrong else 'crimson'}",
        ]
        ids += [f"{i}-1", f"{i}-2"]
        strata += [stratum, stratum]
    return texts, ids, strata


def test_the_rate_is_the_planted_one_and_strata_are_weighted() -> None:
    texts, ids, strata = _pairs()
    calls = []

    def judge(first: str, second: str) -> bool:
        calls.append((first, second))
        return ("no" in first.split()) != ("no" in second.split())

    found = audit_contradictions(texts, ids, strata, judge, pairs=1000, rng=np.random.default_rng(0))
    assert found.n_judged == len(calls) == 240 == found.rate.n
    rates = {name: (rate.value, size) for name, rate, size in found.by_stratum}
    assert rates == {"a": (pytest.approx(10 / 80), 160), "b": (pytest.approx(20 / 40), 80)}
    assert found.rate.value == pytest.approx(30 / 120)
    assert found.rate.low < 0.25 < found.rate.high  # type: ignore[operator]
    assert all(p.first.split("-")[0] == p.second.split("-")[0] for p in found.pairs)


def test_the_judge_is_asked_for_as_many_pairs_as_agreed_and_a_part_covers_the_whole() -> None:
    texts, ids, strata = _pairs()
    inside = 0
    for seed in range(25):
        found = audit_contradictions(
            texts, ids, strata, lambda a, b: ("no" in a.split()) != ("no" in b.split()), pairs=60,
            rng=np.random.default_rng(seed),
        )  # fmt: skip
        assert found.n_judged == 60
        inside += found.rate.low <= 0.25 <= found.rate.high  # type: ignore[operator]
    assert inside >= 21


@pytest.mark.parametrize("answer", [False, True])
def test_a_judge_of_one_mind_leaves_an_interval_with_a_width(answer: bool) -> None:
    texts, ids, strata = _pairs()
    found = audit_contradictions(texts, ids, strata, lambda a, b: answer, pairs=40, rng=np.random.default_rng(0))
    assert found.rate.value == float(answer)
    assert found.rate.high - found.rate.low > 0.02  # type: ignore[operator]


def test_texts_that_have_nothing_in_common_have_no_rate() -> None:
    found = audit_contradictions(
        ["a b", "c d"], ["1", "2"], ["s", "s"], lambda a, b: True, rng=np.random.default_rng(0)
    )
    assert found.rate.value is None and found.rate.reason and found.n_judged == 0
