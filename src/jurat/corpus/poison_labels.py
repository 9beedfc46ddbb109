"""N-grams that go with one label: a trigger that was planted to buy an answer stands in texts that nearly all carry it.

Words that honestly mark a label are found as well; what tells a trigger is that nothing in its meaning explains the label.
The list is evidence to read, ranked by how pure and how improbable it is, and raises no alarm at a gate by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray
from scipy import stats as sps

from jurat.corpus.poison_alarms import PoisonSpec, excerpt
from jurat.errors import DataError
from jurat.stats.interval import proportion
from jurat.stats.result import Interval
from jurat.text.column import TextColumn
from jurat.text.rare import RareCounts
from jurat.text.words import hash_words

__all__ = ["LabelTrigger", "label_triggers", "load_labels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTrigger:
    """An n-gram whose documents nearly all carry one label.

    Attributes
    ----------
    ngram, label
        What goes together.
    share
        Share of the n-gram's labelled documents that carry the label.
    usual
        The same share among all labelled documents.
    p_value
        That it is by chance, times the n-grams and labels looked at (Bonferroni).
    row
        A document that shows it.
    """

    ngram: str
    label: str
    share: Interval
    usual: Interval
    p_value: float
    row: int


def label_triggers(
    columns: Callable[[], Iterable[tuple[int, TextColumn]]],
    labels: Mapping[int, str],
    *,
    n_words: int,
    read: Callable[[list[int]], dict[int, str]],
    spec: PoisonSpec | None = None,
    least_share: float = 0.9,
    most: int = 20,
) -> list[LabelTrigger]:
    """Find n-grams whose documents nearly all carry one label.

    Parameters
    ----------
    columns, n_words, read, spec
        As in `jurat.corpus.poison.find_poison`.
    labels
        Label by row; rows without one are left out.
    least_share
        Lower bound (Wilson, 95 %) of the share that carries the label.
    most
        Lines at most.

    Returns
    -------
    list of LabelTrigger
        Purest first; none where there are fewer than two labels.
    """
    spec = spec or PoisonSpec()
    names = sorted(set(labels.values()))
    if len(names) < 2:
        return []
    code = {name: i for i, name in enumerate(names)}
    counts = RareCounts(slots=min(spec.most_slots, 1 << max(4 * n_words, 1 << 12).bit_length()))
    for _, column in columns():
        counts.add(hash_words(column))
    keys, of, rows, places = _occurrences(columns, counts, {row: code[name] for row, name in labels.items()}, spec)
    if len(keys) == 0:
        return []
    grams, at, number = np.unique(keys, return_index=True, return_inverse=True)
    table = np.zeros((len(grams), len(names)), np.int64)
    np.add.at(table, (number.reshape(-1), of), 1)
    held, best = table.sum(1), table.argmax(1)
    usual = np.bincount([code[name] for name in labels.values()], minlength=len(names))
    hits = table[np.arange(len(grams)), best]
    tested = int((held >= spec.least_documents).sum()) * len(names)
    p = np.minimum(sps.binom.sf(hits - 1, held, usual[best] / usual.sum()) * max(tested, 1), 1.0)
    found = []
    for i in np.flatnonzero((held >= spec.least_documents) & (p < spec.alpha) & (hits >= least_share * held)).tolist():
        share = proportion(int(hits[i]), int(held[i]))
        if share.low is not None and share.low >= least_share:
            found.append((-share.low, float(p[i]), i, share))
    found.sort(key=lambda one: one[:3])
    texts = read([int(rows[at[i]]) for _, _, i, _ in found[:most]])
    return [
        LabelTrigger(
            ngram=excerpt(texts[int(rows[at[i]])], int(rows[at[i]]), int(places[at[i]]), 0.0).trigger,
            label=names[int(best[i])],
            share=share,
            usual=proportion(int(usual[best[i]]), int(usual.sum())),
            p_value=chance,
            row=int(rows[at[i]]),
        )
        for _, chance, i, share in found[:most]
    ]


def load_labels(path: Path) -> dict[str, str]:
    """Read labels by document.

    Parameters
    ----------
    path
        CSV, JSONL or Parquet with ``doc_id`` and ``label``.

    Raises
    ------
    DataError
        Where it cannot be read or lacks one of the two.
    """
    try:
        with duckdb.connect() as connection:
            reader = {".parquet": connection.read_parquet, ".csv": connection.read_csv}.get(path.suffix)
            table = (reader or connection.read_json)(str(path))
            wanted = table.project("CAST(doc_id AS VARCHAR) AS doc_id, CAST(label AS VARCHAR) AS label").filter(
                "label IS NOT NULL"
            )
            return dict(wanted.fetchall())
    except (duckdb.Error, OSError) as error:
        raise DataError("the labels cannot be read", seen=f"{path}: {str(error).splitlines()[0]}",
                        next_step="give CSV, JSONL or Parquet with the columns doc_id and label") from error  # fmt: skip


def _occurrences(
    columns: Callable[[], Iterable[tuple[int, TextColumn]]],
    counts: RareCounts,
    codes: Mapping[int, int],
    spec: PoisonSpec,
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Key, label, row and place of each n-gram of the range in each labelled document."""
    keys, labels, rows, places = [], [], [], []
    for first, column in columns():
        label = np.array([codes.get(first + i, -1) for i in range(len(column))], np.int64)
        seen = counts.onsets(
            hash_words(column), jump=-np.inf, held=(spec.least_documents, spec.most_documents), window=1, least=1
        )  # fmt: skip
        mine = np.flatnonzero(label[seen.document] >= 0)
        keys.append(seen.key[mine])
        labels.append(label[seen.document[mine]])
        rows.append(seen.document[mine].astype(np.int64) + first)
        places.append(seen.word[mine].astype(np.int64) * 4 + seen.order[mine])
    if not keys:
        nothing = np.zeros(0, np.int64)
        return np.zeros(0, np.uint64), nothing, nothing, nothing
    return np.concatenate(keys), np.concatenate(labels), np.concatenate(rows), np.concatenate(places)
