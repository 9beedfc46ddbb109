"""Where the things a number was computed from lie: lake, snapshot, metric files.

A review folder carries the snapshot, the metric files and, where the data came as files, the lake itself. A receipt's
paths are relative to that folder, so the folder can be moved, and handed to somebody else, together with its data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jurat.errors import DataError, UnknownName
from jurat.metrics.loader import Metric, load_folder
from jurat.metrics.run import Measurement, run
from jurat.store.engine import DuckDB
from jurat.store.snapshot import Snapshot

__all__ = ["EVENT_TIME", "Workspace", "collection_window"]

EVENT_TIME = {
    "spans": "ts",
    "eval_result": "started",
    "labels": "recorded_at",
    "feedback": "ts",
    "exposures": "ts",
    "scores": "recorded_at",
}
"""Column that says when the fact of a row happened, by table."""


@dataclass(slots=True)
class Workspace:
    """A pinned state of a lake with the metrics that may be measured on it.

    Attributes
    ----------
    root
        Folder that receipts are relative to.
    lake
        Root of the lake.
    snapshot
        The pinned versions.
    metrics
        Definitions by name.
    """

    root: Path
    lake: Path
    snapshot: Snapshot
    metrics: Mapping[str, Metric]
    _engine: DuckDB | None = None
    _measured: dict[str, Measurement] = field(default_factory=dict)

    @classmethod
    def open(cls, root: Path, *, lake: str) -> Workspace:
        """Open the workspace of a review folder.

        Raises
        ------
        DataError
            Where the folder holds no snapshot.
        """
        path = root / "snapshot.json"
        if not path.is_file():
            raise DataError(
                "the folder holds no snapshot", seen=str(path), next_step="give a folder that jurat review wrote"
            )
        snapshot = Snapshot.from_json(json.loads(path.read_text(encoding="utf-8")))
        return cls(root=root, lake=(root / lake).resolve(), snapshot=snapshot, metrics=load_folder(root / "metrics"))

    @property
    def engine(self) -> DuckDB:
        """The query engine over the pinned files, opened once."""
        if self._engine is None:
            self._engine = DuckDB(self.snapshot, self.lake)
        return self._engine

    def close(self) -> None:
        """Close the engine."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def metric(self, name: str) -> Metric:
        """Definition of a metric; near names are suggested where there is none."""
        if name not in self.metrics:
            raise UnknownName("metric", name, self.metrics)
        return self.metrics[name]

    def measure(
        self,
        name: str,
        *,
        slices: tuple[str, ...],
        parameters: Mapping[str, Any],
        where: Mapping[str, str],
    ) -> Measurement:
        """Run a metric, or take the run of a moment ago with the same arguments."""
        metric = self.metric(name)
        key = json.dumps([metric.sha256, slices, dict(parameters), dict(where)], sort_keys=True)
        if key not in self._measured:
            known = {k: v for k, v in parameters.items() if k in metric.parameters}
            self._measured[key] = run(metric, self.engine, slices=slices, parameters=known, where=where or None)
        return self._measured[key]


def collection_window(workspace: Workspace, metric: Metric) -> tuple[str | None, str | None]:
    """First and last UTC time of the facts a metric reads, ISO 8601; ``None`` where the data do not say.

    A table without times makes the whole window unknown: a number is only as recent as its oldest part.
    """
    first: list[str] = []
    last: list[str] = []
    for table in metric.needs:
        column = EVENT_TIME.get(table)
        if column is None:
            return None, None
        sql = f'SELECT MIN("{column}") AS first, MAX("{column}") AS last, COUNT(*) - COUNT("{column}") AS unknown FROM "{table}"'  # noqa: S608 - names from our own schema
        row = workspace.engine.query(sql).to_pylist()[0]
        if row["first"] is None or row["unknown"]:
            return None, None
        first.append(row["first"].isoformat())
        last.append(row["last"].isoformat())
    if not first:
        return None, None
    return min(first), max(last)
