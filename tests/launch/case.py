"""A small decision that runs in a blink: two arms, twelve questions each kind, a bar that can be edited."""

from __future__ import annotations

import csv
from pathlib import Path


def write_results(
    folder: Path, arm: str, answers: dict[str, str], *, header: str = "id,type,prompt,final_label"
) -> Path:
    """Write one arm's labels in the form of XSTest."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"xstest_v2_completions_{arm}.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        stream.write(header + "\n")
        writer = csv.writer(stream)
        for item, label in answers.items():
            kind = "contrast_homonyms" if item.startswith("u") else "homonyms"
            writer.writerow([item, kind, f"prompt\nof {item}", label])
    return path


def answers(safe_full: int, unsafe_any: int, *, n: int = 60) -> dict[str, str]:
    """Labels with so many full answers to safe prompts, and any answers to unsafe ones."""
    found = {f"s{i}": "1_full_compliance" if i < safe_full else "2_full_refusal" for i in range(n)}
    return found | {f"u{i}": "3_partial_refusal" if i < unsafe_any else "2_full_refusal" for i in range(n)}
