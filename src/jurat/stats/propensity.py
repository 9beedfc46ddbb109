"""Who got the treatment, and could they have gone without it?

A propensity is the chance of treatment given what was known before. The model is fitted by Newton's method on an
orthonormal basis of the covariates, so that their units do not matter and covariates that separate the arms are seen as
such. `overlap_summary` then says how far the arms can be compared at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from jurat.stats.mean import Floats, whitening_matrix

__all__ = ["Overlap", "PropensityModel", "binary_arms", "covariate_matrix", "fit_propensity", "overlap_summary"]

Link = Literal["logit", "probit"]
_STEPS = 100
_FLAT = 1e-10  # curvature (at most 1 on an orthonormal basis) below which a direction is running away to infinity


def binary_arms(treated: npt.ArrayLike, rows: int) -> npt.NDArray[np.bool_]:
    """Check a 0/1 vector with both arms present, and return it as booleans."""
    t = np.asarray(treated)
    if t.ndim != 1 or len(t) != rows:
        raise ValueError(f"treated must be a vector of length {rows}, got shape {t.shape}")
    if t.dtype != np.bool_:
        wrong = np.flatnonzero(~np.isin(t, (0, 1)))
        if len(wrong):
            raise ValueError(f"treated must be 0 or 1, got {t[wrong[0]]!r} in row {int(wrong[0])}")
    arms: npt.NDArray[np.bool_] = t.astype(np.float64) == 1.0
    if not arms.any() or arms.all():
        raise ValueError(f"both arms must have rows, got {int(arms.sum())} treated of {rows}")
    return arms


def covariate_matrix(covariates: npt.ArrayLike, rows: int, name: str = "covariates") -> Floats:
    """Check covariates of shape (n,) or (n, p) without their constant, and put the constant in front."""
    x = np.asarray(covariates, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or len(x) != rows:
        raise ValueError(f"{name} must have shape ({rows}, p), got {x.shape}")
    if not np.all(np.isfinite(x)):
        row, column = (int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise ValueError(f"{name} must be finite, got {float(x[row, column])!r} in row {row}, column {column}")
    return np.column_stack([np.ones(rows), x])


@dataclass(frozen=True, slots=True, kw_only=True)
class PropensityModel:
    """A fitted model of the chance of treatment.

    Attributes
    ----------
    coefficients
        Constant first, shape (p + 1,).
    propensity
        Fitted chance of treatment of each row, shape (n,).
    slope
        Its derivative in the linear index, shape (n,).
    influence
        Influence of each row on the coefficients, from the observed information, shape (n, p + 1); their mean is 0.
    link
        ``"logit"`` or ``"probit"``.
    log_likelihood
        At the optimum.
    iterations
        Newton steps taken.
    """

    coefficients: Floats
    propensity: Floats
    slope: Floats
    influence: Floats
    link: str
    log_likelihood: float
    iterations: int


def fit_propensity(treated: npt.ArrayLike, covariates: npt.ArrayLike, *, link: Link = "logit") -> PropensityModel:
    """Fit the chance of treatment by maximum likelihood.

    Parameters
    ----------
    treated
        0 or 1 (or booleans), shape (n,).
    covariates
        Known before treatment, shape (n,) or (n, p), without a constant column.
    link
        ``"logit"`` or ``"probit"``.

    Returns
    -------
    PropensityModel

    Raises
    ------
    ValueError
        Where an arm is empty, a covariate is not finite, one is determined by the others, or the covariates separate
        the arms, so that no finite optimum exists.

    Notes
    -----
    Newton's method with halved steps on :math:`\\ell(\\gamma) = \\sum_i \\log F(q_i x_i'\\gamma)`, :math:`q_i = \\pm 1`.

    References
    ----------
    Rosenbaum, P. R. and Rubin, D. B. (1983). The central role of the propensity score in observational studies for
    causal effects. Biometrika 70, 41–55. Albert, A. and Anderson, J. A. (1984). On the existence of maximum likelihood
    estimates in logistic regression models. Biometrika 71, 1–10.

    Examples
    --------
    >>> model = fit_propensity([0, 1, 0, 1, 1, 0, 1, 0], [1.0, 2.0, 2.5, 3.0, 4.0, 3.5, 5.0, 0.5])
    >>> model.coefficients.round(4).tolist()
    [-2.9655, 1.0987]
    """
    if link not in ("logit", "probit"):
        raise ValueError(f"link must be 'logit' or 'probit', got {link!r}")
    t = binary_arms(treated, len(np.asarray(treated)))
    design = covariate_matrix(covariates, len(t))
    whitening = whitening_matrix(design)
    basis, sign = design @ whitening, np.where(t, 1.0, -1.0)
    position, iterations = _maximise(basis, sign, link)
    index = basis @ position
    score, curvature = _score(sign, index, link)
    information = basis.T @ (curvature[:, None] * basis)
    influence = len(t) * np.linalg.solve(information, (score[:, None] * basis).T).T @ whitening.T
    propensity = special.expit(index) if link == "logit" else special.ndtr(index)
    slope = propensity * special.expit(-index) if link == "logit" else np.exp(-0.5 * index**2) / np.sqrt(2 * np.pi)
    return PropensityModel(
        coefficients=whitening @ position,
        propensity=propensity,
        slope=slope,
        influence=influence,
        link=link,
        log_likelihood=_log_likelihood(sign, index, link),
        iterations=iterations,
    )


def _log_likelihood(sign: Floats, index: Floats, link: str) -> float:
    terms = special.log_expit(sign * index) if link == "logit" else special.log_ndtr(sign * index)
    return float(terms.sum())


def _score(sign: Floats, index: Floats, link: str) -> tuple[Floats, Floats]:
    """First derivative of the log-likelihood in the index, and minus the second."""
    if link == "logit":
        return sign * special.expit(-sign * index), special.expit(index) * special.expit(-index)
    ratio = np.exp(-0.5 * index**2 - special.log_ndtr(sign * index)) / np.sqrt(2 * np.pi)
    score = sign * ratio
    return score, score * (score + index)


def _maximise(basis: Floats, sign: Floats, link: str) -> tuple[Floats, int]:
    position = np.zeros(basis.shape[1])
    value = _log_likelihood(sign, basis @ position, link)
    for step in range(1, _STEPS + 1):
        score, curvature = _score(sign, basis @ position, link)
        gradient = basis.T @ score
        eigenvalues, vectors = np.linalg.eigh(basis.T @ (curvature[:, None] * basis))
        if eigenvalues[0] <= _FLAT:
            break
        move = vectors @ ((vectors.T @ gradient) / eigenvalues)
        decrement = float(gradient @ move)
        if decrement <= 1e-22 * len(sign):
            return position, step
        size, new = 1.0, _log_likelihood(sign, basis @ (position + move), link)
        while new < value and size > 1e-6:
            size /= 2
            new = _log_likelihood(sign, basis @ (position + size * move), link)
        if new <= value and decrement <= 1e-12 * len(sign):
            return position + move, step
        position, value = position + size * move, new
    raise ValueError(
        "the covariates separate the arms: some direction of them tells treated from control without error, so the "
        "propensity has no finite estimate; drop the covariate that does so, or compare only where both arms occur"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How far two arms share the same propensities.

    Attributes
    ----------
    edges
        Edges of the bins on [0, 1].
    treated, control
        Rows of each arm in each bin.
    effective_treated, effective_control
        Kish's effective number of rows under inverse-probability weights.
    share_outside
        Share of all rows with a propensity below ``floor`` or above ``1 - floor``.
    floor
        Where the comparison is taken to end.
    smallest, largest
        Extreme propensities.
    """

    edges: tuple[float, ...]
    treated: tuple[int, ...]
    control: tuple[int, ...]
    effective_treated: float
    effective_control: float
    share_outside: float
    floor: float
    smallest: float
    largest: float


def overlap_summary(
    propensity: npt.ArrayLike, treated: npt.ArrayLike, *, bins: int = 20, floor: float = 0.02
) -> Overlap:
    """Summarise where the arms overlap in their propensity.

    Parameters
    ----------
    propensity
        Chance of treatment of each row, strictly between 0 and 1, shape (n,).
    treated
        0 or 1, shape (n,).
    bins
        Equal bins on [0, 1].
    floor
        Rows below it, or above 1 less it, lie outside; in (0, 0.5).

    Returns
    -------
    Overlap

    Raises
    ------
    ValueError
        Where a propensity is 0, 1 or not finite, lengths differ, an arm is empty, or ``bins`` or ``floor`` is out of
        range.

    Notes
    -----
    Kish's effective number of rows is :math:`(\\sum w)^2 / \\sum w^2` with weights 1/e in the treated arm and
    1/(1 − e) in the control arm.

    References
    ----------
    Crump, R. K., Hotz, V. J., Imbens, G. W. and Mitnik, O. A. (2009). Dealing with limited overlap in estimation of
    average treatment effects. Biometrika 96, 187–199.

    Examples
    --------
    >>> found = overlap_summary([0.01, 0.2, 0.5, 0.5], [0, 0, 1, 0], bins=2)
    >>> found.treated, found.control, found.share_outside, round(found.effective_control, 3)
    ((0, 1), (2, 1), 0.25, 2.757)
    """
    e = np.asarray(propensity, dtype=np.float64)
    if e.ndim != 1 or not np.all((e > 0) & (e < 1)):
        raise ValueError(f"propensity must be a vector strictly between 0 and 1, got shape {e.shape}")
    if bins < 1 or bins != int(bins):
        raise ValueError(f"bins must be a whole number of at least 1, got {bins!r}")
    if not 0 < floor < 0.5:
        raise ValueError(f"floor must lie in (0, 0.5), got {floor!r}")
    t = binary_arms(treated, len(e))
    edges = np.linspace(0.0, 1.0, bins + 1)
    return Overlap(
        edges=tuple(edges.tolist()),
        treated=tuple(np.histogram(e[t], edges)[0].tolist()),
        control=tuple(np.histogram(e[~t], edges)[0].tolist()),
        effective_treated=_effective(1 / e[t]),
        effective_control=_effective(1 / (1 - e[~t])),
        share_outside=float(np.mean((e < floor) | (e > 1 - floor))),
        floor=float(floor),
        smallest=float(e.min()),
        largest=float(e.max()),
    )


def _effective(weights: Floats) -> float:
    return float(weights.sum()) ** 2 / float(weights @ weights)
