"""Compute a number again from its receipt, and say what differs.

A receipt names a computation; outsiders register theirs under the entry-point group ``jurat.computations``.
On the engine and packages of the receipt the result must be the same bit for bit; on another engine version
floating reductions may differ, and a stated tolerance of 1e-9 applies, which the report names.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jurat.errors import IntegrityError, UnknownName
from jurat.evidence.canonical import canonical_json, file_sha256
from jurat.evidence.estimate import Estimate, Evidence, InputFile

__all__ = ["GROUP", "TOLERANCE", "check_inputs", "environment", "recompute"]

GROUP = "jurat.computations"
TOLERANCE = 1e-9
"""Relative difference accepted where the engine is not the receipt's."""

_PACKAGES = ("jurat", "numpy", "scipy", "pyarrow", "duckdb", "deltalake", "sqlglot", "numba")

Computation = Callable[..., Estimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """A number that was computed again: the fresh estimate, and whether it is the same bit for bit."""

    estimate: Estimate
    exact: bool


def environment() -> dict[str, str]:
    """Versions of what takes part in a computation, read from metadata without importing anything."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found}


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
        Naming the first file that is missing or changed, with both digests.
    """
    for file in inputs:
        path = root / file.path
        if not path.is_file():
            raise IntegrityError(
                f"the data file {file.path} is missing",
                seen=str(path),
                next_step="say where the data are with --data",
            )
        seen = file_sha256(path)
        if seen != file.sha256:
            raise IntegrityError(
                f"the data file {file.path} changed",
                seen=f"{path.stat().st_size} bytes, SHA-256 {seen[:16]}…; the receipt names {file.size} bytes, "
                f"{file.sha256[:16]}…",
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
    evidence: Evidence, *, root: Path, registry: Mapping[str, Computation] | None = None
) -> Recomputed:
    """Run what a receipt names and compare the result with what was sworn.

    Parameters
    ----------
    evidence
        The number with its receipt.
    root
        Folder that the receipt's paths are relative to.
    registry
        Computations by name; the installed entry points by default.

    Raises
    ------
    IntegrityError
        Where a field differs, with both values; exactly on the receipt's engine version, beyond `TOLERANCE`
        on another.
    UnknownName
        Where the computation is not installed.
    """
    fresh = _registered(evidence.receipt.computation, registry)(evidence.receipt, root=root)
    sworn, seen = evidence.estimate.to_json(), fresh.to_json()
    if canonical_json(sworn) == canonical_json(seen):
        return Recomputed(estimate=fresh, exact=True)
    same_engine = environment().get(evidence.receipt.engine) == evidence.receipt.engine_version
    tolerance = 0.0 if same_engine else TOLERANCE
    differing = [
        f"{k}: sworn {sworn[k]!r}, computed {seen[k]!r}"
        for k in sworn
        if not _close(sworn[k], seen[k], tolerance)
    ]
    if differing:
        raise IntegrityError(
            f"{evidence.estimate.metric} does not come out as sworn",
            seen="; ".join(differing),
            next_step="the number, its receipt or the data were changed, or the packages differ: "
            + _package_changes(evidence.receipt.packages),
        )
    return Recomputed(estimate=fresh, exact=False)


def _close(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return a == b or abs(a - b) <= tolerance * max(abs(a), abs(b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_close(a[k], b[k], tolerance) for k in a)
    return bool(a == b)


def _package_changes(recorded: Mapping[str, str]) -> str:
    now = environment()
    changed = [
        f"{name} {version} → {now.get(name, 'absent')}"
        for name, version in recorded.items()
        if now.get(name) != version
    ]
    return ", ".join(changed) or "none does"
