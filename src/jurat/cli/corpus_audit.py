"""``jurat corpus audit``: what a corpus is made of, whom it serves badly, and what looks planted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jurat.cli.output import emit, table

if TYPE_CHECKING:
    from jurat.corpus.audit import AuditResult

__all__ = ["audit"]


def audit(
    scan: Path,
    /,
    *,
    out: Path,
    dedup: Path | None = None,
    reference: Path | None = None,
    attributes: Path | None = None,
    labels: Path | None = None,
    runs: int = 20,
    seed: int = 0,
    json: bool = False,
) -> int:
    """Audit a scan: copies, variety, mix, shift, bias and poison, each with its interval, on one page.

    Parameters
    ----------
    scan
        Folder of a scan; its inputs are read again.
    out
        Folder of the result: audit.json and audit.html.
    dedup
        Folder of a deduplication of the scan, for copies by source and month.
    reference
        Folder of another scan to compare with.
    attributes
        File (TOML) of groups: a table each attribute, a group a line, as an SQL condition or a list of terms.
    labels
        File (CSV, JSONL or Parquet) with doc_id and label: what goes with a label is looked for.
    runs
        Repetitions of planted poison at each size.
    seed
        Of all draws.
    json
        Print the result as JSON.
    """
    import sys

    from jurat.corpus.audit import audit as run
    from jurat.corpus.bias import load_attributes
    from jurat.corpus.poison_labels import load_labels
    from jurat.corpus.shards import ShardFolder
    from jurat.errors import UsageError

    if runs < 1:
        raise UsageError("runs are counted from 1", seen=str(runs), next_step="say how often to plant, 20 for one")

    def step(name: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{name:<40}", end="", file=sys.stderr, flush=True)

    found = run(
        ShardFolder(scan),
        out,
        dedup=dedup,
        reference=None if reference is None else ShardFolder(reference),
        seed=seed,
        attributes=None if attributes is None else load_attributes(attributes),
        labels=None if labels is None else load_labels(labels),
        runs=runs,
        progress=step,
    )
    step("")
    emit(_text(found, out), found.document(), as_json=json)
    return 0


def _text(found: AuditResult, out: Path) -> str:
    from dataclasses import asdict

    from jurat.corpus.audit_figures import value_text

    def said(interval: object, *, share: bool = False) -> str:
        return value_text(asdict(interval), share=share)  # type: ignore[call-overload]

    rows = [["documents", f"{found.n_documents:,}"], ["words", f"{found.n_words:,}"]]
    if found.duplication is not None:
        rows.append(["copies", said(found.duplication.removed, share=True)])
    rows += [
        [f"effective number of {'entries' if m.name == 'unknown' else m.name + 's'}", said(m.effective)]
        for m in found.mix
    ]
    names = {
        "words": "weighted by words (Kish)",
        "clusters_1": "copies as one, Hill 1",
        "clusters_2": "copies as one, Hill 2",
    }
    rows += [[f"effective documents, {names[name]}", said(value)] for name, value in found.effective.items()]
    whole = found.variety[0]
    rows += [[f"distinct {n}-grams", said(interval, share=True)] for n, interval in whole.distinct.items()]
    rows.append(["compression ratio", said(whole.compression)])
    if found.shift is not None:
        rows += [[f"shift of {c.name}, bits", said(c.jensen_shannon)] for c in found.shift.categories]
        rows.append(["shift of words, bits", said(found.shift.words.jensen_shannon)])
    if found.contradictions is not None:
        rows.append(["contradictions, alike pairs", said(found.contradictions.rate, share=True)])
    rows += [[f"{b.attribute}: {b.group}", said(b.representation, share=True)] for b in found.bias]
    lines = [table(["", "value"], rows, left=2), ""]
    if found.poison is not None:
        lines.append(f"{len(found.poison.alarms):,} poison alarms among {found.poison.n_tested:,} n-grams")
        lines += [
            f"■ {', '.join([a.ngram, *a.also[:4]])!r}: {said(a.followed, share=True)}, {', '.join(a.signs)}"
            for a in found.poison.alarms[:5]
        ]
    if found.power is not None and found.power.lines:
        power = [[f"{line.documents:,} planted", said(line.found, share=True)] for line in found.power.lines]
        power.append(["nothing planted", said(found.power.false_alarms, share=True)])
        lines += ["", table(["poison", "runs with an alarm"], power, left=2)]
    if found.not_assessed:
        lines += ["", "not looked at:", *[f"▲ {reason}" for reason in found.not_assessed]]
    lines += ["", f"report: {out / 'audit.html'}"]
    return "\n".join(lines)
