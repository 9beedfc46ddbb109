"""A small corpus with known contents: prose of its own, copies, near copies, benchmark items, and what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

ITEMS = [
    {"question": "A train leaves the old harbour at nine with forty two people and stops at six villages before noon",
     "answer": "so it carries #### 17"},
    {"question": "How many sides has a regular polygon of interior angles all equal to one hundred fifty degrees",
     "answer": "#### 12"},
    {"question": "Which of these eight rivers crosses three borders twice", "answer": "none"},
    {"question": "Capital of Atlantis?", "answer": "Poseidonis"},
    {"question": "Why?", "answer": "because"},
]  # fmt: skip


def prose(rng: np.random.Generator, words: int) -> str:
    """Text of made-up words: no two texts share a long run."""
    drawn = rng.integers(0, 5000, words)
    return " ".join(f"w{i}" + (".\n" if n % 12 == 11 else "") for n, i in enumerate(drawn))


def write_corpus(folder: Path, *, files: int = 6, documents: int = 40, seed: int = 0) -> list[dict[str, str]]:
    """Write JSONL files; returns the documents in order, each with ``kind``."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    out: list[dict[str, str]] = []
    for number in range(files):
        rows = [{"text": prose(rng, int(rng.integers(60, 200))), "kind": "own"} for _ in range(documents)]
        texts = [row["text"] for row in rows]
        rows.append({"text": texts[0], "kind": "exact"})
        rows.append({"text": texts[1].upper().replace("\n", "  "), "kind": "format"})
        rows.append({"text": texts[2] + " three more words", "kind": "near"})
        rows.append({"text": "", "kind": "empty"})
        if number == 1:
            rows.append({"text": texts[3] + "\n" + ITEMS[0]["question"] + "\n" + texts[4], "kind": "item 0"})
            rows.append({"text": f"{texts[5]} {ITEMS[2]['question'].upper()} {texts[6]}", "kind": "item 2"})
            rows.append({"text": f"{texts[7]} capital of Atlantis: some say POSEIDONIS. {texts[8]}", "kind": "item 3"})
        for row in rows:
            row["source"] = f"site{number % 3}"
        with (folder / f"part{number}.jsonl").open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        out += rows
    return out


def write_items(folder: Path) -> Path:
    """Write the benchmark."""
    path = folder / "items.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in ITEMS), encoding="utf-8")
    return path
