"""``jurat lake …``: bring data in, look at them, keep them in order."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from jurat.cli.output import emit, note, table

__all__ = ["compact", "import_files", "show", "snapshot", "vacuum"]


def import_files(source: Path, *, data: Path, out: Path, json: bool = False) -> int:
    """Bring files into a table of a lake as a source mapping says; all of it, or nothing.

    Parameters
    ----------
    source
        The source mapping (TOML).
    data
        Folder of the files.
    out
        The lake.
    json
        Print the report as JSON.
    """
    from jurat.store.lake import Lake
    from jurat.store.source import import_source, load_source

    report = import_source(load_source(source), data, Lake(out))
    rows = [[f.path, f"{f.rows:,}", f"{f.size:,}", f.sha256[:12]] for f in report.files]
    if report.rejected:
        aside = out / f"_rejected-{report.table}-{report.version}.jsonl"
        _keep_aside(aside, report.rejected)
        note(f"{len(report.rejected)} records could not be read and lie in {aside}")
    for name, count in report.outside.items():
        note(f"{name}: {count} values outside the taxonomy became null")
    text = f"{table(['file', 'rows', 'bytes', 'sha256'], rows)}\n{report.rows:,} rows in {report.table}, version {report.version}"
    emit(text, _report(report), as_json=json)
    return 0


def _keep_aside(path: Path, rejected: Any) -> None:
    import json as codec

    from jurat.store.durable import write_atomically

    lines = [codec.dumps(asdict(r), ensure_ascii=True) for r in rejected]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def _report(report: Any) -> dict[str, Any]:
    return {
        "table": report.table,
        "version": report.version,
        "rows": report.rows,
        "files": [asdict(f) for f in report.files],
        "rejected": [asdict(r) for r in report.rejected],
        "outside": dict(report.outside),
    }


def show(lake: Path, *, json: bool = False) -> int:
    """Tables of a lake: version, files, rows, bytes; and what snapshots pin.

    Parameters
    ----------
    lake
        The lake.
    json
        Print it as JSON.
    """
    from jurat.store.lake import Lake

    opened = Lake(lake)
    documents = [opened.describe(name) for name in opened.tables()]
    rows = [
        [str(d["table"]), str(d["version"]), f"{d['files']:,}", f"{d['rows']:,}", f"{d['bytes']:,}"] for d in documents
    ]
    pinned = opened.snapshots()
    text = f"{table(['table', 'version', 'files', 'rows', 'bytes'], rows)}\n{len(pinned)} snapshots pinned"
    emit(text, {"tables": documents, "snapshots": [s.id for s in pinned]}, as_json=json)
    return 0


def snapshot(lake: Path, *, note: str = "", json: bool = False) -> int:
    """Pin the versions that are there now.

    Parameters
    ----------
    lake
        The lake.
    note
        What it is for.
    json
        Print it as JSON.
    """
    from jurat.store.lake import Lake

    taken = Lake(lake).snapshot(note=note)
    emit(f"snapshot {taken.id}\n{len(taken.tables)} tables pinned", taken.to_json(), as_json=json)
    return 0


def compact(lake: Path, table_name: str, *, json: bool = False) -> int:
    """Merge a table's small files; pinned versions stay readable.

    Parameters
    ----------
    lake
        The lake.
    table_name
        The table.
    json
        Print it as JSON.
    """
    from jurat.store.lake import Lake

    saved = Lake(lake).compact(table_name)
    emit(f"{table_name}: {saved} files fewer", {"table": table_name, "fewer": saved}, as_json=json)
    return 0


def vacuum(lake: Path, table_name: str, *, retain_hours: int = 168, apply: bool = False, json: bool = False) -> int:
    """Remove files that no version in use names; what snapshots pin is in use.

    Parameters
    ----------
    lake
        The lake.
    table_name
        The table.
    retain_hours
        Age below which nothing is removed.
    apply
        Remove them; without it they are only listed.
    json
        Print the files as JSON.
    """
    from jurat.store.lake import Lake

    files = Lake(lake).vacuum(table_name, retain_hours=retain_hours, dry_run=not apply)
    verb = "removed" if apply else "would be removed (pass --apply)"
    emit("\n".join([*files, f"{len(files)} files {verb}"]), {"files": files, "removed": apply}, as_json=json)
    return 0
