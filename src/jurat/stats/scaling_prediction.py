"""What does a scaling law say of a model that was not trained?

The loss at a size and amount of data, with two intervals that are kept apart (of the law's curve, and of one new run), and
the split of a compute budget in closed form. Both are read from the refits of `jurat.stats.scaling`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jurat.stats.result import Interval
from jurat.stats.scaling import (
    BootstrapScaling,
    ScalingLaw,
    check_positive,
    from_logs,
    law_and_refits,
    log_loss,
    optimal_exponents,
    percentile_interval,
)

__all__ = ["FLOP_PER_PARAMETER_TOKEN", "ComputeOptimal", "compute_optimal", "predict_loss"]

FLOP_PER_PARAMETER_TOKEN = 6.0
"""Training compute C = 6 N D (Kaplan et al., 2020)."""

_POOLED_RESIDUALS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeOptimal:
    """The allocation of a compute budget that the law holds for best.

    Attributes
    ----------
    flop
        Training compute.
    parameters, tokens
        Model size and training tokens; their product is ``flop`` / 6.
    tokens_per_parameter
        Their ratio.
    exponent
        Power of compute with which the best model size grows, beta / (alpha + beta).
    loss
        Loss of the law at this allocation.
    """

    flop: float
    parameters: Interval
    tokens: Interval
    tokens_per_parameter: Interval
    exponent: Interval
    loss: Interval


def predict_loss(
    fit: ScalingLaw | BootstrapScaling,
    parameters: float,
    tokens: float,
    *,
    level: float = 0.95,
    new_run: bool = False,
) -> Interval:
    r"""Loss of a model of a given size trained on given data.

    Parameters
    ----------
    fit
        A law gives the value alone; a bootstrap gives bounds too.
    parameters, tokens
        Model size N and training tokens D.
    level
        Two-sided coverage.
    new_run
        ``False``: the interval of the law's curve. ``True``: where the loss of one new run will lie, which adds the
        scatter of the runs around the law.

    Returns
    -------
    Interval
        Bounds are ``None`` with a reason where ``fit`` is a law without bootstrap.

    Raises
    ------
    ValueError
        Where an argument is not positive and finite.

    Notes
    -----
    Curve: percentiles of :math:`f^*(N, D)` over refits. New run: percentiles of :math:`f^*(N, D)\, e^{r_i}` over all pairs
    of a refit and a residual. Both hold where the law holds: an interval says nothing of a law that bends beyond the
    largest run, nor of a run that is noisier than those fitted.

    References
    ----------
    Davison, A. C. and Hinkley, D. V. (1997). Bootstrap Methods and their Application, section 6.3.3.

    Examples
    --------
    >>> from jurat.stats.scaling import bootstrap_scaling_law
    >>> rng = np.random.default_rng(0)
    >>> N, D = np.exp(rng.uniform(18, 23, 60)), np.exp(rng.uniform(20, 26, 60))
    >>> L = (1.8 + 480 / N**0.35 + 2100 / D**0.37) * np.exp(rng.normal(0, 0.004, 60))
    >>> fit = bootstrap_scaling_law(N, D, L, replicates=100)
    >>> curve, run = (predict_loss(fit, 70e9, 1.4e12, new_run=new) for new in (False, True))
    >>> run.low < curve.low < curve.value < curve.high < run.high
    True
    """
    for name, number in (("parameters", parameters), ("tokens", tokens)):
        check_positive(name, number)
    x, z = math.log(parameters), math.log(tokens)
    logs = np.atleast_1d(log_loss(law_and_refits(fit).T, x, z))
    if not new_run or isinstance(fit, ScalingLaw):
        return percentile_interval(fit, from_logs(logs), level)
    residuals = fit.residuals
    if len(residuals) > _POOLED_RESIDUALS:
        residuals = np.quantile(residuals, (np.arange(_POOLED_RESIDUALS) + 0.5) / _POOLED_RESIDUALS)
    pooled = (logs[1:, None] + residuals).ravel()
    return percentile_interval(fit, from_logs(np.concatenate([logs[:1], pooled])), level, kind="new run, ")


def compute_optimal(fit: ScalingLaw | BootstrapScaling, flop: float, *, level: float = 0.95) -> ComputeOptimal:
    r"""Split a compute budget between model size and data.

    Parameters
    ----------
    fit
        A law gives the values alone; a bootstrap gives bounds too.
    flop
        Training compute C.
    level
        Two-sided coverage.

    Returns
    -------
    ComputeOptimal
        Undefined, with a reason, where an exponent is not positive: more of something then never helps.

    Raises
    ------
    ValueError
        Where ``flop`` is not positive and finite.

    Notes
    -----
    Under :math:`C = 6ND`, :math:`N = G (C/6)^{\beta/(\alpha+\beta)}`, :math:`D = G^{-1} (C/6)^{\alpha/(\alpha+\beta)}`,
    :math:`G = (\alpha A / \beta B)^{1/(\alpha+\beta)}`.

    References
    ----------
    Hoffmann, J. et al. (2022), section 3.3, as in `fit_scaling_law`.

    Examples
    --------
    >>> law = ScalingLaw(A=477.826, B=2143.417, E=1.817218, alpha=0.3473105, beta=0.3671724, objective=0.0, n=240,
    ...     huber_delta=1e-3, gradient=0.0, stationary=True, starts=1, method="given")
    >>> best = compute_optimal(law, 5.88e23)
    >>> round(best.parameters.value / 1e9, 1), round(best.tokens_per_parameter.value, 1)
    (74.0, 17.9)
    """
    check_positive("flop", flop)
    rows = law_and_refits(fit)
    exponent = optimal_exponents(rows)
    a, b, _, alpha, beta = rows.T
    product = math.log(flop / FLOP_PER_PARAMETER_TOKEN)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = (np.log(alpha) - np.log(beta) + a - b) / (alpha + beta) + exponent * product
    z = product - x
    return ComputeOptimal(
        flop=float(flop),
        parameters=percentile_interval(fit, from_logs(x), level),
        tokens=percentile_interval(fit, from_logs(z), level),
        tokens_per_parameter=percentile_interval(fit, from_logs(z - x), level),
        exponent=percentile_interval(fit, exponent, level),
        loss=percentile_interval(fit, from_logs(log_loss(rows.T, x, z)), level),
    )
