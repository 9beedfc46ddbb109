"""``jurat corpus keywords`` and ``jurat corpus repeats``: what texts are about, and what they say again and again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jurat.cli.output import emit, note, table

if TYPE_CHECKING:
    from jurat.text.loops import Loop
    from jurat.text.repeats import Repeat

__all__ = ["keywords", "repeats"]

_SHOWN = 60
_LISTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Documents:
    """What was read: identities, texts and groups."""

    ids: list[str]
    texts: list[str]
    groups: list[str]
    quarantined: int


def _read(source: Path, *, text_field: str, by: str | None, lines: bool) -> _Documents:
    from jurat.corpus.document import Fields
    from jurat.corpus.read import read_documents
    from jurat.errors import DataError

    fields = Fields(text=text_field) if by is None else Fields(text=text_field, source=(by,))
    ids, texts, groups, quarantined = [], [], [], 0
    for batch in read_documents(source, fields=fields):
        columns = (batch[name].to_pylist() for name in ("doc_id", "text", "source", "reason"))
        for doc_id, text, group, reason in zip(*columns, strict=True):
            if reason is not None:
                quarantined += 1
                if quarantined <= _LISTED:
                    note(f"left out: {doc_id}: {reason}")
                continue
            parts = [part for part in text.splitlines() if part.strip()] if lines else [text]
            ids += [f"{doc_id}:{i}" for i in range(1, len(parts) + 1)] if lines else [doc_id]
            texts += parts
            groups += [group] * len(parts)
    if quarantined > _LISTED:
        note(f"… and {quarantined - _LISTED:,} more records left out")
    if not texts:
        raise DataError(
            "there is no text to look at",
            seen=f"{source}: {quarantined:,} records, all left out",
            next_step="the reasons stand above; name the field with --text-field",
        )
    return _Documents(ids=ids, texts=texts, groups=groups, quarantined=quarantined)


def keywords(
    source: Path,
    *,
    by: str | None = None,
    text_field: str = "text",
    lines: bool = False,
    top: int = 20,
    longest: int = 1,
    min_df: int = 2,
    stop_words: Path | None = None,
    level: float = 0.95,
    json: bool = False,
) -> int:
    """Terms that mark documents, or each group of them against the rest, by TF-IDF.

    Parameters
    ----------
    source
        A text, JSONL, CSV or Parquet file, or a folder of them.
    by
        Field whose values are the groups.
    text_field
        Field that holds the text.
    lines
        Take each line of a text for a document.
    top
        Terms per group.
    longest
        Most words of a term.
    min_df
        Documents that a term must stand in at least.
    stop_words
        File of words to leave out, separated by blanks or lines.
    level
        Coverage of all intervals together.
    json
        Print as JSON.
    """
    from jurat.corpus.keywords import keywords as find_keywords
    from jurat.errors import DataError, UsageError

    read = _read(source, text_field=text_field, by=by, lines=lines)
    try:
        left_out = stop_words.read_text(encoding="utf-8").lower().split() if stop_words else []
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the stop words cannot be read", seen=str(error), next_step="give a text file") from error
    try:
        found = find_keywords(
            read.texts,
            None if by is None else read.groups,
            top=top,
            level=level,
            ngram_range=(1, longest),
            min_df=min_df,
            stop_words=left_out,
        )
    except ValueError as error:
        raise UsageError("no keywords", seen=str(error), next_step="see jurat corpus keywords --help") from error
    rows = []
    for word in found:
        interval = word.share if word.difference is None else word.difference
        sign = "" if word.difference is None else "+"
        rows.append(
            [
                *([] if by is None else [str(word.group)]),
                word.term,
                f"{word.weight:.4f}",
                f"{word.documents:,} of {word.group_documents:,}",
                *([] if by is None else [f"{word.rest:,} of {word.rest_documents:,}"]),
                _percent(interval, sign),
            ]
        )
    if by is None:
        header = ["term", "mean weight", "documents", "share"]
    else:
        header = [by, "term", "lead in weight", "documents", "in the rest", "difference of shares"]
    lines_out = [
        table(header, rows, left=1 if by is None else 2),
        "",
        f"{len(read.texts):,} documents; intervals cover {100 * level:g} % for all terms together",
    ]
    if read.quarantined:
        lines_out.append(f"records left out: {read.quarantined:,}")
    document = {
        "documents": len(read.texts),
        "left_out": read.quarantined,
        "by": by,
        "level": level,
        "keywords": [asdict(word) for word in found],
    }
    emit("\n".join(lines_out), document, as_json=json)
    return 0


def _percent(interval: Any, sign: str = "") -> str:
    return f"{100 * interval.value:{sign}.1f} % [{100 * interval.low:{sign}.1f}, {100 * interval.high:{sign}.1f}]"


def repeats(
    source: Path,
    *,
    text_field: str = "text",
    lines: bool = False,
    minimum_repeats: float = 4.0,
    minimum_characters: int = 40,
    trailing: bool = False,
    wordless: bool = False,
    level: float = 0.95,
    json: bool = False,
) -> int:
    """Documents caught in a loop, and the longest passages that stand twice: in one document, and in two.

    Parameters
    ----------
    source
        A text, JSONL, CSV or Parquet file, or a folder of them.
    text_field
        Field that holds the text.
    lines
        Take each line of a text for a document.
    minimum_repeats
        Repeats of a unit without a gap that make a loop.
    minimum_characters
        Length in characters from which on they do.
    trailing
        Look for loops at the end only.
    wordless
        Count loops without a letter or digit too: rules, dots, blanks.
    level
        Coverage of the interval of the share of documents with a loop.
    json
        Print as JSON.
    """
    from jurat.errors import UsageError
    from jurat.stats.interval import proportion
    from jurat.text.loops import find_loop
    from jurat.text.repeats import longest_repeated_substring

    read = _read(source, text_field=text_field, by=None, lines=lines)
    try:
        loops = [
            find_loop(
                text,
                minimum_repeats=minimum_repeats,
                minimum_characters=minimum_characters,
                where="trailing" if trailing else "anywhere",
                wordless=wordless,
            )
            for text in read.texts
        ]
        within = longest_repeated_substring(read.texts, overlapping=False)
        across = longest_repeated_substring(read.texts, across=True) if len(read.texts) > 1 else None
        caught = [(doc_id, loop) for doc_id, loop in zip(read.ids, loops, strict=True) if loop is not None]
        share = proportion(len(caught), len(read.texts), level=level)
    except ValueError as error:
        raise UsageError("nothing to look for", seen=str(error), next_step="see jurat corpus repeats --help") from error
    caught.sort(key=lambda entry: (-entry[1].n_characters, entry[0]))
    document = {
        "documents": len(read.texts),
        "left_out": read.quarantined,
        "share_with_loop": asdict(share),
        "loops": [{"doc_id": doc_id, **asdict(loop)} for doc_id, loop in caught],
        "longest_repeat": _plain(within, read.ids),
        "longest_in_two_documents": _plain(across, read.ids),
    }
    emit(_repeats_text(caught, share, within, across, read), document, as_json=json)
    return 0


def _repeats_text(
    caught: list[tuple[str, Loop]],
    share: Any,
    within: Repeat | None,
    across: Repeat | None,
    read: _Documents,
) -> str:
    n = len(read.texts)
    lines = [f"{len(caught):,} of {n:,} documents hold a loop: {_percent(share)} at {100 * share.level:g} %"]
    if read.quarantined:
        lines.append(f"records left out: {read.quarantined:,}")
    if caught:
        rows = [
            [
                doc_id,
                _short(loop.unit),
                f"{loop.repeats:,.1f}",
                f"{loop.start:,}",
                f"{100 * loop.share:.1f} %",
                "yes" if loop.trailing else "no",
            ]
            for doc_id, loop in caught[:_LISTED]
        ]
        lines += ["", table(["document", "unit", "repeats", "start", "of the text", "to the end"], rows, left=2)]
        if len(caught) > _LISTED:
            lines.append(f"… and {len(caught) - _LISTED:,} more (--json lists all)")
    for title, found in (("longest repeat, without overlap", within), ("longest in two documents", across)):
        if found is None:
            lines += ["", f"{title}: none"]
            continue
        where = [f"{read.ids[d]} at {c:,}" for d, c in zip(found.documents[:4], found.characters[:4], strict=True)]
        more = f" and {len(found) - 4:,} more" if len(found) > 4 else ""
        lines += [
            "",
            f"{title}: {found.n_characters:,} characters ({found.n_bytes:,} bytes), {len(found):,} times",
            f"  {_short(found.text)}",
            f"  {', '.join(where)}{more}",
        ]
    return "\n".join(lines)


def _short(text: str) -> str:
    """The text on one line, its middle left out where it is long."""
    flat = repr(text)[1:-1]
    return flat if len(flat) <= _SHOWN else f"{flat[: _SHOWN - 21]} … {flat[-18:]}"


def _plain(found: Repeat | None, ids: list[str]) -> dict[str, Any] | None:
    if found is None:
        return None
    places = zip(found.documents.tolist(), found.characters.tolist(), found.bytes.tolist(), strict=True)
    return {
        "text": found.text,
        "n_characters": found.n_characters,
        "n_bytes": found.n_bytes,
        "occurrences": [{"doc_id": ids[d], "character": c, "byte": b} for d, c, b in places],
    }
