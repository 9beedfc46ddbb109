"""From decoded turns to what is stored: keys for users, labels by rule, costs by the list, text without personal data.

Names of users and unredacted text end here: nothing behind this point holds them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jurat.store.schema import TABLES
from jurat.telemetry.own_tables import OWN_TABLES
from jurat.telemetry.prices import PriceBook, turn_costs
from jurat.telemetry.redaction import redact_json, redact_text
from jurat.telemetry.refusal import find_refusal
from jurat.telemetry.users import user_key

__all__ = ["HOUSE_TENANT", "Derived", "Settings", "derive"]

HOUSE_TENANT = "default"
"""Tenant of those who run the lake: keys made without another name."""
_BLOCKED = ("content_filter", "content-filter", "blocked", "safety", "refusal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How turns are stored.

    Attributes
    ----------
    user_secret
        Makes keys of users.
    prices
        The list; without one there are no costs.
    keep_text
        Whether prompts and responses are kept (redacted) at all; without them tokens, times, ids and labels remain.
    """

    user_secret: bytes
    prices: PriceBook | None = None
    keep_text: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """Rows for the lake.

    Attributes
    ----------
    spans
        Facts without text, with the schema of the table ``spans``.
    texts
        Redacted text, with the schema of ``span_text``; no rows where none is kept.
    attributes
        What each span said of itself, redacted, with the schema of ``span_attributes``; no rows where no text is kept.
    responses
        Response ids of the turns that have one, with the schema of ``responses``.
    n_redactions
        Places that were redacted.
    """

    spans: pa.Table
    texts: pa.Table
    attributes: pa.Table
    responses: pa.Table
    n_redactions: int


def derive(decoded: pa.Table, settings: Settings, *, tenant: str = "") -> Derived:
    """Make rows of decoded turns.

    Parameters
    ----------
    decoded
        Columns as the decoder gives them; missing ones count as null.
    settings
        Secret, prices, whether text is kept.
    tenant
        Whose turns. A tenant's own turns are its organisation's whatever they say, so that none writes among another's;
        the house's name their organisation themselves.

    Returns
    -------
    Derived
    """
    n = len(decoded)

    def column(name: str, kind: pa.DataType) -> pa.Array:
        if name not in decoded.column_names:
            return pa.nulls(n, kind)
        return decoded[name].combine_chunks().cast(kind)

    text, whole, real = pa.string(), pa.int64(), pa.float64()
    stamps = column("ts_us", whole)
    ts_us = stamps.to_numpy()
    ends = column("end_us", whole)
    latency = pc.coalesce(column("latency_ms", real), pc.divide(pc.cast(pc.subtract(ends, stamps), real), 1000.0))
    latency = pc.if_else(pc.less(latency, 0), pa.scalar(None, real), latency)
    ttft = column("ttft_ms", real)
    # A first token later than the end is a clock's or an instrument's fault: unknown, not long.
    ttft = pc.if_else(pc.or_kleene(pc.less(ttft, 0), pc.greater(ttft, latency)), pa.scalar(None, real), ttft)
    prompts, responses = column("prompt", text), column("response", text)
    finish = pc.utf8_lower(column("finish_reason", text))
    errors = column("error_type", text)
    status = pc.coalesce(column("status", text), pc.if_else(pc.is_valid(errors), "error", "ok"))
    models = pc.coalesce(column("model", text), column("model_requested", text))
    tokens_in, tokens_out = column("tokens_in", whole), column("tokens_out", whole)
    apart = tenant not in ("", HOUSE_TENANT)
    organisation = (
        pa.repeat(tenant, n) if apart else pc.coalesce(column("org_id", text), pa.scalar(tenant or None, text))
    )
    rows = {
        "span_id": column("span_id", text),
        "trace_id": column("trace_id", text),
        "conversation_id": pc.coalesce(column("conversation_id", text), column("session_id", text)),
        "user_id": pa.array(
            [user_key(settings.user_secret, tenant, user) for user in column("user_id", text).to_pylist()], text
        ),
        "org_id": organisation,
        "tier": column("tier", text),
        "endpoint": column("endpoint", text),
        "release": column("release", text),
        "model": models,
        "ts": stamps.cast(pa.timestamp("us", tz="UTC")),
        "ts_us": stamps,
        "ts_s": pa.array(ts_us // 1_000_000),
        "day": pc.strftime(stamps.cast(pa.timestamp("us", tz="UTC")), format="%Y-%m-%d"),
        "latency_ms": latency,
        "ttft_ms": ttft,
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "status": status,
        "error_type": errors,
        "refused": _refused(responses, status),
        # Where nobody says how a turn ended, nobody knows whether a filter ended it.
        "blocked": pc.if_else(pc.is_valid(finish), pc.is_in(finish, pa.array(_BLOCKED)), pa.scalar(None, pa.bool_())),
        "cost_usd": pa.nulls(n, real)
        if settings.prices is None
        else turn_costs(
            settings.prices, models.to_pylist(), ts_us, tokens_in, tokens_out,
            column("tokens_cache_read", whole), column("tokens_cache_write", whole),
        ),
    }  # fmt: skip
    schema = TABLES["spans"]
    spans = pa.table([rows.get(f.name, pa.nulls(n, f.type)) for f in schema], schema=schema)
    texts, hidden = _texts(rows, prompts, responses) if settings.keep_text else (_no_texts(), 0)
    raw = column("attributes", text) if settings.keep_text else pa.nulls(n, text)
    attributes, hidden_more = _attributes(rows, raw)
    return Derived(
        spans=spans,
        texts=texts,
        attributes=attributes,
        responses=_responses(rows, column("response_id", text), tenant),
        n_redactions=hidden + hidden_more,
    )


def _refused(responses: pa.Array, status: pa.Array) -> pa.Array:
    """A rule's label; unknown where there is no answer to read or the turn failed."""
    answers: Sequence[str | None] = responses.to_pylist()
    states = status.to_pylist()
    return pa.array(
        [None if a is None or s != "ok" else find_refusal(a) is not None for a, s in zip(answers, states, strict=True)],
        pa.bool_(),
    )


def _texts(rows: dict[str, pa.Array], prompts: pa.Array, responses: pa.Array) -> tuple[pa.Table, int]:
    some = pc.or_(pc.is_valid(prompts), pc.is_valid(responses))
    places = np.flatnonzero(np.asarray(some.to_numpy(zero_copy_only=False), np.bool_))
    if len(places) == 0:
        return _no_texts(), 0
    chosen = pa.array(places)
    redacted = [redact_text(column.take(chosen)) for column in (prompts, responses)]
    kept, count = [column for column, _ in redacted], sum(places for _, places in redacted)
    digests = [
        hashlib.sha256(f"{p or ''}\0{r or ''}".encode("utf-8", "surrogatepass")).hexdigest()
        for p, r in zip(kept[0].to_pylist(), kept[1].to_pylist(), strict=True)
    ]
    table = pa.table(
        {
            "span_id": rows["span_id"].take(chosen),
            "day": rows["day"].take(chosen),
            "prompt": kept[0],
            "response": kept[1],
            "sha256": digests,
            "org_id": rows["org_id"].take(chosen),
        },
        schema=TABLES["span_text"],
    )
    return table, count


def _attributes(rows: dict[str, pa.Array], raw: pa.Array) -> tuple[pa.Table, int]:
    """Attributes of the spans that have any."""
    some = pc.and_kleene(pc.is_valid(raw), pc.not_equal(raw, "{}")).fill_null(False)
    kept, count = redact_json(raw.filter(some))
    columns = [rows[name].filter(some) for name in ("span_id", "org_id", "day")]
    return pa.table([*columns, kept], schema=OWN_TABLES["span_attributes"]), count


def _responses(rows: dict[str, pa.Array], named: pa.Array, tenant: str) -> pa.Table:
    """Which turn each response id stands for; of a tenant that is kept apart also which turns are its own, by span id."""
    some = pc.is_valid(named)
    pairs = [(named.filter(some), rows["span_id"].filter(some), rows["ts_us"].filter(some))]
    if tenant not in ("", HOUSE_TENANT):
        pairs.append((rows["span_id"], rows["span_id"], rows["ts_us"]))
    parts = [
        pa.table([ids, spans, pa.repeat(tenant, len(ids)), times], schema=OWN_TABLES["responses"])
        for ids, spans, times in pairs
    ]
    return pa.concat_tables(parts)


def _no_texts() -> pa.Table:
    return TABLES["span_text"].empty_table()
