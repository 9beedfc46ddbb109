"""The k-th smallest difference between two groups, without building their n·m differences.

On sorted values the differences at or below a number are counted in O(n + m); bisection over the floating-point numbers finds
the k-th in a few such counts, exactly, ties included. `jurat.stats.rank.hodges_lehmann` rests on it.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["nth_difference"]

Floats = npt.NDArray[np.float64]

_THINNED = 1_000
"""Values per group from which a first bracket of a difference's rank is read."""


def nth_difference(x: Floats, y: Floats, k: int) -> float:
    """The k-th smallest difference x − y of two sorted vectors.

    Parameters
    ----------
    x, y
        Sorted and finite, of shapes (n,) and (m,), not empty.
    k
        Rank from 1 to n·m.

    Raises
    ------
    ValueError
        Where there is no such rank.

    References
    ----------
    Johnson, D. B. and Mizoguchi, T. (1978). Selecting the Kth element in X + Y. SIAM Journal on Computing 7, 147–153 (the
    problem; the search here is by counting).

    Examples
    --------
    >>> nth_difference(np.array([1.0, 5.0]), np.array([0.0, 2.0, 3.0]), 4)
    2.0
    """
    if not 1 <= k <= len(x) * len(y):
        raise ValueError(f"the rank must lie in 1 to {len(x) * len(y)}, got {k!r}")
    low, high = _bracket(x, y, k)
    below, up_to = _count_up_to(x, y, _from_key(low)), _count_up_to(x, y, _from_key(high))
    # Once few are left they are looked at; where more than that are tied, the bisection ends at their value.
    while high - low > 1 and up_to - below > len(x) + len(y):
        middle = (low + high) // 2
        count = _count_up_to(x, y, _from_key(middle))
        if count >= k:
            high, up_to = middle, count
        else:
            low, below = middle, count
    if high - low <= 1:
        return _from_key(high)
    left = _between(x, y, _from_key(low), _from_key(high), up_to - below)
    return float(np.partition(left, k - below - 1)[k - below - 1])


def _bracket(x: Floats, y: Floats, k: int) -> tuple[int, int]:
    """Places of two numbers with fewer than k differences at or below the first, and k or more at or below the second."""
    low, high = _key(float(x[0] - y[-1])) - 1, _key(float(x[-1] - y[0]))
    steps = [max(len(v) // _THINNED, 1) for v in (x, y)]
    if max(steps) > 1:
        # Every s-th of a sorted vector misplaces a share by at most s/n, so the thinned vectors tell where to look.
        few = [v[step // 2 :: step] for v, step in zip((x, y), steps, strict=True)]
        pairs = len(few[0]) * len(few[1])
        share, slack = k / (len(x) * len(y)), 2 / len(few[0]) + 2 / len(few[1])
        near, far = math.floor((share - slack) * pairs), math.ceil((share + slack) * pairs)
        guesses = [_key(nth_difference(few[0], few[1], r)) for r in (near, far) if 1 <= r <= pairs]
        for guess in guesses:
            if _count_up_to(x, y, _from_key(guess)) < k:
                low = max(low, guess)
            else:
                high = min(high, guess)
    return low, high


def _key(value: float) -> int:
    """Place of a floating-point number among all of them: integers in the order of the numbers."""
    bits = int(np.float64(value + 0.0).view(np.int64))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFFFFFFFFFF)


def _from_key(key: int) -> float:
    bits = abs(key)
    magnitude = float(np.int64(bits).view(np.float64))
    return magnitude if key >= 0 else -magnitude


@numba.njit(cache=True, nogil=True)  # type: ignore[misc, unused-ignore]
def _count_up_to(x: Floats, y: Floats, threshold: float) -> int:
    """Pairs whose difference x − y is at most a threshold; both sorted."""
    count, j, m = 0, 0, len(y)
    for i in range(len(x)):
        while j < m and x[i] - y[j] > threshold:
            j += 1
        if j == m:
            break
        count += m - j
    return count


@numba.njit(cache=True, nogil=True)  # type: ignore[misc, unused-ignore]
def _between(x: Floats, y: Floats, low: float, high: float, size: int) -> Floats:
    """The differences x − y above one number and at most another, of which there are ``size``."""
    found = np.empty(size)
    place, first, last, m = 0, 0, 0, len(y)
    for i in range(len(x)):
        while first < m and x[i] - y[first] > high:
            first += 1
        while last < m and x[i] - y[last] > low:
            last += 1
        for j in range(first, last):
            found[place] = x[i] - y[j]
            place += 1
    return found
