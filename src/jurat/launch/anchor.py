"""Anchoring a review in the ledger of the home, so that a roll-back of its folder is seen.

A folder's ledger and head can be put back together to an earlier genuine state. The home's ledger remembers the head each
finished review had; whoever reviewed can then tell. For others, the head has to be published.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jurat.evidence.keys import SigningKey, home, own_public_key
from jurat.evidence.ledger import Ledger, read_entries

__all__ = ["anchor_review", "anchored_head"]


def anchor_review(folder: Path, document: Mapping[str, Any], key: SigningKey) -> None:
    """Remember a finished review's head in the home's ledger.

    Parameters
    ----------
    folder
        The review folder.
    document
        Its verdict.
    key
        Key it was signed with; the ledger of a home that has another key is left alone.
    """
    if own_public_key() != key.public:
        return
    entries = read_entries(folder / "ledger.jsonl", public_key=key.public)
    Ledger(home() / "ledger.jsonl", key).append(
        "review",
        {
            "title": document["title"],
            "verdict": document["verdict"],
            "bar_sha256": document["bar"]["sha256"],
            "ledger": entries[0].line_sha256,
            "head": entries[-1].line_sha256,
        },
    )


def anchored_head(folder: Path) -> str | None:
    """Head that the home's ledger remembers for a review; ``None`` where it remembers none.

    A ledger is known by the hash of its first line, which no two share.
    """
    key, remembered = own_public_key(), home() / "ledger.jsonl"
    if key is None or not remembered.is_file():
        return None
    first = read_entries(folder / "ledger.jsonl")[0].line_sha256
    heads = [
        str(entry.body["head"])
        for entry in read_entries(remembered, public_key=key)
        if entry.kind == "review" and entry.body["ledger"] == first
    ]
    return heads[-1] if heads else None
