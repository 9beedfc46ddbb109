"""What is remembered between looks equals what was seen: day by day, after late rows, and after a kill anywhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jurat.errors import DataError, EngineError, IntegrityError, JuratError, UsageError
from jurat.experiments import state as state_module
from jurat.experiments.monitor import Monitoring
from jurat.experiments.run import run_monitoring
from tests.experiments.case import spec_of, users_table, write_case, write_spec

CHANGES: dict[str, Any] = {
    "metrics": {
        "y": {"kind": "mean", "value": "y", "better": "higher", "role": "value", "covariates": ["x"]},
        "bad": {"kind": "proportion", "value": "bad", "better": "lower", "role": "risk"},
    },
    "data__time": "day",
    "inference__method": "confidence_sequence",
    "inference__planned_clusters": 300,
}
DAYS = [f"2026-03-{d:02d}" for d in range(1, 11)]


def table(seed: int = 3, users: int = 300) -> pa.Table:
    """Rows whose values are quarters, so that their sums do not depend on the order."""
    found = users_table(users, seed)
    for name in ("y", "x"):
        rounded = pa.array(np.round(4 * found[name].to_numpy()) / 4)
        found = found.set_column(found.schema.get_field_index(name), name, rounded)
    return found


def up_to(rows: pa.Table, day: str) -> pa.Table:
    return rows.filter(pc.less_equal(rows["day"].cast(pa.date32()), pa.scalar(day).cast(pa.date32())))


def write(folder: Path, rows: pa.Table, **changes: Any) -> Path:
    return write_case(folder, {"outcomes": rows}, **{**CHANGES, **changes})


def looked(spec: Path, state: Path | None) -> Monitoring:
    return run_monitoring(spec, state=state)[0]


def same(a: Monitoring, b: Monitoring, *, rel: float = 1e-9) -> None:
    """All looks alike; counts to the digit."""
    assert a.days == b.days and a.split == pytest.approx(b.split, rel=1e-12)
    assert [s[:2] for s in a.looks] == [s[:2] for s in b.looks]
    for (_, _, first), (_, _, second) in zip(a.looks, b.looks, strict=True):
        for x, y in zip(first, second, strict=True):
            assert (x.day, x.clusters, x.outcome, x.once.n) == (y.day, y.clusters, y.outcome, y.once.n)
            for i, j in ((x.always, y.always), (x.once, y.once)):
                for p, q in ((i.value, j.value), (i.low, j.low), (i.high, j.high)):
                    assert (p is None) == (q is None)
                    assert p is None or p == pytest.approx(q, rel=rel, abs=1e-12)


def grown(folder: Path, rows: pa.Table, days: list[str], **changes: Any) -> Monitoring:
    """Take the days in one by one."""
    for day in days:
        found = looked(write(folder, up_to(rows, day), **changes), folder / "state")
    return found


@pytest.mark.parametrize("cluster", ["user", "none"])
def test_day_by_day_equals_all_at_once(tmp_path: Path, cluster: str) -> None:
    rows = table()
    found = grown(tmp_path / "grown", rows, DAYS, inference__cluster=cluster)
    assert found.new == (DAYS[-1],)
    spec = write(tmp_path / "whole", rows, inference__cluster=cluster)
    whole = looked(spec, None)
    same(found, replace(whole, new=found.new))
    at_once = looked(spec, tmp_path / "whole/state")
    assert at_once.new == tuple(DAYS)
    same(at_once, whole)


def test_several_days_at_once_and_days_without_rows_are_taken_in(tmp_path: Path) -> None:
    rows = table()
    rows = rows.filter(pc.not_equal(rows["day"].cast(pa.date32()), pa.scalar("2026-03-05").cast(pa.date32())))
    found = grown(tmp_path / "grown", rows, [DAYS[0], DAYS[2], DAYS[9]])
    assert found.new == (*DAYS[3:4], *DAYS[5:])
    same(found, looked(write(tmp_path / "whole", rows), None))


def test_a_look_without_news_changes_nothing(tmp_path: Path) -> None:
    rows = table()
    spec = write(tmp_path, rows)
    first = looked(spec, tmp_path / "state")
    before = {p.name: p.read_bytes() for p in (tmp_path / "state").iterdir()}
    again = looked(spec, tmp_path / "state")
    assert again.new == ()
    same(again, first)
    assert {p.name: p.read_bytes() for p in (tmp_path / "state").iterdir()} == before


def test_days_are_merged_into_the_base_and_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "_MOST_DELTAS", 3)
    rows = table()
    found = grown(tmp_path / "grown", rows, DAYS)
    same(found, looked(write(tmp_path / "whole", rows), None))
    assert len(list((tmp_path / "grown/state").glob("*.parquet"))) <= 3


@pytest.mark.parametrize("kind", ["added", "removed"])
def test_late_rows_are_told_and_a_new_state_amends_the_looks(tmp_path: Path, kind: str) -> None:
    rows = table()
    grown(tmp_path, rows, DAYS[:5])
    held = (tmp_path / "state/manifest.json").read_bytes()
    early = up_to(rows, DAYS[2])
    now = pa.concat_tables([up_to(rows, DAYS[5]), early.slice(0, 4)]) if kind == "added" else rows.slice(1)
    spec = write(tmp_path, now)
    with pytest.raises(DataError, match=r"the rows of 2026-03-0\d have changed since") as caught:
        looked(spec, tmp_path / "state")
    assert "build it anew" in str(caught.value)
    assert (tmp_path / "state/manifest.json").read_bytes() == held, "a refusal leaves the state as it was"
    same(looked(spec, tmp_path / "anew"), looked(spec, None))


def test_a_state_belongs_to_its_spec(tmp_path: Path) -> None:
    rows = table()
    looked(write(tmp_path, rows), tmp_path / "state")
    spec = write_spec(tmp_path, spec_of(**{**CHANGES, "inference__planned_clusters": 301}))
    with pytest.raises(DataError, match="another version of the spec"):
        looked(spec, tmp_path / "state")


@pytest.mark.parametrize("damage", ["torn", "empty", "list", "keyless", "binary"])
def test_a_damaged_manifest_is_told_and_not_built_over(tmp_path: Path, damage: str) -> None:
    spec = write(tmp_path, table())
    looked(spec, tmp_path / "state")
    path = tmp_path / "state/manifest.json"
    whole = path.read_bytes()
    path.write_bytes(
        {
            "torn": whole[: len(whole) // 2],
            "empty": b"",
            "list": b"[]",
            "keyless": b'{"format": 1}',
            "binary": b"\xff\xfe",
        }[damage]
    )
    with pytest.raises(IntegrityError, match="manifest cannot be read") as caught:
        looked(spec, tmp_path / "state")
    assert "build it anew" in str(caught.value)


def test_a_missing_or_torn_file_is_told(tmp_path: Path) -> None:
    rows = table()
    grown(tmp_path, rows, DAYS[:3])
    spec = write(tmp_path, up_to(rows, DAYS[3]))
    base = next((tmp_path / "state").glob("base-*.parquet"))
    whole = base.read_bytes()
    base.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(JuratError) as caught:
        looked(spec, tmp_path / "state")
    assert base.name in str(caught.value)
    base.unlink()
    with pytest.raises(IntegrityError, match=r"base-0\.parquet"):
        looked(spec, tmp_path / "state")


def test_a_state_that_is_a_file_is_a_usage_error(tmp_path: Path) -> None:
    spec = write(tmp_path, table())
    with pytest.raises(UsageError, match="the state is a folder"):
        looked(spec, spec)


def test_one_writer_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jurat.store.durable import locked

    spec = write(tmp_path, table())
    looked(spec, tmp_path / "state")
    monkeypatch.setattr(
        state_module, "locked", lambda path, wait_seconds: locked(path, wait_seconds=min(wait_seconds, 0.05))
    )
    with locked(tmp_path / "state/.lock", wait_seconds=1), pytest.raises(EngineError, match="another writer"):
        looked(spec, tmp_path / "state")


class Lives:
    """Processes that save a state and die when told."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.experiments.saver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            cwd=Path(__file__).resolve().parents[2],
        )

    def live(self, spec: Path, state: Path, crash_at: int) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"spec": str(spec), "state": str(state), "crash_at": crash_at}) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    started = Lives()
    yield started
    started.close()


@pytest.mark.parametrize("before", [0, 3], ids=["the first state", "two further days"])
def test_a_kill_at_any_point_of_writing_loses_and_doubles_nothing(lives: Lives, tmp_path: Path, before: int) -> None:
    rows = table(users=200)
    spec = write(tmp_path / "case", up_to(rows, DAYS[4]))
    whole = looked(spec, None)
    partial = write(tmp_path / "early", up_to(rows, DAYS[before - 1])) if before else None
    for crash_at in range(400):
        state = tmp_path / f"state-{crash_at}"
        if partial is not None:
            looked(partial, state)
        status = lives.live(spec, state, crash_at)
        manifest = state / "manifest.json"
        held = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {"rows": {}, "files": []}
        assert list(held["rows"]) in [DAYS[:n] for n in {before, *range(before, 6)}], "days torn or out of order"
        for name in held["files"]:
            pq.read_table(state / name)
        found = looked(spec, state)
        assert len(found.new) == 5 - len(held["rows"]), "a day that was committed is read again, or one is lost"
        same(found, whole)
        left = {p.name for p in state.glob("*.parquet")}
        named = set(json.loads(manifest.read_text(encoding="utf-8"))["files"])
        if found.new:
            assert left == named, "files that no manifest names were not swept"
        if status == 0:
            assert crash_at > (8 if before == 0 else 16), "hardly a call was met"
            return
        assert status == signal.SIGKILL
    pytest.fail("the work never came to its end")
