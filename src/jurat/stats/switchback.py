"""What does a change do that cannot be given to some users and kept from others?

In a switchback the whole product is under one arm at a time, and time is what is randomised. Periods are not independent:
noise lasts, and so may the effect of the arm before. So the unit of analysis is the block of periods that was assigned as
one, the first periods of each block may be left out (wash-out), and with few blocks the randomisation itself gives the
test (Bojinov, Simchi-Levi and Zhao, 2023). What is estimated is the difference between one arm all the time and the other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from jurat.stats.difference import clustered_difference
from jurat.stats.mean import Floats
from jurat.stats.result import Interval, Test

__all__ = ["ENUMERATED", "randomisation_test", "switchback_effect", "switchback_schedule"]

Bools = npt.NDArray[np.bool_]
Alternative = Literal["two-sided", "less", "greater"]

ENUMERATED = 20_000
"""Assignments up to which all are tried."""

_CHUNK = 2_000_000
"""Cells of assignments held at a time."""


def switchback_schedule(periods: int, *, block: int = 1, seed: int) -> Bools:
    """Balanced random schedule: half of the blocks under treatment.

    Parameters
    ----------
    periods
        Number of periods, two blocks or more.
    block
        Periods per block, at least 1. Longer than the arm's effect lasts, so that the wash-out leaves something over.
    seed
        Of the generator; part of the record of the experiment.

    Returns
    -------
    numpy.ndarray
        Whether each period is treated, shape (periods,). With an odd number of blocks, chance decides which arm has
        one more. A last block that is not full is shorter.

    Raises
    ------
    ValueError
        Where there are fewer than two blocks, or ``block`` is below 1.

    References
    ----------
    Bojinov, I., Simchi-Levi, D. and Zhao, J. (2023). Design and analysis of switchback experiments. Management Science
    69, 3759–3777.

    Examples
    --------
    >>> switchback_schedule(8, block=2, seed=7).astype(int).tolist()
    [1, 1, 0, 0, 1, 1, 0, 0]
    """
    if block < 1 or block != int(block):
        raise ValueError(f"block must be a whole number of at least 1, got {block!r}")
    blocks = math.ceil(periods / block)
    if periods != int(periods) or blocks < 2:
        raise ValueError(f"a schedule needs two blocks or more, got {periods!r} periods in blocks of {block}")
    rng = np.random.default_rng(seed)
    treated = np.arange(blocks) < blocks // 2 + (rng.integers(2) if blocks % 2 else 0)
    return np.repeat(rng.permutation(treated), block)[:periods]


def switchback_effect(
    period_sum: npt.ArrayLike,
    period_n: npt.ArrayLike,
    treated: npt.ArrayLike,
    *,
    washout: int = 0,
    block: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> Interval:
    """Effect of treatment in a switchback: treated minus control, as the difference of two ratios of sums.

    Parameters
    ----------
    period_sum, period_n
        Sum of the metric and number of units in each period, in order of time, both of shape (periods,). A period may
        have no units, but must have its place.
    treated
        Whether each period was under treatment, shape (periods,).
    washout
        Periods left out at the start of every block, whether the arm switched there or not: what is kept must not hang
        on the assignment.
    block
        What was assigned as one and is the cluster: a number of periods per block, or a label per period, shape
        (periods,); a block holds one arm. Where not given, every period was assigned by itself, and is the cluster;
        with a wash-out, the run of adjacent periods under one arm takes its place.
    level
        Two-sided coverage.

    Returns
    -------
    Interval
        ``n`` counts the units kept, ``n_clusters`` the blocks with units; undefined with a reason where the wash-out
        leaves an arm without units, without bounds where it leaves one with a single block.

    Raises
    ------
    ValueError
        Where shapes differ, values are not finite, sizes are impossible, ``washout`` is negative or a block mixes arms.

    Notes
    -----
    :math:`\\hat\\tau = \\sum_{T} S_t / \\sum_{T} n_t - \\sum_{C} S_t / \\sum_{C} n_t` over the periods kept, with the
    cluster-robust variance of `jurat.stats.difference.clustered_difference` over blocks. As the assignment of blocks is
    random, this variance holds, or errs on the wide side, whatever the noise's autocorrelation. Were the wash-out made
    after switches only, adjacent blocks under one arm would stand closer together than those under two, and with noise
    that lasts the interval would be too narrow (in simulation 8 to 10 false positives in 100 at a nominal 5); runs as
    clusters err on the wide side.

    References
    ----------
    Bojinov et al. (2023), as in `switchback_schedule`. Hu, Y. and Wager, S. (2022). Switchback experiments under
    geometric mixing. arXiv 2209.00197 (wash-out at the start of every block).

    Examples
    --------
    >>> print(switchback_effect([9, 12, 20, 22, 11, 9, 23, 21], [10] * 8, [0, 0, 1, 1, 0, 0, 1, 1], block=2))
    1.125 [0.7791, 1.471] 0.95 n=80 clusters=4 switchback, CR2, Welch–Satterthwaite
    """
    sums, sizes, arm = _finite("period_sum", period_sum), _finite("period_n", period_n), _arm(treated)
    if not sums.shape == sizes.shape == arm.shape:
        raise ValueError(
            "period_sum, period_n and treated must have one length, "
            f"got shapes {sums.shape}, {sizes.shape} and {arm.shape}"
        )
    if block is None and washout > 0:
        codes = np.cumsum(_starts(arm)) - 1
    else:
        codes = _block_codes(block, arm)
    kept = _settled(codes, washout)
    blocks = int(codes.max()) + 1
    n = np.bincount(codes[kept], weights=sizes[kept], minlength=blocks)
    total = np.bincount(codes[kept], weights=sums[kept], minlength=blocks)
    block_arm = np.zeros(blocks, dtype=np.bool_)
    block_arm[codes] = arm
    found = clustered_difference(n[block_arm], total[block_arm], n[~block_arm], total[~block_arm], level=level)
    return replace(found, method=f"switchback, {found.method}")


def randomisation_test(
    period_mean: npt.ArrayLike,
    treated: npt.ArrayLike,
    assignments: npt.ArrayLike | np.random.Generator | None = None,
    *,
    block: npt.ArrayLike | None = None,
    washout: int = 0,
    replicates: int = 9_999,
    alternative: Alternative = "two-sided",
) -> Test:
    """Test that treatment changes nothing in any period, by the randomisation that was made.

    Parameters
    ----------
    period_mean
        Metric in each period, in order of time, shape (periods,).
    treated
        Whether each period was under treatment, shape (periods,).
    assignments
        What could have been assigned, with equal chance: a matrix of shape (assignments, periods) that holds the one
        that was made. For a sample of draws from another mechanism, append the one that was made. Where not given,
        the mechanism is that of `switchback_schedule`, with as many blocks treated as were; all are tried up to
        `ENUMERATED`, and beyond that a generator must be given to draw from them.
    block, washout
        As in `switchback_effect`. Without ``block``, each assignment has the wash-out of its own runs.
    replicates
        Number drawn where they are not all tried.
    alternative
        ``"greater"``: treatment raises the metric.

    Returns
    -------
    Test
        ``statistic`` is the difference of the means over the periods kept; ``n`` counts those, ``n_clusters`` the
        blocks.

    Raises
    ------
    ValueError
        Where shapes differ, values are not finite, a block mixes arms, the wash-out leaves an arm without periods, the
        matrix lacks the assignment that was made or breaks up blocks, or a generator is needed.

    Notes
    -----
    :math:`p` is the share of assignments whose difference is at least as far out as the one seen, the one made among
    them; drawn ones are counted as :math:`(1 + \\#)/(1 + R)`. An assignment whose wash-out leaves an arm without periods
    counts as far out, so that p is never too small. The p-value is exact whatever the noise.

    References
    ----------
    Fisher, R. A. (1935). The Design of Experiments. Bojinov et al. (2023), as in `switchback_schedule`. Phipson, B.
    and Smyth, G. K. (2010). Statistical Applications in Genetics and Molecular Biology 9, 39 (drawn assignments).

    Examples
    --------
    >>> test = randomisation_test([1.0, 1.3, 2.1, 2.2, 1.1, 0.9, 2.4, 2.0], [0, 0, 1, 1, 0, 0, 1, 1], block=1)
    >>> round(test.statistic, 3), round(test.p_value, 5)
    (1.1, 0.02857)
    """
    y, arm = _finite("period_mean", period_mean), _arm(treated)
    if y.shape != arm.shape:
        raise ValueError(f"period_mean and treated must have one length, got shapes {y.shape} and {arm.shape}")
    if alternative not in ("two-sided", "less", "greater"):
        raise ValueError(f"alternative must be 'two-sided', 'less' or 'greater', got {alternative!r}")
    # Centred, so that ties of rearranged sums are within rounding of each other at any offset.
    y = y - y.mean()
    slack = 1e-11 * float(np.abs(y).max())
    codes = _block_codes(block, arm)
    kept = None if block is None and washout > 0 else _settled(codes, washout)
    seen = float(_differences(y, arm[None, :], kept, washout)[0])
    if math.isnan(seen):
        raise ValueError(f"a wash-out of {washout} leaves an arm without periods")
    if assignments is None or isinstance(assignments, np.random.Generator):
        drawn = _drawn(codes, arm, assignments, replicates)
        listed = _ways(codes, arm) <= ENUMERATED
        kind = "all assignments" if listed else f"{replicates} assignments"
    else:
        matrix = _matrix(assignments, arm, codes)
        drawn, listed, kind = iter([matrix]), True, f"{len(matrix)} assignments"
    far = count = 0
    for rows in drawn:
        far += _as_far_out(_differences(y, rows, kept, washout), seen, slack, alternative)
        count += len(rows)
    return Test(
        statistic=seen,
        p_value=far / count if listed else (1 + far) / (1 + count),
        alternative=alternative,
        n=int(np.count_nonzero(_settled(arm, washout) if kept is None else kept)),
        n_clusters=int(codes.max()) + 1,
        method=f"randomisation, {kind}",
    )


def _finite(name: str, values: npt.ArrayLike) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) == 0 or not np.all(np.isfinite(x)):
        raise ValueError(f"{name} must be a finite vector with a value per period, got shape {x.shape}")
    return x


def _arm(treated: npt.ArrayLike) -> Bools:
    arm = np.asarray(treated)
    if arm.ndim != 1 or not np.all((arm == 0) | (arm == 1)):
        raise ValueError(f"treated must be a vector of true and false, got {arm.tolist()!r}")
    return arm.astype(np.bool_)


def _block_codes(block: npt.ArrayLike | None, arm: Bools) -> npt.NDArray[np.int64]:
    """Block of each period, from 0."""
    labels = np.asarray(1 if block is None else block)
    if labels.ndim == 0:
        if labels < 1 or labels != int(labels):
            raise ValueError(f"block must be a whole number of periods of at least 1, got {block!r}")
        codes = np.arange(len(arm)) // int(labels)
    elif labels.shape == arm.shape:
        codes = np.unique(labels, return_inverse=True)[1]
    else:
        raise ValueError(f"block must be a number or a label per period, got shape {labels.shape}")
    size, under = np.bincount(codes), np.bincount(codes, weights=arm)
    mixed = (under > 0) & (under < size)
    if np.any(mixed):
        first = int(np.argmax(mixed[codes]))
        raise ValueError(f"a block holds one arm only; the block of period {first} mixes both")
    return np.asarray(codes, dtype=np.int64)


def _starts(labels: npt.NDArray[np.int64] | Bools) -> Bools:
    """Where a period's label differs from that of the one before, along the last axis."""
    starts = np.ones(labels.shape, dtype=np.bool_)
    starts[..., 1:] = labels[..., 1:] != labels[..., :-1]
    return starts


def _settled(codes: npt.NDArray[np.int64] | Bools, washout: int) -> Bools:
    """Periods that follow at least ``washout`` others under the same label, along the last axis."""
    if washout < 0 or washout != int(washout):
        raise ValueError(f"washout must be a whole number of at least 0, got {washout!r}")
    index = np.arange(codes.shape[-1])
    return np.asarray(index - np.maximum.accumulate(np.where(_starts(codes), index, 0), axis=-1) >= washout)


def _differences(y: Floats, arms: Bools, kept: Bools | None, washout: int) -> Floats:
    """Difference of means for each row of assignments; not a number where an arm has no periods.

    Where it is not said what is kept, it is what each row's own runs leave over.
    """
    kept = _settled(arms, washout) if kept is None else kept
    treated, control = (arms & kept).astype(np.float64), (~arms & kept).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(treated @ y / treated.sum(axis=1) - control @ y / control.sum(axis=1), dtype=np.float64)


def _as_far_out(drawn: Floats, seen: float, slack: float, alternative: str) -> int:
    if alternative == "two-sided":
        inside = np.abs(drawn) < abs(seen) - slack
    else:
        inside = drawn < seen - slack if alternative == "greater" else drawn > seen + slack
    # What is not a number is not inside.
    return len(drawn) - int(np.count_nonzero(inside))


def _ways(codes: npt.NDArray[np.int64], arm: Bools) -> int:
    return math.comb(int(codes.max()) + 1, len(np.unique(codes[arm])))


def _drawn(
    codes: npt.NDArray[np.int64], arm: Bools, rng: np.random.Generator | None, replicates: int
) -> Iterator[Bools]:
    """Assignments of as many blocks as were treated: all of them, or a sample, a chunk at a time."""
    blocks, chosen = int(codes.max()) + 1, len(np.unique(codes[arm]))
    ways = _ways(codes, arm)
    if ways > ENUMERATED and rng is None:
        raise ValueError(f"there are {ways} assignments, more than {ENUMERATED}: pass a generator to draw from them")
    if ways > ENUMERATED and replicates < 1:
        raise ValueError(f"replicates must be at least 1, got {replicates!r}")
    at_once = max(_CHUNK // len(codes), 1)
    every = itertools.combinations(range(blocks), chosen)
    left = ways if ways <= ENUMERATED else replicates
    while left > 0:
        rows = min(at_once, left)
        if ways <= ENUMERATED or rng is None:
            picked = np.array(list(itertools.islice(every, rows)), dtype=np.int64).reshape(rows, chosen)
        else:
            picked = np.argsort(rng.random((rows, blocks)), axis=1)[:, :chosen]
        under = np.zeros((rows, blocks), dtype=np.bool_)
        np.put_along_axis(under, picked, values=True, axis=1)
        yield under[:, codes]
        left -= rows


def _matrix(assignments: npt.ArrayLike, arm: Bools, codes: npt.NDArray[np.int64]) -> Bools:
    given = np.asarray(assignments)
    if given.ndim != 2 or given.shape[1] != len(arm) or not np.all((given == 0) | (given == 1)):
        raise ValueError(f"assignments must be true or false, shape (assignments, {len(arm)}), got shape {given.shape}")
    matrix = given.astype(np.bool_)
    if not np.any(np.all(matrix == arm, axis=1)):
        raise ValueError("assignments must hold the one that was made")
    first = np.unique(codes, return_index=True)[1]
    if np.any(matrix != matrix[:, first[codes]]):
        raise ValueError("assignments must give every block one arm")
    return matrix
