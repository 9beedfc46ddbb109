"""The server's own figures in Prometheus's text format: low in number, without a user's or a key's name."""

from __future__ import annotations

from jurat.telemetry.ingest import Ingest

__all__ = ["prometheus_text"]


def prometheus_text(ingest: Ingest) -> str:
    """Figures of the ingestion.

    Parameters
    ----------
    ingest
        The writer.
    """
    counts = ingest.counts
    figures = [
        ("jurat_ingest_requests_total", "counter", "Requests acknowledged", counts.requests),
        ("jurat_ingest_received_bytes_total", "counter", "Bytes acknowledged, unpacked", counts.received_bytes),
        ("jurat_ingest_spans_total", "counter", "Spans committed to the lake", counts.spans),
        ("jurat_ingest_feedback_total", "counter", "Feedback committed to the lake", counts.feedback),
        ("jurat_ingest_dead_letters_total", "counter", "Parts that could not be decoded", counts.dead),
        ("jurat_ingest_redactions_total", "counter", "Places redacted in text", counts.redactions),
        ("jurat_ingest_unmapped_attributes", "gauge", "Attributes that no alias knows", len(counts.unmapped)),
        ("jurat_ingest_flush_errors_total", "counter", "Batches that failed and are tried again", counts.flush_errors),
        ("jurat_ingest_lag_bytes", "gauge", "Bytes acknowledged and not yet in every table", ingest.lag_bytes()),
        ("jurat_ingest_log_bytes", "gauge", "Bytes that wait in the write-ahead log", ingest.log.waiting_bytes),
    ]
    lines = []
    for name, kind, text, value in figures:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {value}"]
    return "\n".join(lines) + "\n"
