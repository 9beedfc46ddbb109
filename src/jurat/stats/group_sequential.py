"""Which critical value does each planned look need, so that all looks together keep their level?

A few looks that are fixed beforehand are paid for with far less width than a confidence sequence costs. Boundaries of
Pocock (1977) and O'Brien and Fleming (1979), and the spending functions of Lan and DeMets (1983), which leave the times
of the looks free. The chance of crossing is integrated look by look (Armitage, McPherson and Rowe, 1969) with
Gauss–Legendre quadrature, so nothing here is simulated. There is no stopping for futility: a boundary that is crossed
rejects.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import optimize, special
from scipy import stats as sps

from jurat.stats.interval import tail_probability
from jurat.stats.mean import Floats

__all__ = ["Boundaries", "SequentialPower", "boundaries", "sequential_power"]

Kind = Literal["pocock", "obrien-fleming", "lan-demets-pocock", "lan-demets-obrien-fleming"]

_FARTHEST = 37.0
"""Critical values are sought up to here: beyond, a normal tail underflows and no look could ever cross."""

_REACH = 9.0
"""Standard deviations of the score kept on an open side; less than 1e-18 lies beyond."""

_UNIT, _WEIGHT = np.polynomial.legendre.leggauss(16)
_PANEL = 2.5
"""Panels of 16 quadrature nodes are this wide, in standard deviations of the narrowest step that touches them."""

_SMALLEST_STEP = 1e-3
"""Smallest difference of information fractions; below, two looks are one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundaries:
    """Critical values of a group-sequential design.

    Attributes
    ----------
    kind
        As asked for.
    level
        1 minus the chance of rejecting at any look where nothing differs.
    sides
        2: reject where the z statistic is at least the critical value on either side; 1: on the upper side only.
    information
        Information fraction at each look, shape (looks,), rising to 1.
    critical
        Critical z at each look, shape (looks,).
    spent
        Chance of having rejected by each look under the hypothesis, shape (looks,), both sides together.
    """

    kind: str
    level: float
    sides: int
    information: Floats
    critical: Floats
    spent: Floats

    def __str__(self) -> str:
        rows = zip(self.information, self.critical, self.spent, strict=True)
        lines = [f"{t:11.4f} {z:10.4f} {a:10.6f}" for t, z, a in rows]
        return "\n".join([f"{'information':>11} {'critical z':>10} {'spent':>10}", *lines])


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialPower:
    """What a group-sequential design does at a given effect.

    Attributes
    ----------
    power
        Chance of rejecting at any look; for a two-sided design on either side.
    reject_above, reject_below
        Chance of a first crossing at each look, of the upper and of the lower boundary, each of shape (looks,).
    expected_information
        Mean information fraction at which the design stops.
    drift
        Mean of z at full information.
    """

    power: float
    reject_above: Floats
    reject_below: Floats
    expected_information: float
    drift: float


@dataclass(frozen=True, slots=True)
class _Path:
    """Sub-density of the score among paths that have not crossed: nodes, weights times density, and the last time."""

    nodes: Floats
    mass: Floats
    time: float

    def above(self, time: float, score: float, drift: float) -> float:
        """Chance of first being at or above ``score`` at ``time``."""
        step = time - self.time
        # ndtr of the negative: the upper tail keeps its relative precision where it is tiny.
        return float(self.mass @ special.ndtr((self.nodes + drift * step - score) / math.sqrt(step)))

    def below(self, time: float, score: float, drift: float) -> float:
        step = time - self.time
        return float(self.mass @ special.ndtr((score - self.nodes - drift * step) / math.sqrt(step)))

    def advanced(self, time: float, ends: tuple[float, float], next_time: float | None, drift: float) -> _Path:
        """Carry the paths that stay between the ends over to ``time``."""
        step = time - self.time
        narrowest = math.sqrt(step if next_time is None else min(step, next_time - time))
        low, high = ends
        panels = math.ceil((high - low) / (_PANEL * narrowest))
        half = (high - low) / panels / 2
        nodes = np.ravel(low + half * (2 * np.arange(panels)[:, None] + 1 + _UNIT))
        away = (nodes[:, None] - self.nodes[None, :] - drift * step) / math.sqrt(step)
        density = np.exp(-0.5 * away**2) @ self.mass / math.sqrt(2 * math.pi * step)
        return _Path(nodes, np.asarray(density * np.tile(half * _WEIGHT, panels), dtype=np.float64), time)


def boundaries(
    looks: int,
    *,
    level: float = 0.95,
    kind: Kind = "obrien-fleming",
    information: npt.ArrayLike | None = None,
    sides: int = 2,
) -> Boundaries:
    """Critical values for a fixed number of looks.

    Parameters
    ----------
    looks
        Number of looks, the last one included, 1 to 100.
    level
        1 minus the chance of a false rejection at any look, both sides together.
    kind
        ``"pocock"``: one critical value for all looks. ``"obrien-fleming"``: proportional to one over the square root
        of the information; hard to cross early, and little is lost at the end. ``"lan-demets-pocock"`` and
        ``"lan-demets-obrien-fleming"``: spending functions that come close to these, for looks at any time.
    information
        Information fraction at each look, shape (looks,), rising to 1; equally spaced where not given. Only spending
        functions take unequal ones.
    sides
        2, or 1 for a test against larger values only.

    Returns
    -------
    Boundaries

    Raises
    ------
    ValueError
        Where the number of looks, ``level``, ``kind`` or ``sides`` is not possible, information fractions do not rise
        to 1 in steps of at least 0.001, or they are unequal for a boundary that has no spending function.

    Notes
    -----
    The score :math:`S_k = Z_k\\sqrt{t_k}` moves as Brownian motion; its sub-density among paths that have not crossed
    is

    .. math::
        g_k(s) = \\int_{C_{k-1}} g_{k-1}(u)\\,
        \\frac{1}{\\sqrt{t_k - t_{k-1}}}\\,\\phi\\!\\left(\\frac{s - u}{\\sqrt{t_k - t_{k-1}}}\\right) du .

    With :math:`a = (1 - \\text{level})/\\text{sides}`, the spending functions are, on each side,
    :math:`a\\ln(1 + (e - 1)t)` (Pocock) and :math:`2 - 2\\Phi(z_{a/2}/\\sqrt t)` (O'Brien–Fleming).

    References
    ----------
    Armitage, P., McPherson, C. K. and Rowe, B. C. (1969). Repeated significance tests on accumulating data. JRSS A
    132, 235–244. Pocock, S. J. (1977). Biometrika 64, 191–199. O'Brien, P. C. and Fleming, T. R. (1979). Biometrics 35,
    549–556. Lan, K. K. G. and DeMets, D. L. (1983). Biometrika 70, 659–663.

    Examples
    --------
    >>> print(boundaries(3, kind="lan-demets-obrien-fleming", information=[0.5, 0.75, 1.0]))
    information critical z      spent
         0.5000     2.9626   0.003051
         0.7500     2.3590   0.019299
         1.0000     2.0141   0.050000
    """
    tail_probability(level)
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
    if sides not in (1, 2):
        raise ValueError(f"sides must be 1 or 2, got {sides!r}")
    spends = kind.startswith("lan-demets")
    times = _times(looks, information, spends)
    if spends:
        critical = _spent_boundaries(times, (1 - level) / sides, kind, sides)
    else:
        shape = np.ones(len(times)) if kind == "pocock" else 1 / np.sqrt(times)
        critical = _scaled_boundaries(times, shape, 1 - level, sides)
    above, below = _crossings(times, critical, sides, 0.0)
    return Boundaries(
        kind=kind,
        level=level,
        sides=sides,
        information=times,
        critical=critical,
        spent=np.cumsum(above + below),
    )


def sequential_power(design: Boundaries, drift: float) -> SequentialPower:
    """Power and expected information of a group-sequential design.

    Parameters
    ----------
    design
        From `boundaries`.
    drift
        Mean of the z statistic at full information: the effect over its standard error at the planned end.

    Returns
    -------
    SequentialPower

    Raises
    ------
    ValueError
        Where ``drift`` is not a finite number of at most 30 either way.

    Notes
    -----
    The recursion of `boundaries`, for Brownian motion with that drift. The design stops at the first crossing, or at
    the last look.

    References
    ----------
    Armitage et al. (1969), as in `boundaries`. Jennison, C. and Turnbull, B. W. (2000). Group Sequential Methods with
    Applications to Clinical Trials, chapters 2 and 19.

    Examples
    --------
    >>> found = sequential_power(boundaries(5, kind="pocock"), 3.2415 * 1.207**0.5)
    >>> round(found.power, 3), round(found.expected_information, 3)
    (0.9, 0.568)
    """
    if not (math.isfinite(drift) and abs(drift) <= 30):
        raise ValueError(f"drift must be finite and within 30 of 0, got {drift!r}")
    above, below = _crossings(design.information, design.critical, design.sides, drift)
    crossed = above + below
    # Rounding may leave the sum of the parts a hair above the whole.
    power = min(float(crossed.sum()), 1.0)
    before = design.information[:-1]
    return SequentialPower(
        power=power,
        reject_above=above,
        reject_below=below,
        expected_information=float(crossed[:-1] @ before + (1 - crossed[:-1].sum())),
        drift=drift,
    )


def _times(looks: int, information: npt.ArrayLike | None, spends: bool) -> Floats:
    if looks != int(looks) or not 1 <= looks <= 100:
        raise ValueError(f"looks must be a whole number from 1 to 100, got {looks!r}")
    equal = np.arange(1, int(looks) + 1) / looks
    if information is None:
        return np.asarray(equal, dtype=np.float64)
    times = np.array(information, dtype=np.float64)
    if times.shape != equal.shape:
        raise ValueError(f"information must have one fraction per look, shape ({looks},), got shape {times.shape}")
    rises = np.all(np.isfinite(times)) and np.all(np.diff(times, prepend=0.0) >= _SMALLEST_STEP - 1e-12)
    if not rises or abs(times[-1] - 1.0) > 1e-9:
        raise ValueError(f"information must rise to 1 in steps of at least {_SMALLEST_STEP:g}, got {times.tolist()}")
    if not spends and not np.allclose(times, equal, rtol=0, atol=1e-9):
        raise ValueError(f"unequal information needs a spending function ('lan-demets-…'), got {times.tolist()}")
    times[-1] = 1.0
    return times


def _ends(time: float, critical: float, sides: int, drift: float) -> tuple[float, float]:
    """Scores between which paths go on; what is beyond reach of any path is cut off."""
    centre, reach = drift * time, _REACH * math.sqrt(time)
    high = min(critical * math.sqrt(time), centre + reach)
    low = centre - reach if sides == 1 else max(-critical * math.sqrt(time), centre - reach)
    # With a strong drift no path stays: a sliver at the boundary keeps the ends in order.
    sliver = 1e-6 * math.sqrt(time)
    if sides == 2:
        return min(low, critical * math.sqrt(time) - sliver), max(high, -critical * math.sqrt(time) + sliver)
    return min(low, high - sliver), high


def _start() -> _Path:
    """All paths at zero, before any look."""
    return _Path(np.zeros(1), np.ones(1), 0.0)


def _crossings(times: Floats, critical: Floats, sides: int, drift: float) -> tuple[Floats, Floats]:
    """Chance of the first crossing at each look, above and below."""
    above, below = np.zeros(len(times)), np.zeros(len(times))
    path = _start()
    for k, (time, z) in enumerate(zip(times.tolist(), critical.tolist(), strict=True)):
        score = z * math.sqrt(time)
        above[k] = path.above(time, score, drift)
        below[k] = path.below(time, -score, drift) if sides == 2 else 0.0
        if k + 1 < len(times):
            path = path.advanced(time, _ends(time, z, sides, drift), float(times[k + 1]), drift)
    return above, below


def _scaled_boundaries(times: Floats, shape: Floats, alpha: float, sides: int) -> Floats:
    """Boundaries of one shape, scaled so that they are crossed with chance alpha."""

    def excess(scale: float) -> float:
        above, below = _crossings(times, scale * shape, sides, 0.0)
        return float(above.sum() + below.sum()) - alpha

    # One look alone needs the low end; all looks together never need more than Bonferroni's value at each.
    low = float(sps.norm.isf(alpha / sides)) / float(shape[-1])
    high = float(sps.norm.isf(alpha / sides / len(times))) / float(shape.min())
    scale = low if len(times) == 1 else _root(excess, low, high)
    return np.asarray(scale * shape, dtype=np.float64)


def _spent_boundaries(times: Floats, alpha: float, kind: str, sides: int) -> Floats:
    """Boundaries that spend ``alpha`` on each side as the spending function says."""
    if kind == "lan-demets-pocock":
        cumulative = alpha * np.log1p((math.e - 1) * times)
    else:
        cumulative = 2 * special.ndtr(sps.norm.ppf(alpha / 2) / np.sqrt(times))
    cumulative[-1] = alpha
    critical = np.zeros(len(times))
    path = _start()
    for k, (time, part) in enumerate(zip(times.tolist(), np.diff(cumulative, prepend=0.0).tolist(), strict=True)):
        critical[k] = _critical(path, time, part)
        if k + 1 < len(times):
            path = path.advanced(time, _ends(time, float(critical[k]), sides, 0.0), float(times[k + 1]), 0.0)
    return critical


def _critical(path: _Path, time: float, part: float) -> float:
    """Critical z that spends ``part`` at this look."""

    def excess(z: float) -> float:
        # On the logarithm, so that a part of 1e-30 is met as well as one of 0.01.
        return math.log(max(path.above(time, z * math.sqrt(time), 0.0), 1e-320)) - math.log(max(part, 1e-320))

    if excess(_FARTHEST) >= 0:
        return _FARTHEST
    return _root(excess, -_FARTHEST, _FARTHEST)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    return float(optimize.brentq(function, low, high, xtol=1e-12, rtol=1e-12))
