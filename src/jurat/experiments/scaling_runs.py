"""A table of training runs, read and checked before anything is fitted to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from jurat.errors import DataError, UnknownName
from jurat.stats.scaling_prediction import FLOP_PER_PARAMETER_TOKEN
from jurat.store.importers import file_format

__all__ = ["LEAST_RUNS", "ScalingRuns", "check_enough", "engineering", "read_runs", "scientific", "training_runs"]

Floats = npt.NDArray[np.float64]

LEAST_RUNS = 20
"""Five parameters and their doubt from fewer runs are a guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRuns:
    """Training runs as arrays.

    Attributes
    ----------
    parameters, tokens, flop, loss
        Of each run, all of shape (n,); ``flop`` is 6 times parameters times tokens.
    cluster
        Labels of what was trained together, shape (n,), or ``None`` where runs are independent.
    """

    parameters: Floats
    tokens: Floats
    flop: Floats
    loss: Floats
    cluster: npt.NDArray[np.str_] | None

    def chosen(self, rows: npt.NDArray[np.int64]) -> ScalingRuns:
        """Return the given rows."""
        return ScalingRuns(
            parameters=self.parameters[rows],
            tokens=self.tokens[rows],
            flop=self.flop[rows],
            loss=self.loss[rows],
            cluster=None if self.cluster is None else self.cluster[rows],
        )


def engineering(number: float) -> str:
    """Write a count with four digits and a power of a thousand.

    Examples
    --------
    >>> engineering(73.970e9), engineering(1.4e12), engineering(512)
    ('73.97e9', '1.4e12', '512')
    """
    power = 0
    while abs(number) >= 999.95 and power < 300:
        number, power = number / 1000, power + 3
    return f"{number:.4g}" + (f"e{power}" if power else "")


def scientific(number: float) -> str:
    """Write compute with three digits and a power of ten.

    Examples
    --------
    >>> scientific(5.88e23)
    '5.88e23'
    """
    return f"{number:.3g}".replace("e+", "e")


def read_runs(path: Path) -> pa.Table:
    """Read a table of runs from CSV, JSON lines or Parquet.

    Parameters
    ----------
    path
        The file; its format is told by its suffix.

    Raises
    ------
    DataError
        Where there is no such file, or it is not what its suffix says.
    """
    if not path.is_file():
        raise DataError("there is no such file", seen=str(path), next_step="give a CSV, JSONL or Parquet file of runs")
    kind = file_format(path)
    readers = {"csv": pyarrow.csv.read_csv, "jsonl": pyarrow.json.read_json, "parquet": pq.read_table}
    try:
        return readers[kind](str(path))
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"the file cannot be read as {kind}",
            seen=f"{path.name}: {error}",
            next_step="mend the file, or name it by its true format",
        ) from error


def training_runs(
    table: pa.Table, parameters: str, tokens: str | None, flop: str | None, loss: str, cluster: str | None
) -> ScalingRuns:
    """Columns of a table as checked arrays; exactly one of ``tokens`` and ``flop`` is named."""
    size, outcome = _column(table, parameters), _column(table, loss)
    if tokens is not None:
        data = _column(table, tokens)
    else:
        data = _column(table, str(flop)) / (FLOP_PER_PARAMETER_TOKEN * size)
    labels = None
    if cluster is not None:
        column = _present(table, cluster)
        labels = np.array([str(x) for x in column.to_pylist()], dtype=np.str_)
    return ScalingRuns(
        parameters=size, tokens=data, flop=FLOP_PER_PARAMETER_TOKEN * size * data, loss=outcome, cluster=labels
    )


def _present(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise UnknownName("column", name, table.column_names, place="runs")
    column = table.column(name)
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(
            f"column {name!r} has {column.null_count} empty values",
            seen=f"the first in run {row + 1}",
            next_step="fill them or leave these runs out",
        )
    return column


def _column(table: pa.Table, name: str) -> Floats:
    column = _present(table, name)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)):
        raise DataError(
            f"column {name!r} holds no numbers",
            seen=f"{column.type}, for example {column[0].as_py()!r}" if len(column) else str(column.type),
            next_step="write numbers without unit or thousands separator",
        )
    values: Floats = column.cast(pa.float64()).to_numpy().astype(np.float64)
    wrong = ~(np.isfinite(values) & (values > 0))
    if np.any(wrong):
        row = int(np.argmax(wrong))
        raise DataError(
            f"column {name!r} must be positive and finite",
            seen=f"{float(values[row])!r} in run {row + 1}; {int(wrong.sum())} in all",
            next_step="mend these values or leave these runs out",
        )
    return values


def check_enough(runs: ScalingRuns, dropped: int) -> None:
    """Refuse fewer runs than a law can rest on, or runs all of one size or amount of data."""
    if len(runs.loss) < LEAST_RUNS:
        after = f" after {dropped} were dropped" if dropped else ""
        raise DataError(
            f"a scaling law needs at least {LEAST_RUNS} runs",
            seen=f"{len(runs.loss)} runs{after}",
            next_step="add runs of other sizes and amounts of data",
        )
    for name, values in (("model size", runs.parameters), ("training tokens", runs.tokens)):
        if np.ptp(np.log(values)) <= 1e-9:
            raise DataError(
                f"{name} does not vary, so the law cannot say what it does",
                seen=f"{engineering(float(values[0]))} in all {len(values)} runs",
                next_step=f"add runs of another {name}",
            )
