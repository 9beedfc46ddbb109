"""Panels: a figure with what stands behind it. Each can be had as JSON, CSV, the SQL that made it, and a receipt.

A page registers a builder for each of its panels; the addresses are the same for all. A builder is a plain function of the
person and the query, so a file and the page that links it cannot differ.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import date, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from markupsafe import Markup

from jurat.errors import UnknownName
from jurat.stats.result import Interval
from jurat.web.sessions import Person
from jurat.web.visible import csv_cell, visible

if TYPE_CHECKING:
    from jurat.store.lake import Lake
    from jurat.web.site import Site

__all__ = ["Panel", "PanelBuilder", "Reading", "lake_receipt", "plain", "register"]

Cell = Any
PanelBuilder = Callable[[Person, Mapping[str, str]], "Panel"]
"""Makes a panel from who asks and the query of the address. Runs in a worker thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An interval as a page shows it.

    Attributes
    ----------
    interval
        Value, bounds, n.
    shape
        ``"share"`` is written in per cent, ``"number"`` with three digits.
    scale
        What follows a number: ``"ms"``, ``"/s"``; ``"$"`` goes before it.

    Examples
    --------
    >>> from jurat.stats.interval import proportion
    >>> reading = Reading(interval=proportion(8, 250), shape="share")
    >>> reading.value, reading.range, reading.count
    ('3.2 %', '[1.6, 6.2]', 'n=250')
    """

    interval: Interval
    shape: Literal["share", "number"] = "number"
    scale: str = ""

    @property
    def defined(self) -> bool:
        """Whether there is a value."""
        return self.interval.value is not None

    @property
    def value(self) -> str:
        """The value in its unit."""
        return self._written(self.interval.value, with_unit=True)

    @property
    def range(self) -> str:
        """The bounds, on the value's scale."""
        if not self.defined:
            return ""
        low, high = self.interval.low, self.interval.high
        lower = "no lower bound" if low is None else self._written(low, with_unit=False)
        upper = "no upper bound" if high is None else self._written(high, with_unit=False)
        return f"[{lower}, {upper}]"

    @property
    def count(self) -> str:
        """Units that entered."""
        return f"n={self.interval.n:,}"

    @property
    def reason(self) -> str:
        """Why there is no value or no bound; empty where nothing is missing."""
        return self.interval.reason or ""

    def _written(self, x: float | None, *, with_unit: bool) -> str:
        if x is None:
            return "–"
        if self.shape == "share":
            return f"{_signed(100 * x, self._places)}{' %' if with_unit else ''}"
        if self.scale == "$":
            text = _signed(abs(x), self._places)
            return f"{'−' if x < 0 else ''}{'$' if with_unit else ''}{text}"
        return _signed(x, self._places) + (f" {self.scale}" if with_unit and self.scale else "")

    @property
    def _places(self) -> int:
        """Decimals of all three numbers: as many as the interval is worth, and as the house writes at least."""
        i, factor = self.interval, 100.0 if self.shape == "share" else 1.0
        value = abs(i.value or 0.0) * factor
        wide = 0.0 if i.low is None or i.high is None else (i.high - i.low) * factor
        needed = math.ceil(-math.log10(wide / 4)) if wide > 0 else 0
        if self.shape == "share":
            least = 1 if value >= 1 or value == 0 else 2
        elif self.scale == "$":
            least = 2
        else:
            least = 0 if value >= 100 or value == int(value) else 2 - math.floor(math.log10(value))
        return min(max(needed, least, 0), 8)


def _signed(x: float, places: int) -> str:
    return f"{x:,.{places}f}".replace("-", "−")


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A figure and what it was made of.

    Attributes
    ----------
    key
        Its name in addresses: small letters, digits and hyphens.
    title, question
        What it is called, and what it answers, in a sentence.
    rows
        The figure as a table: dicts with the same keys; a cell is text, a number, a time, a `Reading` or an `Interval`.
    columns
        Headings by key, in order; those of the first row by default.
    sql
        What was asked of the lake; runs as it stands.
    parameters
        Values that are bound to it.
    receipt
        What `lake_receipt` gives, or a function that asks it: pages draw many panels and need no receipt.
    svg
        The picture; empty where the table is the figure.
    note
        A line under the figure: the method, what is not shown.
    page
        Path of the page it stands on.
    query
        The part of the address that makes it this figure and no other.
    """

    key: str
    title: str
    question: str
    rows: Sequence[Mapping[str, Cell]]
    sql: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    receipt: Mapping[str, Any] | Callable[[], Mapping[str, Any]] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    svg: Markup = field(default_factory=Markup)
    note: str = ""
    page: str = "/"
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def headings(self) -> Mapping[str, str]:
        """Headings by key."""
        return self.columns or {name: name.replace("_", " ") for name in (self.rows[0] if self.rows else {})}

    def address(self, form: str) -> str:
        """Address of one of its forms: ``"json"``, ``"csv"``, ``"sql"``, ``"receipt"`` or ``"page"``."""
        asked = f"?{urlencode(self.query)}" if self.query else ""
        if form == "page":
            return f"{self.page}{asked}#{self.key}"
        return f"/panel/{self.key}/receipt{asked}" if form == "receipt" else f"/panel/{self.key}.{form}{asked}"


def lake_receipt(
    lake: Lake,
    versions: Mapping[str, int],
    sql: str,
    parameters: Mapping[str, Any],
    *,
    seconds: float,
    provisional: bool,
) -> dict[str, Any]:
    """Say what a figure was computed from, so that it can be computed again.

    Parameters
    ----------
    lake
        The lake.
    versions
        Version of each table that was read.
    sql, parameters
        What was asked.
    seconds
        How long it took.
    provisional
        Whether turns may still be missing that were acknowledged before; such a figure is no evidence.
    """
    tables = {}
    for table, number in sorted(versions.items()):
        names = sorted(path.rsplit("/", 1)[-1] for path in lake.paths(table, number))
        tables[table] = {
            "version": number,
            "files": len(names),
            "files_sha256": hashlib.sha256("\n".join(names).encode()).hexdigest(),
        }
    return {
        "kind": "panel",
        "tables": tables,
        "sql_sha256": hashlib.sha256(sql.encode()).hexdigest(),
        "parameters": plain(dict(parameters)),
        "engine": "duckdb",
        "engine_version": version("duckdb"),
        "packages": {name: version(name) for name in ("jurat", "numpy", "pyarrow", "scipy")},
        "python": platform.python_version(),
        "provisional": provisional,
        "seconds": round(seconds, 4),
    }


def plain(value: Any) -> Any:
    """Turn cells into JSON types; nothing is rounded.

    Examples
    --------
    >>> from datetime import UTC
    >>> plain({"at": datetime(2026, 11, 2, tzinfo=UTC), "k": (1, 2.5)})
    {'at': '2026-11-02T00:00:00+00:00', 'k': [1, 2.5]}
    """
    if isinstance(value, Reading):
        return {**asdict(value.interval), "shape": value.shape, "scale": value.scale}
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): plain(held) for name, held in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(held) for held in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _receipt(panel: Panel) -> Mapping[str, Any]:
    return panel.receipt() if callable(panel.receipt) else panel.receipt


def _csv(panel: Panel) -> str:
    """Rows as CSV; a reading becomes four columns, a cell that a spreadsheet would run becomes text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    rows = [_flat(row) for row in panel.rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer.writerow([csv_cell(name) for name in names])
    for row in rows:
        writer.writerow([csv_cell(row.get(name)) for name in names])
    return out.getvalue()


def _flat(row: Mapping[str, Cell]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, cell in row.items():
        interval = cell.interval if isinstance(cell, Reading) else cell
        if isinstance(interval, Interval):
            parts = ("value", "low", "high", "n", "level", "method", "reason")
            flat |= {name if part == "value" else f"{name}_{part}": getattr(interval, part) for part in parts}
        else:
            kept = plain(cell)
            flat[name] = json.dumps(kept, ensure_ascii=False) if isinstance(kept, dict | list) else kept
    return flat


class AsciiJSON(JSONResponse):
    """JSON in ASCII: what strangers wrote reaches no terminal raw, and is the same text once it is parsed."""

    def render(self, content: Any) -> bytes:
        """Write the body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def register(app: FastAPI, site: Site) -> None:
    """Add the addresses of all panels."""

    async def answer(request: Request) -> Response:
        person = await site.person(request, "analyse")
        key, form = request.path_params["key"], request.path_params.get("form", "receipt")
        builder = site.panels.get(key)
        if builder is None:
            raise UnknownName("panel", visible(key)[:60], site.panels)
        panel = await site.run(builder, person, dict(request.query_params))
        name = {"Content-Disposition": f'attachment; filename="{panel.key}.{form}"'}
        if form == "csv":
            return PlainTextResponse(_csv(panel), media_type="text/csv; charset=utf-8", headers=name)
        if form == "sql":
            bound = "".join(f"-- ${key} = {json.dumps(plain(value))}\n" for key, value in panel.parameters.items())
            return PlainTextResponse(bound + panel.sql.strip() + "\n", media_type="text/plain; charset=utf-8")
        if form == "receipt":
            return AsciiJSON(plain(_receipt(panel)))
        return AsciiJSON(
            {
                "key": panel.key,
                "title": panel.title,
                "question": panel.question,
                "columns": dict(panel.headings),
                "rows": plain(list(panel.rows)),
                "note": panel.note,
                "permalink": panel.address("page"),
                "receipt": plain(_receipt(panel)),
            }
        )

    for form in ("json", "csv", "sql"):
        app.add_api_route(f"/panel/{{key}}.{form}", _as(form, answer), methods=["GET"])
    app.add_api_route("/panel/{key}/receipt", _as("receipt", answer), methods=["GET"])


def _as(form: str, answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        request.path_params["form"] = form
        answered: Response = await answer(request)
        return answered

    return endpoint
