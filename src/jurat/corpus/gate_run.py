"""The gate as a result: a decision for each document, the admitted text where wanted, and an entry in the ledger."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jurat.corpus.dedup_run import write_table
from jurat.corpus.evidence import gate_evidence
from jurat.corpus.gate import Admission, RuleLine, decide_documents
from jurat.corpus.scan_spec import read_unit, spec_of
from jurat.corpus.shards import ShardFolder
from jurat.corpus.specification import DataSpecification, load_specification
from jurat.corpus.texts import input_files
from jurat.errors import DataError
from jurat.evidence.canonical import canonical_json, file_sha256
from jurat.evidence.keys import SigningKey, home
from jurat.evidence.ledger import Ledger
from jurat.store.durable import fsync_file, make_folder, write_atomically

__all__ = ["gate", "gate_document", "write_admitted"]

_SOURCES_SHOWN = 20


def gate(
    specification: Path, out: Path, key: SigningKey, *, audit: Path | None = None, write: bool = False
) -> tuple[Admission, dict[str, Any]]:
    """Apply a data specification, write its decisions, and enter them into the ledger.

    Parameters
    ----------
    specification
        The file.
    out
        Gets ``decisions.parquet``, ``gate.json``, the specification's copy and, where wanted, ``admitted/``.
    key
        Signs the entry.
    audit
        Folder of an audit, for limits that ask for one.
    write
        Whether the admitted documents are read again and written as Parquet, a file a shard; a gate that fails writes none,
        for what stands in a folder gets used.

    Returns
    -------
    Admission, dict
        The answer, and the document that was written.
    """
    loaded = load_specification(specification)
    admission = decide_documents(loaded, poison_alarms=_alarms(audit))
    folder = ShardFolder(loaded.folder / loaded.document.data.scan)
    make_folder(out)
    write_table(out / "decisions.parquet", admission.decisions, folder)
    shutil.copyfile(specification, out / "specification.toml")
    if write and admission.verdict == "pass":
        write_admitted(folder, admission, out / "admitted")
    document = gate_document(loaded, folder, admission, file_sha256(out / "decisions.parquet"))
    write_atomically(out / "gate.json", canonical_json(document))
    _swear(loaded, admission, out)
    Ledger(home() / "ledger.jsonl", key).append(
        "corpus.gated",
        {
            "id": loaded.document.id, "verdict": admission.verdict, "specification_sha256": loaded.sha256,
            "scan": document["scan"], "decisions_sha256": document["decisions_sha256"], "n_met": admission.n_met,
            "n_admitted": admission.n_admitted,
        },
    )  # fmt: skip
    return admission, document


def _swear(specification: DataSpecification, admission: Admission, out: Path) -> None:
    """Evidence for a launch bar, and the limits as its checks."""
    shutil.rmtree(out / "evidence", ignore_errors=True)
    make_folder(out / "evidence")
    for one in gate_evidence(specification, admission):
        write_atomically(out / "evidence" / f"{one.digest}.json", canonical_json(one.to_json()))
    passed = {breach.limit: breach.detail for breach in admission.breaches}
    checks = [
        {
            "name": limit, "status": "failed" if limit in passed else "passed",
            "detail": passed.get(limit, "within its limit"), "n": admission.n_met, "method": "limit of the specification",
            "p_value": None,
        }
        for limit in specification.document.limits.assessed()
    ]  # fmt: skip
    write_atomically(out / "result.json", canonical_json({"format": "jurat-corpus-gate-checks/1", "checks": checks}))


def gate_document(
    specification: DataSpecification, folder: ShardFolder, admission: Admission, decisions: str
) -> dict[str, Any]:
    """The gate's answer as plain values."""
    return {
        "format": "jurat-corpus-gate/1",
        "id": specification.document.id,
        "question": specification.document.question,
        "specification_sha256": specification.sha256,
        "scan": folder.manifest()["digest"],
        "decisions_sha256": decisions,
        "verdict": admission.verdict,
        "n_met": admission.n_met,
        "n_admitted": admission.n_admitted,
        "n_rejected": admission.n_rejected,
        "n_quarantined": admission.n_quarantined,
        "rules": [{**asdict(line), "by_source": _hardest(line)} for line in admission.rules],
        "breaches": [asdict(breach) for breach in admission.breaches],
    }


def _hardest(line: RuleLine) -> list[dict[str, Any]]:
    return [{"source": source, "share": asdict(share)} for source, share in line.by_source[:_SOURCES_SHOWN]]


def write_admitted(folder: ShardFolder, admission: Admission, out: Path) -> None:
    """Write the admitted documents with their provenance, shard by shard, each file whole or not there.

    Parameters
    ----------
    folder
        The scan.
    admission
        Whose documents are admitted.
    out
        Folder of the files.
    """
    make_folder(out)
    admitted = np.asarray(pc.equal(admission.decisions["decision"], "admit").to_numpy(zero_copy_only=False), np.bool_)
    units, spec, first = input_files(folder), spec_of(folder), 0
    for record in folder.manifest()["shards"]:
        target, place = out / record["name"], first
        hidden = target.with_name(f".{record['name']}")
        writer: pq.ParquetWriter | None = None
        for batch in read_unit([units[i["path"]] for i in record["inputs"]], spec):
            chosen = admitted[place : place + len(batch)]
            if writer is None:
                writer = pq.ParquetWriter(hidden, batch.schema, compression="zstd")
            writer.write_batch(batch.filter(pa.array(chosen)))
            place += len(batch)
        if writer is not None:
            writer.close()
            fsync_file(hidden)
            hidden.replace(target)
        first += int(record["rows"])


def _alarms(audit: Path | None) -> int | None:
    if audit is None:
        return None
    path = audit / "audit.json"
    if not path.is_file():
        raise DataError(
            "no audit in this folder", seen=str(path), next_step="make one: jurat corpus audit SCAN --out DIR"
        )
    poison = json.loads(path.read_bytes()).get("poison")
    return None if poison is None else len(poison["alarms"])
