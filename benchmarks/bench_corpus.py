"""Raw text to a corpus, beside what one would use instead: bands, decontamination, quality counters, TF-IDF, memory.

CPU time of one process and of all its threads; peers run in this same run, each in a process of its own (`corpus_peers`), on a
sample that it gets through in reasonable time. Speed is told in CPU seconds for a gigabyte of text, so that the ratio is the
peer's over ours. The corpus is built from this machine's own text (`corpus_material`); ``JURAT_BENCH_MB`` sets its size.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.corpus_material import Material, build_corpus
from benchmarks.corpus_peers import DAFT, DATASKETCH, DATATROVE, RENSA, run_peer
from benchmarks.record import RESULTS, Row, limit_row, report, row_of, side_by_side
from jurat.corpus.benchmarks import NGRAM, BenchmarkSource, load_benchmarks
from jurat.corpus.contamination import ContaminationSpec
from jurat.corpus.cost import cost_model, read_rates
from jurat.corpus.injection import check_search
from jurat.corpus.language import FastTextLanguage
from jurat.text.column import TextColumn
from jurat.text.minhash import band_keys, compact, signatures
from jurat.text.neighbours import agreement_needed
from jurat.text.overlap import build_index, find_ngrams
from jurat.text.quality import quality_counters
from jurat.text.tfidf import tfidf
from jurat.text.words import hash_words

MEGABYTES = float(os.environ.get("JURAT_BENCH_MB", "500"))
PLACE = Path(os.environ.get("JURAT_BENCH_FOLDER", Path(tempfile.gettempdir()) / "jurat-bench-corpus"))
SLICE = 1 << 20
THRESHOLD = 0.75
KEYS = int(os.environ.get("JURAT_BENCH_KEYS", "10000000"))
UNIT = "CPU s/GB"
DATA = Path(os.environ.get("JURAT_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def slices(column: TextColumn, size: int = SLICE) -> Iterator[TextColumn]:
    """Runs of whole documents of about a megabyte, as a scan takes them."""
    first, n = 0, len(column)
    while first < n:
        last = int(np.searchsorted(column.offsets, column.offsets[first] + size, side="right")) - 1
        last = min(max(last, first + 1), n)
        yield TextColumn(data=column.data, offsets=column.offsets[first : last + 1], valid=column.valid[first:last])
        first = last


def per_gigabyte(work: Callable[[TextColumn], Any], column: TextColumn, rounds: int = 3) -> float:
    """CPU seconds for a gigabyte, the best round; compiled and warmed on the first slice."""
    parts = list(slices(column))
    work(parts[0])
    best = float("inf")
    for _ in range(rounds):
        begin = time.process_time()
        for part in parts:
            work(part)
        best = min(best, time.process_time() - begin)
    return best / column.n_bytes * 1e9


def bands(column: TextColumn) -> np.ndarray:
    """From text to 14 bands of 8 rows."""
    return band_keys(signatures(hash_words(column)))


def peer_row(name: str, ours: float, code: str, sample: Path, n: int, *, peer_name: str, goal: float) -> Row:
    """Ours against a peer's program on the first ``n`` documents."""
    found = run_peer(code, sample, n)
    if found is None:
        return row_of(name, ours, None, peer_name=f"{peer_name}, missing", goal=goal, unit=UNIT)
    return row_of(name, ours, found["seconds"] / found["bytes"] * 1e9, peer_name=peer_name, goal=goal, unit=UNIT)


def band_rows(column: TextColumn, sample: Path) -> list[Row]:
    """Text to bands against peers, against our own tokeniser alone, and on two threads."""
    whole = per_gigabyte(bands, column)
    words = per_gigabyte(hash_words, column)
    parts = list(slices(column, 4 * SLICE))
    wall = {1: float("inf"), 2: float("inf")}
    for _ in range(5):
        for threads in wall:
            with ThreadPoolExecutor(threads) as pool:
                begin = time.perf_counter()
                list(pool.map(bands, parts))
                wall[threads] = min(wall[threads], time.perf_counter() - begin)
    return [
        peer_row("text to bands", whole, DAFT, sample, 10_000, peer_name="Daft normalize + minhash", goal=10.0),
        peer_row("text to bands", whole, RENSA, sample, 1_500, peer_name="rensa, shingles in Python", goal=40.0),
        peer_row("text to bands", whole, DATASKETCH, sample, 500, peer_name="datasketch", goal=150.0),
        row_of("text to bands, as a share of words alone", whole, words, peer_name="own words", goal=0.40, unit=UNIT),
        row_of("text to bands, two threads", wall[2], wall[1], peer_name="one thread", goal=1.8, unit="wall s"),
    ]


def accuracy_rows(column: TextColumn, material: Material) -> list[Row]:
    """Planted pairs: error of the estimate, recall and false links after verification, all on the corpus itself."""
    minima = signatures(hash_words(column))
    left, right, exact = material.left, material.right, material.similarity
    keys, short = band_keys(minima), compact(minima)
    estimate = (minima[left] == minima[right]).mean(axis=1)
    theory = float(np.sqrt(np.mean(exact * (1 - exact)) / minima.shape[1]))
    error = float(np.sqrt(np.mean((estimate - exact) ** 2)))
    candidate = (keys[left] == keys[right]).any(axis=1)
    linked = candidate & ((short[left] == short[right]).sum(axis=1) >= agreement_needed(THRESHOLD, minima.shape[1]))
    high, low = exact >= 0.8, exact < 0.6
    print(f"{len(exact):,} planted pairs, {high.sum():,} with J >= .8, {low.sum():,} with J < .6")
    return [
        row_of("error of the estimated similarity", error, theory, peer_name="theory", goal=1.05, at_most=True, unit="RMSE"),
        limit_row("recall of pairs with J >= .8", float(linked[high].mean()), 0.985, unit="share", at_most=False),
        limit_row("linked among pairs with J < .6", float(linked[low].mean()), 0.001, unit="share"),
    ]  # fmt: skip


def words_of(text: str) -> list[str]:
    """Words as plain Python cuts them."""
    return re.findall(r"[^\W_]+", text.lower())


def decontamination_rows(texts: list[str], column: TextColumn) -> list[Row]:
    """Ten million 13-grams, absent from the corpus (its own words, shuffled), against a Python set of joined words."""
    rng = np.random.default_rng(2)
    vocabulary: list[str] = []
    for text in texts:
        vocabulary += [word for word in words_of(text) if word.isascii()]
        if len(vocabulary) > 1_000_000:
            break
    drawn = rng.integers(0, len(vocabulary), KEYS + NGRAM - 1).tolist()
    shuffled = [vocabulary[i] for i in drawn]
    size = 10_000
    items = [shuffled[i : i + size + NGRAM - 1] for i in range(0, KEYS, size)]
    index = build_index(hash_words(TextColumn.of([" ".join(item) for item in items])), np.full(len(items), NGRAM))
    ours = per_gigabyte(lambda part: find_ngrams(hash_words(part), index), column)
    grams = {" ".join(item[i : i + NGRAM]) for item in items for i in range(len(item) - NGRAM + 1)}
    print(f"{len(index):,} keys, {len(grams):,} strings in the Python set")
    sample = [*texts[:1_500], *(" ".join(items[i][100:140]) for i in range(200))]

    def hits(text: str) -> int:
        words = words_of(text)
        return sum(" ".join(words[i : i + NGRAM]) in grams for i in range(len(words) - NGRAM + 1))

    begin = time.process_time()
    expected = [hits(text) for text in sample]
    peer = (time.process_time() - begin) / sum(len(text.encode()) for text in sample) * 1e9
    found = find_ngrams(hash_words(TextColumn.of(sample)), index)
    counted = np.bincount(found.document, minlength=len(sample))
    assert sum(expected) > 0 and counted[-200:].tolist() == expected[-200:], "planted 13-grams are found by both"
    assert int(counted[:-200].sum()) == sum(expected[:-200]), "neither finds any in the rest"
    name = f"decontamination, {len(index) / 1e6:.0f} M keys"
    return [row_of(name, ours, peer, peer_name="Python set of joined 13-grams", goal=40.0, unit=UNIT)]


def injection_rows(texts: list[str]) -> list[Row]:
    """Items planted in every form, and a thousand documents that hold no 13-gram of any item by a plain-Python reading."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "items.jsonl"
        gsm8k = DATA / "gsm8k" / "test.jsonl.gz"
        if gsm8k.is_file():
            path.write_bytes(gzip.decompress(gsm8k.read_bytes()))
        else:
            rng = np.random.default_rng(3)
            lines = []
            for text in texts[:1_000]:
                words = [word for word in words_of(text) if word.isascii()]
                lines.append(json.dumps({"question": " ".join(rng.permutation(words)[:40].tolist()), "answer": "7"}))
            path.write_text("\n".join(lines), encoding="utf-8")
        benchmarks = load_benchmarks([BenchmarkSource(name="items", path=path)])
    grams = set()
    for question in benchmarks.questions:
        words = words_of(question)
        grams |= {tuple(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)}
    hosts: list[str] = []
    for text in texts:
        words = words_of(text)
        if not any(tuple(words[i : i + NGRAM]) in grams for i in range(len(words) - NGRAM + 1)):
            hosts.append(text)
        if len(hosts) == 1_000:
            break
    lines = check_search(
        benchmarks, hosts, np.zeros(len(benchmarks.index), np.bool_), ContaminationSpec(), items_per_tier=500
    )
    runs = [line for line in lines if line.kind == "planted" and line.tier == "runs"]
    for line in runs:
        print(f"planted {line.form}: {line.share}")
    clean = next(line for line in lines if line.form.startswith("clean"))
    least = min(line.share.value or 0.0 for line in runs)
    false = round((clean.share.value or 0.0) * len(hosts))
    return [
        limit_row("recall of items of 13 words and more, the worst of six forms", least, 1.0, unit="share", at_most=False),
        Row(name=f"false hits in {len(hosts):,} clean documents", ours=false, peer=0.0, peer_name="limit", unit="documents",
            ratio=None, goal=0.0, met=false == 0),
    ]  # fmt: skip


def quality_rows(column: TextColumn, sample: Path) -> list[Row]:
    """All 46 counters against datatrove's four filters; the values that both define must be equal."""
    ours = per_gigabyte(quality_counters, column)
    n = 400
    found = run_peer(DATATROVE, sample, n)
    name, goal = "quality counters", 100.0
    if found is None:
        return [row_of(name, ours, None, peer_name="datatrove, missing", goal=goal, unit=UNIT)]
    table = quality_counters(TextColumn.of(pq.read_table(sample)["text"].slice(0, n)))
    texts = pq.read_table(sample)["text"].slice(0, n).to_pylist()
    differing: list[str] = []
    joined: list[str] = []
    for place, values in enumerate(found["values"]):
        for key, value in values.items():
            ours_is = table[key][place].as_py()
            if ours_is != value:
                gram = re.fullmatch(r"duplicate_(\d+)_gram_characters", key)
                told = gram is not None and repeated_grams(texts[place].split(), int(gram[1])) == ours_is
                (joined if told else differing).append(f"{key} of document {place}")
    shared = len(found["values"][0])
    print(f"{shared} shared counters of {n} documents; differing: {', '.join(differing) or 'none'}")
    print(f"apart from {len(joined)} where the peer joins words without a space and takes 'a bc' for 'ab c': {joined}")
    how = "own tokeniser (spaCy)" if found["own"] else "words cut at whitespace"
    peer = found["seconds"] / found["bytes"] * 1e9
    return [
        row_of(name, ours, peer, peer_name=f"datatrove's filters, {how}", goal=goal, unit=UNIT),
        Row(name=f"values of {shared} shared counters that differ", ours=len(differing), peer=0.0,
            peer_name="datatrove's functions, words cut at whitespace", unit="values", ratio=None, goal=0.0, met=not differing),
    ]  # fmt: skip


def repeated_grams(words: list[str], n: int) -> int:
    """Characters of word n-grams that stood before, words kept apart."""
    seen: set[tuple[str, ...]] = set()
    at = total = 0
    while at + n <= len(words):
        gram = tuple(words[at : at + n])
        if gram in seen:
            total += sum(map(len, gram))
            at += n
        else:
            seen.add(gram)
            at += 1
    return total


def language_row(column: TextColumn) -> Row:
    """The first kilobyte against the whole text; no goal, a figure for the cost model."""
    head = next(slices(column, 8 * SLICE))
    model, whole = FastTextLanguage(), FastTextLanguage(n_bytes=1 << 20)
    times = [per_gigabyte(each, head, 1) for each in (model, whole)]
    return row_of(
        "language of the first kilobyte", times[0], times[1], peer_name="of the whole text", goal=None, unit=UNIT
    )


def tfidf_row(texts: list[str]) -> Row:
    """TF-IDF of documents of the corpus, equal to scikit-learn's."""
    documents = texts[:5_000]
    name = f"TF-IDF, {sum(map(len, documents)) / 1e6:.0f} M characters"
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        return side_by_side(name, lambda: tfidf(documents), None, peer_name="scikit-learn", goal=3.0, rounds=2)
    assert abs(tfidf(documents).matrix - TfidfVectorizer().fit_transform(documents)).max() < 1e-12
    return side_by_side(
        name,
        lambda: tfidf(documents),
        lambda: TfidfVectorizer().fit_transform(documents),
        peer_name="scikit-learn TfidfVectorizer",
        goal=3.0,
        rounds=3,
    )


def whole_rows(material: Material, kernels: float) -> list[Row]:
    """Scan and dedup of the corpus in processes of their own, one worker: time and peak memory."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        for step in ("scan", "dedup"):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.corpus_whole", step, str(material.folder), place],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise RuntimeError(done.stderr[-2000:])
            found |= json.loads(done.stdout.strip().splitlines()[-1])
    print(json.dumps(found))
    gigabytes = material.n_bytes / 1e9
    batch, marks = found["batch"] / 1e6, found["signatures"] / 1e6
    read, arrow, scanned, dedup = (found[key] / gigabytes for key in ("read", "arrow", "scan", "dedup"))
    return [
        row_of("reading documents", read, arrow, peer_name="PyArrow alone", goal=None, unit=UNIT),
        row_of("whole scan", scanned, kernels, peer_name="its kernels in memory", goal=None, unit=UNIT),
        row_of("deduplication of the scan", dedup, scanned, peer_name="the scan", goal=None, unit=UNIT),
        *(
            Row(name=f"peak memory of the {step}, beyond the loaded program", ours=found[key] / 1e6, peer=batch + marks,
                peer_name=f"largest batch set ({batch:.0f}) plus signatures and bands ({marks:.0f})", unit="MB",
                ratio=found[key] / 1e6 / (batch + marks), goal=1.5, met=found[key] / 1e6 <= 1.5 * (batch + marks))
            for step, key in (("scan", "scan_peak"), ("deduplication", "dedup_peak"))
        ),
    ]  # fmt: skip


def main() -> list[Row]:
    """Every comparison, on one corpus."""
    material = build_corpus(PLACE / f"{MEGABYTES:g}", MEGABYTES)
    print(f"{material.n_documents:,} documents, {material.n_bytes / 1e6:,.0f} MB, {len(material.left):,} planted pairs")
    print(", ".join(f"{source} {size:.0f} MB" for source, size in material.sources.items()))
    texts = material.texts()
    column = TextColumn.of(texts)
    rng = np.random.default_rng(4)
    chosen = np.sort(rng.permutation(material.n_documents)[:12_000])
    few = texts.take(pa.array(rng.permutation(chosen)))
    some: list[str] = few.to_pylist()
    with tempfile.TemporaryDirectory() as name:
        sample = Path(name) / "sample.parquet"
        pq.write_table(pa.table({"text": few}), sample)
        rows = band_rows(column, sample)
        rows += accuracy_rows(column, material)
        rows += quality_rows(column, sample)
    rows += decontamination_rows(some, column)
    rows += injection_rows(some)
    rows += [tfidf_row(some), language_row(column)]
    kernels = rows[0].ours + next(row.ours for row in rows if row.name == "quality counters")
    del column, texts, few, some
    return rows + whole_rows(material, kernels)


if __name__ == "__main__":
    report("bench-corpus", main())
    print(cost_model(read_rates(RESULTS / "bench-corpus.json").seconds_per_gigabyte, 100))
