"""JSON objects as documents: one a line, or the elements of one array, however long the file."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from jurat.corpus.document import Fields, Found, Limits
from jurat.corpus.lines import Line, not_text, read_lines
from jurat.corpus.unpack import DamagedFile
from jurat.errors import UnknownName

__all__ = ["read_json", "read_json_lines"]

# A file whose first so many records all lack the text is not this corpus; an occasional lack is the record's fault.
_PATIENCE = 100
_OUTSIDE = re.compile(rb'["{}\[\],]')
_IN_STRING = re.compile(rb'["\\]')
_BLOCK = 1 << 16
# How the first line of an object ends that is laid out over many lines.
_UNFINISHED = (b"{", b"[", b",", b":")


def read_json_lines(
    stream: io.BufferedReader, name: str, *, fields: Fields, limits: Limits, must_have_text: bool = True
) -> Iterator[Found]:
    """Read one JSON object a line; a record's number is that of its line, blank lines hold none.

    Parameters
    ----------
    stream, name
        The unpacked file, and what to call it.
    fields, limits
        Which field holds what; how long a line may be.
    must_have_text
        Whether a file without the text field is refused; otherwise its records are quarantined.

    Raises
    ------
    UnknownName
        Where the file's first records all lack the text field.
    """
    return _records(read_lines(stream, limits.document_bytes), name, fields, must_have_text)


def read_json(
    stream: io.BufferedReader, name: str, *, fields: Fields, limits: Limits, must_have_text: bool = True
) -> Iterator[Found]:
    """Read a ``.json`` file: an array of objects, an object a line, or a single object over many lines.

    Parameters
    ----------
    stream, name, fields, limits, must_have_text
        As for `read_json_lines`.
    """
    head = stream.read(_BLOCK)
    rejoined: Any = _Rejoined(head, stream)
    whole = io.BufferedReader(rejoined, _BLOCK)
    first, newline, _ = head.removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")
    if first.startswith(b"["):
        elements = _elements(whole, limits.document_bytes)
    elif newline and first.rstrip().endswith(_UNFINISHED) and not _is_object(first):
        elements = _single(whole, limits.document_bytes)
    else:
        elements = read_lines(whole, limits.document_bytes)
    return _records(elements, name, fields, must_have_text)


def _single(stream: io.BufferedReader, longest: int) -> Iterator[Line]:
    """Take the whole file as one record."""
    raw: bytes | None = stream.read(longest + 1)
    size = len(raw or b"")
    if size > longest:
        raw = None
        while block := stream.read(_BLOCK):
            size += len(block)
    yield Line(1, 0, None if raw is None else raw.removeprefix(codecs.BOM_UTF8), size)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _records(lines: Iterator[Line], name: str, fields: Fields, must_have_text: bool) -> Iterator[Found]:
    """Parse lines; the first ones wait until one of them has the text."""
    found = _parsed(lines, fields)
    if must_have_text:
        head: list[Found] = []
        keys: dict[str, None] = {}
        objects = 0
        for record, values in found:
            head.append(record)
            if values is not None:
                objects += 1
                keys |= dict.fromkeys(values)
            if fields.text in keys or objects >= _PATIENCE or len(head) >= 10 * _PATIENCE:
                break
        if objects and fields.text not in keys:
            raise UnknownName("text field", fields.text, keys, place=name)
        yield from head
    yield from (record for record, _ in found)


def _parsed(lines: Iterator[Line], fields: Fields) -> Iterator[tuple[Found, dict[str, Any] | None]]:
    for line in lines:
        record = Found(record=line.number, offset=line.offset, n_bytes=line.size)
        if line.raw is None:
            record.reason = f"a record of {line.size} bytes is longer than allowed"
            yield record, None
            continue
        if not line.raw.strip():
            continue
        values: dict[str, Any] | None = None
        record.reason = not_text(line.raw)
        if record.reason is None:
            values, record.reason = _object(line.raw)
        if values is not None:
            record.describe(values, fields)
            _take_text(record, values, fields.text)
        yield record, values


def _object(raw: bytes) -> tuple[dict[str, Any] | None, str | None]:
    try:
        values = json.loads(raw.decode())
    except json.JSONDecodeError as error:
        return None, f"not JSON: {error.msg} at character {error.pos}"
    except RecursionError:
        return None, "not JSON that can be read: nested too deeply"
    except ValueError as error:
        return None, f"not JSON that can be read: {error}"
    if not isinstance(values, dict):
        return None, f"not a JSON object but {_kind(values)}"
    return values, None


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names: dict[type, str] = {
        bool: "a truth value", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object",
    }  # fmt: skip
    return names.get(type(value), type(value).__name__)


def _take_text(record: Found, values: dict[str, Any], name: str) -> None:
    """Move the text into the record, or say why there is none."""
    text = values.get(name)
    if isinstance(text, str):
        try:
            record.body = text.encode()
        except UnicodeEncodeError as error:
            record.reason = f"not Unicode: half a surrogate pair at character {error.start}"
    elif name in values:
        record.reason = f"field {name!r} holds {_kind(text)}, not text"
    else:
        record.reason = f"the record has no field {name!r}"


def _elements(stream: io.BufferedReader, longest: int) -> Iterator[Line]:
    """Cut the elements of one array apart without holding more than one of them."""
    cut = _Cut(longest)
    depth, in_string, skip, base = 0, False, 0, 0
    while block := stream.read(_BLOCK):
        position, mark, skip = skip, 0, 0
        while match := (_IN_STRING if in_string else _OUTSIDE).search(block, position):
            sign, position = match[0], match.end()
            if sign == b"\\":
                position += 1
                skip = max(0, position - len(block))
            elif sign == b'"':
                in_string = not in_string
            elif sign in b"[{":
                depth += 1
                if depth == 1:
                    cut.begin = base + position
                    mark = position
            else:
                ends = depth == 1 and sign in b",]"
                depth -= sign in b"]}"
                if ends:
                    cut.take(block[mark : position - 1])
                    yield cut.line(base + position)
                    mark = position
                if depth == 0:
                    _nothing_follows(block[position:] + stream.read(_BLOCK), base + position)
                    return
        cut.take(block[mark:])
        base += len(block)
    yield cut.line(base)
    raise DamagedFile(f"truncated JSON: the array is not closed when the file ends after {base} bytes")


def _nothing_follows(rest: bytes, place: int) -> None:
    if rest.strip():
        raise DamagedFile(f"the array ends at byte {place} and something follows it")


class _Cut:
    """The element that is being read: held while it is not too long."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._held = bytearray()
        self._size = 0
        self._number = 0
        self.begin = 0

    def take(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._longest:
            self._held += part
        else:
            self._held.clear()

    def line(self, next_begin: int) -> Line:
        """Hand the element over and begin the next one."""
        self._number += 1
        raw = bytes(self._held) if self._size <= self._longest else None
        blank = 0 if raw is None else len(raw) - len(raw.lstrip())
        line = Line(self._number, self.begin + blank, raw, self._size)
        self._held.clear()
        self._size = 0
        self.begin = next_begin
        return line


class _Rejoined(io.RawIOBase):
    """A stream with its head put back."""

    def __init__(self, head: bytes, rest: io.BufferedReader) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)] or self._rest.read1(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)
