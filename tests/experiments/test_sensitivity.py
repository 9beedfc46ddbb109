"""The same effect under other assumptions: the first line decides, the rest shows what would have been said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jurat.experiments.effects import Scorecard, scan_scorecard
from jurat.experiments.sensitivity import sensitivity
from jurat.stats.result import Interval
from tests.experiments.case import opened, users_table

WRONG = "rows taken as independent (wrong here: shown for comparison)"


def lines(
    folder: Path, table: pa.Table, metric: str = "y", *, seed: int = 0, **changes: Any
) -> tuple[Scorecard, dict[str, Interval]]:
    card = scan_scorecard(*opened(folder, {"outcomes": table}, **changes))
    found = sensitivity(card, card.effect(metric, "b"), seed=seed)
    assert found[0][0] == "as analysed"
    return card, dict(found)


def test_the_first_line_is_the_effect_that_decides(tmp_path: Path) -> None:
    card, found = lines(tmp_path, users_table(400, 1), metrics__y__covariates=["x"])
    assert found["as analysed"] == card.effect("y", "b").effect
    assert found["without covariates"] == card.effect("y", "b").unadjusted
    assert list(found) == ["as analysed", "without covariates", WRONG]


def test_rows_taken_as_independent_give_the_error_of_a_plain_t_test(tmp_path: Path) -> None:
    table = users_table(500, 2, rows=6)
    _, found = lines(tmp_path, table)
    y, treated = table["y"].to_numpy(), np.array(table["arm"].to_pylist()) == "b"
    plain = np.sqrt(y[treated].var(ddof=1) / treated.sum() + y[~treated].var(ddof=1) / (~treated).sum())
    assert found[WRONG].se == pytest.approx(plain, rel=1e-9)
    assert found[WRONG].n_clusters is None
    ours = found["as analysed"]
    assert ours.se is not None and ours.se > 1.5 * plain
    assert found[WRONG].value == pytest.approx(ours.value, rel=1e-9)


def test_rows_that_are_independent_by_the_spec_are_not_called_wrong(tmp_path: Path) -> None:
    _, found = lines(tmp_path, users_table(200, 3), inference__cluster="none")
    assert WRONG not in found


def test_many_clusters_get_a_bootstrap_that_agrees(tmp_path: Path) -> None:
    _, found = lines(tmp_path, users_table(4_200, 4, rows=2))
    ours, boot = found["as analysed"], found["cluster bootstrap"]
    assert ours.low is not None and ours.high is not None and boot.low is not None and boot.high is not None
    assert boot.high - boot.low == pytest.approx(ours.high - ours.low, rel=0.1)
    assert boot.value == pytest.approx(ours.value, abs=0.1 * (ours.high - ours.low))


def test_the_bootstrap_of_a_ratio_agrees_and_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    table = users_table(4_200, 5, rows=2)
    rate = {"kind": "ratio", "value": "num", "per": "den", "better": "higher"}
    first, again, other = (
        lines(tmp_path / str(i), table, "rate", seed=seed, metrics__rate=rate)[1] for i, seed in enumerate((1, 1, 2))
    )
    assert first["cluster bootstrap"] == again["cluster bootstrap"] != other["cluster bootstrap"]
    ours, boot = first["as analysed"], first["cluster bootstrap"]
    assert ours.low is not None and ours.high is not None and boot.low is not None and boot.high is not None
    assert boot.high - boot.low == pytest.approx(ours.high - ours.low, rel=0.1)


def test_far_from_zero_the_bootstrap_stays_where_it_is(tmp_path: Path) -> None:
    table = users_table(4_200, 6, rows=2)
    moved = table.set_column(table.schema.get_field_index("y"), "y", pa.array(table["y"].to_numpy() + 1e8))
    near, far = (lines(tmp_path / n, t)[1]["cluster bootstrap"] for n, t in (("near", table), ("far", moved)))
    assert near.low is not None and near.high is not None
    assert far.low == pytest.approx(near.low, abs=1e-5)
    assert far.high == pytest.approx(near.high, abs=1e-5)


@pytest.mark.parametrize("effect", [0.0, 3.0])
def test_few_clusters_get_a_wild_bootstrap_that_says_the_same(tmp_path: Path, effect: float) -> None:
    _, found = lines(tmp_path, users_table(24, 7, rows=5, effect=effect))
    wild = found["wild cluster bootstrap"]
    assert wild.low is None and "without bounds" in str(wild.reason)
    p = float(wild.method.split("p = ")[1].split(" ")[0])
    ours = found["as analysed"]
    assert ours.low is not None and ours.high is not None
    assert (p < 0.05) == (not ours.low <= 0 <= ours.high)


def test_neither_many_nor_few_clusters_get_neither_bootstrap(tmp_path: Path) -> None:
    _, found = lines(tmp_path, users_table(300, 8))
    assert not any("bootstrap" in label for label in found)


def test_clusters_that_span_the_arms_are_compared_with_rows_only(tmp_path: Path) -> None:
    table = users_table(200, 9)
    table = table.append_column("org", pa.array(np.random.default_rng(10).integers(0, 30, table.num_rows)))
    _, found = lines(tmp_path, table, inference__cluster="org")
    assert list(found) == ["as analysed", WRONG]
