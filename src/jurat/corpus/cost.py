"""What would a corpus of this size cost? Core-hours, money, shuffle and disk from rates that were measured.

A rate is CPU seconds for a gigabyte of UTF-8 text, as ``make bench-corpus`` measures it on the machine at hand. Stages that look
at one document at a time cost the same per gigabyte at any size; sorting bands costs a little more, which is counted. Storage,
network and failed machines are not in it: at these rates they, and not the kernels, decide.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jurat.errors import DataError

__all__ = ["CostPlan", "MeasuredRates", "StageCost", "cost_model", "read_rates"]

_ROWS = {
    "scan": "whole scan",
    "decontamination": "decontamination",
    "language": "language of the first kilobyte",
    "deduplication": "deduplication of the scan",
}
_SORTED = "deduplication"
_MEASURED_BYTES = 5e8
_KEY_AND_NUMBER = 16
_LABEL = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRates:
    """Rates of one machine.

    Attributes
    ----------
    seconds_per_gigabyte
        CPU seconds for a gigabyte of text, by stage.
    machine
        Processor and versions they were measured with.
    """

    seconds_per_gigabyte: dict[str, float]
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """One stage of the plan.

    Attributes
    ----------
    name
        The stage.
    seconds_per_gigabyte
        The rate it rests on.
    core_hours
        Hours of one core.
    dollars
        Their price.
    """

    name: str
    seconds_per_gigabyte: float
    core_hours: float
    dollars: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPlan:
    """What it takes.

    Attributes
    ----------
    terabytes, documents
        Size of the text, and how many documents that is.
    stages
        Cost by stage.
    core_hours, dollars
        Of all stages.
    node_hours
        On one machine with ``cores`` cores, if storage keeps up.
    cores
        Cores of that machine.
    input_bytes_per_second
        What storage must deliver for that, in bytes of text a second.
    kept_bytes
        Signatures and band keys of all documents.
    band_bytes, shuffle_bytes
        Keys with document numbers of one band, and of all bands.
    partitions, partition_bytes
        Parts into which a band is cut so that each is sorted in memory, and the size of one.
    label_bytes
        Labels of the documents that are in a verified pair: what the union of pairs holds in memory.
    """

    terabytes: float
    documents: float
    stages: tuple[StageCost, ...]
    core_hours: float
    dollars: float
    node_hours: float
    cores: int
    input_bytes_per_second: float
    kept_bytes: float
    band_bytes: float
    shuffle_bytes: float
    partitions: int
    partition_bytes: float
    label_bytes: float

    def __str__(self) -> str:
        lines = [f"{self.terabytes:g} TB of text, {self.documents / 1e9:.3g} billion documents"]
        lines += [
            f"  {s.name:<16} {s.seconds_per_gigabyte:7.2f} CPU s/GB {s.core_hours:10,.0f} core-hours  ${s.dollars:,.2f}"
            for s in self.stages
        ]
        lines += [
            f"  {'together':<16} {'':7}          {self.core_hours:10,.0f} core-hours  ${self.dollars:,.2f}",
            f"  {self.node_hours:,.1f} hours on {self.cores} cores, reading {self.input_bytes_per_second / 1e9:.2g} GB a second",
            f"  bands: {self.shuffle_bytes / 1e12:.2g} TB in all, {self.band_bytes / 1e9:,.0f} GB each, in {self.partitions:,} "
            f"parts of {self.partition_bytes / 1e6:,.0f} MB",
            f"  kept of each document: {self.kept_bytes / 1e12:.2g} TB; labels in memory: {self.label_bytes / 1e9:.2g} GB",
        ]  # fmt: skip
        return "\n".join(lines)


def read_rates(path: Path) -> MeasuredRates:
    """Take the rates from a benchmark's result.

    Parameters
    ----------
    path
        ``benchmarks/results/bench-corpus.json``.

    Returns
    -------
    MeasuredRates

    Raises
    ------
    DataError
        Where the file is missing or lacks a rate.
    """
    if not path.is_file():
        raise DataError("no measured rates", seen=str(path), next_step="run make bench-corpus")
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    rates = {}
    for stage, start in _ROWS.items():
        ours = [float(row["ours"]) for row in rows if row["name"].startswith(start) and row["unit"] == "CPU s/GB"]
        if not ours:
            raise DataError("a rate is missing", seen=f"no row {start!r} in {path}", next_step="run make bench-corpus")
        rates[stage] = ours[0]
    machine, versions = rows[0]["machine"], rows[0]["versions"]
    about = f"{machine['processor']}, Python {machine['python']}, Numba {versions['numba']}"
    return MeasuredRates(seconds_per_gigabyte=rates, machine=about)


def cost_model(
    rates: Mapping[str, float],
    terabytes: float,
    *,
    bytes_per_document: float = 3_400,
    cores: int = 64,
    dollars_per_core_hour: float = 0.04,
    share_linked: float = 0.3,
    partition_bytes: float = 5e8,
    bands: int = 14,
    permutations: int = 128,
) -> CostPlan:
    """Lay out what a corpus would take.

    Parameters
    ----------
    rates
        CPU seconds for a gigabyte of text, by stage; further stages of one's own (extraction, a classifier) count as given.
    terabytes
        Size of the text, in 10^12 bytes of UTF-8.
    bytes_per_document
        Mean size of a document.
    cores
        Cores of the machine that the hours are told for.
    dollars_per_core_hour
        Price of a core.
    share_linked
        Share of the documents that are in a verified pair.
    partition_bytes
        Largest part of a band that is sorted in memory.
    bands, permutations
        Of the signatures.

    Returns
    -------
    CostPlan

    Raises
    ------
    ValueError
        Where there is no rate, or a number that must be positive is not.

    Notes
    -----
    Deduplication sorts: its rate, measured on n documents, is multiplied by log N / log n for N documents. A document keeps
    ``permutations + 8 bands`` bytes; in a band it is a key and a number, 16 bytes.

    Examples
    --------
    >>> plan = cost_model({"scan": 30.0, "deduplication": 3.0}, 100, dollars_per_core_hour=0.05)
    >>> [(stage.name, round(stage.core_hours)) for stage in plan.stages]
    [('scan', 833), ('deduplication', 169)]
    >>> round(plan.dollars, 1), plan.partitions, round(plan.band_bytes / 1e9)
    (50.1, 1024, 471)
    """
    numbers = {
        "terabytes": terabytes, "bytes_per_document": bytes_per_document, "cores": cores, "partition_bytes": partition_bytes,
        "dollars_per_core_hour": dollars_per_core_hour, "bands": bands, "permutations": permutations,
    }  # fmt: skip
    wrong = {name: value for name, value in numbers.items() if not (value > 0 and math.isfinite(value))}
    wrong |= {f"rates[{name!r}]": rate for name, rate in rates.items() if not (rate > 0 and math.isfinite(rate))}
    if wrong or not rates:
        raise ValueError(f"rates and sizes must be positive numbers, got {wrong or 'no rate'}")
    if not 0 <= share_linked <= 1:
        raise ValueError(f"share_linked must be between 0 and 1, got {share_linked}")
    documents = terabytes * 1e12 / bytes_per_document
    measured = _MEASURED_BYTES / bytes_per_document
    stages = []
    for name, rate in rates.items():
        growth = max(1.0, math.log(documents) / math.log(measured)) if name == _SORTED else 1.0
        hours = rate * growth * terabytes * 1e3 / 3_600
        stages.append(
            StageCost(name=name, seconds_per_gigabyte=rate, core_hours=hours, dollars=hours * dollars_per_core_hour)
        )
    core_hours = sum(stage.core_hours for stage in stages)
    band = _KEY_AND_NUMBER * documents
    partitions = 1 << max(0, math.ceil(math.log2(band / partition_bytes)))
    return CostPlan(
        terabytes=terabytes,
        documents=documents,
        stages=tuple(stages),
        core_hours=core_hours,
        dollars=core_hours * dollars_per_core_hour,
        node_hours=core_hours / cores,
        cores=cores,
        input_bytes_per_second=terabytes * 1e12 / (core_hours / cores * 3_600),
        kept_bytes=documents * (permutations + 8 * bands),
        band_bytes=band,
        shuffle_bytes=band * bands,
        partitions=partitions,
        partition_bytes=band / partitions,
        label_bytes=documents * share_linked * _LABEL,
    )
