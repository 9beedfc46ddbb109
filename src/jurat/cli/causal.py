"""``jurat experiments causal``: an effect without a randomised trial, with its assumption and its placebo test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from jurat.cli.output import emit, note, save_page
from jurat.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from jurat.experiments.causal import CausalAnswer

__all__ = ["causal"]

Method = Literal[
    "difference-in-differences", "event-study", "synthetic-control", "synthetic-difference-in-differences", "weighting",
    "local-level",
]  # fmt: skip
_NEEDS: dict[str, tuple[str, ...]] = {
    "difference-in-differences": ("treated", "after"),
    "event-study": ("unit", "time", "adoption"),
    "synthetic-control": ("unit", "time", "treated_unit", "first_treated_time"),
    "synthetic-difference-in-differences": ("unit", "time", "treated_unit", "first_treated_time"),
    "weighting": ("treated", "covariate"),
    "local-level": ("time", "first_treated_time"),
}


def causal(
    table: Path,
    *,
    method: Method,
    outcome: str,
    treated: str | None = None,
    after: str | None = None,
    unit: str | None = None,
    time: str | None = None,
    adoption: str | None = None,
    treated_unit: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    first_treated_time: str | None = None,
    covariate: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    placebo_outcome: str | None = None,
    cluster: str | None = None,
    level: float = 0.95,
    risk_policy: Literal["capped", "if placebo passes", "uncapped"] = "capped",
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Estimate an effect where nothing was randomised, and say what must be true for it to be one.

    Parameters
    ----------
    table
        CSV, JSONL or Parquet.
    method
        How the untreated course is imagined.
    outcome
        Column of the outcome.
    treated
        Column: whether the unit is of the treated group.
    after
        Column: whether the row was seen after the start (difference-in-differences).
    unit
        Column of the unit (panels).
    time
        Column of the time (panels, local level).
    adoption
        Column of the time at which a unit adopted; empty for never (event study).
    treated_unit
        Which unit was treated; may be repeated for synthetic difference-in-differences.
    first_treated_time
        First time under treatment.
    covariate
        Column known before treatment (weighting), or an untouched series (local level); may be repeated.
    placebo_outcome
        Column that the treatment cannot have moved (weighting).
    cluster
        Column of what is independent.
    level
        Two-sided confidence.
    risk_policy
        Whether a claim about risk may go beyond "not enough evidence".
    out
        Write picture and answer as a page.
    json
        Print the answer as JSON.
    """
    given = {
        "treated": treated, "after": after, "unit": unit, "time": time, "adoption": adoption, "treated_unit": treated_unit,
        "first_treated_time": first_treated_time, "covariate": covariate,
    }  # fmt: skip
    missing = [name for name in _NEEDS[method] if not given[name]]
    if missing:
        flags = ", ".join("--" + name.replace("_", "-") for name in missing)
        raise UsageError(f"{method} needs more", seen=f"{flags} not given", next_step=f"pass {flags}")
    rows = _read(table)
    common: dict[str, Any] = {"level": level, "risk_policy": risk_policy}
    answer = _answer(rows, method, outcome, given, placebo_outcome, cluster, common)
    if out is not None:
        from jurat.experiments.causal_page import render_causal_page

        page = render_causal_page(
            answer, rows, title=table.name, outcome=outcome, unit=unit, time=time, first=first_treated_time
        )
        save_page(out, page)
        note(f"picture: {out}")
    emit(str(answer), _document(answer), as_json=json)
    return 0


def _read(path: Path) -> pa.Table:
    from jurat.errors import DataError
    from jurat.store.engine import DuckDB

    if not path.is_file():
        raise DataError("there is no such file", seen=str(path), next_step="give a CSV, JSONL or Parquet file")
    engine = DuckDB.from_files({"rows": [path]})
    try:
        return engine.query("SELECT * FROM rows")
    finally:
        engine.close()


def _typed(rows: pa.Table, column: str, text: str) -> Any:
    """A value from the command line as the column holds it."""
    import pyarrow as pa

    from jurat.errors import UnknownName

    if column not in rows.column_names:
        raise UnknownName("column", column, rows.column_names)
    kind = rows.schema.field(column).type
    if pa.types.is_string(kind):
        return text
    try:
        return pa.scalar(text).cast(kind).as_py()
    except pa.ArrowInvalid as error:
        raise UsageError(
            f"{text!r} is no value of the column {column}",
            seen=f"its type is {kind}",
            next_step="write it as the data do",
        ) from error


def _answer(
    rows: pa.Table,
    method: str,
    outcome: str,
    given: dict[str, Any],
    placebo_outcome: str | None,
    cluster: str | None,
    common: dict[str, Any],
) -> CausalAnswer:
    from jurat.experiments import causal as methods

    if method == "difference-in-differences":
        return methods.analyse_difference_in_differences(
            rows, outcome, given["treated"], given["after"], cluster=cluster, **common
        )
    if method == "event-study":
        return methods.analyse_event_study(rows, outcome, given["unit"], given["time"], given["adoption"], **common)
    if method == "weighting":
        return methods.analyse_weighting(
            rows, outcome, given["treated"], list(given["covariate"]), placebo_outcome=placebo_outcome, cluster=cluster,
            **common,
        )  # fmt: skip
    first = _typed(rows, given["time"], given["first_treated_time"])
    if method == "local-level":
        return methods.analyse_local_level(
            rows, outcome, given["time"], first_treated_time=first, controls=list(given["covariate"]), **common
        )
    units = [_typed(rows, given["unit"], text) for text in given["treated_unit"]]
    if method == "synthetic-control":
        if len(units) > 1:
            raise UsageError(
                "a synthetic control has one treated unit", seen=", ".join(map(str, units)), next_step="name one"
            )
        return methods.analyse_synthetic_control(
            rows, outcome, given["unit"], given["time"], treated_unit=units[0], first_treated_time=first, **common
        )
    return methods.analyse_synthetic_difference_in_differences(
        rows, outcome, given["unit"], given["time"], treated_units=units, first_treated_time=first, **common
    )


def _document(answer: CausalAnswer) -> dict[str, Any]:
    import dataclasses

    return {
        "method": answer.method,
        "effect": dataclasses.asdict(answer.effect),
        "assumption": answer.assumption,
        "placebo": dataclasses.asdict(answer.placebo),
        "diagnostics": dict(answer.diagnostics),
        "cap": answer.cap,
    }
