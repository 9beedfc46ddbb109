"""One metric cut by several columns at once: an estimate for every combination that occurs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jurat.evidence.estimate import Estimate
from jurat.evidence.measure import level_of_arm
from jurat.metrics.run import Measurement

__all__ = ["UNKNOWN", "levels_by_slice"]

UNKNOWN = "(unknown)"
"""What a slice is called whose column is null: it is shown, for left out it would make the others look like all."""

_CUT = "cut"


def levels_by_slice(measurement: Measurement, slices: Sequence[str] = (), *, level: float = 0.95) -> list[Estimate]:
    """Estimate a metric's level on every combination of slice values that a measurement holds.

    Parameters
    ----------
    measurement
        What a metric returned, cut by these columns.
    slices
        The columns; without one, the level of everything.
    level
        Two-sided coverage of each interval; it is that of each by itself, not of all together.

    Returns
    -------
    list of Estimate
        In the order of the names; ``slice`` holds column and value. Empty where the metric found nothing to count.

    Examples
    --------
    >>> from jurat.metrics.loader import catalog
    >>> from jurat.metrics.run import example_tables, run
    >>> from jurat.store.engine import DuckDB
    >>> metric = catalog()["blocked_rate"]
    >>> engine = DuckDB.from_tables(example_tables(metric, metric.examples[0]))
    >>> found = levels_by_slice(run(metric, engine, slices=("release", "tier")), ("release", "tier"))
    >>> [(dict(e.slice), e.n) for e in found]
    [({'release': 'r1', 'tier': 'free'}, 4), ({'release': 'r2', 'tier': '(unknown)'}, 2)]
    """
    table = measurement.table
    # The columns as one, of which a combination is an arm: numbers stand for combinations, so that no text is joined.
    codes = np.zeros(len(table), np.int64)
    values: list[list[str]] = []
    for name in slices:
        column = pc.fill_null(table[name].combine_chunks().cast(pa.string()), UNKNOWN)
        encoded = pc.dictionary_encode(column)
        values.append(encoded.dictionary.to_pylist())
        codes = codes * len(values[-1]) + encoded.indices.to_numpy()
    found_codes, numbers = np.unique(codes, return_inverse=True)
    combinations: dict[tuple[str, ...], str] = {}
    for number, code in enumerate(found_codes.tolist()):
        rest, names = code, []
        for known in reversed(values):
            rest, place = divmod(rest, len(known))
            names.append(known[place])
        combinations[tuple(reversed(names))] = str(number)
    cut = pa.array(numbers).cast(pa.string())
    joined = dataclasses.replace(measurement, table=table.append_column(_CUT, cut))
    found = []
    for combination in sorted(combinations):
        estimate = level_of_arm(joined, arm_column=_CUT, arm=combinations[combination], level=level)
        found.append(dataclasses.replace(estimate, slice=dict(zip(slices, combination, strict=True))))
    return found
