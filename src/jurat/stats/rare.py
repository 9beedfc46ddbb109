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
_MOST_FAILURES = 10**6


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


def failure_plan(
    bound: float,
    failures: int,
    *,
    level: float = 0.95,
    power: float | None = None,
    true_rate: float | None = None,
) -> SampleSize:
    r"""Units that show a rate below a bound if no more than so many of them fail.

    Parameters
    ----------
    bound
        The rate to be excluded, within (0, 1).
    failures
        Failures that are allowed, :math:`c`; the fewest to consider where ``power`` is given.
    level
        One-sided confidence.
    power
        Chance that the plan succeeds at ``true_rate``, which must then be given and lie below ``bound``: failures are
        added until the plan has it.
    true_rate
        Where given, the plan's power at this rate is told in ``formula``.

    Returns
    -------
    SampleSize
        The smallest ``n`` for which the Clopper–Pearson upper bound at ``c`` failures is not above ``bound``; ``exact``
        is the real number at which it would equal it. Without a number, and with the reason, beyond
        :math:`10^{12}` units, or where more than a million failures would have to be allowed for the power.

    Raises
    ------
    ValueError
        Where ``bound`` is outside (0, 1), ``failures`` is negative, a rate is impossible, or ``power`` lacks a
        ``true_rate`` below the bound.

    Notes
    -----
    Smallest n with :math:`P(X \le c \mid n, bound) \le 1 - level`; :math:`c = 0` gives
    :math:`\lceil \ln(1 - level) / \ln(1 - bound) \rceil`. The power is :math:`P(X \le c \mid n, true\ rate)`; it grows
    with :math:`c`, so the smallest sufficient :math:`c` is found by doubling and bisection.

    References
    ----------
    Hanley, J. A. and Lippman-Hand, A. (1983). If nothing goes wrong, is everything all right? JAMA 249, 1743–1745.
    Clopper, C. J. and Pearson, E. S. (1934). Biometrika 26, 404–413.

    Examples
    --------
    >>> [failure_plan(1e-4, c).n for c in (0, 1, 2, 3)]
    [29956, 47437, 62956, 77535]
    >>> plan = failure_plan(1e-3, 0, power=0.8, true_rate=2e-4)
    >>> plan.n, plan.formula
    (6294, 'exact, 2 failures allowed, power 0.867 at a rate of 0.0002')
    """
    if not 0 < bound < 1:
        raise ValueError(f"the bound must lie in (0, 1), got {bound!r}")
    if failures < 0 or failures != int(failures):
        raise ValueError(f"failures must be a whole number of at least 0, got {failures!r}")
    tail = tail_probability(level, "upper")
    if true_rate is not None and not 0 <= true_rate < 1:
        raise ValueError(f"the true rate must lie in [0, 1), got {true_rate!r}")
    if power is not None:
        if true_rate is None or true_rate >= bound:
            raise ValueError(f"power needs a true rate below the bound {bound!r}, got {true_rate!r}")
        if not 0 < power < 1:
            raise ValueError(f"power must lie in (0, 1), got {power!r}")
        allowed = _failures_for_power(bound, int(failures), tail, power, true_rate)
        if allowed is None:
            reason = (
                f"more than {_MOST_FAILURES:,} failures would have to be allowed: the true rate is next to the bound"
            )
            return SampleSize(n=None, exact=None, formula="exact", reason=reason)
        failures = allowed
    exact = _units_for_failures(bound, int(failures), tail)
    formula = f"exact, {failures} failure{'' if failures == 1 else 's'} allowed"
    if exact is None:
        reason = f"more than {_LARGEST:.0e} units would be needed for the bound {bound!r}"
        return SampleSize(n=None, exact=None, formula=formula, reason=reason)
    n = math.ceil(exact)
    if true_rate is not None:
        formula += f", power {_at_most(failures, n, true_rate):.3f} at a rate of {true_rate:g}"
    return SampleSize(n=n, exact=exact, formula=formula)


def _at_most(failures: int, n: float, rate: float) -> float:
    """Chance of so many failures or fewer, by the incomplete beta function: scipy's binomial wraps beyond 2³¹ units."""
    return float(special.betaincc(failures + 1.0, n - failures, rate))


def _units_for_failures(bound: float, failures: int, tail: float) -> float | None:
    """Real number of units at which so many failures or fewer have the probability ``tail``; the ceiling is the plan."""
    if failures == 0:
        exact = math.log(tail) / math.log1p(-bound)
        if abs(exact - round(exact)) < 1e-12 * exact:
            exact = float(round(exact))  # rounding must not cost a unit
        return exact if exact <= _LARGEST else None
    low, high = failures, failures + 1
    while _at_most(failures, high, bound) > tail:
        low, high = high, 2 * high
        if high > _LARGEST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _at_most(failures, middle, bound) > tail else (low, middle)
    if low == failures:
        return float(high)

    def excess(n: float) -> float:
        return _at_most(failures, n, bound) - tail

    # Rounding must not carry the root past the whole number that was found exactly.
    if excess(low) <= 0 or excess(high) >= 0:
        return float(high)
    return float(optimize.brentq(excess, low, high))


def _failures_for_power(bound: float, fewest: int, tail: float, power: float, true_rate: float) -> int | None:
    def enough(failures: int) -> bool:
        exact = _units_for_failures(bound, failures, tail)
        return exact is not None and _at_most(failures, math.ceil(exact), true_rate) >= power

    if enough(fewest):
        return fewest
    low, high = fewest, max(2 * fewest, 1)
    while not enough(high):
        low, high = high, 2 * high
        if high > _MOST_FAILURES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


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

    def excess(logit: float) -> float:
        """Log-likelihood above the mixture; the logit keeps the digits of a share next to 0 or 1."""
        return float(successes * special.log_expit(logit) + failures * special.log_expit(-logit)) - mixture

    value = successes / n
    low = 0.0 if successes == 0 else float(special.expit(_edge(excess, successes, failures, -1)))
    high = 1.0 if failures == 0 else float(special.expit(_edge(excess, successes, failures, +1)))
    return Interval(
        value=value,
        low=None if side == "upper" else min(low, value),
        high=None if side == "lower" else max(high, value),
        level=level,
        n=int(n),
        method=method,
    )


def _edge(excess: Callable[[float], float], successes: float, failures: float, sign: int) -> float:
    """Where the likelihood falls below the mixture, going down (−1) or up (+1) from its maximum."""
    # Without successes (or failures) the likelihood has no maximum inside: any share small (or large) enough will do.
    near = math.log(max(successes, 1e-16)) - math.log(max(failures, 1e-16))
    step = 1.0
    while excess(near + sign * step) > 0:
        step *= 2
    return float(optimize.brentq(excess, near, near + sign * step, xtol=1e-14, rtol=1e-14))
