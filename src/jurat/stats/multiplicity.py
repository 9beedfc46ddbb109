"""How many of these findings would chance alone have made?

Holm (1979) for gates, where one false claim is one too many; Benjamini–Hochberg (1995) for exploration, where a known
share of false claims is bearable; Benjamini–Yekutieli (2001) where the tests may depend on each other in any way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Adjusted", "benjamini_hochberg", "benjamini_yekutieli", "holm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjusted:
    """P-values corrected for their number.

    Attributes
    ----------
    adjusted
        Adjusted p-values in the order given, shape (m,): reject where at most the level.
    method
        Name of the procedure.
    """

    adjusted: npt.NDArray[np.float64]
    method: str

    def rejected(self, level: float) -> npt.NDArray[np.bool_]:
        """Which hypotheses are rejected at a level, shape (m,)."""
        return self.adjusted <= level


def _checked(p_values: Sequence[float] | npt.ArrayLike) -> npt.NDArray[np.float64]:
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or np.any(~((p >= 0) & (p <= 1))):
        raise ValueError(f"p-values must be a vector within [0, 1], got {p!r}")
    return p


def holm(p_values: Sequence[float] | npt.ArrayLike) -> Adjusted:
    """Holm's step-down adjustment: controls the chance of any false claim under any dependence.

    Parameters
    ----------
    p_values
        Shape (m,), within [0, 1].

    Raises
    ------
    ValueError
        Where a p-value lies outside [0, 1].

    Notes
    -----
    :math:`\\tilde p_{(i)} = \\max_{j \\le i} \\min\\{(m - j + 1) p_{(j)}, 1\\}`.

    References
    ----------
    Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scand. J. Statistics 6, 65–70.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).adjusted.tolist()
    [0.03, 0.06, 0.06]
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    steps = np.minimum(p[order] * np.arange(len(p), 0, -1), 1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(steps) if len(p) else steps
    return Adjusted(adjusted=adjusted, method="Holm")


def benjamini_hochberg(p_values: Sequence[float] | npt.ArrayLike) -> Adjusted:
    """Benjamini and Hochberg's step-up adjustment: controls the expected share of false claims.

    Parameters
    ----------
    p_values
        Shape (m,), within [0, 1]; independent or positively dependent.

    Raises
    ------
    ValueError
        Where a p-value lies outside [0, 1].

    Notes
    -----
    :math:`\\tilde p_{(i)} = \\min_{j \\ge i} \\min\\{m p_{(j)} / j, 1\\}`.

    References
    ----------
    Benjamini, Y. and Hochberg, Y. (1995). Controlling the false discovery rate. JRSS B 57, 289–300.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03]).adjusted.tolist()
    [0.03, 0.04, 0.04]
    """
    return _step_up(_checked(p_values), 1.0, "Benjamini–Hochberg")


def benjamini_yekutieli(p_values: Sequence[float] | npt.ArrayLike) -> Adjusted:
    """Benjamini and Yekutieli's adjustment: as Benjamini–Hochberg, under any dependence.

    Parameters
    ----------
    p_values
        Shape (m,), within [0, 1].

    Raises
    ------
    ValueError
        Where a p-value lies outside [0, 1].

    Notes
    -----
    Benjamini–Hochberg with p-values multiplied by :math:`\\sum_{i=1}^m 1/i`.

    References
    ----------
    Benjamini, Y. and Yekutieli, D. (2001). Annals of Statistics 29, 1165–1188.

    Examples
    --------
    >>> benjamini_yekutieli([0.01, 0.04, 0.03]).adjusted.round(6).tolist()
    [0.055, 0.073333, 0.073333]
    """
    p = _checked(p_values)
    return _step_up(p, float(np.sum(1.0 / np.arange(1, len(p) + 1))), "Benjamini–Yekutieli")


def _step_up(p: npt.NDArray[np.float64], factor: float, method: str) -> Adjusted:
    order = np.argsort(p, kind="stable")
    steps = np.minimum(p[order] * factor * len(p) / np.arange(1, len(p) + 1), 1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum.accumulate(steps[::-1])[::-1] if len(p) else steps
    return Adjusted(adjusted=adjusted, method=method)
