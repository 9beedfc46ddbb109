"""How rare may it still be, and how many units show that it is rare?

Plans that allow a few failures, Bayesian bounds with a stated prior, and a bound that may be read after every unit: the
beta-binomial mixture, which pays for peeking with width.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import optimize, special

from jurat.stats.interval import Side, tail_probability
from jurat.stats.power import SampleSize
from jurat.stats.result import Interval

__all__ = ["anytime_proportion", "beta_bound", "failure_plan"]

_LARGEST = 10**12


def beta_bound(
    successes: float,
    n: float,
    *,
    prior: tuple[float, float] = (1.0, 1.0),
    level: float = 0.95,
    side: Side = "two-sided",
) -> Interval:
    r"""Credible interval of a share under a Beta prior.

    Parameters
    ----------
    successes, n
        Counts, :math:`0 \le successes \le n`.
    prior
        Parameters of the Beta prior, positive; (1, 1) is uniform, (1/2, 1/2) Jeffreys'.
    level, side
        As in `jurat.stats.interval.proportion`.

    Returns
    -------
    Interval
        Equal-tailed, with 0 and 1 at the ends; ``value`` is the observed share, ``None`` with a reason without units.

    Raises
    ------
    ValueError
        For impossible counts or a prior that is not positive.

    References
    ----------
    Gelman, A. et al. (2013). Bayesian Data Analysis, 3rd ed., section 2.4.

    Examples
    --------
    >>> round(beta_bound(0, 10_000, side="upper").high, 14)
    0.00029949841442
    """
    _check_counts(successes, n)
    a, b = prior
    if not (a > 0 and b > 0):
        raise ValueError(f"the parameters of the prior must be positive, got {prior!r}")
    tail = tail_probability(level, side)
    method = f"posterior under Beta({a:g}, {b:g})"
    if n == 0:
        return Interval(value=None, low=None, high=None, level=level, n=0, method=method, reason="there are no units")
    first, second = a + successes, b + n - successes
    low = 0.0 if successes == 0 else float(special.betaincinv(first, second, tail))
    high = 1.0 if successes == n else float(special.betainccinv(first, second, tail))
    return Interval(
        value=successes / n,
        low=None if side == "upper" else low,
        high=None if side == "lower" else high,
        level=level,
        n=int(n),
        method=method,
    )


def _check_counts(successes: float, n: float) -> None:
    if not (math.isfinite(n) and 0 <= successes <= n):
        raise ValueError(f"need counts 0 <= successes <= n, got successes={successes!r}, n={n!r}")


def failure_plan(bound: float, failures: int, *, level: float = 0.95, true_rate: float | None = None) -> SampleSize:
    r"""Units that show a rate below a bound if no more than so many of them fail.

    Parameters
    ----------
    bound
        The rate to be excluded, within (0, 1).
    failures
        Failures that are allowed, :math:`c`.
    level
        One-sided confidence.
    true_rate
        Where given, the plan's power at this rate is told in ``formula``.

    Returns
    -------
    SampleSize
        The smallest ``n`` for which the Clopper–Pearson upper bound at ``c`` failures is below ``bound``.

    Raises
    ------
    ValueError
        Where ``bound`` is outside (0, 1), ``failures`` is negative or a rate is impossible.

    Notes
    -----
    Smallest n with :math:`P(X \le c \mid n, bound) \le 1 - level`; :math:`c = 0` gives
    :math:`\lceil \ln(1 - level) / \ln(1 - bound) \rceil`.

    References
    ----------
    Hanley, J. A. and Lippman-Hand, A. (1983). If nothing goes wrong, is everything all right? JAMA 249, 1743–1745.

    Examples
    --------
    >>> [failure_plan(1e-4, c).n for c in (0, 1, 2, 3)]
    [29956, 47437, 62956, 77535]
    """
    if not 0 < bound < 1:
        raise ValueError(f"the bound must lie in (0, 1), got {bound!r}")
    if failures < 0 or failures != int(failures):
        raise ValueError(f"failures must be a whole number of at least 0, got {failures!r}")
    tail = tail_probability(level, "upper")
    low, high = failures, failures + 1
    while special.bdtr(failures, high, bound) > tail:
        low, high = high, 2 * high
        if high > _LARGEST:
            raise ValueError(f"more than {_LARGEST:.0e} units would be needed for the bound {bound!r}")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if special.bdtr(failures, middle, bound) > tail else (low, middle)
    formula = f"exact, {failures} failure{'' if failures == 1 else 's'} allowed"
    if true_rate is not None:
        if not 0 <= true_rate < 1:
            raise ValueError(f"the true rate must lie in [0, 1), got {true_rate!r}")
        formula += f", power {special.bdtr(failures, high, true_rate):.3f} at a rate of {true_rate:g}"
    return SampleSize(n=high, exact=float(high), formula=formula)


def anytime_proportion(
    successes: float,
    n: float,
    *,
    prior: tuple[float, float] = (0.5, 0.5),
    level: float = 0.95,
    side: Side = "two-sided",
) -> Interval:
    r"""Interval of a share that may be read after every unit.

    Parameters
    ----------
    successes, n
        Counts so far; effective counts need not be whole.
    prior
        Parameters of the mixing Beta law.
    level
        Coverage over all looks.
    side
        Which bounds to show. The mixture spends its error on both sides, so a bound shown alone keeps the level too.

    Returns
    -------
    Interval
        The shares whose mixture likelihood ratio is below :math:`1/\alpha`.

    Raises
    ------
    ValueError
        For impossible counts or a prior that is not positive.

    Notes
    -----
    By Ville's inequality, :math:`\{p : \frac{B(a + S, b + n - S)}{B(a, b)} \le \frac{p^S (1-p)^{n-S}}{\alpha}\}` holds the
    truth at all looks together with probability at least :math:`1 - \alpha`.

    References
    ----------
    Robbins, H. (1970). Statistical methods related to the law of the iterated logarithm. Annals of Mathematical
    Statistics 41, 1397–1409. Howard, S. R. et al. (2021). Annals of Statistics 49, 1055–1080.

    Examples
    --------
    >>> round(anytime_proportion(0, 10_000, side="upper").high, 14)
    0.00081699406871
    """
    _check_counts(successes, n)
    a, b = prior
    if not (a > 0 and b > 0):
        raise ValueError(f"the parameters of the prior must be positive, got {prior!r}")
    alpha = tail_probability(level, "upper")
    tail_probability(level, side)
    method = f"anytime-valid, Beta({a:g}, {b:g}) mixture"
    if n == 0:
        return Interval(value=None, low=None, high=None, level=level, n=0, method=method, reason="there are no units")
    failures = n - successes
    mixture = float(special.betaln(a + successes, b + failures) - special.betaln(a, b)) + math.log(alpha)

    def excess(p: float) -> float:
        return float(special.xlogy(successes, p) + special.xlog1py(failures, -p)) - mixture

    value = successes / n
    low = 0.0 if successes == 0 else _edge(excess, value, -1)
    high = 1.0 if failures == 0 else _edge(excess, value, +1)
    return Interval(
        value=value,
        low=None if side == "upper" else min(low, value),
        high=None if side == "lower" else max(high, value),
        level=level,
        n=int(n),
        method=method,
    )


def _edge(excess: Callable[[float], float], value: float, sign: int) -> float:
    """Where the likelihood falls below the mixture, going from the observed share to 0 or 1.

    The search is on the logit, so that bounds of 1e-12 keep their digits.
    """
    start = float(special.logit(min(max(value, 1e-300), 1 - 1e-16)))
    step = 1.0
    far = start + sign * step
    while excess(float(special.expit(far))) > 0:
        step *= 2
        far = start + sign * step
    near = start if excess(float(special.expit(start))) > 0 else start - sign * 1e-9
    if excess(float(special.expit(near))) <= 0:
        return value
    root = optimize.brentq(lambda x: excess(float(special.expit(x))), near, far, xtol=1e-13, rtol=1e-14)
    return float(special.expit(root))
