"""``jurat experiments`` by hand: results on stdout, notes on stderr, exit codes that scripts can trust."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jurat.cli import main
from tests.experiments.case import spec_of, users_table, write_case, write_spec
from tests.experiments.test_judgement import BAR, rows

Capture = pytest.CaptureFixture[str]


def call(capsys: Capture, *arguments: object) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["experiments", *map(str, arguments)])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return caught.value.code, captured.out, captured.err


def case(folder: Path, value: float = 0.6, harm: float = -0.1, **changes: Any) -> Path:
    return write_case(folder, {"outcomes": rows(value, harm)}, **{"bar": [BAR], **changes})


ANSWERS: list[tuple[str, int, dict[str, Any]]] = [
    ("pass", 0, {}),
    ("fail", 3, {"harm": 0.3}),
    ("not enough evidence", 4, {"inference__planned_clusters": 5_000}),
    ("invalid", 5, {"checks": ["sample_ratio"], "assignment__arms": {"a": 0.3, "b": 0.7}}),
]


@pytest.mark.parametrize(("answer", "code", "changes"), ANSWERS, ids=lambda v: v if isinstance(v, str) else "")
def test_each_answer_has_its_exit_code(
    tmp_path: Path, capsys: Capture, answer: str, code: int, changes: dict[str, Any]
) -> None:
    spec = case(tmp_path, **changes)
    done, text, told = call(capsys, "analyse", spec)
    assert (done, told) == (code, "")
    assert text.startswith(f"case: {answer.upper()} (exploratory)")
    assert ("A check failed: the numbers below" in text) == (answer == "invalid")
    done, text, told = call(capsys, "analyse", spec, "--json")
    document = json.loads(text)
    assert (done, told, document["answer"]) == (code, "", answer)


def test_analyse_writes_a_folder_that_report_renders_again(tmp_path: Path, capsys: Capture) -> None:
    spec, out = case(tmp_path / "case"), tmp_path / "out"
    code, text, _ = call(capsys, "analyse", spec, "--out", out)
    assert code == 0 and f"report: {out / 'report.html'}" in text
    for given in (out, out / "result.json"):
        code, text, told = call(capsys, "report", given, "--out", tmp_path / "again.html")
        assert (code, text.strip(), told) == (0, str(tmp_path / "again.html"), "")
        assert (tmp_path / "again.html").read_bytes() == (out / "report.html").read_bytes()
    code, text, _ = call(capsys, "report", out, "-o", tmp_path / "again.html", "--json")
    assert json.loads(text) == {"report": str(tmp_path / "again.html")}
    code, _, told = call(capsys, "analyse", spec, "--out", out)
    assert code == 2 and "the output folder exists" in told and "next:" in told


PLANNED = {
    "good": {"kind": "proportion", "value": "y", "better": "higher", "role": "value", "baseline": 0.5, "icc": 0.0},
    "bad": {"kind": "proportion", "value": "bad", "better": "lower", "role": "risk", "baseline": 0.1, "icc": 0.0},
}
PLANNED_BAR = {
    "name": "bar",
    "value": {"metric": "good", "test": "superior", "mde": "+5pp"},
    "risk": {"metric": "bad", "test": "noninferior", "margin": "+5pp", "rationale": "because"},
}


def planned(folder: Path, clusters: int) -> Path:
    changes = {"metrics": PLANNED, "bar": [PLANNED_BAR], "inference__planned_clusters": clusters}
    return write_spec(folder, spec_of(**changes))


def test_plan_says_whether_it_would_do_and_what_would(tmp_path: Path, capsys: Capture) -> None:
    code, text, told = call(capsys, "plan", planned(tmp_path, 10_000))
    assert (code, told) == (0, "") and "value and risk have their power" in text
    code, text, _ = call(capsys, "plan", planned(tmp_path, 200))
    assert code == 4 and "not enough: bar / value" in text and "to mend it: plan 4," in text
    code, text, told = call(capsys, "plan", planned(tmp_path, 200), "--json", "--out", tmp_path / "plan.html")
    document = json.loads(text)
    assert code == 4 and document["sufficient"] is False and document["claims"][0]["clusters"] > 4_000
    assert "power curves" in told and "<script" not in (tmp_path / "plan.html").read_text(encoding="utf-8")


def test_lock_refuses_a_weak_plan_and_registers_a_sound_one(tmp_path: Path, capsys: Capture) -> None:
    spec = planned(tmp_path, 200)
    code, text, told = call(capsys, "lock", spec)
    assert (code, text) == (1, "") and "cannot answer its question" in told and "--underpowered" in told
    code, text, _ = call(capsys, "lock", planned(tmp_path, 10_000), "--json")
    assert code == 0 and json.loads(text)["version"] == 1
    code, _, told = call(capsys, "lock", spec)
    assert code == 2 and "locked already" in told
    planned(tmp_path, 12_000)
    code, _, told = call(capsys, "lock", spec)
    assert code == 2 and "--again" in told
    code, text, _ = call(capsys, "lock", spec, "--again")
    assert code == 0 and text.startswith("locked case, version 2")


@pytest.mark.parametrize(
    ("arguments", "rows_per_arm"),
    [
        ([0.52, 0.53], 39_143),
        ([0.52, 0.53, "--formula", "pooled"], 39_146),
        ([0.52, 0.53, "--formula", "arcsine"], 39_145),
        ([0.52, 0.53, "--power", 0.9], 52_401),
        ([0.02, 0.02, "--margin", 0.005], 12_308),
        ([0.52, 0.53, "--annotator-accuracy", 0.9], 61_218),
        ([0.52, 0.53, "--icc", 0.1, "--cluster-size", 8], 66_543),
        ([0.52, 0.53, "--icc", 0.1, "--cluster-size", 8, "--size-cv", 1], 97_856),
        ([0.52, 0.53, "--guardrails", 3], 64_805),
    ],
    ids=["unpooled", "pooled", "arcsine", "power", "margin", "labels", "clusters", "uneven", "guardrails"],
)
def test_size_names_its_formula_and_gives_the_published_number(
    capsys: Capture, arguments: list[object], rows_per_arm: int
) -> None:
    code, text, told = call(capsys, "size", *arguments)
    assert (code, told) == (0, "") and text.startswith(f"{rows_per_arm:,} rows per arm")
    document = json.loads(call(capsys, "size", *arguments, "--json")[1])
    assert document["rows_per_arm"] == rows_per_arm and document["formula"] in text


@pytest.mark.parametrize(
    "arguments",
    [
        [0.001, 0.002, "--formula", "arcsine"], [1.5, 0.5], [0.5, 0.5], [0.5, 0.6, "--power", 1.5],
        [0.5, 0.6, "--annotator-accuracy", 0.4], [0.5, 0.6, "--icc", 2], [0.5, 0.6, "--cluster-size", 0],
        [0.5, 0.6, "--guardrails", -1], [0.5, 0.6, "--level", 1.2], [0.1, 0.2, "--margin", 0.05], ["nan", 0.5],
        [0.5, 0.6, "--size-cv", -1],
    ],
    ids=lambda a: " ".join(map(str, a)),
)  # fmt: skip
def test_a_size_that_cannot_be_is_a_usage_error(capsys: Capture, arguments: list[object]) -> None:
    code, text, told = call(capsys, "size", *arguments)
    assert (code, text) == (2, "") and "next:" in told, told


def test_monitor_reads_only_what_is_new(tmp_path: Path, capsys: Capture) -> None:
    changes: dict[str, Any] = {"inference__method": "confidence_sequence", "inference__planned_clusters": 300}
    spec = write_case(tmp_path, {"outcomes": users_table(300, 1)}, data__time="day", **changes)
    code, text, told = call(capsys, "monitor", spec, "--state", tmp_path / "state")
    assert (code, told) == (0, "") and text.startswith("10 looks, 2026-03-01 to 2026-03-10; 10 new")
    code, text, _ = call(capsys, "monitor", spec, "--state", tmp_path / "state", "--json")
    document = json.loads(text)
    assert document["new"] == [] and len(document["days"]) == len(document["split"]) == 10
    assert {s["claim"] for s in document["looks"]} == {"y against bad / value", "y against bad / risk"}
    whole = json.loads(call(capsys, "monitor", spec, "--json")[1])
    assert whole["new"] == whole["days"] and whole["stop"] == document["stop"]


def test_monitor_of_too_few_clusters_says_to_go_on(tmp_path: Path, capsys: Capture) -> None:
    changes: dict[str, Any] = {"inference__method": "confidence_sequence", "inference__planned_clusters": 300}
    spec = write_case(tmp_path, {"outcomes": users_table(20, 1)}, data__time="day", **changes)
    code, text, _ = call(capsys, "monitor", spec)
    assert code == 0 and "go on" in text


@pytest.fixture
def panel(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    unit, time = np.repeat(np.arange(30), 12), np.tile(np.arange(12), 30)
    treated, after = unit < 8, time >= 8
    y = unit * 0.1 + time * 0.2 + 1.5 * (treated & after) + rng.normal(0, 0.3, len(unit))
    path = tmp_path / "panel.parquet"
    columns = {"unit": unit, "time": time, "treated": treated, "after": after, "y": y, "x": rng.normal(size=len(unit))}
    pq.write_table(pa.table(columns), path)
    return path


CAUSAL: dict[str, list[str]] = {
    "difference-in-differences": ["--treated", "treated", "--after", "after", "--cluster", "unit"],
    "weighting": ["--treated", "treated", "--covariate", "x"],
    "synthetic-control": ["--unit", "unit", "--time", "time", "--treated-unit", "3", "--first-treated-time", "8"],
}


@pytest.mark.parametrize("method", CAUSAL)
def test_causal_prints_assumption_placebo_and_cap(panel: Path, tmp_path: Path, capsys: Capture, method: str) -> None:
    arguments = ["causal", panel, "--method", method, "--outcome", "y", *CAUSAL[method]]
    code, text, _ = call(capsys, *arguments, "--out", tmp_path / "page.html")
    assert code == 0 and text.strip()
    assert "<script" not in (tmp_path / "page.html").read_text(encoding="utf-8")
    code, text, _ = call(capsys, *arguments, "--json")
    document = json.loads(text)
    assert code == 0 and document["assumption"] and document["placebo"] and document["method"]
    assert document["effect"]["n"] > 0
    if method == "difference-in-differences":
        assert document["effect"]["low"] < 1.5 < document["effect"]["high"]


def test_causal_says_what_it_needs(panel: Path, capsys: Capture) -> None:
    code, _, told = call(capsys, "causal", panel, "--method", "weighting", "--outcome", "y", "--treated", "treated")
    assert code == 2 and "pass --covariate" in told
    rest = ["--treated", "treated", "--after", "after"]
    code, _, told = call(capsys, "causal", panel, "--method", "difference-in-differences", "--outcome", "yy", *rest)
    assert code == 1 and "'yy'" in told and "next:" in told
    code, _, told = call(capsys, "causal", "none.csv", "--method", "difference-in-differences", "--outcome", "y", *rest)
    assert code == 1 and "no such file" in told


def test_scaling_fits_predicts_and_writes(tmp_path: Path, capsys: Capture) -> None:
    rng = np.random.default_rng(2)
    size, data = 10 ** rng.uniform(7.5, 10, 40), 10 ** rng.uniform(9, 11.5, 40)
    loss = (1.8 + 480 / size**0.35 + 2_100 / data**0.37) * np.exp(rng.normal(0, 0.002, 40))
    pq.write_table(pa.table({"parameters": size, "tokens": data, "loss": loss}), tmp_path / "runs.parquet")
    code, text, told = call(
        capsys, "scaling", tmp_path / "runs.parquet", "--tokens", "tokens", "--replicates", 100, "--predict", "2e10,4e11",
        "--budget", "1e22", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert code == 0, told
    document = json.loads(text)
    assert json.loads((tmp_path / "out/scaling.json").read_text(encoding="utf-8")) == document
    assert "<script" not in (tmp_path / "out/scaling.html").read_text(encoding="utf-8")
    code, _, told = call(capsys, "scaling", tmp_path / "runs.parquet", "--tokens", "tokens", "--predict", "70e9")
    assert code == 2 and "parameters and tokens" in told
    code, _, told = call(capsys, "scaling", tmp_path / "runs.parquet", "--tokens", "tokns")
    assert code == 1 and "'tokns'" in told and "next:" in told


MISTAKES: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("an unknown key", {"hypotesis": "x"}, ("unknown key hypotesis", "did you mean 'hypothesis'")),
    (
        "an unknown metric",
        {"bar": [{**BAR, "value": {"metric": "yy", "test": "superior"}}]},
        ("'yy'", "did you mean 'y'"),
    ),
    ("a margin of the wrong sign", {"bar": [{**BAR, "risk": {**BAR["risk"], "margin": "-5pp"}}]}, ("wrong sign",)),  # type: ignore[dict-item]
    ("shares that do not add up", {"assignment__arms": {"a": 0.5, "b": 0.4}}, ("add up to one",)),
    ("an unknown column", {"assignment__unit": "usr"}, ("usr", "did you mean 'user'")),
    ("an arm that is not there", {"assignment__arms": {"a": 0.5, "c": 0.5}}, ("'b'",)),
    ("no data", {"data__outcomes": "none.parquet"}, ("none.parquet",)),
]


@pytest.mark.parametrize(("what", "changes", "told"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_mistake_is_told_in_three_parts(
    tmp_path: Path, capsys: Capture, what: str, changes: dict[str, Any], told: tuple[str, ...]
) -> None:
    code, text, said = call(capsys, "analyse", case(tmp_path / "case", **changes), "--out", tmp_path / "out")
    assert (code, text) == (1, ""), what
    for part in (*told, "seen:", "next:"):
        assert part in said, said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["plan", "lock", "analyse", "monitor"])
def test_a_spec_that_is_not_there_is_told_by_every_command(tmp_path: Path, capsys: Capture, command: str) -> None:
    code, text, told = call(capsys, command, tmp_path / "none.toml")
    assert (code, text) == (1, "") and "no such experiment spec" in told and "next:" in told


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": "other"}', '{"format": "urn:jurat:experiment-result:1"}']
)
def test_what_is_no_result_is_no_report(tmp_path: Path, capsys: Capture, content: str) -> None:
    (tmp_path / "result.json").write_text(content, encoding="utf-8")
    code, text, told = call(capsys, "report", tmp_path, "--out", tmp_path / "r.html")
    assert (code, text) == (1, "") and "seen:" in told and "next:" in told
    assert not (tmp_path / "r.html").exists()


def test_a_page_cannot_be_written_over_a_folder(tmp_path: Path, capsys: Capture) -> None:
    code, _, told = call(capsys, "plan", planned(tmp_path, 10_000), "--out", tmp_path)
    assert code == 2 and "next:" in told
    code, _, _ = call(capsys, "plan", planned(tmp_path, 10_000), "--out", tmp_path / "new/folder/plan.html")
    assert code == 0 and (tmp_path / "new/folder/plan.html").is_file()


def test_progress_is_not_part_of_what_is_piped(tmp_path: Path) -> None:
    spec = case(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "jurat", "experiments", "analyse", str(spec), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == ""
    assert json.loads(done.stdout)["answer"] == "pass"


def test_the_simulated_experiment_is_the_spec_of_every_command(tmp_path: Path, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(
            ["simulate", "experiment", "--out", str(tmp_path / "t"), "--users", "400", "--flaw", "both_arms", "--json"]
        )
    assert caught.value.code == 0
    assert json.loads(capsys.readouterr().out)["flaws"] == ["both_arms"]
    spec = tmp_path / "t/experiment.toml"
    assert call(capsys, "plan", spec)[0] == 4
    assert call(capsys, "lock", spec, "--underpowered", "a drill")[0] == 0
    code, text, _ = call(capsys, "analyse", spec)
    assert code == 5 and "multiple exposure" in text
