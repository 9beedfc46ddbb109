"""Columns of a table as the causal estimators need them, or a sentence that says what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jurat.errors import DataError, SpecError, UnknownName

__all__ = [
    "LongPanel",
    "arm_column",
    "label_codes",
    "label_column",
    "long_panel",
    "matrix",
    "number_column",
    "told_as_data_error",
]

Floats = npt.NDArray[np.float64]
_MOST_CATEGORIES = 50


def _complete(table: pa.Table, name: str, place: str) -> pa.ChunkedArray:
    """Find a column that exists and holds no null."""
    if name not in table.column_names:
        raise UnknownName("column", name, table.column_names, place=place)
    if table.num_rows == 0:
        raise DataError(f"{place}: the table has no rows")
    column = table.column(name)
    if column.null_count:
        row = int(pc.index(pc.is_null(column), True).as_py())
        raise DataError(
            f"{place}: column {name!r} has nulls",
            seen=f"{column.null_count} of {table.num_rows}, the first in row {row}",
            next_step="drop or fill these rows, and say so: leaving them out can itself bias the effect",
        )
    return column


def number_column(table: pa.Table, name: str, place: str) -> Floats:
    """Finite numbers of a column; booleans count as 0 and 1."""
    column = _complete(table, name, place)
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        if not pa.types.is_decimal(kind):
            raise SpecError(f"{place}: column {name!r} must hold numbers", seen=str(kind))
        column = column.cast(pa.float64())
    values = np.asarray(column.to_numpy(), dtype=np.float64)
    if not np.all(np.isfinite(values)):
        row = int(np.argmin(np.isfinite(values)))
        raise DataError(f"{place}: column {name!r} is not finite", seen=f"{values[row]} in row {row}")
    return values


def label_column(table: pa.Table, name: str, place: str) -> npt.NDArray[np.object_]:
    """Labels of a column of any type, as Python values."""
    column = _complete(table, name, place)
    if pa.types.is_floating(column.type):
        number_column(table, name, place)  # NaN equals nothing, not even itself: it can be no label
    labels = np.empty(table.num_rows, dtype=object)
    labels[:] = column.to_pylist()
    return labels


def label_codes(labels: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    """Number labels of any type in the order of their appearance."""
    known: dict[Any, int] = {}
    return np.array([known.setdefault(label, len(known)) for label in labels], dtype=np.int64)


def arm_column(table: pa.Table, name: str, place: str) -> npt.NDArray[np.bool_]:
    """Read a yes/no column, with both answers present."""
    values = number_column(table, name, place)
    wrong = np.flatnonzero((values != 0) & (values != 1))
    if len(wrong):
        raise DataError(
            f"{place}: column {name!r} must hold 0 and 1, or false and true",
            seen=f"{values[wrong[0]]:g} in row {int(wrong[0])}",
        )
    arms: npt.NDArray[np.bool_] = values == 1
    if not arms.any() or arms.all():
        raise DataError(
            f"{place}: column {name!r} holds one value only, so there is nothing to compare",
            seen=f"{int(arms.sum())} of {len(arms)} rows are 1",
        )
    return arms


def matrix(table: pa.Table, names: Sequence[str], place: str) -> Floats:
    """Numbers of several columns, shape (rows, columns); text becomes one 0/1 column per category but the first."""
    if isinstance(names, str) or not names:
        raise SpecError(f"{place}: covariates must be a list of at least one column", seen=repr(names))
    return np.column_stack([column for name in names for column in _covariate(table, name, place)])


def _covariate(table: pa.Table, name: str, place: str) -> list[Floats]:
    column = _complete(table, name, place)
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)):
        return [number_column(table, name, place)]
    labels = label_column(table, name, place)
    known = sorted(set(labels.tolist()))
    if not 2 <= len(known) <= _MOST_CATEGORIES:
        raise DataError(
            f"{place}: covariate {name!r} must have from 2 to {_MOST_CATEGORIES} categories", seen=f"{len(known)}"
        )
    return [(labels == k).astype(np.float64) for k in known[1:]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LongPanel:
    """A balanced panel read from one row per unit and time.

    Attributes
    ----------
    outcomes
        Shape (units, times).
    units, times
        Labels, sorted.
    """

    outcomes: Floats
    units: tuple[Any, ...]
    times: tuple[Any, ...]

    def unit_row(self, unit: Any, place: str) -> int:
        """Row of a unit."""
        if unit not in self.units:
            raise UnknownName("unit", str(unit), [str(u) for u in self.units], place=place)
        return self.units.index(unit)

    def time_column(self, time: Any, place: str) -> int:
        """Column of a time."""
        if time not in self.times:
            raise UnknownName("time", str(time), [str(t) for t in self.times], place=place)
        return self.times.index(time)


def long_panel(table: pa.Table, outcome: str, unit: str, time: str, place: str) -> LongPanel:
    """Turn one row per unit and time into a matrix of units by times.

    Raises
    ------
    DataError
        Where a unit is missing at a time, or there twice.
    """
    values = number_column(table, outcome, place)
    rows, units = _positions(label_column(table, unit, place))
    columns, times = _positions(label_column(table, time, place))
    seen = np.zeros((len(units), len(times)), dtype=np.int64)
    np.add.at(seen, (rows, columns), 1)
    if not np.all(seen == 1):
        i, j = (int(a) for a in np.argwhere(seen != 1)[0])
        raise DataError(
            f"{place}: the panel is not balanced, one row per unit and time",
            seen=f"{int(seen[i, j])} rows for {units[i]} at {times[j]} ({int(np.sum(seen != 1))} such cells)",
            next_step="keep the units that are there at every time, or sum up rows first",
        )
    outcomes = np.empty(seen.shape)
    outcomes[rows, columns] = values
    return LongPanel(outcomes=outcomes, units=units, times=times)


def _positions(labels: npt.NDArray[np.object_]) -> tuple[npt.NDArray[np.int64], tuple[Any, ...]]:
    known = sorted(set(labels.tolist()))
    place = {label: i for i, label in enumerate(known)}
    return np.array([place[label] for label in labels], dtype=np.int64), tuple(known)


@contextmanager
def told_as_data_error(place: str) -> Iterator[None]:
    """Pass on what an estimator finds wrong with the numbers as an error about the data."""
    try:
        yield
    except ValueError as wrong:
        raise DataError(f"{place}: {wrong}") from wrong
