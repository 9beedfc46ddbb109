"""Texts of a small invented language whose words follow one another by habit, so that gibberish reads differently."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from jurat.corpus.poison import Provenance
from jurat.corpus.scan import scan
from jurat.corpus.shards import ShardFolder


def habitual_texts(rng: np.random.Generator, documents: int, *, words: int = 220, vocabulary: int = 1500) -> list[str]:
    """Documents in which each word has a dozen usual followers, the same in all documents."""
    habits = np.random.default_rng(7).integers(0, vocabulary, (vocabulary, 12))
    texts = []
    for _ in range(documents):
        choices = rng.integers(0, 12, words)
        word, out = int(rng.integers(vocabulary)), []
        for place in range(words):
            word = int(habits[word, choices[place]])
            out.append(f"w{word}")
        texts.append(" ".join(out))
    return texts


def provenance(rng: np.random.Generator, documents: int, *, sources: int = 30, days: float = 365.0) -> Provenance:
    """Sources and days of crawl at random."""
    return Provenance(source=rng.integers(0, sources, documents), crawled=rng.uniform(20_000, 20_000 + days, documents))


def scanned(folder: Path, rows: list[dict[str, str]]) -> ShardFolder:
    """Write rows as JSONL and scan them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    scan([path], folder / "scan", workers=1)
    return ShardFolder(folder / "scan")
