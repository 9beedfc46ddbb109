"""How does the loss fall with model size and data, and how sure is one of it?

The parametric law of Hoffmann et al. (2022, approach 3) with its true optimum: their constants as printed, and the widely
used refit of them, are not stationary points of the objective they minimise. The doubt comes from refitting resampled runs
(or resampled clusters of runs). Two intervals are kept apart: of the law's curve, and of the loss of one new run.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jurat.stats.mean import cluster_codes
from jurat.stats.result import Interval
from jurat.stats.scaling_descent import descend_all, refit_all

__all__ = [
    "BootstrapScaling",
    "ScalingLaw",
    "bootstrap_scaling_law",
    "fit_scaling_law",
]

Floats = npt.NDArray[np.float64]

_SCREENED_RUNS = 256
_STATIONARY, _POLISHED = 1e-8, 1e-12
"""Largest gradient entry, in units of the greatest it could be (Huber width times runs), accepted and aimed at."""
_NAMES = ("A", "B", "E", "alpha", "beta", "exponent")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingLaw:
    """A fitted law L(N, D) = E + A / N^alpha + B / D^beta.

    Attributes
    ----------
    A, B, E
        Scale of the two reducible terms, and the loss that neither size nor data removes.
    alpha, beta
        Exponents of model size and of data.
    objective
        Sum over runs of the Huber loss of the log-loss residuals.
    huber_delta
        Width of the quadratic zone.
    gradient
        Largest entry of the objective's gradient at the solution, in units of ``huber_delta`` times runs.
    stationary
        Whether that is zero up to rounding.
    n
        Runs that entered.
    starts
        Starting points tried.
    method
        The fit in words.
    """

    A: float
    B: float
    E: float
    alpha: float
    beta: float
    objective: float
    huber_delta: float
    gradient: float
    stationary: bool
    n: int
    starts: int
    method: str

    def theta(self) -> Floats:
        """Return (a, b, e, alpha, beta) with a = log A, b = log B, e = log E; shape (5,)."""
        with np.errstate(divide="ignore"):
            scales = np.log([self.A, self.B, self.E])
        return np.array([*scales, self.alpha, self.beta])

    def loss(self, parameters: npt.ArrayLike, tokens: npt.ArrayLike) -> Floats:
        """Loss by the law; the shapes of the arguments are broadcast."""
        x, z = np.log(np.asarray(parameters, dtype=np.float64)), np.log(np.asarray(tokens, dtype=np.float64))
        return np.exp(log_loss(self.theta(), x, z))


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapScaling:
    """A law with its refits on resampled runs.

    Attributes
    ----------
    law
        The fit to all runs.
    draws
        Columns log A, log B, log E, alpha, beta, one row a refit, shape (replicates, 5). NaN where a refit found no
        stationary point; such rows count against both bounds of every interval.
    residuals
        Log-loss less the law, widened by sqrt(n / (n − 5)) for the fitted parameters; shape (n,).
    failed
        Refits without a stationary point.
    seed
        Seed of the resampling.
    n_clusters
        Clusters that were resampled, or ``None`` where the runs were.
    """

    law: ScalingLaw
    draws: Floats
    residuals: Floats
    failed: int
    seed: int
    n_clusters: int | None = None

    def interval(self, name: str, *, level: float = 0.95) -> Interval:
        """Percentile interval of ``"A"``, ``"B"``, ``"E"``, ``"alpha"``, ``"beta"`` or ``"exponent"``."""
        if name not in _NAMES:
            raise ValueError(f"name must be one of {', '.join(_NAMES)}, got {name!r}")
        rows = np.vstack([self.law.theta(), self.draws])
        if name == "exponent":
            values = optimal_exponents(rows)
        else:
            column = rows[:, _NAMES.index(name)]
            values = from_logs(column) if name in ("A", "B", "E") else column
        return percentile_interval(self, values, level)


def fit_scaling_law(
    parameters: npt.ArrayLike,
    tokens: npt.ArrayLike,
    loss: npt.ArrayLike,
    *,
    huber_delta: float = 1e-3,
    starts: npt.ArrayLike | None = None,
) -> ScalingLaw:
    r"""Fit the loss law to training runs, to the bottom of its objective.

    Parameters
    ----------
    parameters, tokens
        Model size N and training tokens D of each run, positive, both of shape (n,), n of at least 6.
    loss
        Final loss of each run in nats per token, positive, shape (n,).
    huber_delta
        Width of the quadratic zone on log-loss; far below the noise, as in the source, it makes the fit one of least
        absolute deviations.
    starts
        Starting points (a, b, e, alpha, beta), shape (starts, 5); by default the 4,500 of Hoffmann et al. and 27 that
        are scaled to the data.

    Returns
    -------
    ScalingLaw
        ``stationary`` says whether the gradient vanishes up to rounding.

    Raises
    ------
    ValueError
        Where shapes differ, a value is not positive and finite, there are fewer than 6 runs, model size or data do not
        vary, or the scale of a term leaves the range of a double.

    Notes
    -----
    Minimises :math:`\sum_i \mathrm{Huber}_\delta\left(\log L_i - \log(e^{a - \alpha \log N_i} + e^{b - \beta \log D_i} +
    e^{e})\right)` over :math:`a = \log A, b = \log B, e = \log E, \alpha, \beta`. All starts take a few reweighted
    Gauss–Newton steps together; the best quarter goes on three times, then Newton's method with the exact Hessian
    carries the finalists to a stationary point.

    References
    ----------
    Hoffmann, J. et al. (2022). Training compute-optimal large language models. Besiroglu, T. et al. (2024). Chinchilla
    scaling: a replication attempt. Holland, P. W. and Welsch, R. E. (1977). Communications in Statistics A 6, 813–827.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> N, D = np.exp(rng.uniform(18, 23, 60)), np.exp(rng.uniform(20, 26, 60))
    >>> L = (1.8 + 480 / N**0.35 + 2100 / D**0.37) * np.exp(rng.normal(0, 1e-4, 60))
    >>> law = fit_scaling_law(N, D, L)
    >>> round(law.E, 2), round(law.alpha, 2), round(law.beta, 2), law.stationary
    (1.8, 0.35, 0.37, True)
    """
    runs, centre = _checked_runs(parameters, tokens, loss, huber_delta)
    n = len(runs)
    if starts is None:
        points = _centred(_grid(), centre)
        points = np.vstack([points, _scaled_starts(runs)])
    else:
        given = np.array(starts, dtype=np.float64, ndmin=2)
        if given.shape[1:] != (5,) or len(given) == 0 or not np.all(np.isfinite(given)):
            raise ValueError(f"starts must be finite, of shape (starts, 5), got shape {given.shape}")
        points = _centred(given, centre)
    tried = len(points)
    scale = huber_delta * n
    # A sorted subset shows the valleys of a large table well enough to choose among starts.
    step = max(1, n // _SCREENED_RUNS)
    screened = np.ascontiguousarray(runs[np.lexsort((runs[:, 1], runs[:, 0]))][::step])
    for steps in (12, 24, 48):
        found = descend_all(points, screened, huber_delta, steps, _POLISHED * scale)
        best = np.argsort(found[:, 0], kind="stable")[: max(len(points) // 4, 8)]
        points = np.ascontiguousarray(points[best])
    found = descend_all(points, runs, huber_delta, 400, _POLISHED * scale)
    # Among finalists that met in one optimum, the one that came closest to it.
    met = np.flatnonzero(found[:, 0] <= found[:, 0].min() * (1 + 1e-12))
    chosen = int(met[np.argmin(found[met, 1])])
    theta = _uncentred(points[chosen : chosen + 1], centre)[0]
    if max(theta[:3]) > 700:
        raise ValueError(
            f"the scale of a term leaves the range of a double (log A, log B, log E = {theta[:3].round(1).tolist()}): "
            "the runs do not determine the law; vary model size and data more widely"
        )
    slope = float(found[chosen, 1]) / scale
    return ScalingLaw(
        A=math.exp(theta[0]),
        B=math.exp(theta[1]),
        E=math.exp(theta[2]),
        alpha=float(theta[3]),
        beta=float(theta[4]),
        objective=float(found[chosen, 0]),
        huber_delta=float(huber_delta),
        gradient=slope,
        stationary=slope <= _STATIONARY,
        n=n,
        starts=tried,
        method=f"Hoffmann approach 3, Huber({huber_delta:g}) on log-loss, Newton from {tried:,} starts",
    )


def bootstrap_scaling_law(
    parameters: npt.ArrayLike,
    tokens: npt.ArrayLike,
    loss: npt.ArrayLike,
    *,
    replicates: int = 400,
    seed: int = 0,
    huber_delta: float = 1e-3,
    starts: npt.ArrayLike | None = None,
    cluster: npt.ArrayLike | None = None,
) -> BootstrapScaling:
    r"""Fit the law and refit it on resampled runs.

    Parameters
    ----------
    parameters, tokens, loss, huber_delta, starts
        As in `fit_scaling_law`; the starts are those of the fit to all runs.
    replicates
        Refits; a 95 % interval needs 39 at least and is steady from about 1,000.
    seed
        Seed of the resampling.
    cluster
        Labels of what was trained together, shape (n,): checkpoints of one training run are no independent runs.
        Whole clusters are then resampled.

    Returns
    -------
    BootstrapScaling
        Intervals by its method ``interval``; `jurat.stats.scaling_prediction` takes it in place of the law.

    Raises
    ------
    ValueError
        As in `fit_scaling_law`; where ``replicates`` is below 2; where there are fewer than 6 clusters.

    Notes
    -----
    Runs are drawn with replacement as multiplicities, which become weights of the objective. Each refit starts from the
    optimum on all runs and from four points around it with flatter and steeper exponents; the lowest end is kept.

    References
    ----------
    Efron, B. and Tibshirani, R. J. (1993). An Introduction to the Bootstrap, chapter 9. Besiroglu, T. et al. (2024), as
    in `fit_scaling_law`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> N, D = np.exp(rng.uniform(18, 23, 60)), np.exp(rng.uniform(20, 26, 60))
    >>> L = (1.8 + 480 / N**0.35 + 2100 / D**0.37) * np.exp(rng.normal(0, 0.004, 60))
    >>> fit = bootstrap_scaling_law(N, D, L, replicates=100, seed=1)
    >>> E = fit.interval("E")
    >>> E.low < 1.8 < E.high
    True
    """
    if replicates < 2 or replicates != int(replicates):
        raise ValueError(f"replicates must be a whole number of at least 2, got {replicates!r}")
    law = fit_scaling_law(parameters, tokens, loss, huber_delta=huber_delta, starts=starts)
    runs, centre = _checked_runs(parameters, tokens, loss, huber_delta)
    n = len(runs)
    rng = np.random.default_rng(seed)
    clusters = None
    if cluster is None:
        counts = rng.multinomial(n, np.full(n, 1.0 / n), size=replicates).astype(np.float64)
    else:
        codes = cluster_codes(cluster)
        clusters = int(codes.max(initial=-1)) + 1
        if len(codes) != n or clusters < 6:
            raise ValueError(f"need a cluster label for each of {n} runs and 6 clusters, got {len(codes)}, {clusters}")
        counts = rng.multinomial(clusters, np.full(clusters, 1.0 / clusters), size=replicates)[:, codes].astype(float)
    theta = _centred(law.theta()[None, :], centre)
    # Steeper and flatter exponents around the centre of the data, where the terms themselves are well known.
    factors = np.array([[1, 1], [0.6, 0.6], [1.6, 1.6], [0.6, 1.6], [1.6, 0.6]], dtype=np.float64)
    around = np.repeat(theta, len(factors), axis=0)
    around[:, 3:] *= factors
    scale = huber_delta * n
    found = refit_all(counts, around, runs, huber_delta, 400, _POLISHED * scale)
    failed = ~(found[:, 6] <= _STATIONARY * scale)
    draws = _uncentred(found[:, :5], centre)
    draws[failed] = np.nan
    return BootstrapScaling(
        law=law,
        draws=draws,
        residuals=(runs[:, 2] - log_loss(theta[0], runs[:, 0], runs[:, 1])) * math.sqrt(n / (n - 5)),
        failed=int(failed.sum()),
        seed=seed,
        n_clusters=clusters,
    )


def check_positive(name: str, number: float) -> None:
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be positive and finite, got {number!r}")


def _checked_runs(
    parameters: npt.ArrayLike, tokens: npt.ArrayLike, loss: npt.ArrayLike, delta: float
) -> tuple[Floats, Floats]:
    """Centred log parameters, centred log tokens, log-loss, weight one; and the two centres."""
    check_positive("huber_delta", delta)
    columns: list[Floats] = []
    for name, values in (("parameters", parameters), ("tokens", tokens), ("loss", loss)):
        column = np.asarray(values, dtype=np.float64)
        if column.ndim != 1 or (columns and len(column) != len(columns[0])):
            raise ValueError(f"parameters, tokens and loss must be vectors of one length, {name} has {column.shape}")
        wrong = ~(np.isfinite(column) & (column > 0))
        if np.any(wrong):
            i = int(np.argmax(wrong))
            raise ValueError(f"{name} must be positive and finite, got {float(column[i])!r} at position {i}")
        columns.append(np.log(column))
    if len(columns[0]) < 6:
        raise ValueError(f"five parameters need at least 6 runs, got {len(columns[0])}")
    for name, column in zip(("parameters", "tokens"), columns, strict=False):
        if np.ptp(column) <= 1e-9:
            raise ValueError(f"{name} must vary between runs, all are {math.exp(column[0]):.6g}")
    runs = np.column_stack([*columns, np.ones(len(columns[0]))])
    centre = runs[:, :2].mean(axis=0)
    runs[:, :2] -= centre
    return runs, centre


def _centred(theta: Floats, centre: Floats) -> Floats:
    moved = np.array(theta, dtype=np.float64)
    moved[:, :2] -= moved[:, 3:] * centre
    return moved


def _uncentred(theta: Floats, centre: Floats) -> Floats:
    moved = np.array(theta, dtype=np.float64)
    moved[:, :2] += moved[:, 3:] * centre
    return moved


def _grid() -> Floats:
    """Starting points of Hoffmann et al. (2022), section D.2."""
    scale, exponent = np.arange(0.0, 26.0, 5.0), np.arange(0.0, 2.1, 0.5)
    floor = np.arange(-1.0, 1.1, 0.5)
    return np.array(list(itertools.product(scale, scale, floor, exponent, exponent)))


def _scaled_starts(runs: Floats) -> Floats:
    """Centred starts whose three terms share the median loss, whatever its unit."""
    middle = float(np.median(runs[:, 2]))
    shares = [(0.25, 0.25, 0.5), (0.1, 0.1, 0.8), (0.4, 0.4, 0.2)]
    exponents = (0.1, 0.35, 1.0)
    return np.array(
        [[*(middle + np.log(share)), x, z] for share, x, z in itertools.product(shares, exponents, exponents)]
    )


def law_and_refits(fit: ScalingLaw | BootstrapScaling) -> Floats:
    """The law first, then its refits: shape (1 + replicates, 5)."""
    if isinstance(fit, ScalingLaw):
        return fit.theta()[None, :]
    return np.vstack([fit.law.theta(), fit.draws])


def log_loss(theta: Floats, x: npt.ArrayLike, z: npt.ArrayLike) -> Floats:
    """Log of the law: rows of ``theta`` are a, b, e, alpha, beta and broadcast against log sizes."""
    a, b, e, alpha, beta = theta
    # An undefined refit stays NaN, to be counted later.
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(np.logaddexp(np.logaddexp(a - alpha * x, b - beta * z), e), dtype=np.float64)


def optimal_exponents(rows: Floats) -> Floats:
    alpha, beta = rows[:, 3], rows[:, 4]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((alpha > 0) & (beta > 0), beta / (alpha + beta), np.nan)


def from_logs(logs: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.exp(logs)


def percentile_interval(
    fit: ScalingLaw | BootstrapScaling, values: Floats, level: float, *, kind: str = ""
) -> Interval:
    """Interval of the first value by percentiles of the others; the undefined among them count against both bounds."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level!r}")
    value = float(values[0]) if math.isfinite(values[0]) else None
    undefined = None if value is not None else "an exponent of the law is not positive, or its scale overflows"
    if isinstance(fit, ScalingLaw):
        no_doubt = undefined or "a law without refits has no doubt to show: give the bootstrap"
        return Interval(value=value, low=None, high=None, level=level, n=fit.n, method=fit.method, reason=no_doubt)
    draws = np.sort(values[1:][np.isfinite(values[1:])])
    total, lost = len(values) - 1, len(values) - 1 - len(draws)
    refits, tail = len(fit.draws), (1 - level) / 2
    if refits < math.ceil(2 / (1 - level) - 1e-9) - 1:
        raise ValueError(f"a {level:.4g} interval needs at least {math.ceil(2 / (1 - level) - 1e-9) - 1} replicates")
    low = high = None
    place = tail * (total - 1)
    # The lost stand below the lower bound and above the upper one: with too many of them there is no bound.
    if value is not None and place >= lost:
        low = float(np.interp(place - lost, np.arange(len(draws)), draws))
        high = float(np.interp(len(draws) - 1 - (place - lost), np.arange(len(draws)), draws))
    reason = undefined
    if value is not None and low is None:
        reason = f"undefined in {lost} of {total} refits, too many for a bound"
    return Interval(
        value=value,
        low=low,
        high=high,
        level=level,
        n=fit.law.n,
        n_clusters=fit.n_clusters,
        method=f"{kind}bootstrap over {'runs' if fit.n_clusters is None else 'clusters of runs'}, percentile",
        se=float(draws.std(ddof=1)) if value is not None and lost == 0 else None,
        reason=reason,
    )
