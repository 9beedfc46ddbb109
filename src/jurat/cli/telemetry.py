"""``jurat telemetry …``: production traffic to metrics."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jurat.cli.output import emit, note, table

if TYPE_CHECKING:
    from jurat.stats.result import Interval
    from jurat.telemetry.importing import ImportedLog

__all__ = ["import_logs", "logs"]


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


def import_logs(
    files: list[Path],
    /,
    *,
    lake: Path,
    map_: Annotated[Path | None, Parameter(name="--map")] = None,
    prices: Path | None = None,
    keep_text: bool = True,
    tenant: str = "default",
    most_bad: float = 0.1,
    json: bool = False,
) -> int:
    """Bring logs of any size into a lake as turns; what cannot be read is set aside and counted.

    Parameters
    ----------
    files
        JSONL, CSV or Parquet files; .gz and .zst are unpacked on the way.
    lake
        Folder of the lake; made where it is missing.
    map_
        Mapping (TOML) of your columns to ours; without one they are found by their usual names.
    prices
        Price book (TOML) for costs.
    keep_text
        Whether prompts and responses are kept, redacted, at all.
    tenant
        Whose turns.
    most_bad
        Share of records that may be unreadable.
    json
        Print the reports as JSON.
    """
    from jurat.evidence.keys import home
    from jurat.store.lake import Lake
    from jurat.telemetry.derive import Settings
    from jurat.telemetry.importing import import_log
    from jurat.telemetry.log_mapping import load_mapping
    from jurat.telemetry.prices import load_prices
    from jurat.telemetry.users import load_user_secret

    book = None if prices is None else load_prices(prices)
    settings = Settings(user_secret=load_user_secret(home()), prices=book, keep_text=keep_text)
    mapping = load_mapping(map_)
    reports = []
    for path in files:
        reports.append(import_log(path, Lake(lake), settings, mapping, tenant=tenant, most_bad=most_bad))
        note("\n".join(_told(reports[-1])))
    rows = [[r.file, *(f"{n:,}" for n in (r.records, r.rows, r.quarantined))] for r in reports]
    text = table(["file", "records", "= rows", "+ quarantined"], rows)
    emit(text, [asdict(r) for r in reports], as_json=json)
    return 0


def _told(report: ImportedLog) -> list[str]:
    """What a reader must know of one file: what was read as what, what was not, and why records are missing."""
    pairs = ", ".join(ours if ours == theirs else f"{ours} = {theirs}" for ours, theirs in report.taken.items())
    lines = [f"{report.file}: {pairs}"]
    if report.passed_over:
        lines.append(f"  passed over: {', '.join(report.passed_over)}")
    if report.done_before:
        lines.append(f"  {report.done_before} of {report.chunks} parts were in the lake already")
    lines += [f"  quarantined {count:,}: {reason}" for reason, count in report.reasons.items()]
    if report.quarantine:
        lines.append(f"  lines and reasons: {report.quarantine} in the lake")
    return lines
