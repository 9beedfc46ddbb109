"""Compute a number again from its receipt, and say what differs.

A receipt names a computation; outsiders register theirs under the entry-point group ``jurat.computations``.
On the engine and packages of the receipt the result must be the same bit for bit; on another engine version
floating reductions may differ, and a stated tolerance of 1e-9 applies, which the report names.
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jurat.errors import IntegrityError, UnknownName
from jurat.evidence.canonical import canonical_json, file_sha256
from jurat.evidence.estimate import Estimate, Evidence, InputFile

__all__ = [
    "ABSOLUTE_TOLERANCE",
    "GROUP",
    "TOLERANCE",
    "Recomputed",
    "check_inputs",
    "environment",
    "recompute",
]

GROUP = "jurat.computations"
TOLERANCE = 1e-9
"""Relative difference accepted where the engine is not the receipt's."""

ABSOLUTE_TOLERANCE = 1e-12
"""Difference accepted beside it: a relative one means nothing where the sworn number is zero."""

_PACKAGES = ("jurat", "numpy", "scipy", "pyarrow", "duckdb", "deltalake", "sqlglot", "numba")

_OPTIONAL = {"clickhouse": "chdb", "spark": "pyspark"}
"""Distributions of the engines that are extras."""

Computation = Callable[..., Estimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """A number that was computed again: the fresh estimate, and whether it is the same bit for bit."""

    estimate: Estimate
    exact: bool


def environment() -> dict[str, str]:
    """Versions of what takes part in a computation, read from metadata without importing anything.

    Examples
    --------
    >>> sorted(environment())[:3]
    ['deltalake', 'duckdb', 'jurat']
    """
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found}


def _engine_version(engine: str) -> str | None:
    """Version of an engine as it is installed here; ``None`` where it is not, or nobody can say."""
    try:
        return importlib.metadata.version(_OPTIONAL.get(engine, engine))
    except importlib.metadata.PackageNotFoundError:
        return None


def check_inputs(inputs: tuple[InputFile, ...], root: Path) -> None:
    """Compare the files of a receipt with those on disk.

    Parameters
    ----------
    inputs
        Files with size and digest.
    root
        Folder their paths are relative to.

    Raises
    ------
    IntegrityError
        Naming every file that is missing or changed, with size and digest as recorded and as seen.

    Examples
    --------
    >>> check_inputs((InputFile(path="labels.csv", size=3, sha256="00"),), Path("/nowhere"))
    Traceback (most recent call last):
    jurat.errors.IntegrityError: the data file labels.csv is missing
      seen: /nowhere/labels.csv
      next: say where the data are with --data
    """
    faults = [fault for file in inputs if (fault := _input_fault(file, root)) is not None]
    if not faults:
        return
    first, *others = faults
    what = f"{first.what} (and {len(others)} more)" if others else first.what
    seen = "; ".join(f"{f.what}: {f.seen}" for f in faults) if others else first.seen
    raise IntegrityError(what, seen=seen, next_step=first.next_step)


def _input_fault(file: InputFile, root: Path) -> IntegrityError | None:
    path = root / file.path
    if not path.is_file():
        return IntegrityError(
            f"the data file {file.path} is missing",
            seen=str(path),
            next_step="say where the data are with --data",
        )
    size, sha256 = path.stat().st_size, file_sha256(path)
    if (size, sha256) == (file.size, file.sha256):
        return None
    return IntegrityError(
        f"the data file {file.path} changed",
        seen=f"{size} bytes, SHA-256 {sha256[:16]}…; the receipt names {file.size}, {file.sha256[:16]}…",
        next_step="restore the file, or review the new data under a new verdict",
    )


def _registered(name: str, registry: Mapping[str, Computation] | None) -> Computation:
    if registry is not None:
        if name not in registry:
            raise UnknownName("computation", name, registry)
        return registry[name]
    points = {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
    if name not in points:
        raise UnknownName("computation", name, points)
    found: Computation = points[name].load()
    return found


def recompute(
    evidence: Evidence,
    *,
    root: Path,
    data_root: Path | None = None,
    registry: Mapping[str, Computation] | None = None,
) -> Recomputed:
    """Run what a receipt names and compare the result with what was sworn.

    Parameters
    ----------
    evidence
        The number with its receipt.
    root
        Folder that the receipt's parameters are relative to.
    data_root
        Folder of the input files; where given, each is checked by size and SHA-256 first.
    registry
        Computations by name; the installed entry points by default.

    Raises
    ------
    IntegrityError
        Where an input file changed. Where a field differs, with both values; exactly on the receipt's engine
        version, beyond `TOLERANCE` on another.
    UnknownName
        Where the computation is not installed.
    """
    if data_root is not None:
        check_inputs(evidence.receipt.inputs, data_root)
    fresh = _registered(evidence.receipt.computation, registry)(evidence.receipt, root=root)
    sworn, seen = evidence.estimate.to_json(), fresh.to_json()
    if canonical_json(sworn) == canonical_json(seen):
        return Recomputed(estimate=fresh, exact=True)
    exactly = _engine_version(evidence.receipt.engine) == evidence.receipt.engine_version
    differing = [
        f"{k}: sworn {sworn[k]!r}, computed {seen[k]!r}" for k in sworn if not _same(sworn[k], seen[k], exactly=exactly)
    ]
    if differing:
        raise IntegrityError(
            f"{evidence.estimate.metric} does not come out as sworn",
            seen="; ".join(differing),
            next_step="the number, its receipt or the data were changed, or the packages differ: "
            + _package_changes(evidence.receipt.packages),
        )
    return Recomputed(estimate=fresh, exact=False)


def _same(sworn: Any, seen: Any, *, exactly: bool) -> bool:
    """Whether two values are the same; floats within the tolerance unless exactly, counts always exactly."""
    if isinstance(sworn, Mapping) and isinstance(seen, Mapping):
        return sworn.keys() == seen.keys() and all(_same(sworn[k], seen[k], exactly=exactly) for k in sworn)
    if not exactly and {type(sworn), type(seen)} in ({float}, {float, int}):
        return math.isclose(sworn, seen, rel_tol=TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
    return bool(sworn == seen)


def _package_changes(recorded: Mapping[str, str]) -> str:
    now = environment()
    changed = [
        f"{name} {version} → {now.get(name, 'absent')}"
        for name, version in recorded.items()
        if now.get(name) != version
    ]
    return ", ".join(changed) or "none does"
