"""The server's own figures in Prometheus's text format: low in number, without a user's or a key's name."""

from __future__ import annotations

from collections import Counter
from typing import Any

from jurat.telemetry.ingest import Ingest
from jurat.telemetry.sentinel import Sentinel

__all__ = ["prometheus_text"]

_Figure = tuple[str, str, str, Any]


def prometheus_text(ingest: Ingest, sentinel: Sentinel) -> str:
    """Figures of the ingestion, of the monitors and of the breakers.

    Parameters
    ----------
    ingest
        The writer.
    sentinel
        What is watched.
    """
    counts = ingest.counts
    figures: list[_Figure] = [
        ("jurat_ingest_requests_total", "counter", "Requests acknowledged", counts.requests),
        ("jurat_ingest_received_bytes_total", "counter", "Bytes acknowledged, unpacked", counts.received_bytes),
        ("jurat_ingest_spans_total", "counter", "Spans committed to the lake", counts.spans),
        ("jurat_ingest_feedback_total", "counter", "Feedback committed to the lake", counts.feedback),
        ("jurat_ingest_feedback_waiting", "gauge", "Feedback whose turn has not come yet", counts.waiting),
        ("jurat_ingest_scores_total", "counter", "Scores committed to the lake", counts.scores),
        ("jurat_ingest_metric_points_total", "counter", "Points of metrics committed to the lake", counts.points),
        ("jurat_ingest_dead_letters_total", "counter", "Parts that could not be decoded", counts.dead),
        ("jurat_ingest_redactions_total", "counter", "Places redacted in text", counts.redactions),
        ("jurat_ingest_unmapped_attributes", "gauge", "Attributes that no alias knows", len(counts.unmapped)),
        ("jurat_ingest_flush_errors_total", "counter", "Batches that failed and are tried again", counts.flush_errors),
        ("jurat_ingest_lag_bytes", "gauge", "Bytes acknowledged and not yet in every table", ingest.lag_bytes()),
        ("jurat_ingest_log_bytes", "gauge", "Bytes that wait in the write-ahead log", ingest.log.waiting_bytes),
    ]
    lines = []
    for name, kind, text, value in [*figures, *_watched(sentinel)]:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{{{labels}}} {n}" for labels, n in value] if isinstance(value, list) else [f"{name} {value}"]
    return "\n".join(lines) + "\n"


def _watched(sentinel: Sentinel) -> list[_Figure]:
    """Alarms by monitor and state, and features by whether they are off; names come from files of the house."""
    health = sentinel.health()
    alarms = Counter((alert.monitor, alert.status) for alert in sentinel.alerts())
    by_state = [(f'monitor="{_label(m)}",state="{_label(s)}"', n) for (m, s), n in sorted(alarms.items())]
    off = [(f'feature="{_label(one.feature)}"', int(one.state == "open")) for one in sentinel.breaker_states()]
    return [
        ("jurat_alarms", "gauge", "Slices of monitors, by state", by_state),
        ("jurat_breaker_open", "gauge", "1 where a feature is off", off),
        ("jurat_monitor_looks_total", "counter", "Looks of the monitors at closed minutes", health.looks),
        ("jurat_monitor_failures_total", "counter", "Looks that failed and are tried again", health.failures),
        ("jurat_messages_waiting", "gauge", "Messages about alarms not delivered yet", health.waiting),
    ]


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
