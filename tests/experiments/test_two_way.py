"""Two crossed clusters of other numbers: both variances less their intersection, each on its own scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jurat.experiments.effects import scan_scorecard
from tests.experiments.case import opened


def crossed_rows() -> dict[str, np.ndarray]:
    """Forty users in one arm each, nine prompts in both."""
    rng = np.random.default_rng(8)
    user = np.repeat(np.arange(40), rng.integers(2, 9, 40))
    prompt, treated = rng.integers(0, 9, len(user)), user % 2
    y = rng.normal(size=40)[user] + 0.7 * rng.normal(size=(2, 9))[treated, prompt] + rng.normal(size=len(user))
    return {"user": user, "prompt": prompt, "treated": treated, "y": y}


def scored(folder: Path) -> tuple[float, float, float]:
    rows = crossed_rows()
    table = pa.table(
        {
            "user": rows["user"], "prompt": rows["prompt"], "y": rows["y"], "bad": rows["y"] > 0,
            "arm": np.where(rows["treated"], "b", "a"),
        }
    )  # fmt: skip
    card = scan_scorecard(*opened(folder, {"outcomes": table}, inference__crossed="prompt"))
    found = card.effect("y", "b").effect
    assert found.value is not None and found.se is not None and found.df is not None
    return found.value, found.se, found.df


def meat(codes: np.ndarray, influence: np.ndarray) -> float:
    sums = np.bincount(codes, weights=influence)
    present = sums[np.bincount(codes) > 0]
    return len(present) / (len(present) - 1) * float(present @ present)


def test_the_variance_is_the_sum_over_both_less_that_over_their_pairs(tmp_path: Path) -> None:
    rows = crossed_rows()
    influence = np.zeros(len(rows["y"]))
    for arm, sign in ((1, 1.0), (0, -1.0)):
        own = rows["treated"] == arm
        influence[own] = sign * (rows["y"][own] - rows["y"][own].mean()) / own.sum()
    pairs = rows["user"] * 9 + rows["prompt"]
    expected = meat(rows["user"], influence) + meat(rows["prompt"], influence) - meat(pairs, influence)
    value, se, df = scored(tmp_path)
    assert se == pytest.approx(np.sqrt(expected), rel=1e-9)
    assert df == 8
    assert value == pytest.approx(
        rows["y"][rows["treated"] == 1].mean() - rows["y"][rows["treated"] == 0].mean(), rel=1e-12
    )


def test_the_variance_agrees_with_statsmodels(tmp_path: Path) -> None:
    pytest.importorskip("statsmodels")
    from statsmodels.regression.linear_model import OLS
    from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

    rows = crossed_rows()
    fit = OLS(rows["y"], np.column_stack([np.ones(len(rows["y"])), rows["treated"]])).fit()
    # Without corrections for small samples; ours has G/(G − 1) for each of the three, so they differ by a few per cent.
    plain = cov_cluster_2groups(fit, rows["user"], rows["prompt"], use_correction=False)[0]
    assert scored(tmp_path)[1] == pytest.approx(np.sqrt(plain[1, 1]), rel=0.08)
