"""Metric files: one SELECT that returns sufficient statistics, with its meaning in a comment above it.

The file is valid SQL for any tool. A leading ``/*--- … ---*/`` comment holds TOML: what is asked, what kind of number it
is, which way is better, what one unit is and what units cluster in, who owns it, which tables it needs, and an example
with the rows it must return. The text is the audited definition: its SHA-256 goes into every receipt.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlglot import exp

from jurat.errors import SpecError, UnknownName
from jurat.store.dialect import parameters_of
from jurat.store.lint import lint, parse
from jurat.store.schema import TABLES

__all__ = ["ARROW_TYPES", "KEYS", "STATISTICS", "Example", "Metric", "catalog", "load", "load_folder", "parse_metric"]

STATISTICS: dict[str, tuple[str, ...]] = {
    "proportion": ("n", "k"),
    "mean": ("n", "sum", "sum_sq"),
    "ratio": ("n", "sum_x", "sum_y", "sum_xx", "sum_yy", "sum_xy"),
    "quantile": ("n",),
    "rate": ("n",),
}
"""Additive columns that each kind must return."""

KEYS: dict[str, tuple[str, ...]] = {"quantile": ("value",), "rate": ("period",)}
"""Further key columns of a kind: rows of a histogram, periods of a rate."""

_REQUIRED = ("title", "question", "kind", "better", "role", "unit", "cluster", "slices", "owner", "needs", "source")
_EXAMPLE = ("name", "parameters", "tables", "expect")
_OPTIONAL = ("pair", "scale", "parameters", "quantiles", "panel", "example")
_CHOICES = {
    "kind": tuple(STATISTICS),
    "better": ("higher", "lower", "neither"),
    "role": ("value", "risk", "guardrail"),
}
ARROW_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}
"""Types that ``needs`` may name, and what they are in Arrow."""

_TEXTS = ("title", "question", "kind", "better", "role", "unit", "cluster", "owner", "source", "pair", "scale")
_FRONT = re.compile(r"\A\s*/\*---[ \t]*\r?\n(?P<toml>.*?)\r?\n---\*/\s*(?P<sql>.*)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Rows in, rows out: what the metric must return on a small case."""

    name: str
    parameters: Mapping[str, Any]
    tables: Mapping[str, list[dict[str, Any]]]
    expect: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric's definition.

    Attributes
    ----------
    name
        Stem of its file.
    title, question
        What it is called, and what it answers.
    kind
        ``"proportion"``, ``"mean"``, ``"ratio"``, ``"quantile"`` or ``"rate"``.
    better
        ``"higher"``, ``"lower"`` or ``"neither"``.
    role
        ``"value"``, ``"risk"`` or ``"guardrail"``.
    unit, cluster
        Unit of analysis, and what units cluster in (``"none"`` is written out).
    scale
        Unit of the number itself (``"ms"``); shares have none.
    slices
        Columns the number can be cut by.
    pair
        What pairs units across arms; ``None`` where nothing does.
    parameters
        Names and default values of ``$name`` parameters.
    quantiles
        Quantiles a quantile metric is usually read at.
    needs
        Columns and types by table.
    examples
        Cases that are run as tests.
    sql, text, sha256
        The SELECT, the whole file, and the SHA-256 of the file's bytes in hex.
    """

    name: str
    title: str
    question: str
    kind: str
    better: str
    role: str
    unit: str
    cluster: str
    owner: str
    source: str
    slices: tuple[str, ...]
    needs: Mapping[str, Mapping[str, str]]
    sql: str
    text: str
    sha256: str
    pair: str | None = None
    scale: str = ""
    parameters: Mapping[str, Any]
    quantiles: tuple[float, ...] = ()
    examples: tuple[Example, ...] = ()

    @property
    def statistics(self) -> tuple[str, ...]:
        """Additive columns the SELECT returns."""
        return STATISTICS[self.kind]

    @property
    def keys(self) -> tuple[str, ...]:
        """Key columns that always stay: cluster, pair, and those of the kind."""
        cluster = ("cluster",) if self.cluster != "none" else ()
        pair = ("pair",) if self.pair else ()
        return (*cluster, *pair, *KEYS.get(self.kind, ()))


def load(path: Path) -> Metric:
    """Read a metric file and check its form.

    Parameters
    ----------
    path
        The ``.sql`` file.

    Raises
    ------
    SpecError
        Where the front matter or the SELECT cannot be followed, with file and key.
    """
    if not path.is_file():
        raise SpecError("no such metric file", seen=str(path), next_step="give the path of a .sql file")
    try:
        text = path.read_bytes().decode("utf-8")  # line ends untouched: the digest is that of the file
    except UnicodeDecodeError as error:
        raise SpecError(f"{path.name} is not UTF-8", seen=str(error), next_step="save it as UTF-8") from error
    return parse_metric(path.stem, text, place=path.name)


def parse_metric(name: str, text: str, *, place: str) -> Metric:
    """Read a metric from its text.

    Parameters
    ----------
    name
        Name of the metric.
    text
        The whole file.
    place
        File name, for messages.
    """
    match = _FRONT.match(text)
    if match is None:
        raise SpecError(
            f"{place} has no front matter",
            seen=repr(text[:40]),
            next_step="begin the file with /*--- and TOML, and end that with ---*/ on lines of their own",
        )
    try:
        # Lines are padded so that messages name the line of the file.
        front = tomllib.loads("\n" * text.count("\n", 0, match.start("toml")) + match["toml"])
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{place}: the front matter is not TOML", seen=str(error), next_step="mend it there") from error
    _check_front(front, place)
    metric = Metric(
        name=name,
        sql=match["sql"].strip().rstrip(";"),
        text=text,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        slices=tuple(front["slices"]),
        needs=front["needs"],
        pair=front.get("pair"),
        scale=front.get("scale", ""),
        parameters=front.get("parameters", {}),
        quantiles=tuple(front.get("quantiles", ())),
        examples=tuple(_example(e, front["needs"], place) for e in front.get("example", ())),
        **{
            key: front[key]
            for key in ("title", "question", "kind", "better", "role", "unit", "cluster", "owner", "source")
        },
    )
    line = text.count("\n", 0, match.start("sql"))
    _check_portable(metric, line, place)
    _check_names(metric, place)
    return metric


def _check_front(front: Mapping[str, Any], place: str) -> None:
    for key in front:
        if key not in _REQUIRED + _OPTIONAL:
            raise UnknownName("key", key, _REQUIRED + _OPTIONAL, place=place)
    for key in _REQUIRED:
        if key not in front:
            raise SpecError(f"{place}: the key {key} is missing", seen=", ".join(front), next_step=f"add {key} = …")
    for key in _TEXTS:
        _expect(isinstance(front.get(key, ""), str), place, key, front.get(key), "a text")
    for key, choices in _CHOICES.items():
        _expect(front[key] in choices, place, key, front[key], f"one of {', '.join(choices)}")
    slices = front["slices"]
    _expect(_are_texts(slices) and len(set(slices)) == len(slices), place, "slices", slices, "a list of columns")
    quantiles = front.get("quantiles", [])
    shares = isinstance(quantiles, list) and all(isinstance(q, float) and 0 < q < 1 for q in quantiles)
    _expect(shares, place, "quantiles", quantiles, "a list of numbers in (0, 1), such as 0.95")
    parameters = front.get("parameters", {})
    scalars = isinstance(parameters, dict) and all(isinstance(v, str | int | float) for v in parameters.values())
    _expect(scalars, place, "parameters", parameters, "a table of texts, numbers and booleans")
    _check_needs(front["needs"], place)


def _expect(holds: bool, place: str, key: str, seen: object, accepted: str) -> None:
    if not holds:
        raise SpecError(f"{place}: {key} cannot be that", seen=repr(seen), next_step=f"give {accepted}")


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _check_needs(needs: object, place: str) -> None:
    """Tables of the house must have the columns, in the types, that the metric says; other tables are its own matter."""
    if not isinstance(needs, dict) or not all(isinstance(columns, dict) for columns in needs.values()):
        raise SpecError(
            f"{place}: needs cannot be that", seen=repr(needs), next_step='write [needs.TABLE] and column = "type"'
        )
    for table, columns in needs.items():
        for column, kind in columns.items():
            key = f"needs.{table}.{column}"
            _expect(kind in ARROW_TYPES, place, key, kind, f"one of {', '.join(ARROW_TYPES)}")
            if table not in TABLES:
                continue
            if column not in TABLES[table].names:
                raise UnknownName("column", column, TABLES[table].names, place=f"{place}, needs.{table}")
            held = TABLES[table].field(column).type
            _expect(held == ARROW_TYPES[kind], place, key, kind, f"the type it has in the lake, {held}")


def _example(raw: Mapping[str, Any], needs: Mapping[str, object], place: str) -> Example:
    for key in ("name", "expect"):
        if key not in raw:
            raise SpecError(f"{place}: an [[example]] lacks {key}", seen=", ".join(raw), next_step=f"add {key}")
    for key in raw:
        if key not in _EXAMPLE:
            raise UnknownName("key", key, _EXAMPLE, place=f"{place}, example {raw['name']!r}")
    for table in raw.get("tables", {}):
        if table not in needs:
            raise UnknownName("table", table, needs, place=f"{place}, example {raw['name']!r}")
    return Example(
        name=raw["name"], parameters=raw.get("parameters", {}), tables=raw.get("tables", {}), expect=raw["expect"]
    )


def _check_portable(metric: Metric, line: int, place: str) -> None:
    """The SELECT must return what its kind, slices and keys promise, and nothing else, in portable SQL."""
    padded = "\n" * line + metric.sql  # so that messages name the line of the file
    try:
        returned = [projection.alias_or_name for projection in parse(padded).selects]
    except SpecError as error:
        raise SpecError(f"{place}: {error.what}", seen=error.seen, next_step=error.next_step) from error
    wanted = [*metric.slices, *metric.keys, *metric.statistics]
    missing = [c for c in wanted if c not in returned]
    extra = [c for c in returned if c not in wanted]
    if missing or extra:
        raise SpecError(
            f"{place}: the SELECT does not return what a {metric.kind} needs",
            seen=f"missing: {', '.join(missing) or 'none'}; not known: {', '.join(extra) or 'none'}",
            next_step=f"return exactly {', '.join(wanted)}",
        )
    breaches = lint(padded, types=metric.needs)
    if breaches:
        raise SpecError(
            f"{place} is not portable",
            seen="; ".join(str(b) for b in breaches[:3]),
            next_step="see docs/reference/metric-files.md for the eight rules",
        )


def _check_names(metric: Metric, place: str) -> None:
    """Tables and parameters of the SQL must be declared, and declared parameters used."""
    tree = parse(metric.sql)
    common = {cte.alias for cte in tree.find_all(exp.CTE)}
    for table in sorted({table.name for table in tree.find_all(exp.Table)} - common):
        if table not in metric.needs:
            raise UnknownName("table", table, metric.needs, place=f"{place}: not declared under [needs]")
    used = parameters_of(metric.sql)
    for name in sorted(used - set(metric.parameters)):
        raise UnknownName("parameter", name, metric.parameters, place=f"{place}: not declared under parameters")
    # q is read by the estimator, which takes the quantile from the histogram.
    unused = sorted(set(metric.parameters) - used - ({"q"} if metric.kind == "quantile" else set()))
    if unused:
        raise SpecError(
            f"{place}: a parameter changes nothing", seen=", ".join(unused), next_step="use it as $name, or remove it"
        )
    for example in metric.examples:
        for name in example.parameters:
            if name not in metric.parameters:
                raise UnknownName("parameter", name, metric.parameters, place=f"{place}, example {example.name!r}")


def load_folder(folder: Path) -> dict[str, Metric]:
    """Every metric of a folder, by name.

    Raises
    ------
    SpecError
        Where there is no such folder, or a file in it cannot be followed.
    """
    if not folder.is_dir():
        raise SpecError("no such metrics folder", seen=str(folder), next_step="give a folder of .sql files")
    return {path.stem: load(path) for path in sorted(folder.glob("*.sql"))}


@cache
def _shipped() -> dict[str, Metric]:
    """Files of the package, read once: a running process keeps the definitions it began with."""
    files = sorted(
        (entry for entry in resources.files("jurat.metrics").iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    return {
        entry.name.removesuffix(".sql"): parse_metric(
            entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8"), place=entry.name
        )
        for entry in files
    }


def catalog(*folders: Path) -> dict[str, Metric]:
    """Return the metrics that are shipped and those of some folders, by name.

    Parameters
    ----------
    *folders
        Folders of metric files of your own.

    Raises
    ------
    SpecError
        Where two files define one name.

    Examples
    --------
    >>> catalog()["refusal_rate"].kind
    'proportion'
    """
    found = dict(_shipped())
    for folder in folders:
        for name, metric in load_folder(folder).items():
            if name in found:
                raise SpecError(
                    f"two files define the metric {name}",
                    seen=str(folder / f"{name}.sql"),
                    next_step="give yours another name: evidence names metrics, and a name must mean one thing",
                )
            found[name] = metric
    return found
