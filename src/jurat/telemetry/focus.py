"""Invoices and usage as files: FOCUS 1.2 columns in, the records of any scheduler by a mapping, FOCUS 1.2 columns out."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from jurat.errors import DataError, UnknownName, UsageError
from jurat.store.coercion import coerce
from jurat.store.durable import write_atomically
from jurat.store.importers import FileDigest, Record, Rejected, file_format, read_records
from jurat.telemetry.cost_lines import Attribution
from jurat.telemetry.cost_records import NANO, Charge, Usage, minor_digits

__all__ = ["CHARGE_COLUMNS", "USAGE_COLUMNS", "focus_table", "read_charges", "read_usage", "write_focus"]

CHARGE_COLUMNS = (
    "ChargePeriodStart", "ChargePeriodEnd", "BilledCost", "BillingCurrency", "InvoiceId", "ServiceName", "SkuId",
    "ResourceId", "ConsumedQuantity", "ConsumedUnit",
)  # fmt: skip
"""FOCUS 1.2 columns that are read; the first four must be there."""

USAGE_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "start": ("start", "started", "start_time", "Start"),
    "end": ("end", "ended", "end_time", "End"),
    "experiment": ("experiment", "experiment_id", "experiment_name"),
    "run": ("run", "run_id"),
    "person": ("person", "user", "user_id", "User"),
    "job": ("job", "job_id", "JobID"),
    "gpu": ("gpu", "gpu_id", "resource", "resource_id", "node"),
    "gpus": ("gpus", "n_gpus", "gpu_count"),
    "sku": ("sku", "sku_id", "model", "gpu_type"),
    "tokens": ("tokens", "n_tokens", "total_tokens"),
}
"""What a usage record may hold, and the names it is usually called by; the start must be there."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_TIME, _WHOLE, _TEXT, _REAL = pa.timestamp("us", tz="UTC"), pa.int64(), pa.string(), pa.float64()
Take = Callable[[str, pa.DataType], Any]


def read_charges(paths: Sequence[Path], *, columns: Mapping[str, str] | None = None) -> list[Charge]:
    """Read invoices.

    Parameters
    ----------
    paths
        CSV, JSONL or Parquet files with FOCUS 1.2 columns.
    columns
        Their name for one of ours, where it differs: ``{"BilledCost": "EffectiveCost"}``.

    Raises
    ------
    DataError
        With file and line, where a line has no amount, ends before it starts, is negative or cannot be read.
    UnknownName
        For a currency, or a name of a mapping, that is not known.
    """
    names = _mapped({name: (name,) for name in CHARGE_COLUMNS}, columns)
    found = []
    for place, take in _rows(paths, names, CHARGE_COLUMNS[:4]):
        currency = take("BillingCurrency", _TEXT)
        try:
            digits = minor_digits(currency)
        except UnknownName as error:
            raise UnknownName("currency", currency, error.known, place=place) from error
        found.append(
            Charge(
                start_us=_microseconds(take("ChargePeriodStart", _TIME)),
                end_us=_microseconds(take("ChargePeriodEnd", _TIME)),
                billed=_nano(take("BilledCost", _TEXT), digits, place),
                currency=currency,
                invoice=take("InvoiceId", _TEXT) or "",
                service=take("ServiceName", _TEXT) or "",
                sku=take("SkuId", _TEXT) or "",
                resource=take("ResourceId", _TEXT) or "",
                quantity=take("ConsumedQuantity", _REAL),
                unit=take("ConsumedUnit", _TEXT) or "",
                place=place,
            )
        )
    return found


def read_usage(paths: Sequence[Path], *, columns: Mapping[str, str] | None = None) -> list[Usage]:
    """Read records of schedulers and of tokens.

    Parameters
    ----------
    paths
        CSV, JSONL or Parquet files.
    columns
        Their name for one of `USAGE_COLUMNS`, where it is none of the usual ones: ``{"person": "submitted_by"}``.

    Raises
    ------
    DataError
        With file and line, where a record has no start, ends before it starts, is negative or cannot be read.
    UnknownName
        For a name of the mapping that no record has.
    """
    names = _mapped(USAGE_COLUMNS, columns)
    found = []
    for place, take in _rows(paths, names, ("start",)):
        end, gpus = take("end", _TIME), take("gpus", _WHOLE)
        found.append(
            Usage(
                start_us=_microseconds(take("start", _TIME)),
                end_us=None if end is None else _microseconds(end),
                experiment=take("experiment", _TEXT),
                run=take("run", _TEXT),
                person=take("person", _TEXT),
                job=take("job", _TEXT),
                gpu=take("gpu", _TEXT) or "",
                gpus=1 if gpus is None else gpus,
                sku=take("sku", _TEXT) or "",
                tokens=take("tokens", _WHOLE),
                place=place,
            )
        )
    return found


def _mapped(usual: Mapping[str, tuple[str, ...]], columns: Mapping[str, str] | None) -> dict[str, tuple[str, ...]]:
    for name in columns or {}:
        if name not in usual:
            raise UnknownName("column", name, usual, place="the mapping")
    return {name: (columns[name],) if columns and name in columns else theirs for name, theirs in usual.items()}


def _rows(
    paths: Sequence[Path], names: Mapping[str, tuple[str, ...]], required: Sequence[str]
) -> Iterator[tuple[str, Take]]:
    """Place and reader of every record; a file that has none of a column's names is told."""
    for path in paths:
        if not path.is_file():
            raise DataError("no such file", seen=str(path), next_step="give CSV, JSONL or Parquet files")
        rejected: list[Rejected] = []
        missing = {theirs[0] for theirs in names.values() if len(theirs) == 1 and theirs[0] not in names}
        known: set[str] = set()
        for record in read_records(
            path, name=path.name, kind=file_format(path), rejected=rejected, digest=FileDigest()
        ):
            known |= record.fields.keys()
            yield f"{path.name}, line {record.line}", _taker(record, path.name, names, required)
        if rejected:
            first = rejected[0]
            raise DataError(
                f"{first.file}, line {first.line}: the record cannot be read",
                seen=first.reason,
                next_step="mend the file: money is not counted by halves",
            )
        for name in sorted(missing - known):
            raise UnknownName("column", name, known, place=path.name)


def _taker(record: Record, file: str, names: Mapping[str, tuple[str, ...]], required: Sequence[str]) -> Take:
    def take(name: str, kind: pa.DataType) -> Any:
        raw = next((record.fields[theirs] for theirs in names[name] if theirs in record.fields), None)
        place = f"{file}, line {record.line}"
        try:
            value = coerce(raw, kind)
        except ValueError as error:
            raise DataError(f"{place}: {name} cannot be read", seen=str(error), next_step="mend the record") from error
        if value is None and name in required:
            near = ", ".join(map(str, record.fields))
            raise DataError(
                f"{place}: {name} is missing",
                seen=f"columns {near}"[:300],
                next_step=f"give it, or say which column it is: {name}=THEIRS",
            )
        return value

    return take


def _microseconds(time: dt.datetime) -> int:
    return (time - _EPOCH) // dt.timedelta(microseconds=1)


def _nano(text: str, digits: int, place: str) -> int:
    """An amount in billionths of the smallest unit: exact to eleven decimals of a dollar."""
    try:
        amount = decimal.Decimal(text)
        if not amount.is_finite() or abs(amount) > 10**15:
            raise ValueError(text)
    except (decimal.InvalidOperation, ValueError) as error:
        raise DataError(f"{place}: BilledCost is no amount", seen=repr(text)[:60], next_step="mend the line") from error
    with decimal.localcontext() as context:
        context.prec = 60
        return int((amount.scaleb(digits) * NANO).to_integral_value(decimal.ROUND_HALF_EVEN))


def focus_table(attribution: Attribution) -> pa.Table:
    """Lines as FOCUS 1.2 columns.

    Parameters
    ----------
    attribution
        What `jurat.telemetry.cost.attribute_costs` found.

    Returns
    -------
    pa.Table
        A row a line. ``Tags`` holds kind, experiment, run and person as JSON. Columns of FOCUS that an attribution does not
        touch (accounts, prices, commitments) are not made up.
    """
    lines = attribution.lines
    digits = max((minor_digits(line.currency) for line in lines), default=2)
    tags = [
        {"kind": line.kind, "experiment": line.experiment, "run": line.run, "person": line.person} for line in lines
    ]
    amounts = [decimal.Decimal(line.minor).scaleb(-minor_digits(line.currency)) for line in lines]
    texts = {
        "InvoiceId": [line.invoice or None for line in lines],
        "ServiceName": [line.service or None for line in lines],
        "SkuId": [line.sku or None for line in lines],
        "ConsumedUnit": [line.unit.capitalize() or None for line in lines],
        "Tags": [json.dumps({k: v for k, v in tag.items() if v is not None}, ensure_ascii=False) for tag in tags],
    }
    columns = {
        "ChargePeriodStart": pa.array([line.start_us for line in lines], _WHOLE).cast(_TIME),
        "ChargePeriodEnd": pa.array([line.end_us for line in lines], _WHOLE).cast(_TIME),
        "BilledCost": pa.array(amounts, pa.decimal128(30, digits)),
        "BillingCurrency": pa.array([line.currency for line in lines], _TEXT),
        "ChargeCategory": pa.array(["Usage"] * len(lines), _TEXT),
        "ConsumedQuantity": pa.array([line.quantity for line in lines], _REAL),
        **{name: pa.array(values, _TEXT) for name, values in texts.items()},
    }
    return pa.table(columns)


def write_focus(attribution: Attribution, path: Path) -> None:
    """Write lines as a CSV, JSONL or Parquet file with FOCUS 1.2 columns, whole or not at all.

    Raises
    ------
    UsageError
        Where the suffix is none of these.
    """
    table = focus_table(attribution)
    sink = pa.BufferOutputStream()
    if path.suffix == ".parquet":
        pq.write_table(table, sink)
    elif path.suffix in (".csv", ".jsonl"):
        moments = ("ChargePeriodStart", "ChargePeriodEnd")
        for name in moments:
            place = table.schema.get_field_index(name)
            told = [moment.isoformat().replace("+00:00", "Z") for moment in table[name].to_pylist()]
            table = table.set_column(place, name, pa.array(told, _TEXT))
        if path.suffix == ".csv":
            pyarrow.csv.write_csv(_inert(table), sink)
        else:
            place = table.schema.get_field_index("BilledCost")
            table = table.set_column(place, "BilledCost", table["BilledCost"].cast(_TEXT))
            for row in table.to_pylist():
                sink.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
    else:
        raise UsageError(
            "the format is not known", seen=path.name, next_step="end the name with .csv, .jsonl or .parquet"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, sink.getvalue().to_pybytes())


def _inert(table: pa.Table) -> pa.Table:
    """Names that a spreadsheet would run as a formula, with an apostrophe before them."""
    for name in ("InvoiceId", "ServiceName", "SkuId"):
        told = [f"'{v}" if v and v[0] in "=+-@\t\r" else v for v in table[name].to_pylist()]
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(told, _TEXT))
    return table
