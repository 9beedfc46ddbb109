"""What stands out among the cells: the one rise that cannot be chance, where it is, and since when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jurat.stats.result import Interval
from jurat.telemetry.panels import Cell, Slice, Sums, minute_sums
from jurat.telemetry.readings import Usual, alarm, likely_onset, share
from jurat.telemetry.recent import View

__all__ = ["Standout", "find_standout"]

_SHIFT = 0.03
_HOURS = 3
_NO_NULL = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Standout:
    """A cell whose refusals rose.

    Attributes
    ----------
    cell
        Which, with its rates in the window and in what is usual.
    since
        Most likely first minute of the rise; chosen by the data, so a description.
    seen
        Minute at whose end the monitors' detector would have fired; ``None`` where it has not yet.
    rate
        Refusals since then.
    """

    cell: Cell
    since: int
    seen: int | None
    rate: Interval


def find_standout(view: View, slice_: Slice, cells: Sequence[Cell], usual: Usual) -> Standout | None:
    """Find the cell that rose with the strongest evidence, at a tenth of a per cent of false discoveries or less.

    Parameters
    ----------
    view, slice_
        What is asked, and which turns.
    cells
        Of `refusal_cells`.
    usual
        With the dispersion of refusals.
    """
    risen = [cell for cell in cells if cell.evidence == 3 and cell.q_value is not None]
    if not risen:
        return None
    cell = min(risen, key=lambda c: (c.q_value or 0.0, -(c.now.value or 0.0)))
    sums = minute_sums(view, replace(slice_, endpoint=cell.endpoint or "", tier=cell.tier or ""))
    span = (view.until - _HOURS * 60, view.until)
    n, k = sums.counts("labelled", span), sums.counts("refused", span)
    onset = span[0] + likely_onset(n, k, max(cell.usual.value or 0.0, _NO_NULL))
    found = alarm(n, k, cell.usual, _SHIFT)
    seen = None if found is None else max(span[0] + found.minute, onset)
    return Standout(cell=cell, since=onset, seen=seen, rate=_rate(sums, onset, view.until, usual))


def _rate(sums: Sums, start: int, until: int, usual: Usual) -> Interval:
    span = (min(start, until - 1), until)
    return share(int(sums.counts("refused", span).sum()), int(sums.counts("labelled", span).sum()), usual)
