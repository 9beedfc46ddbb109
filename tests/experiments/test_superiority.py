"""Rank comparisons of skewed outcomes: the rows, the clusters, and what the page says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jurat.experiments.analyse import analyse_file
from jurat.experiments.document import analysis_document
from jurat.experiments.report import render_report
from jurat.experiments.superiority import rank_comparison
from tests.experiments.case import opened, write_case
from tests.experiments.test_quantiles import DELAY, delays


def test_the_comparison_is_that_of_all_pairs_of_rows(tmp_path: Path) -> None:
    table = delays(300, 1, factor=1.3)
    delay, treated = table["delay"].to_numpy(), np.array(table["arm"].to_pylist()) == "b"
    found = rank_comparison(*opened(tmp_path, {"outcomes": table}, metrics__delay=DELAY), "delay", "b")
    differences = delay[treated][:, None] - delay[~treated]
    assert found.superiority.value == pytest.approx((differences > 0).mean())
    assert found.shift.value == pytest.approx(np.median(differences))
    assert (found.superiority.n, found.superiority.n_clusters) == (table.num_rows, 300)


def test_rows_taken_as_independent_are_too_sure(tmp_path: Path) -> None:
    table = delays(600, 2)
    widths = []
    for name in ("user", "none"):
        case = opened(tmp_path / name, {"outcomes": table}, metrics__delay=DELAY, inference__cluster=name)
        found = rank_comparison(*case, "delay", "b")
        assert found.shift.low is not None and found.shift.high is not None
        widths.append(found.shift.high - found.shift.low)
    assert widths[0] > 1.4 * widths[1]


def test_the_document_holds_it_and_the_page_says_it(tmp_path: Path) -> None:
    table = delays(400, 3, factor=1.5)
    analysis = analyse_file(write_case(tmp_path, {"outcomes": table}, metrics__delay={**DELAY, "unit": "ms"}))
    document = analysis_document(
        analysis, inputs=(), snapshot=None, engine=("duckdb", "1"), started="2026-03-01T00:00:00Z"
    )
    (ranks,) = document["ranks"]
    assert ranks["superiority"]["low"] > 0.5
    assert ranks["shift"]["low"] > 0
    page = render_report(document)
    assert "a row of b is above one of a with probability" in page
    assert " ms, n = " in page
