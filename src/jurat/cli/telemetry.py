"""``jurat telemetry …``: production traffic to metrics."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from jurat.cli.output import emit, table

if TYPE_CHECKING:
    from jurat.stats.result import Interval

__all__ = ["logs"]


def logs(
    files: list[Path],
    /,
    *,
    version: str | None = None,
    error: str | None = None,
    tokens: str | None = None,
    category: str | None = None,
    user: str | None = None,
    json: bool = False,
) -> int:
    """Error rate of each model version and mean response tokens of each category, of any log.

    Parameters
    ----------
    files
        JSONL, CSV or Parquet files of one kind, of any size.
    version
        Column with the model version, where it has none of the usual names.
    error
        Column with the outcome.
    tokens
        Column with the tokens of the response.
    category
        Column with the category.
    user
        Column that rows cluster in.
    json
        Print the answers as JSON.
    """
    from jurat.telemetry.logs import summarise_logs

    given = {"version": version, "error": error, "tokens": tokens, "category": category, "user": user}
    found = summarise_logs(files, columns={role: column for role, column in given.items() if column is not None})
    read = ", ".join(f"{role} = {column}" for role, column in found.columns.items() if column)
    lines = [f"{found.n_rows:,} rows; {read}"]
    if found.error_rate:
        rows = [["–" if g.group is None else g.group, *_cells(g.value, 100, " %")] for g in found.error_rate]
        lines += ["", table(["version", "error rate", "interval", "n", "users"], rows)]
    if found.mean_tokens:
        rows = [["–" if g.group is None else g.group, *_cells(g.value, 1, "")] for g in found.mean_tokens]
        lines += ["", table(["category", "mean tokens", "interval", "n", "users"], rows)]
    if not found.clustered:
        lines += ["", "no user column: rows count as independent, and intervals are too narrow where users return"]
    if found.n_unknown_status or found.n_bad_tokens:
        lines += [
            "",
            f"left out: {found.n_unknown_status:,} rows of unknown outcome, {found.n_bad_tokens:,} without tokens",
        ]
    emit("\n".join(lines), asdict(found), as_json=json)
    return 0


def _cells(interval: Interval, scale: float, unit: str) -> list[str]:
    if interval.value is None:
        return ["–", interval.reason or "", f"{interval.n:,}", ""]
    bounds = (
        f"[{interval.low * scale:.2f}, {interval.high * scale:.2f}]"
        if interval.low is not None and interval.high is not None
        else "–"
    )
    clusters = "–" if interval.n_clusters is None else f"{interval.n_clusters:,}"
    return [f"{interval.value * scale:.2f}{unit}", bounds, f"{interval.n:,}", clusters]
