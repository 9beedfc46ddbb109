"""What every review leaves in its folder: results, page, evidence, waivers, and a ledger that swears to all of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jurat.evidence.estimate import Evidence
from jurat.evidence.keys import SigningKey
from jurat.evidence.ledger import Ledger
from jurat.launch.bar import Bar
from jurat.launch.dossier import render_dossier
from jurat.launch.files import files_in
from jurat.launch.waiver import Waiver
from jurat.metrics.loader import Metric

__all__ = ["save_json", "save_waivers", "write_ledger", "write_results"]


def write_results(
    stage: Path,
    document: Mapping[str, Any],
    every: Sequence[Evidence],
    bar: Bar,
    catalog: Mapping[str, Metric],
) -> None:
    """Write verdict, page and one file per number."""
    folder = stage / "evidence"
    folder.mkdir()
    for evidence in every:
        save_json(folder / f"{evidence.digest}.json", evidence.to_json())
    save_json(stage / "verdict.json", document)
    page = render_dossier(
        document,
        bar_text=bar.path.read_text(encoding="utf-8"),
        metric_texts={name: catalog[name].text for name in bar.metric_names()},
    )
    (stage / "dossier.html").write_text(page, encoding="utf-8")


def save_waivers(stage: Path, waivers: Sequence[Waiver]) -> None:
    """Keep the signed files, in the order they were handed in."""
    if waivers:
        (stage / "waivers").mkdir()
    for index, waiver in enumerate(waivers):
        (stage / "waivers" / f"{index:03d}.json").write_bytes(waiver.raw)


def save_json(path: Path, document: Any) -> None:
    """Write a document as JSON that people can read."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, sort_keys=False)
    path.write_text(text + "\n", encoding="utf-8")


def write_ledger(stage: Path, document: Mapping[str, Any], every: Sequence[Evidence], key: SigningKey) -> None:
    """Swear to it: bar, evidence, verdict, and last of all every file of the folder."""
    ledger = Ledger(stage / "ledger.jsonl", key)
    ledger.append("bar", {"title": document["title"], **document["bar"]})
    for evidence in every:
        ledger.append(
            "evidence",
            {"digest": evidence.digest, "metric": evidence.estimate.metric, "snapshot": evidence.receipt.snapshot},
        )
    for waiver in document["waivers"]:
        ledger.append("waiver", waiver)
    ledger.append(
        "verdict",
        {"verdict": document["verdict"], "retrospective": document["retrospective"], "reasons": document["reasons"]},
    )
    ledger.append("files", {f.path: {"size": f.size, "sha256": f.sha256} for f in files_in(stage)})
