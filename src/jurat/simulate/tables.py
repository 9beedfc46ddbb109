"""The world as the tables of the lake: spans, exposures, feedback, labels.

Columns are built from whole arrays, checked against the schemas of `jurat.store.schema`, and come in one
chunk, so that the same world has the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jurat.simulate.audits import VERDICTS, Audits, SilverLabels, Thumbs
from jurat.simulate.identifiers import hexadecimal, mix, numbered, words
from jurat.simulate.outcomes import ERROR_TYPES, Outcomes
from jurat.simulate.parameters import WorldParameters
from jurat.simulate.population import TIERS, Population
from jurat.simulate.traffic import Traffic
from jurat.store.schema import conform, schema_of

__all__ = [
    "exposure_table",
    "feedback_table",
    "label_table",
    "span_identifiers",
    "span_table",
]

_TIMESTAMP = pa.timestamp("us", tz="UTC")
_DAY_US = 86_400_000_000
_SPAN_KEY, _TRACE_KEY, _FEEDBACK_KEY, _LABEL_KEY = (0x5350414E, 0x54524143, 0x46454544, 0x4C41424C)

Integers = npt.NDArray[np.int64]


def _table(name: str, columns: Mapping[str, Any]) -> pa.Table:
    """Arrange columns as a table of the lake, in one chunk."""
    return conform(pa.table(columns), schema_of(name), table=name).combine_chunks()


def _times(time_us: Integers) -> pa.Array:
    return pa.array(time_us).cast(_TIMESTAMP)


def _constant(word: str, count: int) -> pa.Array:
    return words([word], np.zeros(count, dtype=np.int8))


def span_identifiers(turns: int, *, seed: int) -> pa.Array:
    """Return one span identifier a turn: 16 hexadecimal digits, distinct, fixed by the seed."""
    return hexadecimal(mix(np.arange(turns), key=_key(seed, _SPAN_KEY)))


def _key(seed: int, part: int) -> int:
    return int(mix(np.array([seed % 2**63]), key=part)[0])


def span_table(
    traffic: Traffic,
    outcomes: Outcomes,
    *,
    population: Population,
    span_id: pa.Array,
    seed: int,
    parameters: WorldParameters,
) -> pa.Table:
    """Build ``spans``: one row a turn, in order of time, no text."""
    counters = np.arange(len(span_id))
    trace_key = _key(seed, _TRACE_KEY)
    endpoints = parameters.traffic.endpoints
    user = traffic.user
    organisation = population.organisation[user]
    time_us = traffic.time_us
    columns = {
        "span_id": span_id,
        "trace_id": hexadecimal(mix(counters, key=trace_key), mix(counters, key=trace_key ^ _SPAN_KEY)),
        "conversation_id": words(numbered("conversation", traffic.conversations), traffic.conversation),
        "turn": traffic.turn,
        "user_id": words(numbered("user", population.users), user),
        "org_id": words(numbered("org", int(population.organisation[-1]) + 1), organisation),
        "tier": words(TIERS, population.tier[user]),
        "endpoint": words([endpoint.path for endpoint in endpoints], traffic.endpoint),
        "release": words([r.name for r in parameters.releases], outcomes.candidate.astype(np.int8)),
        "model": words([endpoint.model for endpoint in endpoints], traffic.endpoint),
        "ts": _times(time_us),
        "ts_us": time_us,
        "ts_s": time_us // 1_000_000,
        "day": _days(time_us),
        "latency_ms": outcomes.latency_ms,
        "ttft_ms": pa.array(outcomes.first_token_ms, mask=outcomes.error),
        "tokens_in": outcomes.tokens_in,
        "tokens_out": outcomes.tokens_out,
        "status": words(("ok", "error"), outcomes.error.astype(np.int8)),
        "error_type": words(ERROR_TYPES, outcomes.error_code, present=outcomes.error),
        "refused": outcomes.refused,
        "blocked": outcomes.blocked,
        "risk_tier": outcomes.risk_tier,
        "intent": words(("benign", "harmful"), outcomes.harmful.astype(np.int8), present=~outcomes.borderline),
        "session_seq": traffic.session,
        "cost_usd": outcomes.cost_usd,
    }
    return _table("spans", columns)


def _days(time_us: Integers) -> pa.Array:
    """ISO dates of the turns."""
    days = time_us // _DAY_US
    first = int(days.min())
    names = np.datetime_as_string(np.arange(first, int(days.max()) + 1).astype("datetime64[D]")).tolist()
    return words(names, days - first)


def exposure_table(
    traffic: Traffic, candidate_user: npt.NDArray[np.bool_], *, experiment: str, parameters: WorldParameters
) -> pa.Table:
    """Build ``exposures``: one row a user seen, at the time of the first turn; the arm is the release."""
    seen, first_turn = np.unique(traffic.user, return_index=True)
    columns = {
        "unit_id": words(numbered("user", len(candidate_user)), seen),
        "unit_kind": _constant("user", len(seen)),
        "experiment": _constant(experiment, len(seen)),
        "arm": words([r.name for r in parameters.releases], candidate_user[seen].astype(np.int8)),
        "ts": _times(traffic.time_us[first_turn]),
    }
    table = _table("exposures", columns)
    return table.sort_by([("ts", "ascending"), ("unit_id", "ascending")]).combine_chunks()


def feedback_table(thumbs: Thumbs, spans: pa.Table, *, seed: int) -> pa.Table:
    """Build ``feedback``: one row a thumb, 1 for up and 0 for down."""
    count = len(thumbs.turn)
    turns = spans.select(["span_id", "conversation_id", "user_id"]).take(pa.array(thumbs.turn))
    columns = {
        "feedback_id": hexadecimal(mix(np.arange(count), key=_key(seed, _FEEDBACK_KEY))),
        **{name: turns[name] for name in turns.column_names},
        "kind": _constant("thumb", count),
        "value": thumbs.up.astype(np.float64),
        "ts": _times(thumbs.recorded_us),
    }
    return _table("feedback", columns)


def label_table(audits: Audits, silver: tuple[SilverLabels, ...], *, span_id: pa.Array, seed: int) -> pa.Table:
    """Build ``labels``: human audits first, then each machine labeller, in order of the turns."""
    parts = [*silver]
    turn = np.concatenate([audits.turn, *(part.turn for part in parts)])
    sources = ["human", *(part.source for part in parts)]
    sizes = [len(audits.turn), *(len(part.turn) for part in parts)]
    source = np.repeat(np.arange(len(sources)), sizes)
    annotators = [f"annotator-{number}" for number in range(int(audits.annotator.max(initial=0)) + 1)]
    machine = np.arange(len(parts)) + len(annotators)
    annotator = np.concatenate([audits.annotator, np.repeat(machine, sizes[1:])])
    count = len(turn)
    columns = {
        "label_id": hexadecimal(mix(np.arange(count), key=_key(seed, _LABEL_KEY))),
        "subject_id": span_id.take(pa.array(turn)),
        "kind": _constant("audit", count),
        "source": words(sources, source),
        "annotator": words([*annotators, *(f"{part.source}-1" for part in parts)], annotator),
        "value": words(VERDICTS, np.concatenate([audits.value, *(part.value for part in parts)])),
        "weight": np.concatenate([audits.weight, np.ones(count - len(audits.turn))]),
        "recorded_at": _times(np.concatenate([audits.recorded_us, *(part.recorded_us for part in parts)])),
    }
    return _table("labels", columns)
