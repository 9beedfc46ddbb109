"""Tables of the lake that ingestion keeps beside the house's: what was raw, what could not be read, what answers are called."""

from __future__ import annotations

import pyarrow as pa

from jurat.store.schema import TABLES

__all__ = ["OWN_TABLES"]

_S, _I, _F = pa.string(), pa.int64(), pa.float64()

OWN_TABLES: dict[str, pa.Schema] = {
    "dead_letters": pa.schema(
        [
            ("offset", _I), ("received_us", _I), ("tenant", _S), ("kind", _S), ("place", _I), ("reason", _S), ("payload", _S),
        ]
    ),
    "span_attributes": pa.schema([("span_id", _S), ("org_id", _S), ("day", _S), ("attributes", _S)]),
    "responses": pa.schema([("response_id", _S), ("span_id", _S), ("tenant", _S), ("ts_us", _I)]),
    "waiting_feedback": pa.schema([("tenant", _S), ("response_id", _S), ("received_us", _I), *TABLES["feedback"]]),
    "metric_points": pa.schema(
        [
            ("tenant", _S), ("name", _S), ("unit", _S), ("kind", _S), ("attributes", _S), ("ts_us", _I), ("value", _F),
            ("count", _I), ("sum", _F), ("buckets", _S), ("service", _S),
        ]
    ),
}  # fmt: skip
"""``span_attributes`` holds what a span said of itself as JSON, without the names of people and the text that has a table of
its own; ``responses`` which turn a response id stands for; ``waiting_feedback`` what came before its turn;
``metric_points`` a row a data point of OTLP metrics."""
