"""By how much do two independent shares differ, when events are rare or absent?

The score interval inverts a test whose variance is taken under the difference being tested. It needs no correction at
zero cells, never leaves [−1, 1], and agrees with the test that decides non-inferiority: the Miettinen–Nurminen form is
the one that regulators know. Differences are first minus second.

The restricted maximum of the likelihood is the root of a cubic in closed form, which is then refined inside its bracket:
the closed form alone loses half its digits where two roots lie near each other, which is where events are rare.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from jurat.stats.interval import Side, tail_probability
from jurat.stats.result import Interval, Test

__all__ = ["restricted_shares", "score_difference", "score_statistic", "score_test"]

Floats = npt.NDArray[np.float64]
Variance = Literal["miettinen-nurminen", "mee"]
_NAMES = {"miettinen-nurminen": "Miettinen–Nurminen", "mee": "Mee"}
_REFINEMENTS = 80


def score_difference(
    successes_1: int,
    n_1: int,
    successes_2: int,
    n_2: int,
    *,
    level: float = 0.95,
    variance: Variance = "miettinen-nurminen",
    side: Side = "two-sided",
) -> Interval:
    r"""Score interval of the difference of two independent shares.

    Parameters
    ----------
    successes_1, n_1, successes_2, n_2
        Counts of the two groups.
    level
        Coverage; of a one-sided bound where ``side`` is not ``"two-sided"``.
    variance
        ``"miettinen-nurminen"`` (default) enlarges the variance by :math:`N/(N - 1)`; ``"mee"`` does not.
    side
        ``"lower"`` or ``"upper"`` for a one-sided bound, as a non-inferiority margin needs.

    Returns
    -------
    Interval
        Of :math:`p_1 - p_2`, with ``n`` the units of both groups; undefined with a reason where a group is empty.

    Raises
    ------
    ValueError
        For impossible counts, or an unknown variance, side or level.

    Notes
    -----
    The bounds are the differences :math:`d` at which :math:`|\hat p_1 - \hat p_2 - d| = z \sqrt{V(d)}` with
    :math:`V(d) = \left(\frac{\tilde p_1 \tilde q_1}{n_1} + \frac{\tilde p_2 \tilde q_2}{n_2}\right) \frac{N}{N - 1}`, where
    :math:`\tilde p_1 - \tilde p_2 = d` maximise the likelihood (`restricted_shares`). They are found by bisection between
    the estimate and ±1 down to neighbouring floating-point numbers, which cannot fail.

    References
    ----------
    Miettinen, O. and Nurminen, M. (1985). Comparative analysis of two rates. Statistics in Medicine 4, 213–226.
    Mee, R. W. (1984). Confidence bounds for the difference between two probabilities. Biometrics 40, 1175–1176.
    Newcombe, R. G. (1998). Statistics in Medicine 17, 873–890 (methods 5 and 6, with the digits of 56/70 and 48/80).

    Examples
    --------
    >>> print(score_difference(56, 70, 48, 80))
    0.2 [0.05283, 0.3382] 0.95 n=150 Miettinen–Nurminen
    >>> print(score_difference(3, 10_000, 0, 10_000, side="upper"))
    0.0003 [−∞, 0.0007504] 0.95 n=20000 Miettinen–Nurminen
    """
    _check_groups(successes_1, n_1, successes_2, n_2)
    factor = _variance_factor(variance, n_1, n_2)
    tail = tail_probability(level, side)
    n = int(n_1) + int(n_2)
    if min(n_1, n_2) == 0:
        reason = "a group is empty"
        return Interval(value=None, low=None, high=None, level=level, n=n, method=_NAMES[variance], reason=reason)
    value = successes_1 / n_1 - successes_2 / n_2
    counts = (float(successes_1), float(n_1), float(successes_2), float(n_2))
    low, high = _bounds(counts, value, float(sps.norm.isf(tail)) ** 2 * factor if tail < 0.5 else 0.0)
    return Interval(
        value=value,
        low=None if side == "upper" else low,
        high=None if side == "lower" else high,
        level=level,
        n=n,
        method=_NAMES[variance],
    )


def _check_groups(successes_1: float, n_1: float, successes_2: float, n_2: float) -> None:
    for group, k, n in ((1, successes_1, n_1), (2, successes_2, n_2)):
        if not (math.isfinite(n) and 0 <= k <= n and k == int(k) and n == int(n)):
            raise ValueError(f"need whole numbers 0 <= successes <= n, got successes_{group}={k!r}, n_{group}={n!r}")


def _variance_factor(variance: str, n_1: float, n_2: float) -> float:
    if variance not in _NAMES:
        raise ValueError(f"variance must be 'miettinen-nurminen' or 'mee', got {variance!r}")
    n = n_1 + n_2
    return n / (n - 1) if variance == "miettinen-nurminen" and n > 1 else 1.0


def _bounds(counts: tuple[float, float, float, float], value: float, scale: float) -> tuple[float, float]:
    """Both ends of the accepted differences by bisection; ``scale`` is the squared quantile times the variance factor."""
    x1, n1, x2, n2 = (np.full(2, count) for count in counts)
    inside, outside = np.full(2, value), np.array([-1.0, 1.0])
    while True:
        middle = (inside + outside) / 2
        between = (middle != inside) & (middle != outside)
        if not np.any(between):
            return min(float(inside[0]), value), max(float(inside[1]), value)
        accepted = (value - middle) ** 2 <= scale * _variance(x1, n1, x2, n2, middle)
        inside = np.where(between & accepted, middle, inside)
        outside = np.where(between & ~accepted, middle, outside)


def restricted_shares(
    successes_1: npt.ArrayLike,
    n_1: npt.ArrayLike,
    successes_2: npt.ArrayLike,
    n_2: npt.ArrayLike,
    difference: npt.ArrayLike,
) -> Floats:
    r"""Shares that maximise the likelihood of two binomial counts under a given difference.

    Parameters
    ----------
    successes_1, n_1, successes_2, n_2
        Counts, n positive; all arguments broadcast against each other.
    difference
        :math:`d = p_1 - p_2`, within [−1, 1].

    Returns
    -------
    numpy.ndarray
        :math:`\tilde p_1` and :math:`\tilde p_2`, shape (2, ...) with the broadcast shape behind.

    Raises
    ------
    ValueError
        Where a difference lies outside [−1, 1] or counts are impossible.

    Notes
    -----
    For :math:`d \ge 0` (groups are exchanged otherwise), :math:`\tilde p_2 \in [0, 1 - d]` is the root of
    :math:`N p^3 + L_2 p^2 + L_1 p + L_0` with :math:`L_2 = (n_1 + 2 n_2) d - N - x`,
    :math:`L_1 = (n_2 d - N - 2 x_2) d + x`, :math:`L_0 = x_2 d (1 - d)`, :math:`x = x_1 + x_2`: the middle one of three
    real roots, by the trigonometric formula. The cubic has the sign of the slope of the log-likelihood, which is concave:
    this brackets the refinement by Newton's method, and tells the maximum on an edge from one inside.

    References
    ----------
    Miettinen, O. and Nurminen, M. (1985). Statistics in Medicine 4, 213–226, appendix I. Farrington, C. P. and Manning, G.
    (1990). Statistics in Medicine 9, 1447–1454.

    Examples
    --------
    >>> first, second = restricted_shares(56, 70, 48, 80, 0.1)
    >>> round(float(first), 6), round(float(second), 6)
    (0.751548, 0.651548)
    """
    x1, n1, x2, n2, d = _checked_arrays(successes_1, n_1, successes_2, n_2, difference)
    if not np.all(np.abs(d) <= 1):
        raise ValueError(f"a difference of shares must lie in [-1, 1], got {difference!r}")
    shares, failures = _rarer_shares(x1, n1, x2, n2, d)
    return np.where(failures, 1 - shares, shares)


def _checked_arrays(*arguments: npt.ArrayLike) -> list[Floats]:
    arrays = list(np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in arguments)))
    for k, n in (arrays[:2], arrays[2:4]):
        if not np.all((k >= 0) & (k <= n) & (n > 0) & np.isfinite(n)):
            worst = int(np.argmin((k >= 0) & (k <= n) & (n > 0) & np.isfinite(n)))
            seen = f"{k.flat[worst]:g} of {n.flat[worst]:g}"
            raise ValueError(f"need counts 0 <= successes <= n with n positive in both groups, got {seen}")
    return arrays


def _rarer_shares(x1: Floats, n1: Floats, x2: Floats, n2: Floats, d: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Restricted shares of whichever outcome is rarer, and where that is the failures: near 1, digits would be lost."""
    failures = x1 + x2 > (n1 + n2) / 2
    x1, x2, d = np.where(failures, n1 - x1, x1), np.where(failures, n2 - x2, x2), np.where(failures, -d, d)
    swap, gap = d < 0, np.abs(d)
    base = _smaller_share(
        np.where(swap, x2, x1), np.where(swap, n2, n1), np.where(swap, x1, x2), np.where(swap, n1, n2), gap
    )
    larger = np.minimum(base + gap, 1.0)
    return np.stack([np.where(swap, base, larger), np.where(swap, larger, base)]), failures


def _smaller_share(x1: Floats, n1: Floats, x2: Floats, n2: Floats, d: Floats) -> Floats:
    """The restricted share of the second group for a difference of at least 0."""
    n, x, room = n1 + n2, x1 + x2, 1 - d
    c2 = (n1 + 2 * n2) * d - n - x
    c1 = (n2 * d - n - 2 * x2) * d + x
    c0 = x2 * d * room
    low, high = np.zeros_like(d), room.copy()
    # An edge is the maximum where the likelihood falls from it: only there can a group be without (or full of) successes.
    at_zero = (x2 == 0) & (x1 - n1 * d - n2 * d * room <= 0)
    at_end = (x1 == n1) & (n2 - x2 - n2 * d - n1 * d * room <= 0)
    pooled = d == 0
    p = np.clip(_closed_form(n, c2, c1, c0), low, high)
    done = at_zero | at_end | pooled
    for _ in range(_REFINEMENTS):
        value = ((n * p + c2) * p + c1) * p + c0
        low, high = np.where(value > 0, p, low), np.where(value < 0, p, high)
        slope = (3 * n * p + 2 * c2) * p + c1
        step = np.divide(value, slope, out=np.full_like(p, np.inf), where=slope < 0)
        newton = p - step
        following = np.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
        moved = np.abs(following - p) > 4e-15 * p
        p, done = np.where(done | (value == 0), p, following), done | (value == 0) | ~moved
        if np.all(done):
            break
    return np.where(at_zero, 0.0, np.where(at_end, room, np.where(pooled, x / n, p)))


def _closed_form(n: Floats, c2: Floats, c1: Floats, c0: Floats) -> Floats:
    """Middle root of the cubic ``n p³ + c2 p² + c1 p + c0`` with three real roots."""
    centre = c2 / (3 * n)
    q = centre**3 - c1 * c2 / (6 * n**2) + c0 / (2 * n)
    radius = np.sqrt(np.maximum(centre**2 - c1 / (3 * n), 0.0)) * np.where(q >= 0, 1.0, -1.0)
    ratio = np.divide(q, radius**3, out=np.ones_like(q), where=radius != 0)
    angle = (np.pi + np.arccos(np.clip(ratio, -1.0, 1.0))) / 3
    root: Floats = 2 * radius * np.cos(angle) - centre
    return root


def _variance(x1: Floats, n1: Floats, x2: Floats, n2: Floats, d: Floats) -> Floats:
    (p1, p2), _ = _rarer_shares(x1, n1, x2, n2, d)
    total: Floats = p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2
    return total


def score_statistic(
    successes_1: npt.ArrayLike,
    n_1: npt.ArrayLike,
    successes_2: npt.ArrayLike,
    n_2: npt.ArrayLike,
    *,
    null: npt.ArrayLike = 0.0,
    variance: Variance = "miettinen-nurminen",
) -> Floats:
    r"""Standard normal score statistic of many pairs of counts at once.

    Parameters
    ----------
    successes_1, n_1, successes_2, n_2
        Counts, n positive; all arguments broadcast against each other.
    null
        Difference under the null hypothesis, within (−1, 1).
    variance
        As in `score_difference`.

    Returns
    -------
    numpy.ndarray
        :math:`(\hat p_1 - \hat p_2 - d)/\sqrt{V(d)}`, 0 where estimate and null agree on an edge without variance.

    Raises
    ------
    ValueError
        For impossible counts, a null outside (−1, 1) or an unknown variance.

    References
    ----------
    Miettinen, O. and Nurminen, M. (1985). Statistics in Medicine 4, 213–226.

    Examples
    --------
    >>> score_statistic([3, 0], 10_000, 0, 10_000).round(4).tolist()
    [1.7321, 0.0]
    """
    if variance not in _NAMES:
        raise ValueError(f"variance must be 'miettinen-nurminen' or 'mee', got {variance!r}")
    d = np.asarray(null, dtype=np.float64)
    if not np.all(np.abs(d) < 1):
        raise ValueError(f"null must lie in (-1, 1), got {null!r}")
    x1, n1, x2, n2, d = _checked_arrays(successes_1, n_1, successes_2, n_2, d)
    spread = _variance(x1, n1, x2, n2, d)
    if variance == "miettinen-nurminen":
        spread = spread * ((n1 + n2) / (n1 + n2 - 1))
    gap = x1 / n1 - x2 / n2 - d
    return np.divide(gap, np.sqrt(spread), out=np.zeros_like(spread), where=spread > 0)


def score_test(
    successes_1: int,
    n_1: int,
    successes_2: int,
    n_2: int,
    *,
    null: float = 0.0,
    alternative: Literal["two-sided", "less", "greater"] = "two-sided",
    variance: Variance = "miettinen-nurminen",
) -> Test:
    r"""Score test of a difference of two independent shares, and of non-inferiority by a margin.

    Parameters
    ----------
    successes_1, n_1, successes_2, n_2
        Counts of the two groups; neither empty.
    null
        Difference under the null hypothesis, within (−1, 1): minus the margin for non-inferiority of the first group
        where successes are good, tested with ``alternative="greater"``.
    alternative
        ``"greater"`` where small p-values shall speak for :math:`p_1 - p_2 > null`.
    variance
        As in `score_difference`, whose interval holds exactly the nulls that this test does not reject. ``"mee"`` is the
        test of Farrington and Manning.

    Returns
    -------
    Test
        With the standard normal statistic; see `score_statistic` for many pairs at once.

    Raises
    ------
    ValueError
        For impossible counts, an empty group, or an unknown option.

    References
    ----------
    Farrington, C. P. and Manning, G. (1990). Test statistics and sample size formulae for comparative binomial trials with
    null hypothesis of non-zero risk difference or non-unity relative risk. Statistics in Medicine 9, 1447–1454.

    Examples
    --------
    >>> retention = score_test(3800, 10_000, 4000, 10_000, null=-0.03, alternative="greater")
    >>> round(retention.p_value, 4)
    0.0735
    """
    _check_groups(successes_1, n_1, successes_2, n_2)
    if min(n_1, n_2) == 0:
        raise ValueError(f"a test needs units in both groups, got n_1={n_1!r}, n_2={n_2!r}")
    statistic = float(score_statistic(successes_1, n_1, successes_2, n_2, null=null, variance=variance))
    if alternative == "two-sided":
        p_value = 2 * float(sps.norm.sf(abs(statistic)))
    elif alternative == "greater":
        p_value = float(sps.norm.sf(statistic))
    elif alternative == "less":
        p_value = float(sps.norm.cdf(statistic))
    else:
        raise ValueError(f"alternative must be 'two-sided', 'less' or 'greater', got {alternative!r}")
    return Test(
        statistic=statistic,
        p_value=min(p_value, 1.0),
        alternative=alternative,
        n=int(n_1) + int(n_2),
        method=f"{_NAMES[variance]} score",
    )
