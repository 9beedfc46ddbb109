"""``jurat metrics …``: the definitions, their tests, and what they measure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from jurat.cli.output import emit, table

__all__ = ["list_metrics", "run", "show", "test"]


def list_metrics(*, folder: Path | None = None, json: bool = False) -> int:
    """List the metrics there are.

    Parameters
    ----------
    folder
        A folder of metric files beside the shipped ones.
    json
        Print them as JSON.
    """
    from jurat.metrics.loader import catalog

    found = catalog(folder) if folder is not None else catalog()
    rows = [[m.name, m.kind, m.role, m.better, m.unit, m.cluster, m.question] for m in found.values()]
    documents = [
        {
            "name": m.name,
            "title": m.title,
            "question": m.question,
            "kind": m.kind,
            "role": m.role,
            "better": m.better,
            "unit": m.unit,
            "cluster": m.cluster,
            "slices": list(m.slices),
            "sha256": m.sha256,
        }
        for m in found.values()
    ]
    emit(
        table(["metric", "kind", "role", "better", "unit", "cluster", "question"], rows, left=7),
        documents,
        as_json=json,
    )
    return 0


def show(name: str, *, folder: Path | None = None, engine: str = "duckdb", json: bool = False) -> int:
    """Print one metric: its file, or its SQL as another engine gets it.

    Parameters
    ----------
    name
        The metric.
    folder
        A folder of metric files beside the shipped ones.
    engine
        duckdb prints the file; clickhouse and spark print the SQL that is sent there.
    json
        Print it as JSON.
    """
    from jurat.errors import UnknownName
    from jurat.metrics.loader import catalog
    from jurat.store.dialect import transpile

    found = catalog(folder) if folder is not None else catalog()
    if name not in found:
        raise UnknownName("metric", name, found)
    if engine not in ("duckdb", "clickhouse", "spark"):
        raise UnknownName("engine", engine, ("duckdb", "clickhouse", "spark"))
    metric = found[name]
    text = metric.text.strip() if engine == "duckdb" else transpile(metric.sql, engine, parameters=metric.parameters)  # type: ignore[arg-type]
    emit(text, {"name": name, "sha256": metric.sha256, "text": text}, as_json=json)
    return 0


def test(folder: Path | None = None, *, json: bool = False) -> int:
    """Lint metric files and run their examples.

    Parameters
    ----------
    folder
        Folder of metric files; the shipped ones by default.
    json
        Print the results as JSON.
    """
    from jurat.metrics.loader import catalog, load_folder
    from jurat.metrics.run import example_tables, run_example
    from jurat.store.engine import DuckDB

    found = load_folder(folder) if folder is not None else catalog()
    rows, documents = [], []
    for metric in found.values():
        for example in metric.examples:
            run_example(metric, example, DuckDB.from_tables(example_tables(metric, example)))
        rows.append([metric.name, str(len(metric.examples)), "● ok" if metric.examples else "▲ no example"])
        documents.append({"metric": metric.name, "examples": len(metric.examples), "ok": True})
    emit(table(["metric", "examples", ""], rows, left=1), documents, as_json=json)
    return 0


def run(
    name: str,
    *,
    lake: Path,
    by: Annotated[tuple[str, ...], Parameter(negative=())] = ("release",),
    folder: Path | None = None,
    level: float = 0.95,
    days: str | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    json: bool = False,
) -> int:
    """Measure a metric on a lake, one line a slice, with intervals.

    Parameters
    ----------
    name
        The metric.
    lake
        The lake.
    by
        Columns to cut by; give it twice for every combination, and "all" for no cut.
    folder
        A folder of metric files beside the shipped ones.
    level
        Two-sided coverage.
    days
        Only these days, both in, as 2026-03-01..2026-03-30 (UTC).
    set_
        Parameters of the metric, as name=value.
    json
        Print the estimates as JSON.
    """
    from jurat.errors import UnknownName
    from jurat.evidence.slices import levels_by_slice
    from jurat.metrics.loader import catalog
    from jurat.metrics.run import run as run_metric
    from jurat.store.engine import DuckDB
    from jurat.store.lake import Lake
    from jurat.telemetry.tenant_view import HOUSE_TENANT, TenantView

    found = catalog(folder) if folder is not None else catalog()
    if name not in found:
        raise UnknownName("metric", name, found)
    slices = tuple(column for column in dict.fromkeys(by) if column != "all")
    snapshot = Lake(lake).snapshot(note=f"jurat metrics run {name}")
    since_us, until_us = _days(days)
    engine = TenantView(DuckDB(snapshot, lake.resolve()), tenant=HOUSE_TENANT, since_us=since_us, until_us=until_us)
    measured = run_metric(found[name], engine, slices=slices, parameters=_parameters(set_))
    estimates = levels_by_slice(measured, slices, level=level)
    rows = [[*(e.slice[column] for column in slices), *_numbers(e)] for e in estimates]
    header = [*slices, "value", f"{100 * level:.4g} % interval", "n", "clusters", "method"]
    text = table(header, rows, left=len(slices)) if rows else f"{found[name].title}: there are no units to count"
    emit(text, [e.to_json() for e in estimates], as_json=json)
    return 0


def _days(text: str | None) -> tuple[int | None, int | None]:
    """Begin of the first day and end of the last, in microseconds since 1970."""
    import datetime as dt

    from jurat.errors import UsageError

    if text is None:
        return None, None
    first, _, last = text.partition("..")
    try:
        begin, end = (dt.date.fromisoformat(day).toordinal() for day in (first, last or first))
    except ValueError as error:
        raise UsageError("days are written as 2026-03-01..2026-03-30", seen=text[:60]) from error
    epoch, day = dt.date(1970, 1, 1).toordinal(), 86_400_000_000
    return (begin - epoch) * day, (end + 1 - epoch) * day


def _numbers(e: Any) -> list[str]:
    if e.value is None:
        return ["undefined", str(e.reason), f"{e.n:,}", "", e.method]
    bounds = f"[{e.low:.4g}, {e.high:.4g}]" if e.low is not None and e.high is not None else str(e.reason)
    return [f"{e.value:.4g}", bounds, f"{e.n:,}", "" if e.n_clusters is None else f"{e.n_clusters:,}", e.method]


def _parameters(pairs: tuple[str, ...]) -> dict[str, str | float]:
    from jurat.errors import UsageError

    found: dict[str, str | float] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise UsageError("a parameter is written name=value", seen=pair, next_step="for example --set q=0.5")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = value
    return found
