"""Two questions of any log, without set-up: how often does each version fail, and how long are the answers of each category?

The file is streamed once through DuckDB into sums per group and user; memory holds groups and users, never rows. Columns are
found by their usual names or told; what cannot be read as what it should be is counted and said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from jurat.errors import DataError, UnknownName
from jurat.stats.interval import clustered_proportion, proportion
from jurat.stats.mean import clustered_mean_from_sums
from jurat.stats.result import Interval
from jurat.store.engine import DuckDB

__all__ = ["LogLine", "LogSummary", "summarise_logs"]

_USUAL = {
    "version": ("model_version", "release", "version", "model", "model_name", "gen_ai.response.model"),
    "error": ("error", "is_error", "status", "error_type", "success", "ok"),
    "tokens": ("response_tokens", "tokens_out", "completion_tokens", "output_tokens", "n_tokens"),
    "category": ("category", "intent", "topic", "endpoint", "task", "route"),
    "user": ("user_id", "user", "user_key", "account_id", "conversation_id", "session_id"),
}
_RANDOM_GROUPS = 2000
_GOOD = ("ok", "success", "succeeded", "completed", "true", "200", "2xx", "none", "null", "")
_BAD = ("error", "failed", "failure", "false", "timeout", "exception")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One group's number.

    Attributes
    ----------
    group
        The version or the category; ``None`` for rows that name none.
    value
        Error rate, or mean tokens, with interval, n and clusters.
    """

    group: str | None
    value: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSummary:
    """Answers to both questions.

    Attributes
    ----------
    n_rows
        Rows of the files.
    columns
        Which column was read as what.
    error_rate
        By version, in order of name.
    mean_tokens
        By category.
    n_unknown_status, n_bad_tokens
        Rows whose outcome could not be read, and whose tokens are no number of at least 0: in neither answer.
    clustered
        Whether intervals count users rather than rows.
    """

    n_rows: int
    columns: dict[str, str | None]
    error_rate: list[LogLine]
    mean_tokens: list[LogLine]
    n_unknown_status: int
    n_bad_tokens: int
    clustered: bool


def summarise_logs(
    paths: Sequence[Path], *, columns: Mapping[str, str] | None = None, level: float = 0.95
) -> LogSummary:
    """Answer both questions of a log.

    Parameters
    ----------
    paths
        JSONL, CSV or Parquet files of one kind, of any size.
    columns
        Role to column where the usual names do not fit: ``version``, ``error``, ``tokens``, ``category``, ``user``.
    level
        Of the intervals.

    Returns
    -------
    LogSummary

    Raises
    ------
    UnknownName
        Where a column that was named does not exist, or none of the usual ones does.
    DataError
        Where there is no row.

    Notes
    -----
    An outcome counts as an error where it is true, a status other than the usual good ones, an HTTP status of 400 and more, or,
    for a column named ``success`` or ``ok``, where it is false. Intervals are clustered by user where the log names one;
    without, rows are taken as independent, which is too narrow.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "log.jsonl"
    >>> rows = ['{"model_version": "v%d", "status": "%s", "response_tokens": %d, "category": "c", "user_id": "u%d"}' % (
    ...     i % 2, "error" if i % 10 == 0 else "ok", i, i % 7) for i in range(100)]
    >>> _ = path.write_text("\\n".join(rows))
    >>> [(line.group, line.value.value) for line in summarise_logs([path]).error_rate]
    [('v0', 0.2), ('v1', 0.0)]
    """
    engine = DuckDB.from_files({"logs": list(paths)}, threads=2)
    try:
        known = engine.query("SELECT * FROM logs LIMIT 0").column_names
        found = _columns(known, columns or {}, str(paths[0]))
        if found["error"] is None and found["tokens"] is None:
            raise UnknownName("outcome or tokens column", "error", known, place=str(paths[0]))
        failed = _failed(found["error"])
        tokens = "NULL" if found["tokens"] is None else f"TRY_CAST({_quoted(found['tokens'])} AS DOUBLE)"
        good = f"CASE WHEN {tokens} >= 0 AND isfinite({tokens}) THEN {tokens} END"
        # Without users, rows are dealt out to many groups at random: means of groups vary as independent rows make them.
        user = (
            f"CAST(ROW_NUMBER() OVER () % {_RANDOM_GROUPS} AS VARCHAR)"
            if found["user"] is None
            else f"COALESCE(CAST({_quoted(found['user'])} AS VARCHAR), '')"
        )
        sums = engine.query(
            f"SELECT {_text(found['version'])} AS version, {_text(found['category'])} AS category, u, "  # noqa: S608 - columns are quoted names of the file
            f"COUNT(*) AS n_rows, COUNT(f) AS n, COUNT(*) FILTER (WHERE f) AS k, COUNT(t) AS m, SUM(t) AS total "
            f"FROM (SELECT *, {failed} AS f, {good} AS t, {user} AS u FROM logs) AS r GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        )
    finally:
        engine.close()
    rows = int(np.sum(sums["n_rows"].to_numpy())) if len(sums) else 0
    if rows == 0:
        raise DataError("the log has no row", seen=", ".join(map(str, paths)), next_step="give a file with rows")
    clustered = found["user"] is not None
    return LogSummary(
        n_rows=rows,
        columns=found,
        error_rate=_rates(sums, clustered, level) if found["error"] else [],
        mean_tokens=_means(sums, clustered, level) if found["tokens"] else [],
        n_unknown_status=rows - int(np.sum(sums["n"].to_numpy())) if found["error"] else 0,
        n_bad_tokens=rows - int(np.sum(sums["m"].to_numpy())) if found["tokens"] else 0,
        clustered=clustered,
    )


def _columns(known: Sequence[str], given: Mapping[str, str], place: str) -> dict[str, str | None]:
    for role in given:
        if role not in _USUAL:
            raise UnknownName("role", role, _USUAL)
    found: dict[str, str | None] = {}
    for role, usual in _USUAL.items():
        if role in given and given[role] not in known:
            raise UnknownName("column", given[role], known, place=place)
        found[role] = given.get(role) or next((name for name in usual if name in known), None)
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(column: str | None) -> str:
    return "CAST(NULL AS VARCHAR)" if column is None else f"CAST({_quoted(column)} AS VARCHAR)"


def _failed(column: str | None) -> str:
    """SQL for "this row failed": true, false, or null where the value says neither."""
    if column is None:
        return "CAST(NULL AS BOOLEAN)"
    text = f"LOWER(TRIM(CAST({_quoted(column)} AS VARCHAR)))"
    status = f"TRY_CAST({text} AS BIGINT)"
    if column in ("success", "ok"):
        return f"CASE WHEN {text} IN ('true', '1', 'yes') THEN FALSE WHEN {text} IN ('false', '0', 'no') THEN TRUE END"
    good = ", ".join(f"'{value}'" for value in _GOOD)
    bad = ", ".join(f"'{value}'" for value in _BAD)
    if column in ("error", "is_error"):
        # A column that holds errors: nothing, false or zero is none, whatever else stands in it is one.
        return f"COALESCE({text} NOT IN ('', 'false', '0', 'no', 'none', 'null'), FALSE)"
    if column == "error_type":
        return f"COALESCE({text} NOT IN ({good}), FALSE)"
    return (
        f"CASE WHEN {status} BETWEEN 100 AND 599 THEN {status} >= 400 WHEN {text} IN ({good}) THEN FALSE "
        f"WHEN {text} IN ({bad}) OR {text} LIKE '%error%' OR {text} LIKE '%fail%' THEN TRUE END"
    )


def _groups(sums: pa.Table, by: str, *values: str) -> list[tuple[str | None, list[np.ndarray]]]:
    """Sums by user for each group; users of several categories are added up first."""
    added = sums.group_by([by, "u"], use_threads=False).aggregate([(v, "sum") for v in values])
    names = added[by].to_pylist()
    order = sorted({n for n in names if n is not None}) + ([None] if None in names else [])
    columns = [added[f"{v}_sum"].fill_null(0).to_numpy() for v in values]
    labels = np.array([order.index(n) for n in names])
    return [(name, [c[labels == i] for c in columns]) for i, name in enumerate(order)]


def _rates(sums: pa.Table, clustered: bool, level: float) -> list[LogLine]:
    lines = []
    for group, (k, n) in _groups(sums, "version", "k", "n"):
        value = (
            clustered_proportion(k, n, level=level)
            if clustered
            else proportion(int(k.sum()), int(n.sum()), level=level)
        )
        lines.append(LogLine(group=group, value=value))
    return lines


def _means(sums: pa.Table, clustered: bool, level: float) -> list[LogLine]:
    lines = []
    for group, (m, total) in _groups(sums, "category", "m", "total"):
        value = clustered_mean_from_sums(m, total, level=level)
        if not clustered:
            value = replace(value, method="mean of independent rows", n_clusters=None)
        lines.append(LogLine(group=group, value=value))
    return lines
