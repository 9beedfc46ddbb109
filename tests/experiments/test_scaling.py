"""The scaling study: worlds of known law, worlds that break it, bad tables, the page and the command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from jurat.cli.scaling import scaling
from jurat.errors import DataError, UnknownName, UsageError
from jurat.experiments.scaling import ScalingStudy, scaling_study
from jurat.experiments.scaling_figures import loss_figure, residual_figure
from jurat.experiments.scaling_page import render_scaling_page
from jurat.experiments.scaling_runs import read_runs
from jurat.stats.scaling import fit_scaling_law


def runs(n: int = 60, *, seed: int = 0, bend: float = 0.0) -> pa.Table:
    """Runs of a known law; with ``bend``, larger ones are worse than it says."""
    rng = np.random.default_rng(seed)
    N, D = np.exp(rng.uniform(17.5, 23.5, n)), np.exp(rng.uniform(19.5, 26, n))
    L = (1.8 + 480 / N**0.35 + 2100 / D**0.37) * np.exp(rng.normal(0, 0.004, n))
    L = L * (1 + bend * np.maximum(np.log(N * D) - 45, 0))
    return pa.table({"parameters": N, "tokens": D, "flop": 6 * N * D, "loss": L, "family": ["a", "b"] * (n // 2)})


@pytest.fixture(scope="module")
def study() -> ScalingStudy:
    return scaling_study(runs(), tokens="tokens", replicates=100, predict=[(70e9, 1.4e12)], budget=[5.88e23, 1e20])


def test_the_law_of_a_study_is_that_of_the_plain_fit(study: ScalingStudy) -> None:
    table = runs()
    law = fit_scaling_law(*(table[name].to_numpy() for name in ("parameters", "tokens", "loss")))
    assert study.fit.law == law
    assert study.coefficients["E"].value == law.E
    assert study.runs.tokens.tolist() == table["tokens"].to_pylist()


def test_tokens_follow_from_compute(study: ScalingStudy) -> None:
    other = scaling_study(runs(), flop="flop", replicates=100)
    assert other.fit.law.theta() == pytest.approx(study.fit.law.theta(), rel=1e-6)


def test_a_law_that_holds_foretells_the_largest_runs(study: ScalingStudy) -> None:
    tested = study.hold_out
    assert tested is not None
    assert tested.fitted == 48 and len(tested.runs) == 12
    assert tested.coverage.value is not None and tested.coverage.value >= 0.75
    assert tested.absolute_error.value is not None and tested.absolute_error.value < 0.01
    assert all(r.flop >= tested.largest_fitted for r in tested.runs)
    assert all(r.covered == (r.predicted.low <= r.loss <= r.predicted.high) for r in tested.runs)  # type: ignore[operator]
    assert not any("missed" in w for w in study.warnings)


def test_a_law_that_bends_is_caught_by_the_largest_runs() -> None:
    found = scaling_study(runs(100, bend=0.02), tokens="tokens", replicates=100)
    assert found.hold_out is not None and found.hold_out.error.value is not None
    assert found.hold_out.error.value > 0.01
    assert any("missed the largest ones" in w for w in found.warnings)


def test_extrapolation_is_told_with_its_factor(study: ScalingStudy) -> None:
    largest = float(study.runs.flop.max())
    assert study.predictions[0].extrapolation == pytest.approx(6 * 70e9 * 1.4e12 / largest)
    told = [w for w in study.warnings if "extrapolates" in w]
    assert len(told) == 2
    assert told[0].startswith("N=70e9, D=1.4e12") and told[1].startswith("the split of 5.88e23 FLOP")


def test_a_study_says_what_was_left_out() -> None:
    found = scaling_study(runs(), tokens="tokens", drop_highest=3, replicates=50, hold_out=0)
    assert found.dropped == 3 and found.fit.law.n == 57 and found.hold_out is None
    assert max(found.runs.loss) < sorted(runs()["loss"].to_pylist())[-3]
    assert "choice made on the outcome" in found.warnings[0]


def test_too_few_runs_for_a_test_are_told_not_hidden() -> None:
    found = scaling_study(runs(22), tokens="tokens", replicates=50)
    assert found.hold_out is None
    assert any("not tested on held-out runs" in w for w in found.warnings)


def test_model_size_and_data_in_lockstep_are_told() -> None:
    table = runs(40)
    size = table["parameters"].to_numpy()
    tokens = 20 * size * np.exp(np.random.default_rng(0).normal(0, 0.05, 40))
    found = scaling_study(
        pa.table({"parameters": size, "tokens": tokens, "loss": 1.8 + 480 / size**0.35 + 2100 / tokens**0.37}),
        tokens="tokens",
        replicates=50,
        hold_out=0,
    )
    assert any("vary together" in w for w in found.warnings)


def test_the_document_is_plain_json_and_the_text_has_every_interval(study: ScalingStudy) -> None:
    document = json.loads(json.dumps(study.to_json(), allow_nan=False))
    assert document["runs"] == 60 and document["replicates"] == 100
    assert document["predictions"][0]["new_run"]["low"] < document["predictions"][0]["curve"]["low"]
    assert len(document["hold_out"]["runs"]) == 12
    text = str(study)
    assert "new run" in text and "coverage" in text and "warning: " in text
    assert len(text.splitlines()[0]) < 80


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({}, {"loss": "los"}, UnknownName, "did you mean 'loss'"),
        ({}, {"tokens": None}, UsageError, "either the column of tokens"),
        ({}, {"flop": "flop"}, UsageError, "either the column of tokens"),
        ({}, {"hold_out": 1.0}, UsageError, "outside its range"),
        ({}, {"replicates": 10}, UsageError, "at least 39 refits"),
        ({}, {"predict": [(1e9, -1.0)]}, UsageError, "must be positive"),
        ({}, {"cluster": "family"}, Exception, "6 clusters"),
        ({}, {"drop_highest": 45}, DataError, "15 runs after 45 were dropped"),
        ({"loss": [None] + [2.0] * 59}, {}, DataError, "1 empty values"),
        ({"loss": [float("inf")] + [2.0] * 59}, {}, DataError, "inf in run 1"),
        ({"loss": [2.0, 0.0] + [2.0] * 58}, {}, DataError, "0.0 in run 2"),
        ({"loss": ["2.0"] * 60}, {}, DataError, "holds no numbers"),
        ({"parameters": [1e9] * 60}, {}, DataError, "model size does not vary"),
    ],
    ids=[
        "name",
        "neither",
        "both",
        "share",
        "refits",
        "negative",
        "clusters",
        "few",
        "null",
        "inf",
        "zero",
        "text",
        "same",
    ],
)
def test_what_cannot_be_answered_is_refused(
    change: dict[str, list[Any]], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    table = runs()
    for name, values in change.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    with pytest.raises(error, match=re.escape(message)):
        scaling_study(table, **{"tokens": "tokens", **options})


def test_figures_are_well_formed_and_carry_no_style_or_script(study: ScalingStudy) -> None:
    for figure in (loss_figure(study), residual_figure(study)):
        root = ET.fromstring(figure)
        dots = [e for e in root.iter() if e.tag == "circle" and e.get("class") == "run"]
        assert len(dots) == 60
        assert root.get("aria-label")
        assert "style=" not in figure and "<script" not in figure and "nan" not in figure
    assert 'class="frontier beyond"' in loss_figure(study)


def test_the_page_forbids_itself_everything_and_escapes_names(study: ScalingStudy) -> None:
    page = render_scaling_page(study, title="<script>alert(1)</script>")
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    assert not re.search(r'(?:src|href)="', page) and "http://" not in page and "https://" not in page
    assert page == render_scaling_page(study, title="<script>alert(1)</script>")
    assert "Would it have foretold the largest runs?" in page


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_table(kind: str, tmp_path: Path) -> None:
    table, path = runs(20), tmp_path / f"runs.{kind}"
    if kind == "csv":
        pyarrow.csv.write_csv(table, path)
    elif kind == "parquet":
        pq.write_table(table, path)
    else:
        path.write_text("\n".join(json.dumps(r) for r in table.to_pylist()), encoding="utf-8")
    assert read_runs(path).to_pydict() == table.to_pydict()


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_runs(tmp_path / "none.csv")
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        read_runs(tmp_path / "bad.parquet")


def test_the_command_prints_json_and_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "runs.csv"
    pyarrow.csv.write_csv(runs(), path)
    scaling(
        path, tokens="tokens", predict=["70e9,1.4e12"], budget=[1e22], replicates=50, out=tmp_path / "out", json=True
    )
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document == json.loads((tmp_path / "out" / "scaling.json").read_text(encoding="utf-8"))
    assert document["allocations"][0]["flop"] == 1e22
    assert (tmp_path / "out" / "scaling.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(UsageError, match="parameters and tokens"):
        scaling(path, tokens="tokens", predict=["70e9"])
