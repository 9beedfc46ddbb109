"""Two questions of any log, against pandas-free plain Python and statsmodels."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from jurat.errors import DataError, UnknownName
from jurat.stats.interval import clustered_proportion
from jurat.stats.mean import clustered_mean, mean
from jurat.telemetry.logs import summarise_logs


def _rows(n: int = 3000, users: int = 80) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    level = rng.normal(0, 30, users)
    out: list[dict[str, object]] = []
    for _ in range(n):
        user = int(rng.integers(users))
        out.append(
            {
                "model_version": str(rng.choice(["v1", "v2"])),
                "status": str(rng.choice(["ok", "error", "timeout", "odd"], p=[0.9, 0.05, 0.03, 0.02])),
                "response_tokens": int(max(1, rng.normal(200, 20) + level[user])),
                "category": [None, "chat", "code"][int(rng.integers(3))],
                "user_id": f"u{user}",
            }
        )
    return out


def _write(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv"])
def test_both_answers_are_those_of_plain_python_with_clustered_intervals(tmp_path: Path, name: str) -> None:
    rows = _rows()
    found = summarise_logs([_write(tmp_path / name, rows)])
    assert (found.n_rows, found.clustered) == (3000, True)
    assert found.n_unknown_status == sum(r["status"] == "odd" for r in rows)
    for line in found.error_rate:
        per_user: dict[object, list[int]] = defaultdict(lambda: [0, 0])
        for row in rows:
            if row["model_version"] == line.group and row["status"] != "odd":
                per_user[row["user_id"]][0] += row["status"] in ("error", "timeout")
                per_user[row["user_id"]][1] += 1
        k, n = zip(*per_user.values(), strict=True)
        expected = clustered_proportion(k, n)
        assert (line.value.n, line.value.n_clusters) == (expected.n, expected.n_clusters)
        assert (line.value.value, line.value.low, line.value.high) == pytest.approx(
            (expected.value, expected.low, expected.high), rel=1e-12
        )
    for line in found.mean_tokens:
        mine = [r for r in rows if r["category"] == line.group]
        expected = clustered_mean([r["response_tokens"] for r in mine], [r["user_id"] for r in mine])
        assert (line.value.value, line.value.low, line.value.high) == pytest.approx(
            (expected.value, expected.low, expected.high), rel=1e-10
        )
    assert [line.group for line in found.mean_tokens][-1] in (None, "code")


def test_without_users_intervals_are_those_of_independent_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [
        {"model": "m", "error": None, "completion_tokens": float(t), "topic": "c"} for t in rng.gamma(2, 100, 20_000)
    ]
    found = summarise_logs([_write(tmp_path / "log.jsonl", rows)])
    expected = mean([r["completion_tokens"] for r in rows])
    value = found.mean_tokens[0].value
    assert value.n_clusters is None and not found.clustered
    assert value.value == pytest.approx(expected.value, rel=1e-12)
    assert value.low is not None and expected.low is not None and value.value is not None
    assert (value.value - value.low) == pytest.approx(value.value - expected.low, rel=0.06)


@pytest.mark.parametrize(
    ("column", "values", "errors"),
    [
        ("status", ["200", "404", "500", "ok", "failed", "???"], 3),
        ("status", ["Success", "ERROR: timeout", "completed", "True"], 1),
        ("success", ["true", "false", "1", "0", "maybe"], 2),
        ("error", ["", "boom", "false", "null", "rate limited"], 2),
        ("error_type", ["", "timeout", "none"], 1),
    ],
)
def test_outcomes_are_read_as_people_write_them(tmp_path: Path, column: str, values: list[str], errors: int) -> None:
    rows: list[dict[str, object]] = [{"model": "m", column: v, "user": f"u{i}"} for i, v in enumerate(values)]
    found = summarise_logs([_write(tmp_path / "log.csv", rows)])
    value = found.error_rate[0].value
    assert round((value.value or 0) * value.n) == errors
    assert value.n + found.n_unknown_status == len(values)


def test_tokens_that_are_no_numbers_are_counted_not_guessed(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"model": "m", "status": "ok", "tokens_out": t, "user": f"u{i}"}
        for i, t in enumerate(["5", "7", "-3", "nan", "inf", "many", ""])
    ]
    found = summarise_logs([_write(tmp_path / "log.csv", rows)])
    assert (found.n_bad_tokens, found.mean_tokens[0].value.value, found.mean_tokens[0].value.n) == (5, 6.0, 2)


def test_names_that_are_hostile_or_unknown(tmp_path: Path) -> None:
    odd = 'v"; DROP TABLE logs; --'
    rows: list[dict[str, object]] = [{odd: "a", "status": "ok", "user": f"u{i}"} for i in range(3)]
    found = summarise_logs([_write(tmp_path / "log.csv", rows)], columns={"version": odd})
    assert found.error_rate[0].group == "a"
    with pytest.raises(UnknownName, match="did you mean 'status'"):
        summarise_logs([tmp_path / "log.csv"], columns={"error": "statu"})
    with pytest.raises(UnknownName, match="unknown role"):
        summarise_logs([tmp_path / "log.csv"], columns={"eror": "status"})
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UnknownName, match="outcome or tokens"):
        summarise_logs([tmp_path / "other.csv"])
    (tmp_path / "empty.csv").write_text("status,user\n")
    with pytest.raises(DataError, match="no row"):
        summarise_logs([tmp_path / "empty.csv"])
