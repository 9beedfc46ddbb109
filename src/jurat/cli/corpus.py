"""``jurat corpus …``: from raw crawl to training text."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jurat.cli.output import emit, table
from jurat.evidence.wording import three_digits

if TYPE_CHECKING:
    from jurat.stats.result import Interval

__all__ = ["decontaminate", "dedup", "extraction", "gate", "sample", "scan"]


def scan(
    inputs: list[Path],
    /,
    *,
    out: Path,
    benchmark: list[str] | None = None,
    text_field: str = "text",
    id_field: str | None = None,
    source: str | None = None,
    licence: str | None = None,
    language: Literal["none", "fasttext"] = "none",
    extractor: Literal["resiliparse", "trafilatura"] = "resiliparse",
    passages: bool = True,
    sample: int = 2000,
    workers: int | None = None,
    json: bool = False,
) -> int:
    """Scan documents once, into columns that everything after it reads.

    Parameters
    ----------
    inputs
        Files, folders and patterns: WARC, HTML, JSONL, CSV, Parquet, text, also packed as .gz or .zst.
    out
        Folder of the result. A scan that was stopped goes on where it was.
    benchmark
        NAME=PATH[:QUESTION[:ANSWER]] of a benchmark whose items are looked for; may be given several times.
    text_field
        Field of JSONL, CSV and Parquet that holds the text.
    id_field
        Field that holds the documents' ids; by default they are file and record number.
    source
        Source of all documents; by default each record's own, the host of its URL, or the folder's name.
    licence
        Licence of documents that name none.
    language
        Model that tells languages; fasttext comes with the extra "corpus".
    extractor
        How pages become text.
    passages
        Whether fingerprints of long passages are stored.
    sample
        Documents of each shard whose text is kept aside, for measuring.
    workers
        Processes; by default as many as processors. The result does not depend on it.
    json
        Print the result as JSON.
    """
    from jurat.corpus.benchmarks import BenchmarkSource
    from jurat.corpus.scan import scan as run
    from jurat.corpus.scan_spec import ScanSpec
    from jurat.text.passages import PassageSpec

    spec = ScanSpec(
        text_field=text_field,
        id_field=id_field,
        source=source,
        licence=licence,
        # A file named outright must have the field; in a folder there may be files of other kinds.
        missing_text="refuse" if all(path.is_file() for path in inputs) else "quarantine",
        language=language,
        extractor=extractor,
        passages=PassageSpec() if passages else None,
        sample=sample,
        benchmarks=tuple(BenchmarkSource.parse(text) for text in benchmark or ()),
    )
    _save_memory()
    found = run(inputs, out, spec, workers=workers, progress=_progress("scanned", 1 << 20, "MB"))
    lines = [
        f"{found.n_met:,} documents met = {found.n_read:,} read + {found.n_quarantined:,} quarantined",
        f"{found.n_words:,} words, {found.n_bytes / 1e6:,.1f} MB of text, {found.n_shards} shard(s)"
        + (f", {found.n_reused} of them there already" if found.n_reused else ""),
    ]
    if found.reasons:
        lines += ["", table(["quarantined because", "documents"], [[r, f"{n:,}"] for r, n in found.reasons.items()])]
    lines += ["", f"digest {found.digest}", f"next: jurat corpus dedup {out} --out DIR"]
    emit("\n".join(lines), {**asdict(found), "folder": str(found.folder)}, as_json=json)
    return 0


def dedup(
    scan: Path,
    /,
    *,
    out: Path,
    similarity: float = 0.75,
    prefer: Literal["first", "longest", "oldest", "newest"] = "first",
    verify_pairs: int = 200,
    passages: bool = True,
    seed: int = 0,
    json: bool = False,
) -> int:
    """Find exact and near duplicates, with the recall and precision that was reached on these documents.

    Parameters
    ----------
    scan
        Folder of a scan.
    out
        Folder of the result.
    similarity
        Least Jaccard similarity of word 5-grams.
    prefer
        Which of a group stays.
    verify_pairs
        Near pairs that are read again and compared exactly.
    passages
        Whether passages repeated across documents are looked for.
    seed
        Of planted copies and drawn pairs.
    json
        Print the result as JSON.
    """
    from jurat.corpus.dedup import DedupSpec
    from jurat.corpus.dedup_run import deduplicate
    from jurat.corpus.shards import ShardFolder
    from jurat.errors import UsageError

    if not 0 < similarity <= 1:
        raise UsageError(
            "a similarity lies above 0 and up to 1", seen=str(similarity), next_step="try --similarity 0.75"
        )
    _save_memory()
    found = deduplicate(
        ShardFolder(scan),
        out,
        DedupSpec(similarity=similarity, prefer=prefer),
        verify_pairs=verify_pairs,
        passages=passages,
        seed=seed,
        progress=_progress("compared", 1, "bands"),
    )
    lines = [
        f"{found.n_documents:,} documents = {found.n_stays:,} stay + {found.n_exact:,} exact + {found.n_format:,} same words"
        f" + {found.n_near:,} near; removed {_share(found.removed)}",
        f"{found.n_candidates:,} candidates compared, {found.n_edges:,} verified"
        + (f", {found.n_spared:,} at the end of chains stay" if found.n_spared else "")
        + (f", {found.n_capped:,} left uncompared in crowded buckets" if found.n_capped else ""),
    ]
    if found.largest_clusters:
        sizes = found.largest_clusters[:5]
        largest = (
            "none is larger than a pair"
            if sizes[0] == 2
            else "the largest hold " + ", ".join(map("{:,}".format, sizes))
        )
        lines.append(f"groups of copies: {largest}")
    if found.n_passages is not None:
        lines.append(
            f"{found.n_passages:,} passages are shared, by {found.n_passage_documents:,} of the documents that stay"
        )
    if found.recall:
        rows = [[f"{r.low:.1f} to {r.high:.1f}", _share(r.recall), "–" if r.expected is None else f"{r.expected:.3f}"]
                for r in found.recall]  # fmt: skip
        lines += ["", table(["planted, similarity", "found again", "bands alone promise"], rows)]
    if found.precision is not None:
        lines += ["", f"near pairs read again and truly alike: {_share(found.precision)}"]
    worst = [[s.source, _share(s.removed)] for s in found.by_source[:5] if s.removed.value]
    if worst:
        lines += ["", table(["source", "removed"], worst)]
    emit("\n".join(lines), found.document(), as_json=json)
    return 0


def decontaminate(
    scan: Path,
    /,
    *,
    out: Path,
    least_share: float = 0.5,
    most_documents: int = 50,
    scores: Path | None = None,
    seed: int = 0,
    json: bool = False,
) -> int:
    """Say which benchmark items the documents hold, what cannot be decided, and how well the search sees.

    Parameters
    ----------
    scan
        Folder of a scan that was made with --benchmark.
    out
        Folder of the result: touched documents and items, clean subsets, what was set aside.
    least_share
        Longest unbroken match, as a share of the item, from which it counts as touched.
    most_documents
        Runs of words in more documents than this are common property.
    scores
        Results of models by item (CSV, JSONL or Parquet with benchmark, item, model and score): what the touched items are worth.
    seed
        Of the planted items.
    json
        Print the result as JSON.
    """
    from jurat.corpus.contamination import ContaminationSpec
    from jurat.corpus.decontaminate import decontaminate as run
    from jurat.corpus.shards import ShardFolder

    spec = ContaminationSpec(least_share=least_share, most_documents=most_documents)
    found = run(ShardFolder(scan), out, spec, seed=seed)
    rows = [
        [
            b.name,
            f"{b.n_items:,}",
            f"{b.n_undecidable + b.n_common:,}",
            f"{b.n_touched:,}",
            _share(b.share),
            f"{b.n_documents:,}",
        ]
        for b in found.benchmarks
    ]
    lines = [table(["benchmark", "items", "undecidable", "touched", "of the decidable", "documents"], rows)]
    if found.n_dropped:
        lines += ["", f"{found.n_dropped:,} runs of words set aside as common property; in most documents:"]
        lines += [f"  {count:,} documents: {words}" for words, count in found.most_common[:3]]
    if found.controls:
        rows = [[c.kind, c.form, c.tier, _share(c.share)] for c in found.controls]
        lines += ["", table(["control", "form", "items", "found"], rows, left=3)]
    document = found.document()
    if scores is not None:
        from jurat.corpus.score_effect import score_effects

        effects = score_effects(scores, out / "items.parquet")
        rows = [
            [e.benchmark, e.model, _level(e.all_items), _level(e.clean), _level(e.matched), f"{e.strata}"]
            for e in effects
        ]
        header = ["benchmark", "model", "all items", "clean items", "touched less clean, equal difficulty", "strata"]
        lines += ["", table(header, rows, left=2)]
        document["scores"] = [asdict(e) for e in effects]
    emit("\n".join(lines), document, as_json=json)
    return 0


def extraction(
    inputs: list[Path], /, *, share: float = 0.01, seed: int = 0, threshold: float = 0.8, json: bool = False
) -> int:
    """Extract a random sample of pages with a second extractor too, and say how far the texts agree.

    Parameters
    ----------
    inputs
        WARC and HTML files, folders and patterns.
    share
        Share of the pages that is read twice.
    seed
        Of the draw.
    threshold
        Agreement (word F1) below which two texts count as disagreeing.
    json
        Print the result as JSON.
    """
    from jurat.corpus.extraction_audit import audit_extraction

    found = audit_extraction(inputs, share=share, seed=seed, threshold=threshold)
    lines = [
        f"{found.sampled:,} of {found.pages:,} pages read by {found.extractor} and by {found.reference}",
        f"agreement (word F1): {_level(found.agreement)}",
        f"pages that agree less than {threshold:g}: {_share(found.disagreeing)}",
    ]
    if found.worst:
        lines += ["", table(["page", "agreement"], [[p.doc_id, f"{p.f1:.3f}"] for p in found.worst[:5]])]
    emit("\n".join(lines), asdict(found), as_json=json)
    return 0


def gate(
    specification: Path, /, *, out: Path, audit: Path | None = None, write: bool = False, json: bool = False
) -> int:
    """Decide for each document whether it enters, by a data specification; pass or fail for the whole.

    Parameters
    ----------
    specification
        The file (TOML).
    out
        Folder of the result: a decision with rule and evidence for each document.
    audit
        Folder of an audit, for limits that ask for one.
    write
        Also write the admitted documents; a gate that fails writes none.
    json
        Print the result as JSON.
    """
    from jurat.corpus.gate_run import gate as run
    from jurat.evidence.keys import load_or_create_key

    found, document = run(specification, out, load_or_create_key(), audit=audit, write=write)
    lines = [
        found.verdict.upper(),
        f"{found.n_met:,} documents met = {found.n_admitted:,} admitted + {found.n_rejected:,} rejected"
        f" + {found.n_quarantined:,} quarantined",
    ]
    if found.rules:
        rows = [[r.name, r.action, f"{r.n_first:,}", f"{r.n_true:,}", _share(r.share)] for r in found.rules]
        lines += ["", table(["rule", "action", "decided", "true for", "of all"], rows, left=2)]
    lines += [""] if found.breaches else []
    for breach in found.breaches:
        lines.append(f"limit {breach.limit}: {breach.seen:.4g} where {breach.allowed:.4g} is allowed; {breach.detail}")
    lines += ["", f"decisions: {out / 'decisions.parquet'}"]
    if write:
        lines.append(f"admitted: {out / 'admitted'}" if found.verdict == "pass" else "nothing written: the gate failed")
    emit("\n".join(lines), document, as_json=json)
    return 0 if found.verdict == "pass" else 3


def sample(
    scan: Path,
    /,
    *,
    size: int | None = None,
    share: float | None = None,
    by: str = "source",
    allocation: Literal["proportional", "equal", "long"] = "proportional",
    seed: int = 0,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Draw documents: in proportion, equally, preferring long ones, or a nested share by hash.

    Parameters
    ----------
    scan
        Folder of a scan.
    size
        Documents to draw.
    share
        In place of a size: every document whose hashed id falls below this share; larger shares hold smaller ones.
    by
        Column whose values are the categories.
    allocation
        Exact counts in proportion, as many of each category, or as many of each with long documents preferred.
    seed
        Of the draw.
    out
        Write ids, categories and inclusion probabilities as Parquet.
    json
        Print the allocation as JSON.
    """
    from jurat.corpus.draw import draw_documents
    from jurat.corpus.shards import ShardFolder

    found = draw_documents(ShardFolder(scan), size=size, share=share, by=by, allocation=allocation, seed=seed, out=out)
    rows = [[c.name, f"{c.available:,}", f"{c.drawn:,}", f"{c.missing:,}"] for c in found.categories]
    text = table([by, "there are", "drawn", "missing"], rows)
    emit(f"{text}\n\n{found.n_drawn:,} of {found.n_available:,} documents", found.document(), as_json=json)
    return 0


def _save_memory() -> None:
    """Let Arrow use the system's allocator, which gives memory back; its own keeps about as much again as is in use."""
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())


def _share(interval: Interval) -> str:
    """A share with its interval and n."""
    if interval.value is None or interval.low is None or interval.high is None:
        return f"undefined ({interval.reason or 'nothing to count'})"
    low, high = three_digits(100 * interval.low), three_digits(100 * interval.high)
    return f"{three_digits(100 * interval.value)} % [{low}, {high}] n={interval.n:,}"


def _level(interval: Interval) -> str:
    """A number with its interval and n."""
    if interval.value is None or interval.low is None or interval.high is None:
        return f"undefined ({interval.reason})"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}] n={interval.n:,}"


def _progress(verb: str, unit: int, name: str) -> Callable[[int, int], None]:
    """Tell how far the work is, on stderr, where somebody watches a terminal."""

    def tell(done: int, of: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done >= of else ""
            print(f"\r{verb} {done // unit:,} of {of // unit:,} {name}", end=end, file=sys.stderr, flush=True)

    return tell
