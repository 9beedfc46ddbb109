"""Cookbook pages as programs: their blocks in order, what they print, and whether that is what the page says.

A fence that follows ``<!-- run -->`` is run: ``bash`` by bash, ``python`` by this interpreter. ``<!-- run exit=4 -->`` says
which exit code is due. A fence that follows ``<!-- output -->`` holds what the block before it prints. A page that says
``<!-- needs xstest -->`` finds the examples and the public data where a checkout has them; every other page starts from an
empty folder.

Printed and pasted text are compared word by word, so lines may be wrapped to fit the page. Three things are forgiven, and
nothing else: ``…`` on the page stands for any text, moments in time and digests of eight or more hexadecimal digits are alike.

``python -m tests.cookbook PAGE …`` runs pages and pastes what they print now where it differs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "Block", "Output", "agrees", "blocks_of", "needs", "normalised", "prepare", "run_block"]

ROOT = Path(__file__).resolve().parents[1]
_HOW_TO = ("run-an-experiment.md", "clean-a-crawl.md", "watch-production.md")
PAGES = (*sorted((ROOT / "docs" / "cookbook").glob("*.md")), *(ROOT / "docs" / "how-to" / name for name in _HOW_TO))
WIDTH = 116
_FENCE = re.compile(
    r"^<!-- (?P<mark>run|output)(?: exit=(?P<exit>\d+))? -->\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)
_NEEDS = re.compile(r"^<!-- needs (\w+) -->$", re.M)
_FORGIVEN = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?"), "<time>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b"), "<digest>"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a page says a block prints; the span is that of the pasted text in the page."""

    text: str
    span: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block to run, and what it must print, if the page says so."""

    language: str
    text: str
    exit: int
    output: Output | None


def blocks_of(page: str) -> list[Block]:
    """Blocks of a page that are to be run, in order."""
    found: list[Block] = []
    for match in _FENCE.finditer(page):
        if match["mark"] == "run":
            found.append(
                Block(language=match["language"], text=match["text"], exit=int(match["exit"] or 0), output=None)
            )
            continue
        before = found.pop()
        pasted = Output(text=match["text"], span=match.span("text"))
        found.append(Block(language=before.language, text=before.text, exit=before.exit, output=pasted))
    return found


def normalised(text: str) -> str:
    """One line of words, with what may differ between two runs made alike."""
    for pattern, name in _FORGIVEN:
        text = pattern.sub(name, text)
    return " ".join(text.split())


def agrees(pasted: str, printed: str) -> bool:
    """Whether a page says what was printed; ``…`` by itself stands for any words, within a word for any letters."""
    words = normalised(pasted).split()
    pattern = "".join(
        r"(?:\S+ )*?" if word == "…" else r"\S*".join(map(re.escape, word.split("…"))) + " " for word in words
    )
    return re.fullmatch(pattern, normalised(printed) + " ") is not None


def needs(page: str) -> list[str]:
    """Public data that a page cannot do without."""
    return _NEEDS.findall(page)


def prepare(folder: Path, data: dict[str, Path]) -> dict[str, str]:
    """Make the folders a page runs in, and the environment it sees; `data` is laid where a checkout has it."""
    (folder / "work").mkdir()
    for name, place in data.items():
        (folder / "shared" / "data").mkdir(parents=True, exist_ok=True)
        (folder / "shared" / "data" / name).symlink_to(place)
        for part in ("examples", "docs"):
            if not (folder / "work" / part).exists():
                (folder / "work" / part).symlink_to(ROOT / part)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "JURAT_HOME": str(folder / "home"), "PYTHONWARNINGS": "error", "COLUMNS": "120"}


def run_block(block: Block, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run one block; return its exit code and everything it printed."""
    if block.language == "bash":
        command = ["bash", "-o", "pipefail", "-c", block.text]
    elif block.language == "python":
        command = [sys.executable, "-c", block.text]
    else:
        raise ValueError(f"a block to run is bash or python, got {block.language!r}")
    done = subprocess.run(
        command, cwd=folder / "work", env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return done.returncode, done.stdout.decode()


def _wrapped(printed: str) -> str:
    lines: list[str] = []
    for line in printed.rstrip("\n").split("\n"):
        lines += textwrap.wrap(
            line, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        ) if len(line) > WIDTH else [line.rstrip()]  # fmt: skip
    return "\n".join(lines) + "\n"


def _refresh(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    data = {name: ROOT.parent / "shared" / "data" / name for name in needs(page)}
    changes: list[tuple[tuple[int, int], str]] = []
    with tempfile.TemporaryDirectory() as name:
        environment = prepare(Path(name), data)
        for block in blocks_of(page):
            code, printed = run_block(block, Path(name), environment)
            if code != block.exit:
                print(f"{path.name}: exit {code}, not {block.exit}:\n{block.text}{printed}")
            if block.output is not None and not agrees(block.output.text, printed):
                changes.append((block.output.span, _wrapped(printed)))
    for (first, last), text in reversed(changes):
        page = page[:first] + text + page[last:]
    path.write_text(page, encoding="utf-8")
    print(f"{path.name}: {len(changes)} outputs pasted anew")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        _refresh(Path(argument))
