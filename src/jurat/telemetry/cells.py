"""Values that the compiled decoder leaves to Python: lists of messages, objects, dates, numbers written as text."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jurat.telemetry import wire_kernel as kernel
from jurat.telemetry.aliases import AliasTable

__all__ = ["OddCells", "flatten_messages"]

_Whole = NDArray[np.int64]
_SYSTEM = ("system", "developer")
_MOST_PARTS = 100_000


class OddCells:
    """Reads odd values of one request's spans.

    Parameters
    ----------
    aliases
        The table of names.
    spans, resources, attributes
        Tables as the kernel filled them.
    value
        Gives the Python value of an attribute's row.
    unmapped
        Counts values that cannot be read.
    """

    def __init__(
        self,
        aliases: AliasTable,
        spans: _Whole,
        resources: _Whole,
        attributes: _Whole,
        value: Callable[[int], Any],
        unmapped: Counter[str],
    ) -> None:
        self.aliases, self.spans, self.resources, self.attributes = aliases, spans, resources, attributes
        self.value, self.unmapped = value, unmapped
        self._members: dict[str, dict[int, Any]] = defaultdict(dict)
        self._systems: dict[int, str] = {}
        self._order = list(aliases.columns)

    def read_objects(self, best: _Whole) -> None:
        """Take members of objects for columns that nothing else names."""
        if not self.aliases.objects:
            return
        chosen = np.isin(self.attributes[:, kernel.A_ALIAS], list(self.aliases.objects))
        rows = np.flatnonzero(chosen & (self.attributes[:, kernel.A_SOURCE] == 0))
        if len(rows) == 0:
            return
        owners = np.searchsorted(self.spans[:, kernel.S_TO], rows, side="right")
        for row, span in zip(rows.tolist(), owners.tolist(), strict=True):
            if span >= len(self.spans) or row < self.spans[span, kernel.S_FROM]:
                continue
            alias = int(self.attributes[row, kernel.A_ALIAS])
            wanted = self.aliases.objects[alias].items()
            missing = [pair for pair in wanted if best[self._order.index(pair[1]), span] < 0]
            found = _json(self.value(row)) if missing else None
            needed = self.aliases.needs.get(alias)
            if not isinstance(found, Mapping) or (needed is not None and needed not in found):
                continue
            for member, column in missing:
                if member in found:
                    self._members[column].setdefault(span, found[member])

    def texts(self, column: str, best: _Whole, rows: _Whole) -> dict[int, str | None]:
        """Text of cells: what the kernel left, and members of objects."""
        messages = self.aliases.columns[column] == "messages"
        found: dict[int, str | None] = {}
        for span in rows.tolist():
            row = int(best[span])
            if int(self.attributes[row, kernel.A_ALIAS]) in self.aliases.members:
                found[span] = self._members_as_json(span, column)
            elif self.attributes[row, kernel.A_INDEX] and messages:
                found[span] = self._pieces(
                    span, column, int(self.aliases.rank_of[self.attributes[row, kernel.A_ALIAS]])
                )
            elif messages:
                found[span] = self._messages(span, column, self.value(row))
            else:
                found[span] = _as_text(self.value(row))
        for span, value in self._members.get(column, {}).items():
            found[span] = _as_text(value)
        return found

    def numbers(self, column: str, best: _Whole, rows: _Whole) -> dict[int, float | None]:
        """Numbers of cells, in the column's unit."""
        found: dict[int, float | None] = {}
        for span in rows.tolist():
            alias = int(self.attributes[best[span], kernel.A_ALIAS])
            factor, value = float(self.aliases.factor_of[alias]), self.value(int(best[span]))
            if factor == 0.0:
                start = int(self.spans[span, kernel.S_START]) & (1 << 64) - 1
                found[span] = _since(value, start)
            else:
                number = _number(value)
                found[span] = None if number is None else number * factor
            if found[span] is None:
                self.unmapped[f"{self.aliases.names[alias]} (unreadable)"] += 1
        for span, value in self._members.get(column, {}).items():
            found[span] = _number(value)
        return found

    def booleans(self, best: _Whole) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Truth values of a column, and where there is one."""
        flags, valid = np.zeros(len(best), np.bool_), np.zeros(len(best), np.bool_)
        spans = np.flatnonzero(best >= 0)
        rows = best[spans]
        kinds = self.attributes[rows, kernel.A_TYPE]
        plain = (kinds == kernel.BOOL) | (kinds == kernel.INT)
        flags[spans[plain]] = self.attributes[rows[plain], kernel.A_VALUE] != 0
        valid[spans[plain]] = True
        for span in spans[~plain].tolist():
            word = str(self.value(int(best[span]))).strip().lower()
            flags[span], valid[span] = word in ("true", "1"), word in ("true", "1", "false", "0")
        return flags, valid

    def take_system(self, columns: dict[str, pa.Array]) -> None:
        """Give system messages met among the prompt's to the column ``system``, where nothing else is there."""
        if not self._systems or "system" not in columns:
            return
        texts = columns["system"].to_pylist()
        for span, text in self._systems.items():
            texts[span] = texts[span] or text
        columns["system"] = pa.array(texts, pa.string())

    def _messages(self, span: int, column: str, value: Any) -> str | None:
        found = _json(value)
        if isinstance(found, Mapping) and isinstance(found.get("messages"), list):
            found = found["messages"]
        if isinstance(found, Mapping | list):
            text, system = flatten_messages(found, labelled=column == "prompt", split=column == "prompt")
            if system:
                self._systems[span] = system
            if text is not None or system:
                return text
        return _as_text(value)

    def _pieces(self, span: int, column: str, rank: int) -> str | None:
        """Messages that come one attribute a piece, in the order of their numbers."""
        number = self._order.index(column)
        wanted: list[tuple[int, int, int]] = []
        roles: dict[int, str] = {}
        for row in range(int(self.spans[span, kernel.S_FROM]), int(self.spans[span, kernel.S_TO])):
            alias = int(self.attributes[row, kernel.A_ALIAS])
            if alias < 0 or len(wanted) > _MOST_PARTS:
                continue
            index = int(self.attributes[row, kernel.A_INDEX])
            if self.aliases.roles.get(alias) == column:
                roles[(index - 1) // 100_000] = str(self.value(row))
            elif index and self.aliases.column_of[alias] == number:
                wanted.append((index - 1, int(self.aliases.rank_of[alias]), row))
        dialect = self._dialect(column, rank)
        pieces: dict[int, dict[int, str]] = defaultdict(dict)
        for index, one, row in sorted(wanted):
            text = _as_text(self.value(row))
            if one in dialect and text:
                pieces[index // 100_000][index % 100_000] = text
        messages = [
            {"role": roles.get(place), "content": "\n".join(parts.values())} for place, parts in sorted(pieces.items())
        ]
        text, system = flatten_messages(messages, labelled=column == "prompt", split=column == "prompt")
        if system:
            self._systems[span] = system
        return text

    def _dialect(self, column: str, rank: int) -> set[int]:
        """Ranks of the names that go with this one: the same up to the first star."""
        number = self._order.index(column)
        ranks = {
            int(self.aliases.rank_of[i]): name
            for i, name in enumerate(self.aliases.names)
            if self.aliases.column_of[i] == number
        }
        stem = ranks[rank].split("*")[0]
        return {one for one, name in ranks.items() if name.startswith(stem)}

    def _members_as_json(self, span: int, column: str) -> str:
        found: dict[int, dict[str, Any]] = defaultdict(dict)
        for row in range(int(self.spans[span, kernel.S_FROM]), int(self.spans[span, kernel.S_TO])):
            member = self.aliases.members.get(int(self.attributes[row, kernel.A_ALIAS]))
            if member is not None:
                found[int(self.attributes[row, kernel.A_INDEX]) // 100_000][member] = self.value(row)
        return json.dumps([one for _, one in sorted(found.items())], ensure_ascii=False, separators=(",", ":"))


def flatten_messages(messages: Any, *, labelled: bool, split: bool) -> tuple[str | None, str | None]:
    """Lay messages out as text.

    Parameters
    ----------
    messages
        A list of messages (``role`` with ``content`` or ``parts``), of parts, of texts, or one of these.
    labelled
        Whether each of several messages has its role in front.
    split
        Whether system messages are kept apart.

    Returns
    -------
    tuple
        The text, and that of the system messages; ``None`` for what is not there. Parts of a message stand in lines of
        their own, messages behind an empty line; parts without text (images, calls of tools) are left out.

    Examples
    --------
    >>> flatten_messages([{"role": "system", "content": "Be brief."}, {"role": "user", "parts": [{"type": "text",
    ...     "content": "Hi"}]}], labelled=True, split=True)
    ('Hi', 'Be brief.')
    """
    texts, systems = [], []
    for message in messages if isinstance(messages, list) else [messages]:
        role = message.get("role") if isinstance(message, Mapping) else None
        text = _part_text(message, 0)
        if not text:
            continue
        if split and role in _SYSTEM:
            systems.append(text)
        else:
            texts.append((role, text))
    if labelled and len(texts) > 1:
        lines = [f"{role}: {text}" if isinstance(role, str) else text for role, text in texts]
    else:
        lines = [text for _, text in texts]
    return "\n\n".join(lines) if lines else None, "\n\n".join(systems) if systems else None


def _part_text(part: Any, depth: int) -> str:
    if isinstance(part, str):
        return part
    if depth > 8:
        return ""
    if isinstance(part, list):
        return "\n".join(text for text in (_part_text(one, depth + 1) for one in part) if text)
    if isinstance(part, Mapping):
        if part.get("type") in ("reasoning", "thinking"):
            return ""
        for name in ("parts", "content", "text", "message"):
            if part.get(name):
                return _part_text(part[name], depth + 1)
    return ""


def _json(value: Any) -> Any:
    """Value of JSON text; anything else as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _as_text(value: Any) -> str | None:
    if value is None or value in ("", [], {}):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _since(value: Any, start_ns: int) -> float | None:
    """Milliseconds from the start to a date and time (ISO 8601, or JSON of one)."""
    try:
        moment = dt.datetime.fromisoformat(str(value).strip().strip('"'))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        passed = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        return None
    return passed / dt.timedelta(milliseconds=1) - start_ns / 1e6
