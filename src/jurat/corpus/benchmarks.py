"""Benchmark items to look for in a corpus, by tiers of length, and what cannot be decided at all.

A question of thirteen words or more leaves thirteen-word runs; one of eight to twelve is looked for whole; a shorter one only
together with its answer nearby. What is shorter still, or has no answer to look for, is *undecidable*: it is counted
and listed, never called clean.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jurat.errors import DataError, UnknownName
from jurat.evidence.canonical import file_sha256
from jurat.text.column import TextColumn
from jurat.text.overlap import Hits, NgramIndex, build_index, find_ngrams
from jurat.text.words import WordColumn, hash_words

__all__ = ["NGRAM", "REACH", "TIERS", "BenchmarkSource", "Benchmarks", "find_items", "load_benchmarks"]

NGRAM = 13
"""Words in a run that is looked for in long items."""

TIERS = ("runs", "whole", "with answer", "undecidable")
"""How an item is looked for, by its length."""

REACH = 50
"""Words behind a short question within which its answer must stand."""

_WHOLE, _SHORT = 8, 3
_QUESTIONS = ("question", "prompt", "problem", "input", "instruction", "query", "text", "goal", "ctx", "sentence")
_ANSWERS = ("answer", "canonical_solution", "solution", "target", "output", "completion", "label")
_IDS = ("id", "task_id", "item", "question_id", "uid")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkSource:
    """A benchmark file.

    Attributes
    ----------
    name
        Name of the benchmark.
    path
        JSONL (also .gz, .zst), CSV or Parquet file, one item a row.
    question, answer, item
        Names of the fields; guessed from the usual ones where not given. Without an answer field short items stay
        undecidable; without an item field the row number is the item's id.
    """

    name: str
    path: Path
    question: str | None = None
    answer: str | None = None
    item: str | None = None

    @classmethod
    def parse(cls, text: str) -> BenchmarkSource:
        """Read ``NAME=PATH[:QUESTION[:ANSWER]]`` or a bare path.

        Examples
        --------
        >>> BenchmarkSource.parse("gsm8k=data/test.jsonl.gz:question:answer").answer
        'answer'
        >>> BenchmarkSource.parse("data/HumanEval.jsonl.gz").name
        'HumanEval'
        """
        name, equals, rest = text.partition("=")
        place, *fields = (rest if equals else text).split(":")
        path = Path(place)
        question, answer, *_ = [*fields, None, None]
        return cls(name=name if equals else path.name.split(".")[0], path=path, question=question, answer=answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmarks:
    """Items of all benchmarks, one after the other.

    Attributes
    ----------
    benchmark, item
        Name of each item's benchmark, and its id there.
    questions, answers
        Their texts; an answer may be ``None``.
    words, answer_words
        Words of both.
    tier
        Place in `TIERS` of each item, int8.
    index
        N-grams of the items that can be looked for.
    sources
        Path, digest and fields of each file.
    """

    benchmark: list[str]
    item: list[str]
    questions: list[str]
    answers: list[str | None]
    words: WordColumn
    answer_words: WordColumn
    tier: NDArray[np.int8]
    index: NgramIndex
    sources: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.item)

    def n_grams(self) -> NDArray[np.int64]:
        """N-grams of each item that are looked for."""
        lengths, counts = self.lengths(), self.words.counts()
        return np.where(lengths > 0, counts - lengths + 1, 0)

    def lengths(self) -> NDArray[np.int64]:
        """Length of the n-grams each item is looked for by; 0 where it is not."""
        return _lengths(self.words.counts(), self.tier)


def load_benchmarks(sources: Sequence[BenchmarkSource]) -> Benchmarks:
    """Read benchmark files and index their items.

    Parameters
    ----------
    sources
        The files.

    Returns
    -------
    Benchmarks

    Raises
    ------
    DataError
        Where a file is missing, cannot be read, has no items, or two benchmarks have one name.
    UnknownName
        Where a named field does not occur, or no usual one does.
    """
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise DataError("two benchmarks have one name", seen=", ".join(sorted(names)), next_step="name them: NAME=PATH")
    benchmark: list[str] = []
    item: list[str] = []
    questions: list[str] = []
    answers: list[str | None] = []
    about = []
    for source in sources:
        rows = list(_rows(source.path))
        if not rows:
            raise DataError("a benchmark without items", seen=str(source.path), next_step="give a file with rows")
        fields = _fields(source, rows)
        for number, row in enumerate(rows):
            text = row.get(fields["question"])
            benchmark.append(source.name)
            item.append(str(row[fields["item"]]) if fields["item"] in row else str(number))
            questions.append(text if isinstance(text, str) else "")
            answers.append(_answer(row.get(fields["answer"])))
        about.append({"name": source.name, "path": str(source.path), "sha256": file_sha256(source.path), **fields})
    words, answer_words = hash_words(TextColumn.of(questions)), hash_words(TextColumn.of(answers))
    tier = _tiers(words.counts(), answer_words.counts())
    return Benchmarks(
        benchmark=benchmark,
        item=item,
        questions=questions,
        answers=answers,
        words=words,
        answer_words=answer_words,
        tier=tier,
        index=build_index(words, _lengths(words.counts(), tier)),
        sources=about,
    )


def find_items(words: WordColumn, benchmarks: Benchmarks) -> tuple[Hits, Hits]:
    """Occurrences of items in documents.

    Parameters
    ----------
    words
        Words of the documents.
    benchmarks
        What to look for.

    Returns
    -------
    grams : Hits
        N-grams of long and middling items; ``key`` is the number of the n-gram in the index.
    answered : Hits
        Short questions with their answer at most `REACH` words behind them; ``key`` is the number of the item.
    """
    hits, index = find_ngrams(words, benchmarks.index), benchmarks.index
    short = benchmarks.tier[index.postings[index.offsets[hits.key]]] == TIERS.index("with answer")
    found = [
        (int(document), int(word), int(item))
        for document, word, key in zip(hits.document[short], hits.word[short], hits.key[short], strict=True)
        for item in index.postings[index.offsets[key] : index.offsets[key + 1]]
        if _answered(words, benchmarks, int(document), int(word), int(item))
    ]
    rows = np.array(sorted(found), np.int32).reshape(-1, 3)
    grams = Hits(document=hits.document[~short], word=hits.word[~short], key=hits.key[~short])
    return grams, Hits(document=rows[:, 0], word=rows[:, 1], key=rows[:, 2])


def _answered(words: WordColumn, benchmarks: Benchmarks, document: int, word: int, item: int) -> bool:
    """Whether the item's answer stands close behind its question."""
    size = int(benchmarks.words.offsets[item + 1] - benchmarks.words.offsets[item])
    answer = benchmarks.answer_words.hashes[
        benchmarks.answer_words.offsets[item] : benchmarks.answer_words.offsets[item + 1]
    ]
    first = int(words.offsets[document]) + word + size
    last = min(int(words.offsets[document + 1]), first + REACH + len(answer))
    behind = words.hashes[first:last]
    if len(behind) < len(answer):
        return False
    return bool((np.lib.stride_tricks.sliding_window_view(behind, len(answer)) == answer).all(axis=1).any())


def _tiers(counts: NDArray[np.int64], answers: NDArray[np.int64]) -> NDArray[np.int8]:
    return np.select(
        [counts >= NGRAM, counts >= _WHOLE, (counts >= _SHORT) & (answers > 0)], [0, 1, 2], default=3
    ).astype(np.int8)


def _lengths(counts: NDArray[np.int64], tier: NDArray[np.int8]) -> NDArray[np.int64]:
    return np.select([tier == 0, tier == 3], [np.int64(NGRAM), np.int64(0)], default=counts).astype(np.int64)


def _answer(value: Any) -> str | None:
    """The words to look for near a short question: what stands behind GSM8K's ``####``, or the answer as it is."""
    if value is None or isinstance(value, dict | list):
        return None
    return str(value).rpartition("####")[2].strip() or None


def _fields(source: BenchmarkSource, rows: list[dict[str, Any]]) -> dict[str, str]:
    """Names of the fields as given or guessed; every named one must occur."""
    known = set().union(*(row.keys() for row in rows[:100]))
    found = {}
    for role, given, usual in (
        ("question", source.question, _QUESTIONS), ("answer", source.answer, _ANSWERS), ("item", source.item, _IDS),
    ):  # fmt: skip
        if given is not None and given not in known:
            raise UnknownName("field", given, known, place=f"{role} of {source.path.name}")
        found[role] = given or next((name for name in usual if name in known), "")
    if not found["question"]:
        raise DataError(
            "no field with the text of the items", seen=f"{source.path.name} has {', '.join(sorted(known))}",
            next_step=f"name it: --benchmark {source.name}={source.path}:FIELD",
        )  # fmt: skip
    return found


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Items of a file, one mapping a row."""
    if not path.is_file():
        raise DataError(
            "no such benchmark file", seen=str(path), next_step="give the path of a JSONL, CSV or Parquet file"
        )
    kind = [suffix for suffix in path.suffixes if suffix not in (".gz", ".zst", ".bz2")][-1:]
    try:
        if kind == [".parquet"]:
            yield from pq.read_table(path).to_pylist()
            return
        with pa.input_stream(str(path), compression="detect") as stream:
            text = stream.read().decode("utf-8")
        if kind == [".csv"]:
            yield from csv.DictReader(io.StringIO(text))
            return
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"line {number} is not an object")
                yield row
    except (ValueError, UnicodeDecodeError, pa.ArrowException, OSError) as error:
        raise DataError(
            "a benchmark file cannot be read", seen=f"{path}: {error}", next_step="mend or leave it out"
        ) from error
