"""What do rows that belong together, and a look every day, do to the false alarms of an experiment without an effect?

A/A experiments: users of two equal arms hold a few conversations a day for some weeks, and what they rate clusters by user.
Each experiment is read in three ways (once at the end, every day by an interval made for one look, every day by a confidence
sequence), each with the users and with the single conversations as the independent units. How often each reading finds an
effect where there is none is its rate of false positives; five in a hundred are promised.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from jurat.simulate.randomness import generator
from jurat.stats.interval import proportion
from jurat.stats.result import Interval
from jurat.stats.sequential import mixture_precision, sequence_half_width

__all__ = ["FalsePositiveRate", "FalsePositiveTable", "false_positive_table"]

Floats = npt.NDArray[np.float64]
LEVEL = 0.95
READINGS = ("one look at the end", "a look every day", "a look every day, always valid")
"""The ways to read an experiment, in the order of the table."""

UNITS = ("users", "conversations")
"""What is taken as independent: the clusters, or their rows."""

_AT_ONCE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FalsePositiveRate:
    """One cell of the table.

    Attributes
    ----------
    reading
        One of `READINGS`.
    units
        One of `UNITS`.
    rate
        Share of experiments in which an effect was found, with Wilson's interval; ``n`` counts the experiments.
    """

    reading: str
    units: str
    rate: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class FalsePositiveTable:
    """False positives by reading and by what is taken as independent.

    Attributes
    ----------
    rates
        The six cells.
    experiments, users, days, icc
        What was simulated: A/A experiments, users per arm, days, intraclass correlation of conversations within a user.
    """

    rates: tuple[FalsePositiveRate, ...]
    experiments: int
    users: int
    days: int
    icc: float

    def rate(self, reading: str, units: str) -> Interval:
        """One cell.

        Raises
        ------
        ValueError
            Where there is no such cell.
        """
        for cell in self.rates:
            if (cell.reading, cell.units) == (reading, units):
                return cell.rate
        raise ValueError(f"need one of {READINGS} and one of {UNITS}, got {reading!r} and {units!r}")

    def __str__(self) -> str:
        """The table in Markdown."""
        head = ["false positives at a nominal 5 %", *(f"independent: {units}" for units in UNITS)]
        lines = [f"| {' | '.join(head)} |", "|---|---:|---:|"]
        for reading in READINGS:
            cells = [_shown(self.rate(reading, units)) for units in UNITS]
            lines.append(f"| {' | '.join([reading, *cells])} |")
        return "\n".join(lines)


def _shown(rate: Interval) -> str:
    assert rate.value is not None and rate.low is not None and rate.high is not None  # noqa: S101 - there are experiments
    return f"{100 * rate.value:.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def false_positive_table(
    experiments: int = 2_000, users: int = 400, days: int = 28, icc: float = 0.15, *, seed: int = 20260301
) -> FalsePositiveTable:
    r"""Simulate A/A experiments and count how often each way of reading them finds an effect.

    Parameters
    ----------
    experiments
        Number of experiments, at least 1.
    users
        Users in each of the two arms, at least 50: a confidence sequence needs a hundred clusters.
    days
        Days, and looks, at least 1.
    icc
        Intraclass correlation of the outcome of a user's conversations, in [0, 1).
    seed
        Seed of all draws.

    Returns
    -------
    FalsePositiveTable
        Six rates with Wilson's intervals.

    Raises
    ------
    ValueError
        Where an argument is out of its range.

    Notes
    -----
    Every user is there from the first day and holds a Poisson number of conversations a day, one on average, and at least
    one on the first. A rating has variance 1, of which the share ``icc`` belongs to the user: the sum of a user's m ratings
    has variance :math:`m (1 + (m - 1)\,icc)`. The effect is the difference of the means over conversations; its standard
    error is the cluster-robust one (delta method), or that of independent rows. A look finds an effect where the 95 %
    interval at that look leaves out zero: t with the clusters' (or rows') degrees of freedom, or the confidence sequence
    tuned to the number of units at the planned end.

    References
    ----------
    Johari, R., Koomen, P., Pekelis, L. and Walsh, D. (2022). Always valid inference: continuous monitoring of A/B tests.
    Operations Research 70, 1806–1821. Waudby-Smith, I. et al. (2021). arXiv 2103.06476. Deng, A., Lu, J. and Litz, J.
    (2017). Trustworthy analysis of online A/B tests. WSDM 2017 (rows that cluster).

    Examples
    --------
    >>> found = false_positive_table(experiments=100, users=60, days=7, icc=0.3, seed=1)
    >>> found.rate("one look at the end", "users").n
    100
    >>> naive = found.rate("a look every day", "conversations")
    >>> naive.value > found.rate("a look every day, always valid", "users").value
    True
    """
    if experiments < 1 or days < 1 or users < 50:
        raise ValueError(f"need experiments >= 1, days >= 1 and users >= 50, got {experiments}, {days} and {users}")
    if not 0 <= icc < 1:
        raise ValueError(f"icc must lie in [0, 1), got {icc!r}")
    counts = dict.fromkeys([(reading, units) for reading in READINGS for units in UNITS], 0)
    rng = generator(seed, "false positives")
    for size in _batches(experiments):
        sums, squares, rows = _ratings(rng, (size, 2, users, days), icc)
        for units in UNITS:
            effect, se, independent = _looks(sums, squares, rows, by_user=units == "users")
            fixed = np.abs(effect) > sps.t.isf((1 - LEVEL) / 2, independent - 2) * se
            planned = float(independent[:, -1].mean())
            reach = sequence_half_width(se**2 * independent, independent, mixture_precision(planned, level=LEVEL))
            always = np.abs(effect) > reach
            for reading, hits in zip(READINGS, (fixed[:, -1], fixed.any(axis=1), always.any(axis=1)), strict=True):
                counts[reading, units] += int(np.count_nonzero(hits))
    cells = tuple(
        FalsePositiveRate(reading=reading, units=units, rate=proportion(k, experiments, level=LEVEL))
        for (reading, units), k in counts.items()
    )
    return FalsePositiveTable(rates=cells, experiments=experiments, users=users, days=days, icc=icc)


def _batches(experiments: int) -> Iterator[int]:
    """Experiments drawn at a time, so that memory stays small; the last batch takes what is left."""
    for start in range(0, experiments, _AT_ONCE):
        yield min(_AT_ONCE, experiments - start)


def _ratings(
    rng: np.random.Generator, shape: tuple[int, int, int, int], icc: float
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Sums of each user's ratings, and of their squares, and conversations up to each day: (experiments, arms, users, days).

    Given their number, the sum of a day's ratings about the user's own level is normal and what it leaves of the squares is
    chi-squared: rows need not be drawn one by one.
    """
    rows = rng.poisson(1.0, shape)
    rows[..., 0] = np.maximum(rows[..., 0], 1)
    level = np.sqrt(icc) * rng.normal(size=(*shape[:3], 1))
    noise = np.sqrt(rows * (1 - icc)) * rng.normal(size=shape)
    inside = (1 - icc) * 2 * rng.standard_gamma(np.maximum(rows - 1, 0) / 2)
    sums = rows * level + noise
    squares = inside + np.divide(sums**2, rows, out=np.zeros(shape), where=rows > 0)
    return sums.cumsum(axis=3), squares.cumsum(axis=3), rows.cumsum(axis=3)


def _looks(
    sums: Floats, squares: Floats, rows: npt.NDArray[np.int64], *, by_user: bool
) -> tuple[Floats, Floats, Floats]:
    """Effect, standard error and number of independent units at each look, each of shape (experiments, days)."""
    users, total = sums.shape[2], rows.sum(axis=2).astype(np.float64)
    mean = sums.sum(axis=2) / total
    if by_user:
        residual = sums - mean[:, :, None, :] * rows
        variance = users / (users - 1) * np.sum(residual**2, axis=2) / total**2
        independent = np.full((len(sums), sums.shape[3]), 2.0 * users)
    else:
        variance = (squares.sum(axis=2) - total * mean**2) / (total - 1) / total
        independent = total.sum(axis=1)
    return mean[:, 1] - mean[:, 0], np.sqrt(variance.sum(axis=1)), independent
