"""Freezing a bar: a signed statement, made before the data are seen, over every byte that decides.

What is frozen is the bar file, the metric files it names and its source mapping, because each of them could turn the
answer. The statement lies beside the bar as ``NAME.freeze.json`` and is entered into the ledger of the home, which no
review can rewrite.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from pathlib import Path

from jurat.errors import SpecError, UsageError
from jurat.evidence.canonical import canonical_json, file_sha256
from jurat.evidence.dsse import open_named, seal, statement
from jurat.evidence.keys import SigningKey, home
from jurat.evidence.ledger import Ledger
from jurat.launch.bar import Bar
from jurat.launch.experiment import result_catalog, result_kind, spec_path
from jurat.launch.verdict import Freeze
from jurat.metrics.loader import Metric, catalog
from jurat.store.durable import write_atomically
from jurat.store.source import load_source

__all__ = ["FREEZE_TYPE", "bar_catalog", "freeze_bar", "freeze_path", "load_freeze"]

FREEZE_TYPE = "urn:jurat:bar-freeze:1"


def freeze_path(bar: Path) -> Path:
    """File of a bar's freeze: ``bar.toml`` has ``bar.freeze.json``."""
    return bar.with_suffix(".freeze.json")


def bar_catalog(bar: Bar) -> dict[str, Metric]:
    """Definitions a bar may name: the shipped metrics and those of its own folder."""
    if result_kind(bar) is not None:
        return result_catalog(bar, spec_path(bar))
    folder = bar.document.data.metrics
    return catalog(bar.folder / folder) if folder is not None else catalog()


def _decisive(bar: Bar, metrics: Mapping[str, Metric]) -> dict[str, str]:
    """Digest of everything that decides, by name."""
    files = {"bar": bar.sha256}
    files |= {f"metric {name}": metrics[name].sha256 for name in bar.metric_names()}
    if bar.document.data.source is not None:
        files["source mapping"] = file_sha256(bar.folder / bar.document.data.source)
    return files


def freeze_bar(bar: Bar, key: SigningKey, *, again: bool = False, now: dt.datetime | None = None) -> Freeze:
    """Freeze a bar.

    Parameters
    ----------
    bar
        The bar; its metrics and source mapping must be in order.
    key
        Signs the statement.
    again
        Freeze an edited bar anew; the statement then names the one it replaces.
    now
        Time of the freeze; the present by default.

    Raises
    ------
    SpecError
        Where bar, metrics or source mapping cannot be followed.
    UsageError
        Where the bar is already frozen.
    """
    metrics = bar_catalog(bar)
    bar.clauses(metrics)
    if bar.document.data.source is not None:
        load_source(bar.folder / bar.document.data.source)
    path = freeze_path(bar.path)
    replaces = None
    if path.is_file():
        if not again:
            raise UsageError(
                "the bar is already frozen",
                seen=str(path),
                next_step="to freeze an edited bar anew pass --again: evidence from before then becomes retrospective",
            )
        replaces = file_sha256(path)
    time = (now or dt.datetime.now(dt.UTC)).astimezone(dt.UTC).isoformat(timespec="seconds")
    predicate = {
        "time": time,
        "replaces": replaces,
        "title": bar.document.title,
        "public_key": key.public.raw.hex(),
    }
    content = canonical_json(seal(statement(FREEZE_TYPE, predicate, subject=_decisive(bar, metrics)), [key])) + b"\n"
    # Into the ledger first: a freeze that nobody else can see is no freeze.
    sha = hashlib.sha256(content).hexdigest()
    Ledger(home() / "ledger.jsonl", key).append(
        "bar.frozen", {"title": bar.document.title, "bar_sha256": bar.sha256, "statement_sha256": sha, "time": time}
    )
    write_atomically(path, content)
    return Freeze(time=time, keyid=key.keyid, statement_sha256=sha)


def load_freeze(bar: Bar, *, metrics: Mapping[str, Metric] | None = None) -> Freeze | None:
    """Read a bar's freeze and hold every decisive file against it.

    Parameters
    ----------
    bar
        The bar.
    metrics
        Its metrics; read from its folder by default.

    Returns
    -------
    Freeze or None
        ``None`` where the bar was never frozen.

    Raises
    ------
    SpecError
        Where the bar, a metric or the source mapping was edited after the freeze.
    IntegrityError
        Where the statement itself was altered.
    """
    path = freeze_path(bar.path)
    if not path.is_file():
        return None
    raw = path.read_bytes()
    document, key = open_named(raw, predicate_type=FREEZE_TYPE, place=f"the freeze {path.name}")
    frozen = {s["name"]: s["digest"]["sha256"] for s in document["subject"]}
    time = document["predicate"]["time"]
    for name, seen in _decisive(bar, metrics if metrics is not None else bar_catalog(bar)).items():
        if frozen.get(name) != seen:
            what = "the bar" if name == "bar" else f"the {name}"
            raise SpecError(
                f"{what} was edited after the bar was frozen",
                seen=f"SHA-256 {seen[:16]}…; frozen at {time} as {str(frozen.get(name))[:16]}…",
                next_step="put the file back as it was, or freeze it anew (jurat bar freeze --again) for data that are "
                "still to come",
            )
    return Freeze(time=time, keyid=key.keyid, statement_sha256=hashlib.sha256(raw).hexdigest())
