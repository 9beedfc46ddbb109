"""Triggers in documents: rare n-grams of unrelated sources behind which prose turns into something no other document says.

The scan goes over the texts twice. The first pass counts in how many documents each n-gram stands; the second measures, where
an n-gram first stands in a document, what share of the pairs of words behind it no other document has, less that share before
it. An n-gram behind which that share jumps in most of its documents is an alarm: a reason to look, not a proof. Poison that
reads like prose is not seen; `jurat.corpus.poison_power` says how much of the one that is looked for is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jurat.corpus.document import host_of
from jurat.corpus.poison_alarms import Alarm, PoisonSpec, Provenance, judge_events
from jurat.corpus.scan_spec import read_unit, spec_of
from jurat.corpus.shards import ShardFolder
from jurat.corpus.texts import input_files, sample_of, texts_of
from jurat.text.column import TextColumn
from jurat.text.rare import RareCounts
from jurat.text.words import hash_words

__all__ = [
    "PoisonScan",
    "PoisonSpec",
    "Provenance",
    "column_of",
    "columns_of",
    "find_poison",
    "provenance_of",
    "scan_folder",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonScan:
    """What the scan found.

    Attributes
    ----------
    alarms
        Gravest first.
    n_documents, n_tested
        Documents with words; n-grams whose frequency lies in the range.
    threshold
        Difference of shares from which a jump counts; ``None`` where no place had enough words behind it.
    base_rate
        Share of all places at which there is one.
    load
        Share of the table's slots in use: above .5 counts are too large and alarms are missed.
    not_assessed
        What could not be looked at, and why.
    """

    alarms: list[Alarm]
    n_documents: int
    n_tested: int
    threshold: float | None
    base_rate: float | None
    load: float
    not_assessed: list[str]


@dataclass(slots=True)
class _Events:
    """Jumps that were seen, by n-gram."""

    key: list[NDArray[np.uint64]] = field(default_factory=list)
    row: list[NDArray[np.int64]] = field(default_factory=list)
    place: list[NDArray[np.int64]] = field(default_factory=list)
    jump: list[NDArray[np.float32]] = field(default_factory=list)
    held: list[NDArray[np.uint16]] = field(default_factory=list)

    def columns(self) -> tuple[NDArray[Any], ...]:
        return tuple(np.concatenate(part) for part in (self.key, self.row, self.place, self.jump, self.held))


def scan_folder(folder: ShardFolder, spec: PoisonSpec | None = None) -> PoisonScan:
    """Look for triggers in all documents of a scan; reads them twice.

    Parameters
    ----------
    folder
        A finished scan whose inputs are still there.
    spec
        What counts.

    Raises
    ------
    DataError
        Where an input is gone or has changed.
    """
    about = folder.column("n_words", "url", "source", "crawled")
    words = int(np.nansum(about["n_words"].fill_null(0).to_numpy()))
    sample = sample_of(folder, most=2000)
    return find_poison(
        lambda: columns_of(folder),
        provenance_of(about),
        base=sample.text,
        n_words=words,
        read=lambda rows: texts_of(folder, rows),
        spec=spec,
    )


def provenance_of(about: Any) -> Provenance:
    """Hosts (the source where there is no address) and days of crawl of a table with url, source and crawled."""
    urls, sources = about["url"].to_pylist(), about["source"].to_pylist()
    names = [(host_of(url) if url else None) or source for url, source in zip(urls, sources, strict=True)]
    _, codes = np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)
    seconds = np.array([np.nan if t is None else t.timestamp() for t in about["crawled"].to_pylist()], np.float64)
    return Provenance(source=codes.astype(np.int64).reshape(-1), crawled=seconds / 86_400)


def columns_of(folder: ShardFolder) -> Iterator[tuple[int, TextColumn]]:
    """Texts of a scan, read again column by column, each with the row of its first."""
    units, spec, first = input_files(folder), spec_of(folder), 0
    for record in folder.manifest()["shards"]:
        place = first
        for batch in read_unit([units[i["path"]] for i in record["inputs"]], spec):
            yield place, TextColumn.of(batch["text"])
            place += len(batch)
        first += int(record["rows"])


def find_poison(
    columns: Callable[[], Iterable[tuple[int, TextColumn]]],
    provenance: Provenance,
    *,
    base: Sequence[str],
    n_words: int,
    read: Callable[[list[int]], dict[int, str]],
    spec: PoisonSpec | None = None,
) -> PoisonScan:
    """Look for triggers in texts that are handed over twice.

    Parameters
    ----------
    columns
        Gives the documents column by column, each with the row of its first; called once for each pass.
    provenance
        Of every row.
    base
        Texts, a uniform sample of the documents, whose own jumps set the threshold.
    n_words
        Words of all documents, for the size of the table.
    read
        Gives the texts of some rows, for the excerpts.
    spec
        What counts.

    Notes
    -----
    An n-gram that stands in :math:`n` documents and is followed by a jump in :math:`k` of them has the p-value
    :math:`P(X \\ge k)`, :math:`X` binomial with :math:`n` and the base rate, times the number of n-grams tested (Bonferroni's
    bound, which is Holm's first step).
    """
    spec = spec or PoisonSpec()
    counts = RareCounts(slots=min(spec.most_slots, 1 << max(4 * n_words, 1 << 12).bit_length()))
    for _, column in columns():
        counts.add(hash_words(column))
    tested = int(np.count_nonzero((counts.table >= spec.least_documents) & (counts.table <= spec.most_documents)))
    skipped = _not_assessed(provenance, spec)
    usual = hash_words(TextColumn.of(base))
    jumps = counts.jumps(usual, window=spec.window, least=spec.least_words)
    jumps = jumps[np.isfinite(jumps)]
    if len(jumps) == 0:
        skipped.append("the novelty behind n-grams: no document is long enough")
        return PoisonScan(alarms=[], n_documents=counts.documents, n_tested=tested, threshold=None, base_rate=None,
                          load=counts.load(), not_assessed=skipped)  # fmt: skip
    threshold = max(float(np.quantile(jumps, spec.quantile)), spec.least_jump)
    rate = max(float(np.mean(jumps >= threshold)), 1 / len(jumps))
    novelty = counts.novelty(usual)
    mean = float(novelty.sum() / max(len(novelty) - int((usual.counts() > 0).sum()), 1))
    events = _events(columns, counts, spec, threshold, mean)
    alarms = [] if events is None else judge_events(events, provenance, spec, rate, tested, read)
    return PoisonScan(alarms=alarms, n_documents=counts.documents, n_tested=tested, threshold=threshold, base_rate=rate,
                      load=counts.load(), not_assessed=skipped)  # fmt: skip


def _not_assessed(provenance: Provenance, spec: PoisonSpec) -> list[str]:
    skipped = []
    if len(np.unique(provenance.source)) < spec.least_sources:
        skipped.append(f"spread over sources: the corpus has fewer than {spec.least_sources}")
    if np.isfinite(provenance.crawled).sum() < 2 or np.nanmax(provenance.crawled) == np.nanmin(provenance.crawled):
        skipped.append("the crawl window: the documents name no times that differ")
    return skipped


def _events(
    columns: Callable[[], Iterable[tuple[int, TextColumn]]],
    counts: RareCounts,
    spec: PoisonSpec,
    threshold: float,
    usual: float,
) -> tuple[NDArray[Any], ...] | None:
    events = _Events()
    for first, column in columns():
        found = counts.onsets(
            hash_words(column), jump=threshold, held=(spec.least_documents, spec.most_documents), window=spec.window,
            least=spec.least_words, usual=usual,
        )  # fmt: skip
        if len(found):
            events.key.append(found.key)
            events.row.append(found.document.astype(np.int64) + first)
            events.place.append(found.word.astype(np.int64) * 4 + found.order)
            events.jump.append(found.jump)
            events.held.append(found.held)
    return events.columns() if events.key else None


def column_of(texts: Sequence[str], *, size: int = 512) -> Callable[[], Iterator[tuple[int, TextColumn]]]:
    """Texts in memory as `find_poison` takes them."""
    firsts = list(range(0, len(texts), size))
    columns = [TextColumn.of(texts[first : first + size]) for first in firsts]

    def again() -> Iterator[tuple[int, TextColumn]]:
        yield from zip(firsts, columns, strict=True)

    return again
