"""Counts by the minute, from files that hold them already or from the turns in a lake.

A file has a row for each minute, metric and slice: ``minute`` (a time, or seconds since 1970), ``metric`` (may be left out
where one metric is watched), any columns to slice by, ``n``, and ``k`` for a share or ``sum`` and ``sum_sq`` for a mean. From
a lake the metric's own file is run, unchanged, with the minute carried through one of its slice columns: what is watched is
what is reviewed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from jurat.errors import DataError, SpecError, UnknownName
from jurat.metrics.loader import Metric
from jurat.store.dialect import parameters_of
from jurat.store.engine import DuckDB
from jurat.store.lake import Lake
from jurat.telemetry.baselines import Count
from jurat.telemetry.monitors import Minute, SliceKey

__all__ = ["MinuteSource", "MinuteTable", "minute_events"]

_STATISTICS = ("n", "k", "sum", "sum_sq")
_SEPARATOR = "chr(31)"
_DAY_SECONDS = 86_400
_BEYOND_A_TURN = {"conversation_id", "turn", "session_seq", "ts", "ts_s", "ts_us", "day"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteTable:
    """Counts of one metric, summed to the slices that are watched, in order of time.

    Attributes
    ----------
    kind
        ``"share"`` or ``"mean"``; ``None`` without rows.
    rows
        Columns ``minute__`` (minutes since 1970), those of the slices, ``n``, ``total`` and ``total_sq``.
    by
        The slice columns.
    sql, parameters
        What was asked, and the values bound to it; empty where nothing was.
    """

    kind: Literal["share", "mean"] | None
    rows: pa.Table
    by: tuple[str, ...]
    sql: str = ""
    parameters: Mapping[str, str | int] = field(default_factory=dict)


class MinuteSource:
    """Where counts by the minute come from.

    Parameters
    ----------
    path
        Parquet, CSV or JSON-lines file with counts, a folder of such files, or a lake with the table ``spans``.
    metrics
        Definitions of the metrics, for a lake.
    parameters
        Values of their parameters, where they differ from the defaults.
    lake
        Whether it is a lake; looked up by default. A lake may be without spans so far.

    Raises
    ------
    DataError
        Where there is nothing to read.
    """

    def __init__(
        self,
        path: Path,
        *,
        metrics: Mapping[str, Metric] | None = None,
        parameters: Mapping[str, str | float] | None = None,
        lake: bool | None = None,
    ) -> None:
        self.path = Path(path)
        self.metrics = dict(metrics or {})
        self.parameters = dict(parameters or {})
        if not self.path.exists():
            raise DataError("there are no data to watch", seen=str(path), next_step="give minute counts or a lake")
        self.is_lake = self.path.is_dir() and "spans" in Lake(self.path).tables() if lake is None else lake
        self._spans: dict[str, tuple[int, int] | None] = {}

    def _files(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        found = sorted(p for p in self.path.iterdir() if p.suffix in (".parquet", ".jsonl", ".csv"))
        if not found:
            raise DataError(
                "the folder holds neither a lake with spans nor minute counts",
                seen=str(self.path),
                next_step="give a lake, or files that end in .parquet, .jsonl or .csv",
            )
        return found

    def kind(self, metric: str) -> Literal["share", "mean"]:
        """Whether a metric is a share or a mean.

        Raises
        ------
        UnknownName
            Where the data do not have it.
        DataError
            Where rows are both, or neither.
        SpecError
            Where a metric of a lake is of a kind that cannot be watched.
        """
        if self.is_lake:
            return _kind_of(self._definition(metric))
        return self._kind_in_files(metric)

    def _definition(self, metric: str) -> Metric:
        if metric not in self.metrics:
            raise UnknownName("metric", metric, self.metrics)
        return self.metrics[metric]

    def check_slices(self, metric: str, by: Sequence[str]) -> None:
        """Check that a metric of a lake can be cut by some columns.

        Raises
        ------
        UnknownName
            Where it cannot.
        """
        known = self._definition(metric).slices
        for column in by:
            if column not in known:
                raise UnknownName("slice", column, known, place=metric)

    def _kind_in_files(self, metric: str) -> Literal["share", "mean"]:
        engine = DuckDB.from_files({"minutes": self._files()})
        columns = engine.query("SELECT * FROM minutes LIMIT 0").column_names
        for needed in ("minute", "n"):
            if needed not in columns:
                raise UnknownName("column", needed, columns, place=str(self.path))
        condition, bound = _of_metric(columns, metric)
        shares = "COUNT(k)" if "k" in columns else "0"
        means = "COUNT(sum_sq)" if {"sum", "sum_sq"} <= set(columns) else "0"
        found = engine.query(
            f"SELECT COUNT(*) AS r, {shares} AS k, {means} AS s FROM minutes WHERE {condition}",  # noqa: S608 - our own
            parameters=bound,
        ).to_pylist()[0]
        if found["r"] == 0 and "metric" in columns:
            known = engine.query("SELECT DISTINCT metric FROM minutes ORDER BY 1 LIMIT 100")["metric"].to_pylist()
            raise UnknownName("metric", metric, [str(name) for name in known], place=str(self.path))
        if found["r"] and found["k"] == found["r"] and found["s"] == 0:
            return "share"
        if found["r"] and found["s"] == found["r"] and found["k"] == 0:
            return "mean"
        raise DataError(
            f"the counts of {metric} are neither those of a share nor those of a mean",
            seen=f"{found['r']} rows, {found['k']} with k, {found['s']} with sum and sum_sq",
            next_step="give k in every row, or sum and sum_sq in every row",
        )

    def read(
        self, metric: str, by: Sequence[str] = (), *, after: int | None = None, before: int | None = None
    ) -> MinuteTable:
        """Read the counts of a metric.

        Parameters
        ----------
        metric
            Its name.
        by
            Columns to slice by.
        after, before
            Only minutes after the one and before the other.

        Raises
        ------
        UnknownName
            For a column or metric that the data do not have.
        DataError
            Where counts are impossible.
        """
        kind = self.kind(metric)
        if self.is_lake and not self._has_spans():
            return MinuteTable(kind=kind, rows=_nothing(by), by=tuple(by))
        sql, engine, bound = self._lake_sql(metric, by, after, before) if self.is_lake else self._file_sql(metric, by)
        limits = {"after": after, "before": before}
        bounds = [
            f"minute__ {'>' if name == 'after' else '<'} ${name}__" for name, x in limits.items() if x is not None
        ]
        where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
        keys = ", ".join(['"minute__"', *(f'"{column}"' for column in by)])
        total, total_sq = ("k", "k") if kind == "share" else ('"sum"', "sum_sq")
        text = (
            f"SELECT {keys}, CAST(SUM(n) AS BIGINT) AS n, CAST(SUM({total}) AS DOUBLE) AS total, "  # noqa: S608
            f"CAST(SUM({total_sq}) AS DOUBLE) AS total_sq, CAST(COUNT(*) FILTER (WHERE NOT ({_possible(kind)})) AS BIGINT) "
            f"AS wrong__ FROM ({sql}) AS m{where} GROUP BY {keys} ORDER BY {keys}"
        )
        values = {**bound, **{f"{name}__": x for name, x in limits.items() if x is not None}}
        table = engine.query(text, parameters=values)
        wrong = sum(table["wrong__"].to_pylist())
        if wrong:
            raise DataError(
                f"the counts of {metric} are impossible",
                seen=f"{wrong} of the rows",
                next_step="need n >= 0 and 0 <= k <= n, or n >= 0 and finite sums",
            )
        rows = table.drop_columns(["wrong__"])
        return MinuteTable(kind=kind, rows=rows, by=tuple(by), sql=text, parameters=values)

    def _has_spans(self) -> bool:
        lake = Lake(self.path)
        return "spans" in lake.tables() and bool(lake.paths("spans"))

    def _files_between(self, first: int | None, last: int | None) -> list[Path]:
        """Files of the spans that may hold some of a time (seconds since 1970, both ends in); one where none does."""
        paths = Lake(self.path).paths("spans")
        if first is None and last is None:
            return [Path(p) for p in paths]
        for path in paths:
            if path not in self._spans:
                self._spans[path] = _ends_of(path)
        self._spans = {path: self._spans[path] for path in paths}
        kept = [
            path
            for path, ends in self._spans.items()
            if ends is None or ((first is None or ends[1] >= first) and (last is None or ends[0] <= last))
        ]
        return [Path(p) for p in kept or paths[-1:]]

    def _file_sql(self, metric: str, by: Sequence[str]) -> tuple[str, DuckDB, dict[str, str | int]]:
        engine = DuckDB.from_files({"minutes": self._files()})
        schema = engine.query("SELECT * FROM minutes LIMIT 0").schema
        for column in by:
            if column not in schema.names or column in (*_STATISTICS, "minute", "metric"):
                known = [c for c in schema.names if c not in (*_STATISTICS, "minute", "metric")]
                raise UnknownName("slice", column, known, place=str(self.path))
        condition, bound = _of_metric(schema.names, metric)
        kind = schema.field("minute").type
        minute = (
            "CAST(FLOOR(minute / 60) AS BIGINT)"
            if pat.is_integer(kind) or pat.is_floating(kind)
            else "CAST(FLOOR(EPOCH(CAST(minute AS TIMESTAMPTZ)) / 60) AS BIGINT)"
        )
        slices = "".join(f', CAST("{column}" AS VARCHAR) AS "{column}"' for column in by)
        statistics = ", ".join(f'"{name}"' for name in _STATISTICS if name in schema.names)
        sql = f"SELECT {minute} AS minute__{slices}, {statistics} FROM minutes WHERE {condition}"  # noqa: S608
        return sql, engine, bound

    def _lake_sql(
        self, metric: str, by: Sequence[str], after: int | None, before: int | None
    ) -> tuple[str, DuckDB, dict[str, str | int]]:
        definition = self._definition(metric)
        self.check_slices(metric, by)
        carrier = next((c for c in definition.slices if definition.needs["spans"].get(c) == "string"), None)
        if carrier is None:
            raise SpecError(
                f"{metric} has no slice column of the spans to carry the minute",
                seen=f"slices = {list(definition.slices)}",
                next_step="add one, such as endpoint, to the metric file",
            )
        first = None if after is None else (after + 1) * 60 - _look_back(definition)
        last = None if before is None else before * 60 - 1
        engine = DuckDB.from_files({"spans_stored": self._files_between(first, last)})
        ends = [f"ts_s >= {first}" if first is not None else "", f"ts_s <= {last}" if last is not None else ""]
        within = " WHERE " + " AND ".join(filter(None, ends)) if any(ends) else ""
        named = f'm."{carrier}"'
        slices = "".join(
            f", NULLIF(SPLIT_PART({named}, {_SEPARATOR}, 2), '') AS \"{column}\""
            if column == carrier
            else f', CAST(m."{column}" AS VARCHAR) AS "{column}"'
            for column in by
        )
        statistics = ", ".join(f'm."{name}"' for name in definition.statistics)
        # Names are the metric's own, checked when it was loaded; the definition's SQL is the audited text.
        sql = (
            f"WITH spans AS (SELECT * REPLACE (CAST(ts_s // 60 AS VARCHAR) || {_SEPARATOR} || "  # noqa: S608
            f'COALESCE("{carrier}", \'\') AS "{carrier}") FROM spans_stored{within}) '
            f"SELECT CAST(SPLIT_PART({named}, {_SEPARATOR}, 1) AS BIGINT) AS minute__{slices}, {statistics} "
            f"FROM (\n{definition.sql}\n) AS m"
        )
        values = {**definition.parameters, **self.parameters}
        named_in = parameters_of(definition.sql)
        return sql, engine, {name: value for name, value in values.items() if name in named_in}


def _ends_of(path: str) -> tuple[int, int] | None:
    """First and last second in a file of spans, by its own statistics; ``None`` where it has none. Files never change."""
    metadata = pq.read_metadata(path)
    column = metadata.schema.names.index("ts_s")
    found = [metadata.row_group(g).column(column).statistics for g in range(metadata.num_row_groups)]
    if not found or any(s is None or not s.has_min_max or s.null_count for s in found):
        return None
    return min(s.min for s in found), max(s.max for s in found)


def _look_back(definition: Metric) -> int:
    """Seconds of spans before a minute that its counts may rest on: more than none where a metric sees more than its turn."""
    return _DAY_SECONDS if _BEYOND_A_TURN & set(definition.needs["spans"]) else 0


def _nothing(by: Sequence[str]) -> pa.Table:
    kinds = {"minute__": pa.int64(), **dict.fromkeys(by, pa.string())}
    return pa.schema(
        [*kinds.items(), ("n", pa.int64()), ("total", pa.float64()), ("total_sq", pa.float64())]
    ).empty_table()


def _kind_of(metric: Metric) -> Literal["share", "mean"]:
    kinds: dict[str, Literal["share", "mean"]] = {"proportion": "share", "mean": "mean"}
    if metric.kind not in kinds or set(metric.needs) != {"spans"}:
        raise SpecError(
            f"{metric.name} cannot be watched",
            seen=f"kind = {metric.kind!r}, tables {sorted(metric.needs)}",
            next_step="watch a proportion or a mean of the spans, or bring minute counts of your own",
        )
    return kinds[metric.kind]


def _of_metric(columns: Sequence[str], metric: str) -> tuple[str, dict[str, str | int]]:
    return ("metric = $metric__", {"metric__": metric}) if "metric" in columns else ("TRUE", {})


def _possible(kind: str) -> str:
    if kind == "share":
        return "COALESCE(n >= 0 AND k >= 0 AND k <= n, FALSE)"
    return 'COALESCE(n >= 0 AND ISFINITE(CAST("sum" AS DOUBLE)) AND ISFINITE(CAST(sum_sq AS DOUBLE)), FALSE)'


def minute_events(table: MinuteTable) -> Iterator[Minute]:
    """Events of a table: every minute from its first to its last, those without units too.

    Examples
    --------
    >>> rows = pa.table({"minute__": [5, 7], "n": [10, 20], "total": [1.0, 2.0], "total_sq": [1.0, 2.0]})
    >>> [(e.minute, sum(c.n for c in e.counts.values())) for e in minute_events(MinuteTable(kind="share", rows=rows, by=()))]
    [(5, 10), (6, 0), (7, 20)]
    """
    counts: dict[SliceKey, Count] = {}
    current: int | None = None
    names = ["minute__", "n", "total", "total_sq", *table.by]
    for minute, n, total, total_sq, *values in zip(*(table.rows[c].to_pylist() for c in names), strict=True):
        if current is not None and minute != current:
            yield Minute(minute=current, counts=counts)
            for empty in range(current + 1, minute):
                yield Minute(minute=empty, counts={})
            counts = {}
        current = minute
        key = tuple(
            (column, "–" if value is None else str(value)) for column, value in zip(table.by, values, strict=True)
        )
        if n:
            counts[key] = Count(n=n, total=total, total_sq=total_sq)
    if current is not None:
        yield Minute(minute=current, counts=counts)
