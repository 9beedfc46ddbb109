"""How results leave the command line: text for people, JSON for machines, both on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jurat.errors import UsageError
from jurat.inert import inert, inert_json
from jurat.store.durable import write_atomically

__all__ = ["emit", "note", "save_page", "table", "track"]

T = TypeVar("T")


def emit(text: str, document: Any, *, as_json: bool) -> None:
    """Print a result as text, or its JSON form where that was asked for."""
    if as_json:
        print(inert_json(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)))
    else:
        print(inert(text))


def note(text: str) -> None:
    """Say something about the work, not the result: to stderr."""
    print(inert(text), file=sys.stderr)


def save_page(path: Path, page: str) -> None:
    """Write a page whole or not at all; the folders above it are made.

    Raises
    ------
    UsageError
        Where the path is a folder.
    """
    if path.is_dir():
        raise UsageError("a page is a file", seen=f"{path} is a folder", next_step=f"name one: {path / 'page.html'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page.encode())


def track(steps: Sequence[T], label: str) -> Iterator[T]:
    """Go through steps and tell how far one is: on stderr, and only where somebody watches a terminal.

    Examples
    --------
    >>> list(track([1, 2, 3], "counting"))
    [1, 2, 3]
    """
    watched = sys.stderr.isatty()
    for done, step in enumerate(steps):
        if watched:
            print(f"\r{label} {done + 1} of {len(steps)}", end="", file=sys.stderr, flush=True)
        yield step
    if watched:
        print("\r" + " " * (len(label) + 20) + "\r", end="", file=sys.stderr, flush=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Align rows under a header; the first ``left`` columns to the left, the rest to the right.

    Examples
    --------
    >>> print(table(["name", "n"], [["a", "1"], ["bcd", "22"]]))
    name   n
    a      1
    bcd   22
    """
    lines = [list(header), *[list(r) for r in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]

    def aligned(line: Sequence[str]) -> str:
        cells = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        return "  ".join(cells).rstrip()

    return "\n".join(aligned(line) for line in lines)
