"""What a minute's counts say about a change: which way is bad, whether there is a baseline, and the likelihood ratios."""

from __future__ import annotations

import math
from dataclasses import replace

from jurat.stats.change_detection import MIXTURE, binomial_log_ratio, normal_log_ratio, shifted_shares
from jurat.stats.interval import proportion
from jurat.stats.mean import mean_from_sums
from jurat.stats.result import Interval
from jurat.telemetry.baselines import Count, Level
from jurat.telemetry.monitor_states import Monitor, SliceState

__all__ = ["is_ready", "level_since", "log_ratios", "summed", "turned", "untold"]


def turned(monitor: Monitor, count: Count) -> Count:
    """Counts with the bad direction up."""
    if monitor.direction == "above":
        return count
    if monitor.kind == "share":
        return Count(n=count.n, total=count.n - count.total, total_sq=count.n - count.total_sq)
    return Count(n=count.n, total=-count.total, total_sq=count.total_sq)


def untold(monitor: Monitor, value: float) -> float:
    """A level in the metric's own direction again."""
    if monitor.direction == "above":
        return value
    return 1 - value if monitor.kind == "share" else -value


def summed(a: Count, b: Count) -> Count:
    """Sums of two stretches of time."""
    return Count(n=a.n + b.n, total=a.total + b.total, total_sq=a.total_sq + b.total_sq)


def is_ready(monitor: Monitor, s: SliceState, level: Level, shift: float) -> bool:
    """Whether a baseline is known well enough to hold a change against it."""
    if shift <= 0 or level.bound - level.value - monitor.baseline.tolerance > shift / 2:
        return False
    if monitor.kind == "share":
        return 0 < level.bound < 1
    return s.variance is not None


def log_ratios(
    monitor: Monitor, s: SliceState, count: Count, level: Level, shift: float
) -> tuple[tuple[float, ...], float]:
    """Log ratio of each size of change, and of being back."""
    if monitor.kind == "share":
        shares = shifted_shares(level.bound, level.value, shift)
        k, n = count.total, count.n
        ratios = tuple(binomial_log_ratio(k, n, level.bound, p, dispersion=s.dispersion) for p in shares)
        usual = max(level.value, shares[0] / 100)
        return ratios, binomial_log_ratio(k, n, shares[0], usual, dispersion=s.dispersion)
    variance = (s.variance or 0.0) * s.dispersion
    ratios = tuple(
        normal_log_ratio(count.total, count.n, level.bound, level.value + shift * size - level.bound, variance)
        for size, _ in MIXTURE
    )
    return ratios, normal_log_ratio(-count.total, count.n, -(level.value + shift), shift, variance)


def level_since(monitor: Monitor, s: SliceState) -> Interval:
    """Level since the estimated onset, its interval widened by the dispersion."""
    run = s.run
    count = turned(monitor, Count(n=run.n, total=run.total, total_sq=run.total_sq))
    if monitor.kind == "share":
        effective = max(int(count.n / s.dispersion), 1)
        found = proportion(min(round(count.total / s.dispersion), effective), effective)
        value = count.total / count.n
        low, high = found.low or 0.0, 1.0 if found.high is None else found.high
        return replace(found, value=value, low=min(low, value), high=max(high, value), n=count.n)
    plain = mean_from_sums(count.n, count.total, count.total_sq)
    if plain.value is None or plain.low is None or plain.high is None:
        return plain
    wider = math.sqrt(s.dispersion)
    return replace(
        plain,
        low=plain.value - (plain.value - plain.low) * wider,
        high=plain.value + (plain.high - plain.value) * wider,
        se=None if plain.se is None else plain.se * wider,
    )
