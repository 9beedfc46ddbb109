"""How benchmarks are run and told: side by side in one process, best of several rounds, as a ratio.

A peer that cannot be imported is reported as missing, never as beaten. Results go to ``benchmarks/results/TARGET.json`` with
the machine and the versions, and to the terminal as a table.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jurat.cli.output import table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison: CPU seconds of ours and the peer's, their ratio (peer over ours), and the goal for it."""

    name: str
    ours: float
    peer: float | None
    peer_name: str
    unit: str
    ratio: float | None
    goal: float | None
    met: bool | None


def side_by_side(
    name: str,
    ours: Callable[[], Any],
    peer: Callable[[], Any] | None,
    *,
    peer_name: str,
    goal: float | None,
    rounds: int = 5,
    at_most: bool = False,
) -> Row:
    """Time ours and the peer in turn and keep the best of each.

    ``at_most`` turns the goal round: ours over the peer must not exceed it (an overhead).
    """
    best = [float("inf"), float("inf")]
    ours()  # compile and warm before the first timed round
    for _ in range(rounds):
        for i, work in enumerate((ours, peer)):
            if work is not None:
                begin = time.process_time()
                work()
                best[i] = min(best[i], time.process_time() - begin)
    if peer is None:
        return Row(
            name=name,
            ours=best[0],
            peer=None,
            peer_name=f"{peer_name} (missing)",
            unit="CPU s",
            ratio=None,
            goal=goal,
            met=None,
        )
    ratio = best[0] / best[1] if at_most else best[1] / best[0]
    met = None if goal is None else (ratio <= goal if at_most else ratio >= goal)
    return Row(
        name=name, ours=best[0], peer=best[1], peer_name=peer_name, unit="CPU s", ratio=ratio, goal=goal, met=met
    )


def row_of(
    name: str,
    ours: float,
    peer: float | None,
    *,
    peer_name: str,
    goal: float | None,
    at_most: bool = False,
    unit: str = "CPU s",
) -> Row:
    """Lay out a comparison whose two sides were measured elsewhere; a peer without a figure is missing, not beaten."""
    ratio = None if peer is None else ours / peer if at_most else peer / ours
    met = None if ratio is None or goal is None else (ratio <= goal if at_most else ratio >= goal)
    return Row(name=name, ours=ours, peer=peer, peer_name=peer_name, unit=unit, ratio=ratio, goal=goal, met=met)


def limit_row(name: str, value: float, limit: float, *, unit: str, of: str = "limit", at_most: bool = True) -> Row:
    """A figure against a limit that is no peer: its ratio to the limit."""
    ratio = value / limit
    met = ratio <= 1 if at_most else ratio >= 1
    return Row(name=name, ours=value, peer=limit, peer_name=of, unit=unit, ratio=ratio, goal=1.0, met=met)


def report(target: str, rows: Sequence[Row]) -> None:
    """Print the rows and write them with machine and versions."""
    lines = []
    for r in rows:
        peer = "missing" if r.peer is None else f"{r.peer:.4f}"
        ratio = "" if r.ratio is None else f"{r.ratio:.1f}x" if r.ratio >= 1 else f"{r.ratio:.2f}x"
        goal = "" if r.goal is None else f"{r.goal:g}x"
        state = {True: "● met", False: "■ not met", None: "–"}[r.met]
        lines.append([r.name, f"{r.ours:.4f}", r.peer_name, peer, r.unit, ratio, goal, state])
    print(table(["benchmark", "ours", "peer", "its", "unit", "ratio", "goal", ""], lines))
    packages = ("jurat", "numpy", "scipy", "numba", "duckdb", "pyarrow", "pandas", "statsmodels", "ppi-python")
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "missing"
    machine = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
    }
    RESULTS.mkdir(exist_ok=True)
    document = [{**asdict(r), "machine": machine, "versions": versions} for r in rows]
    (RESULTS / f"{target}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
