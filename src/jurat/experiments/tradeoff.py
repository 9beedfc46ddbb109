"""Value against risk: what was bought, at what price, and who paid.

Both effects come from the same clusters, so they are correlated; the joint region, the price of one avoided harm and the
net benefit all use their covariance. The exchange rate is the spec's, said before the data were seen. Nothing here can
overrule a bar; it says what a decision between the two would cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats as sps

from jurat.experiments.effects import MetricEffect, Scorecard
from jurat.experiments.simpson import SimpsonScan, simpson_scan
from jurat.stats.fieller import fieller
from jurat.stats.moments import Functional, functional_interval, joint_covariance
from jurat.stats.result import Interval

__all__ = ["TradeOffResult", "trade_off"]

_POINTS = 72


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeOffResult:
    """How value and risk moved together.

    Attributes
    ----------
    value, risk
        Names of the two metrics.
    correlation
        Between the two estimated effects.
    region
        Joint confidence region: points (value effect, risk effect) on its edge.
    price
        Value gained (negative: lost) per unit of risk avoided, by Fieller; without bounds where the risk did not clearly
        move.
    net
        Gain in value plus exchange rate times avoided risk; ``None`` where the spec says no rate.
    exchange_rate
        Units of value that one unit of risk is worth.
    lost
        The value metric within benign and adversarial parts; ``None`` where the spec does not ask.
    """

    value: str
    risk: str
    correlation: float | None
    region: tuple[tuple[float, float], ...]
    price: Interval
    net: Interval | None
    exchange_rate: float | None
    lost: SimpsonScan | None


def trade_off(card: Scorecard, value: MetricEffect, risk: MetricEffect) -> TradeOffResult | None:
    """Lay value against risk for one pair of metrics.

    Parameters
    ----------
    card
        The scorecard both effects came from.
    value, risk
        The two effects, of the same treatment.

    Returns
    -------
    TradeOffResult or None
        ``None`` where one of the two has no delta-method form (a quantile): there is then no covariance.

    References
    ----------
    Fieller, E. C. (1954). JRSS B 16, 175–185. Stinnett, A. A. and Mullahy, J. (1998). Net health benefits: a new framework
    for the analysis of uncertainty in cost-effectiveness analysis. Medical Decision Making 18, S68–S80.
    """
    experiment = card.experiment
    parts = [_functional(card, e) for e in (value, risk)]
    if parts[0] is None or parts[1] is None:
        return None
    gain = [_sign(card, e.metric) * f for e, f in zip((value, risk), (parts[0], parts[1]), strict=True)]
    covariance = joint_covariance(card.table, [parts[0], parts[1]])
    signed = joint_covariance(card.table, gain)
    rows, clusters = value.effect.n, value.effect.n_clusters or value.effect.n
    spread = math.sqrt(covariance[0, 0]) * math.sqrt(covariance[1, 1])
    rate = experiment.document.trade_off.exchange_rate
    net = None
    if rate is not None:
        net = functional_interval(
            card.table, gain[0] + rate * gain[1], level=experiment.level, n=rows, n_clusters=clusters,
            method="net benefit, delta",
        )  # fmt: skip
    return TradeOffResult(
        value=value.metric,
        risk=risk.metric,
        correlation=float(covariance[0, 1] / spread) if spread > 0 else None,
        region=_region(parts[0], parts[1], covariance, experiment.level, clusters),
        price=fieller(
            gain[0].value, gain[1].value, (signed[0, 0], signed[0, 1], signed[1, 1]),
            df=max(clusters - 2, 1), level=experiment.level, n=rows, n_clusters=clusters,
        ),
        net=net,
        exchange_rate=rate,
        lost=_lost(card, value.treatment),
    )  # fmt: skip


def _functional(card: Scorecard, effect: MetricEffect) -> Functional | None:
    if effect.functional is not None:
        return effect.functional
    sums = card.sums.get(effect.metric)
    if sums is None:
        return None
    return sums.value(card.table, effect.treatment) - sums.value(card.table, effect.control)


def _sign(card: Scorecard, metric: str) -> float:
    return 1.0 if card.experiment.metric(metric).better == "higher" else -1.0


def _region(
    value: Functional, risk: Functional, covariance: np.ndarray, level: float, clusters: int
) -> tuple[tuple[float, float], ...]:
    """Edge of Hotelling's ellipse; empty where one effect shows no spread."""
    if covariance[0, 0] <= 0 or covariance[1, 1] <= 0:
        return ()
    df = max(clusters - 2, 3)
    radius = math.sqrt(2 * (df) / (df - 1) * float(sps.f.ppf(level, 2, df - 1)))
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return ()
    angles = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    edge = radius * root @ np.array([np.cos(angles), np.sin(angles)])
    return tuple((float(value.value + x), float(risk.value + y)) for x, y in edge.T)


def _lost(card: Scorecard, treatment: str) -> SimpsonScan | None:
    wanted = card.experiment.document.trade_off
    if wanted.lost is None or wanted.adversarial is None or wanted.lost not in card.sums:
        return None
    return simpson_scan(card.experiment, card.data, wanted.lost, wanted.adversarial, treatment, margin=None)
