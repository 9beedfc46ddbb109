"""What a gate swears to: shares of documents and items with their intervals, each with a receipt that lets it be made again.

The computation ``corpus_share`` applies the specification to the scan again, or plants the same copies and items again, and
gives the same number. A launch bar reads these files like any other evidence: a go or no-go for data.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.compute as pc

from jurat.corpus.contamination import ContaminationSpec, find_contamination
from jurat.corpus.controls import plant_pairs, recall_curve
from jurat.corpus.decontaminate import benchmarks_of
from jurat.corpus.gate import Admission, decide_documents
from jurat.corpus.injection import check_search
from jurat.corpus.scan_spec import minhash_of
from jurat.corpus.shards import ShardFolder
from jurat.corpus.specification import DataSpecification, load_specification
from jurat.corpus.texts import sample_of
from jurat.errors import DataError, IntegrityError, UnknownName
from jurat.evidence.canonical import file_sha256
from jurat.evidence.estimate import Estimate, Evidence, InputFile, Receipt, Threshold
from jurat.evidence.recompute import environment
from jurat.stats.interval import proportion
from jurat.stats.inversion import one_sided_p_values
from jurat.stats.result import Interval

__all__ = ["COMPUTATION", "corpus_share", "gate_evidence", "gate_metrics"]

COMPUTATION = "corpus_share"
_PLANTED = 3000


def gate_metrics(specification: DataSpecification) -> list[str]:
    """Names of the numbers that a gate swears to, as far as its results go.

    Parameters
    ----------
    specification
        The data specification.
    """
    names = ["admitted_share", "rejected_share", "quarantined_share"]
    if specification.document.data.dedup:
        names.append("duplicate_recall")
    if specification.document.data.decontamination:
        folder = ShardFolder(specification.folder / specification.document.data.scan)
        names.append("benchmark_recall")
        names += [f"touched_items.{b['name']}" for b in folder.manifest()["benchmarks"]]
    return names


def gate_evidence(specification: DataSpecification, admission: Admission) -> list[Evidence]:
    """Evidence of a gate.

    Parameters
    ----------
    specification
        The data specification.
    admission
        What the gate decided by it.
    """
    started, clock = dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), time.perf_counter()
    folder = ShardFolder(specification.folder / specification.document.data.scan)
    inputs = tuple(_inputs(specification, folder))
    first, last = _crawled(folder)
    packages = environment()
    sworn, names = [], gate_metrics(specification)
    for name in specification.document.bar:
        if name not in names:
            raise UnknownName("number in [bar]", name, names, place=specification.path.name)
    for name in names:
        estimate = _estimate(specification, folder, name, admission)
        receipt = Receipt(
            computation=COMPUTATION,
            inputs=inputs,
            snapshot=folder.manifest()["digest"],
            code_sha256=specification.sha256,
            parameters={
                "spec": "specification.toml",
                "data": str(specification.folder.resolve()),
                "metric": name,
                "line": True,
                "arm": "admitted",
            },
            seed=0,
            engine="duckdb",
            engine_version=duckdb.__version__,
            packages=packages,
            started=started,
            seconds=round(time.perf_counter() - clock, 6),
        )
        sworn.append(Evidence(estimate=estimate, receipt=receipt, collected_from=first, collected_to=last))
    return sworn


def corpus_share(receipt: Receipt, *, root: Path) -> Estimate:
    """Make a gate's number again from its receipt.

    Parameters
    ----------
    receipt
        Of the computation ``corpus_share``.
    root
        Folder that holds the specification's copy.

    Raises
    ------
    IntegrityError
        Where specification or scan are not those of the receipt.
    """
    place = Path(str(receipt.parameters["data"]))
    copy = load_specification(root / str(receipt.parameters["spec"]))
    if copy.sha256 != receipt.code_sha256:
        raise IntegrityError(
            "the specification is not the one the number was made by",
            seen=f"SHA-256 {copy.sha256[:16]}…; the receipt names {receipt.code_sha256[:16]}…",
            next_step="restore it from an untouched copy",
        )
    specification = DataSpecification(path=place / "specification.toml", sha256=copy.sha256, document=copy.document)
    folder = ShardFolder(place / copy.document.data.scan)
    if folder.manifest(verify=True)["digest"] != receipt.snapshot:
        raise IntegrityError("the scan is not the one of the receipt", seen=str(folder.path), next_step="restore it")
    name = str(receipt.parameters["metric"])
    admission = decide_documents(specification, poison_alarms=0) if name.endswith("ed_share") else None
    return _estimate(specification, folder, name, admission)


def _estimate(
    specification: DataSpecification, folder: ShardFolder, name: str, admission: Admission | None
) -> Estimate:
    unit, interval = "document", None
    if name.endswith("ed_share") and admission is not None:
        count = {"admitted_share": admission.n_admitted, "rejected_share": admission.n_rejected,
                 "quarantined_share": admission.n_quarantined}[name]  # fmt: skip
        interval = proportion(count, admission.n_met)
    elif name == "duplicate_recall":
        unit, interval = "planted copy", _duplicate_recall(specification, folder)
    elif name == "benchmark_recall":
        unit, interval = "planted item", _benchmark_recall(folder)
    elif name.startswith("touched_items."):
        unit, interval = "item", _touched(folder, name.partition(".")[2])
    if interval is None:
        raise DataError("no such number of a gate", seen=name, next_step="name one that gate_metrics lists")
    return Estimate.from_interval(
        interval,
        metric=name,
        unit=unit,
        cluster="none",
        slice={"arm": "admitted"},
        threshold=_held(interval, specification.document.bar.get(name)),
    )


def _held(interval: Interval, limit: float | None) -> Threshold | None:
    """The share against the number that the specification sets it, by inverting its own interval."""
    if limit is None:
        return None
    if interval.value is None:
        return Threshold(value=limit, p_greater=1.0, p_less=1.0)
    found = round(interval.value * interval.n)
    p = one_sided_p_values(lambda level: proportion(found, interval.n, level=level), limit)
    return Threshold(value=limit, p_greater=p.p_greater, p_less=p.p_less)


def _duplicate_recall(specification: DataSpecification, folder: ShardFolder) -> Interval:
    """Copies of similarity .8 and more that the search finds again, planted in the scan's own sample."""
    dedup = json.loads((specification.folder / str(specification.document.data.dedup) / "dedup.json").read_bytes())
    minhash = minhash_of(folder)
    pairs = plant_pairs(sample_of(folder, most=2000).text, minhash, pairs=_PLANTED)
    return recall_curve(pairs, float(dedup["similarity"]), minhash)[-1].recall


def _benchmark_recall(folder: ShardFolder) -> Interval:
    """Planted items of all forms and tiers that the search finds again."""
    benchmarks = benchmarks_of(folder)
    found = find_contamination(folder, benchmarks)
    sample = sample_of(folder, most=1000)
    touched = set(found.pairs["document"].to_pylist())
    hosts = [text for row, text in zip(sample.rows, sample.text, strict=True) if int(row) not in touched]
    common = np.zeros(len(benchmarks.index), np.bool_)
    common[found.dropped["key"].to_numpy()] = True
    lines = [c for c in check_search(benchmarks, hosts, common, ContaminationSpec()) if c.kind == "planted"]
    n = sum(line.share.n for line in lines)
    return proportion(sum(round((line.share.value or 0) * line.share.n) for line in lines), n)


def _touched(folder: ShardFolder, name: str) -> Interval:
    """Touched items among the decidable ones of a benchmark."""
    found = find_contamination(folder, benchmarks_of(folder))
    for report in found.benchmarks:
        if report.name == name:
            return report.share
    raise DataError("the scan did not look for this benchmark", seen=name, next_step="scan with it")


def _inputs(specification: DataSpecification, folder: ShardFolder) -> Iterator[InputFile]:
    sources = specification.document.data
    names = [f"{sources.scan}/manifest.json"]
    names += [
        f"{sources.scan}/{part}/{r['name']}" for r in folder.manifest()["shards"] for part in ("shards", "samples")
    ]
    names += [f"{sources.dedup}/{n}" for n in ("duplicates.parquet", "dedup.json")] if sources.dedup else []
    names += [f"{sources.decontamination}/touched.parquet"] if sources.decontamination else []
    for name in sorted(names):
        path = specification.folder / name
        yield InputFile(path=name, size=path.stat().st_size, sha256=file_sha256(path))


def _crawled(folder: ShardFolder) -> tuple[str | None, str | None]:
    """First and last crawl; unknown where a document has none."""
    column = folder.column("crawled")["crawled"]
    if len(column) == 0 or column.null_count:
        return None, None
    ends = pc.min_max(column).as_py()
    return ends["min"].isoformat(), ends["max"].isoformat()
