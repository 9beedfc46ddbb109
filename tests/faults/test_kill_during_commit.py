"""A writer killed at any moment: what was acknowledged is there, once, in order; the rest is whole or absent."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jurat.store.lake import Lake
from tests.faults.committer import ROWS, TABLE, rows_of

KILLS_PER_LAKE = 10
LAKES = (("append",),) * 4 + (("append", "compact", "vacuum", "snapshot"),) * 6
"""What writers do in each lake between appends; ten kills each, 100 in all."""


class Nursery:
    """Starts writers from a warm process and kills them."""

    def __init__(self) -> None:
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("committer.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def _answer(self) -> list[int]:
        assert self._process.stdout is not None
        answer: list[int] = json.loads(self._process.stdout.readline())
        return answer

    def start(self, *requests: dict[str, Any]) -> list[int]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(requests) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def outcome(self) -> list[int]:
        """Exit status of each writer: 0, or the signal that killed it."""
        return self._answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    started = Nursery()
    yield started
    started.close()


class Told:
    """What clients were told: appends and snapshots that were acknowledged."""

    def __init__(self, path: Path) -> None:
        lines = path.read_text().splitlines() if path.exists() else []
        words = [line.split() for line in lines]
        self.appends = [int(word[1]) for word in words if word[0] == "append"]
        self.version = max((int(word[2]) for word in words if word[0] == "append"), default=0)
        self.snapshots = [word[1] for word in words if word[0] == "snapshot"]


def _check(root: Path, told: Told, writer: str = "w") -> int:
    """Check a lake against what was told; return how many appends it holds that were not acknowledged (0 or 1)."""
    lake = Lake(root, wait_seconds=1)
    if not told.appends and TABLE not in lake.tables():
        return 0
    assert told.appends == list(range(len(told.appends)))
    assert lake.version(TABLE) >= told.version
    for path in lake.paths(TABLE):
        pq.read_table(path)
    units = [unit for unit in lake.read(TABLE)["unit_id"].to_pylist() if unit.startswith(f"{writer}-")]
    held = len(units) // ROWS
    assert held - len(told.appends) in (0, 1), "an append is lost, doubled, or was never made"
    expected = [unit for number in range(held) for unit in rows_of(writer, number)["unit_id"].to_pylist()]
    assert units == expected, "rows are torn, doubled or out of order"
    for identifier in told.snapshots:
        lake.open_snapshot(identifier).verify(root)
    return held - len(told.appends)


def test_a_hundred_kills_lose_nothing_double_nothing_and_tear_nothing(nursery: Nursery, tmp_path: Path) -> None:
    chance = random.Random(20_261_121)
    kills = unacknowledged = appended = pinned = 0
    for number, work in enumerate(LAKES):
        root, acknowledged = tmp_path / str(number), tmp_path / f"{number}.told"
        for _ in range(KILLS_PER_LAKE):
            request = {
                "root": str(root),
                "acknowledged": str(acknowledged),
                "writer": "w",
                "first": len(Told(acknowledged).appends),
                "seed": chance.randrange(2**32),
                "work": work,
            }
            (pid,) = nursery.start(request)
            time.sleep(chance.uniform(0.005, 0.12))
            os.kill(pid, signal.SIGKILL)
            assert nursery.outcome() == [signal.SIGKILL]
            kills += 1
            unacknowledged += _check(root, Told(acknowledged))
        told = Told(acknowledged)
        appended, pinned = appended + len(told.appends), pinned + len(told.snapshots)
        Lake(root, wait_seconds=1).append(TABLE, rows_of("last", 0))
        Lake(root).vacuum(TABLE, retain_hours=0, dry_run=False)
        _check(root, told)
    assert kills == 100
    assert appended > 30, "the writers were killed before they did anything worth killing"
    assert pinned > 2
    print(f"{kills} kills, {appended} appends and {pinned} snapshots told, {unacknowledged} appends held but not told")


@pytest.mark.parametrize("work", ["first append", "append", "compact", "snapshot", "vacuum"])
def test_a_kill_just_before_and_after_each_sync_leaves_the_old_state_or_the_new(
    nursery: Nursery, tmp_path: Path, work: str
) -> None:
    for crash_at in range(200):
        root, acknowledged = tmp_path / str(crash_at), tmp_path / f"{crash_at}.told"
        before = 0 if work == "first append" else 3
        lake = Lake(root)
        for number in range(before):
            lake.append(TABLE, rows_of("w", number), transaction=("w", number + 1))
        if work == "vacuum":
            lake.compact(TABLE)
        request = {
            "root": str(root),
            "acknowledged": str(acknowledged),
            "first": before,
            "work": work.split()[-1],
            "crash_at": crash_at,
        }
        nursery.start(request)
        (status,) = nursery.outcome()
        held = lake.read(TABLE).num_rows // ROWS if TABLE in lake.tables() else 0
        assert held in ({before, before + 1} if "append" in work else {before})
        if status == 0:
            assert held == before + ("append" in work)
            assert crash_at > 1, "no sync was met"
            return
        assert status == signal.SIGKILL
        for snapshot in lake.snapshots():
            snapshot.verify(root)
        # Told again, the append is made if it was not, and not made if it was.
        lake.append(TABLE, rows_of("w", before), transaction=("w", before + 1))
        lake.compact(TABLE)
        lake.vacuum(TABLE, retain_hours=0, dry_run=False)
        units = lake.read(TABLE)["unit_id"].to_pylist()
        assert units == [u for n in range(before + 1) for u in rows_of("w", n)["unit_id"].to_pylist()]
        assert len(list((root / TABLE).glob("*.parquet"))) <= 1 + 3 * len(lake.snapshots())
    pytest.fail("the work never came to its end")


def test_a_killed_writer_does_not_stand_in_the_way_of_another(nursery: Nursery, tmp_path: Path) -> None:
    chance = random.Random(7)
    root = tmp_path / "lake"
    for _ in range(5):
        requests = [
            {
                "root": str(root),
                "acknowledged": str(tmp_path / writer),
                "writer": writer,
                "first": len(Told(tmp_path / writer).appends),
                "seed": 1,
                "work": ("append",),
            }
            for writer in ("left", "right")
        ]
        pids = nursery.start(*requests)
        time.sleep(chance.uniform(0.02, 0.15))
        os.kill(pids[0], signal.SIGKILL)
        time.sleep(0.02)
        before = len(Told(tmp_path / "right").appends)
        deadline = time.monotonic() + 10
        while len(Told(tmp_path / "right").appends) < before + 2 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert len(Told(tmp_path / "right").appends) >= before + 2, "the other writer came to a stop"
        os.kill(pids[1], signal.SIGKILL)
        nursery.outcome()
        for writer in ("left", "right"):
            _check(root, Told(tmp_path / writer), writer)
