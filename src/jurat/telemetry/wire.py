"""OTLP trace requests decoded into one table: a row a span, its columns those of `SPAN_COLUMNS`.

Compiled code walks the bytes once, picks for each column the attribute that names it best, and copies text straight into
Arrow's buffers. What is rare or odd (lists of messages, objects, dates, numbers written as text) is finished in Python.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jurat.errors import DataError, UsageError
from jurat.telemetry import wire_kernel as kernel
from jurat.telemetry.aliases import SPAN_COLUMNS, AliasTable
from jurat.telemetry.cells import OddCells
from jurat.telemetry.otlp_json import json_to_wire, parse_message
from jurat.telemetry.otlp_signals import decode_logs, decode_metrics

__all__ = ["SPAN_COLUMNS", "Decoded", "decode_logs", "decode_metrics", "decode_traces", "unreadable_spans"]

_MOST_ATTRIBUTES = 16_000_000
_MOST_RESOURCE = 1024
_MOST_UNMAPPED = 4096
_MOST_LISTED = 1000
_MOST_TEXT = (1 << 31) - 1
_Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What a request holds.

    Attributes
    ----------
    spans
        A row for each span that could be read, with the schema `SPAN_COLUMNS`.
    rejected
        Number in the request and reason of each span that could not; number -1 stands for the request itself (cut off, or
        reasons beyond the first thousand). The rest is in ``spans`` all the same.
    unmapped
        How often each attribute occurred that the table of aliases does not know, and, with the reason behind its name, each
        whose value could not be read.
    """

    spans: pa.Table
    rejected: list[tuple[int, str]]
    unmapped: Counter[str]


def decode_traces(
    payload: bytes,
    *,
    encoding: Literal["protobuf", "json"] | str,
    aliases: AliasTable,
    leave_out: Collection[str] = (),
) -> Decoded:
    """Decode an ExportTraceServiceRequest.

    Parameters
    ----------
    payload
        The request's body, uncompressed.
    encoding
        ``"protobuf"`` or ``"json"``.
    aliases
        From `load_aliases`.
    leave_out
        Columns whose attributes are not repeated among the raw ones: those that hold text or name people.

    Returns
    -------
    Decoded

    Raises
    ------
    DataError
        Where JSON is not JSON, or the request is so large that it must be sent in parts. Broken binary requests raise
        nothing: what can be read is read.
    UsageError
        Where the encoding is unknown.

    Notes
    -----
    A span is rejected where its ids or start are missing, a field is cut off, text is not UTF-8, an attribute has two
    values or is nested too deeply. Of an attribute that stands twice the last counts. A resource's attributes are repeated in
    its spans' raw attributes (under ``@resource``) only where they take at most 1,024 bytes, and become columns only where
    each takes at most 256: a small request must not become a large table. Attributes of events become columns, and are not
    among the raw ones.

    Examples
    --------
    >>> from jurat.telemetry.aliases import load_aliases
    >>> body = b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "startTimeUnixNano": "1000", "attributes": [{"key": "gen_ai.usage.input_tokens", "value": {"intValue": "7"}}, {"key": "x", "value": {"boolValue": true}}]}]}]}]}'
    >>> decoded = decode_traces(body, encoding="json", aliases=load_aliases())
    >>> decoded.spans["tokens_in"].to_pylist(), decoded.rejected, decoded.unmapped
    ([7], [], Counter({'x': 1}))
    """  # noqa: E501
    reasons: dict[int, str] = {}
    if encoding == "json":
        payload, reasons = json_to_wire("TracesRequest", payload)
    elif encoding != "protobuf":
        raise UsageError("unknown encoding", seen=repr(encoding), next_step="use 'protobuf' or 'json'")
    return _Request(payload, aliases).decode(reasons, leave_out)


def unreadable_spans(payload: bytes, *, aliases: AliasTable) -> tuple[int, str]:
    """Walk a binary request without decoding its text: how many spans will be rejected for their form, and why the first.

    Parameters
    ----------
    payload
        An ExportTraceServiceRequest.
    aliases
        From `load_aliases`.

    Returns
    -------
    int, str
        Spans cut off, or without ids or a start, and a sentence; 0 and nothing where all are whole. Text that is not UTF-8
        and values nested too deeply show only when the request is decoded.

    Examples
    --------
    >>> from jurat.telemetry.aliases import load_aliases
    >>> unreadable_spans(bytes.fromhex("0a04 1202 1200"), aliases=load_aliases())
    (1, 'trace_id is not 16 bytes, or all zero')
    """
    request = _Request(payload, aliases)
    request.scan()
    reasons = request.spans[:, kernel.S_REASON]
    bad = reasons[reasons != 0]
    return len(bad) + request.too_many, kernel.REASONS[int(bad[0])] if len(bad) else ""


class _Request:
    """One request on its way through the kernels."""

    def __init__(self, payload: bytes, aliases: AliasTable) -> None:
        self.payload = payload
        self.aliases = aliases
        self.data = np.frombuffer(payload or b"\0", np.uint8)[: len(payload)]
        self.spans = np.empty((len(payload) // 512 + 64, kernel.SPAN_FIELDS), np.int64)
        self.attributes = np.empty((len(payload) // 24 + 256, kernel.ATTRIBUTE_FIELDS), np.int64)
        self.resources = np.empty((16, kernel.RESOURCE_FIELDS), np.int64)
        self.broken = self.too_many = 0

    def decode(self, reasons: dict[int, str], leave_out: Collection[str]) -> Decoded:
        self.scan()
        attributes = self._raw_attributes(leave_out)
        rejected = self._rejected(reasons)
        good = np.flatnonzero(self.spans[:, kernel.S_REASON] == 0)
        attributes = attributes.take(pa.array(good)) if len(good) < len(self.spans) else attributes
        self.spans = np.ascontiguousarray(self.spans[good]) if len(good) < len(self.spans) else self.spans
        unmapped = self._unmapped()
        columns = self._columns(unmapped)
        columns["attributes"] = attributes
        n = len(self.spans)
        table = pa.table(
            [columns.get(f.name, pa.nulls(n, f.type) if f.name not in columns else None) for f in SPAN_COLUMNS],
            schema=SPAN_COLUMNS,
        )
        return Decoded(spans=table, rejected=rejected, unmapped=unmapped)

    def scan(self) -> None:
        """Fill the tables; once more where they turn out to be too small."""
        counts = np.zeros(5, np.int64)
        names = self.aliases
        for _ in range(2):
            kernel.scan(
                self.data, self.resources, self.spans, self.attributes, counts,
                names.slots, names.name_bytes, names.name_places,
            )  # fmt: skip
            needed = tuple(int(count) for count in counts[:3])
            tables = (self.resources, self.spans, self.attributes)
            if all(need <= len(table) for need, table in zip(needed, tables, strict=True)):
                break
            if needed[2] > _MOST_ATTRIBUTES:
                raise DataError(
                    "a request has too many attributes",
                    seen=f"{needed[2]:,}",
                    next_step=f"send at most {_MOST_ATTRIBUTES:,} at a time",
                )
            self.resources, self.spans, self.attributes = (
                np.empty((need + 1, table.shape[1]), np.int64) for need, table in zip(needed, tables, strict=True)
            )
        self.resources, self.spans, self.attributes = (
            table[: needed[i]] for i, table in enumerate((self.resources, self.spans, self.attributes))
        )
        self.broken, self.too_many = int(counts[3]), int(counts[4])

    def _left_out(self, columns: Collection[str]) -> NDArray[np.bool_]:
        """Which attributes go to one of these columns, whole or in pieces."""
        names, order = self.aliases, list(self.aliases.columns)
        numbers = [number for number, column in enumerate(order) if column in columns]
        of_name = np.isin(names.column_of, numbers)
        of_name[[alias for alias, column in names.roles.items() if column in columns]] = True
        of_name[[alias for alias, parts in names.objects.items() if not set(columns).isdisjoint(parts.values())]] = True
        alias = self.attributes[:, kernel.A_ALIAS]
        return (alias >= 0) & of_name[np.maximum(alias, 0)]

    def _raw_attributes(self, leave_out: Collection[str]) -> pa.Array:
        """JSON of all attributes; numbers that the kernel does not write are written here, and it runs once more."""
        slow = np.zeros(len(self.attributes), np.int64)
        if leave_out:
            slow[self._left_out(leave_out)] = kernel.LEFT_OUT
        fragments, places = np.empty(0, np.uint8), np.zeros(1, np.int64)
        room = 6 * len(self.data) + (64 + 2 * _MOST_RESOURCE) * (len(self.spans) + 1)
        offsets = np.zeros(len(self.spans) + 1, np.int64)
        while True:
            out = np.empty(room, np.uint8)
            written = kernel.write_attributes(
                self.data, self.spans, self.resources, self.attributes, slow, fragments, places, out, offsets,
                _MOST_RESOURCE,
            )  # fmt: skip
            odd = np.flatnonzero(slow == -1)
            if written < 0:
                room *= 2
            elif len(odd) == 0:
                return _text_array(out, offsets, np.ones(len(self.spans), np.bool_))
            else:
                fragments, places = self._fragments(odd, slow)

    def _fragments(self, odd: _Whole, slow: _Whole) -> tuple[NDArray[np.uint8], _Whole]:
        known = np.flatnonzero(slow > 0)
        rows = np.sort(np.concatenate([known, odd]))
        parts = []
        for row in rows:
            value = self.value(int(row))
            parts.append(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode())
        slow[rows] = np.arange(1, len(rows) + 1)
        places = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        return np.frombuffer(b"".join(parts), np.uint8), places

    def value(self, row: int) -> Any:
        """Python value of an attribute."""
        start, size = (int(self.attributes[row, i]) for i in (kernel.A_BODY, kernel.A_BODY_N))
        return parse_message("KeyValue", self.payload[start : start + size]).get("value")

    def _rejected(self, reasons: dict[int, str]) -> list[tuple[int, str]]:
        numbers = np.flatnonzero(self.spans[:, kernel.S_REASON])
        rejected = [
            (int(i), reasons.get(int(i), kernel.REASONS[int(self.spans[i, kernel.S_REASON])]))
            for i in numbers[:_MOST_LISTED]
        ]
        if len(numbers) > _MOST_LISTED:
            rejected.append((-1, f"{len(numbers) - _MOST_LISTED:,} more spans cannot be read"))
        if self.broken:
            rejected.append((-1, "the request is cut off or broken; what could be read was read"))
        if self.too_many:
            rejected.append((-1, f"{self.too_many:,} spans beyond {kernel.MOST_SPANS:,} were not read"))
        return rejected

    def _unmapped(self) -> Counter[str]:
        hashes = np.zeros(_MOST_UNMAPPED, np.uint64)
        counts, rows = np.zeros(_MOST_UNMAPPED + 1, np.int64), np.zeros(_MOST_UNMAPPED, np.int64)
        kernel.count_unmapped(self.data, self.attributes, hashes, counts, rows)
        found: Counter[str] = Counter()
        for slot in np.flatnonzero(counts[:-1]):
            start, size = (int(self.attributes[rows[slot], i]) for i in (kernel.A_KEY, kernel.A_KEY_N))
            found[self.payload[start : start + min(size, 256)].decode(errors="replace")] += int(counts[slot])
        if counts[-1]:
            found["(other names)"] = int(counts[-1])
        return found

    def _columns(self, unmapped: Counter[str]) -> dict[str, pa.Array]:
        names, n = self.aliases, len(self.spans)
        best = np.full((len(names.columns), n), -1, np.int64)
        kernel.choose(self.spans, self.resources, self.attributes, names.column_of, names.rank_of, best)
        odd = OddCells(names, self.spans, self.resources, self.attributes, self.value, unmapped)
        odd.read_objects(best)
        columns = self._own_columns()
        for number, (column, section) in enumerate(names.columns.items()):
            if section in ("text", "messages"):
                columns[column] = self._text_column(best[number], column, odd)
            else:
                columns[column] = self._number_column(best[number], column, section, odd)
        odd.take_system(columns)
        failed = columns["error_type"].is_valid() if "error_type" in columns else pa.nulls(n, pa.bool_())
        code = self.spans[:, kernel.S_STATUS]
        bad = (code == 2) | ((code == 0) & np.asarray(failed.fill_null(False).to_numpy(zero_copy_only=False), np.bool_))
        columns["status"] = pa.DictionaryArray.from_arrays(bad.astype(np.int8), ["ok", "error"]).cast(pa.string())
        return columns

    def _text_column(self, best: _Whole, column: str, odd: OddCells) -> pa.Array:
        n = len(best)
        starts, lengths, slow = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
        messages = self.aliases.columns[column] == "messages" or column == "retrieved"
        count = kernel.text_cells(self.data, self.attributes, best, messages, starts, lengths, slow)
        texts = odd.texts(column, best, slow[:count])
        extra = bytearray()
        for row, text in texts.items():
            if text is None:
                lengths[row] = -1
                continue
            encoded = text.encode("utf-8", "replace")
            starts[row], lengths[row] = ~len(extra), len(encoded)
            extra += encoded
        total = int(np.maximum(lengths, 0).sum())
        out, offsets = np.empty(total, np.uint8), np.empty(n + 1, np.int64)
        kernel.gather(self.data, np.frombuffer(bytes(extra), np.uint8), starts, lengths, out, offsets)
        return _text_array(out, offsets, lengths >= 0)

    def _number_column(self, best: _Whole, column: str, section: str, odd: OddCells) -> pa.Array:
        n = len(best)
        if section == "boolean":
            flags, truth = odd.booleans(best)
            return pa.array(flags, mask=~truth)
        out, valid, slow = np.empty(n), np.empty(n, np.bool_), np.empty(n, np.int64)
        count = kernel.number_cells(self.attributes, best, self.aliases.factor_of, out, valid, slow)
        for row, number in odd.numbers(column, best, slow[:count]).items():
            if number is not None:
                out[row], valid[row] = number, True
        if section == "real":
            return pa.array(out, mask=~valid)
        valid &= (np.abs(out) <= 2**53) & (out == np.floor(out))
        return pa.array(np.where(valid, out, 0).astype(np.int64), mask=~valid)

    def _own_columns(self) -> dict[str, pa.Array]:
        """Ids and times."""
        spans, columns = self.spans, {}
        for name, start, size in (
            ("trace_id", kernel.S_TRACE, kernel.S_TRACE_N),
            ("span_id", kernel.S_ID, kernel.S_ID_N),
            ("parent_id", kernel.S_PARENT, kernel.S_PARENT_N),
        ):
            lengths = np.ascontiguousarray(spans[:, size])
            out, offsets = np.empty(2 * int(lengths.sum()), np.uint8), np.empty(len(spans) + 1, np.int64)
            kernel.write_hex(self.data, np.ascontiguousarray(spans[:, start]), lengths, out, offsets)
            columns[name] = _text_array(out, offsets, lengths > 0)
        begin, end = (spans[:, i].astype(np.uint64) for i in (kernel.S_START, kernel.S_END))
        ended = end > 0
        columns["ts_us"] = pa.array((begin // 1000).astype(np.int64))
        columns["end_us"] = pa.array((end // 1000).astype(np.int64), mask=~ended)
        passed = np.where(ended & (end >= begin), end - begin, 0).astype(np.float64) / 1e6
        columns["latency_ms"] = pa.array(passed, mask=~(ended & (end >= begin)))
        return columns


def _text_array(data: NDArray[np.uint8], offsets: _Whole, valid: NDArray[np.bool_]) -> pa.Array:
    size = int(offsets[-1])
    if size > _MOST_TEXT:
        raise DataError(
            "a request's text is too large for one column", seen=f"{size:,} bytes", next_step="send it in parts"
        )
    mask = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    text = pa.py_buffer(data[:size] if len(data) < 2 * size + 64 else data[:size].copy())
    return pa.StringArray.from_buffers(len(valid), pa.py_buffer(offsets.astype(np.int32)), text, mask)
