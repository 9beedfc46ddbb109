"""How long after its end a turn arrives, and whether its sender's clock is ahead of ours.

A turn that ended after it arrived was stamped by a clock that is ahead; how far behind a clock is cannot be told from a late
arrival. The last few thousand turns are kept, each with the request it came in, because one request has one clock.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jurat.stats.quantile import quantile
from jurat.stats.result import Interval

__all__ = ["Arrivals", "ArrivalsReport"]

_KEPT_REQUESTS = 512
_MOST_OF_A_REQUEST = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalsReport:
    """What is known of recent arrivals.

    Attributes
    ----------
    n, requests
        Turns and requests that are looked at.
    median_seconds, p95_seconds
        Time from a turn's end to its arrival, clustered by request; undefined where nothing arrived.
    ahead, most_ahead_seconds
        Turns that ended after they arrived, and by how much at most.
    """

    n: int
    requests: int
    median_seconds: Interval
    p95_seconds: Interval
    ahead: int
    most_ahead_seconds: float


class Arrivals:
    """Recent arrivals.

    Examples
    --------
    >>> arrivals = Arrivals()
    >>> arrivals.note(pa.table({"ts_us": [1_000_000, 9_000_000], "latency_ms": [500.0, None]}), received_us=4_000_000)
    >>> report = arrivals.report()
    >>> report.n, report.ahead, report.most_ahead_seconds
    (2, 1, 5.0)
    """

    def __init__(self) -> None:
        self._held: deque[np.ndarray[tuple[int], np.dtype[np.float64]]] = deque(maxlen=_KEPT_REQUESTS)
        self._lock = threading.Lock()

    def note(self, spans: pa.Table, *, received_us: int) -> None:
        """Take in the turns of one request (columns ``ts_us`` and ``latency_ms``)."""
        first = spans.slice(0, _MOST_OF_A_REQUEST)
        if len(first) == 0:
            return
        lasted = pc.fill_null(first["latency_ms"], 0.0).to_numpy() * 1_000
        ended = first["ts_us"].to_numpy() + lasted
        with self._lock:
            self._held.append((received_us - ended) / 1e6)

    def report(self) -> ArrivalsReport:
        """Sum the recent arrivals up."""
        with self._lock:
            held = list(self._held)
        delays = np.concatenate(held) if held else np.empty(0)
        cluster = np.repeat(np.arange(len(held)), [len(part) for part in held]) if held else np.empty(0, np.int64)
        ahead = delays < 0
        return ArrivalsReport(
            n=len(delays),
            requests=len(held),
            median_seconds=_quantile(delays, 0.5, cluster),
            p95_seconds=_quantile(delays, 0.95, cluster),
            ahead=int(ahead.sum()),
            most_ahead_seconds=float(-delays.min()) if ahead.any() else 0.0,
        )


def _quantile(
    delays: np.ndarray[tuple[int], np.dtype[np.float64]], q: float, cluster: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Interval:
    if len(delays) == 0:
        return Interval(
            value=None, low=None, high=None, level=0.95, n=0, method="quantile", reason="nothing arrived yet"
        )
    return quantile(delays, q, cluster=cluster)
