"""The computations a receipt can name, and the evidence they make.

A computation is a function of a receipt and the folder it is relative to; it returns the estimate and nothing else. The
functions here are registered under the entry-point group ``jurat.computations``, so `jurat.evidence.recompute` can run
what a receipt names without importing what it does not know.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jurat.errors import IntegrityError
from jurat.evidence.estimate import Estimate, Evidence, InputFile, Receipt
from jurat.evidence.measure import contrast, level_of_arm
from jurat.evidence.recompute import environment
from jurat.evidence.workspace import Workspace, collection_window

__all__ = ["Witness", "metric_contrast", "metric_level"]


def metric_level(receipt: Receipt, *, root: Path) -> Estimate:
    """Compute a metric's level on one arm, as a receipt says."""
    return _compute(_level_from, receipt, root)


def metric_contrast(receipt: Receipt, *, root: Path) -> Estimate:
    """Compute candidate minus baseline for a metric, as a receipt says."""
    return _compute(_contrast_from, receipt, root)


def _compute(function: Callable[[Workspace, Mapping[str, Any]], Estimate], receipt: Receipt, root: Path) -> Estimate:
    """Open the folder, hold snapshot and definition against the receipt, and compute."""
    parameters = receipt.parameters
    workspace = Workspace.open(root, lake=parameters["lake"])
    try:
        _hold("snapshot", workspace.snapshot.digest, str(receipt.snapshot))
        _hold(f"metric {parameters['metric']}", workspace.metric(parameters["metric"]).sha256, receipt.code_sha256)
        return function(workspace, parameters)
    finally:
        workspace.close()


def _hold(what: str, seen: str, sworn: str) -> None:
    if seen != sworn:
        raise IntegrityError(
            f"the {what} is not the one the number was computed from",
            seen=f"SHA-256 {seen[:16]}…; the receipt names {sworn[:16]}…",
            next_step="restore it from an untouched copy",
        )


def _measurement(workspace: Workspace, p: Mapping[str, Any]) -> Any:
    return workspace.measure(
        p["metric"], slices=tuple(p["slices"]), parameters=p["metric_parameters"], where=p["where"]
    )


def _level_from(workspace: Workspace, p: Mapping[str, Any]) -> Estimate:
    return level_of_arm(
        _measurement(workspace, p), arm_column=p["arm_column"], arm=p["arm"], level=p["level"], threshold=p["threshold"]
    )


def _contrast_from(workspace: Workspace, p: Mapping[str, Any]) -> Estimate:
    return contrast(
        _measurement(workspace, p),
        arm_column=p["arm_column"],
        candidate=p["candidate"],
        baseline=p["baseline"],
        level=p["level"],
        threshold=p["threshold"],
        cluster=p["cluster"],
    )


class Witness:
    """Makes evidence in one workspace: computes a number and writes down how.

    Parameters
    ----------
    workspace
        The pinned data.
    lake
        Path of the lake relative to the workspace's root, as it will stand in the receipts.
    inputs
        Source files the lake was built from; for a lake that is itself the source, its own files.
    arm_column
        Column that tells the arms apart.
    metric_parameters
        Arguments of the metrics (each takes those it declares).
    level
        Two-sided coverage of every interval.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        lake: str,
        inputs: Sequence[InputFile],
        arm_column: str,
        metric_parameters: Mapping[str, Any],
        level: float,
    ) -> None:
        self.workspace = workspace
        self._lake = lake
        self._inputs = tuple(sorted(inputs, key=lambda i: i.path))
        self._arm_column = arm_column
        self._metric_parameters = dict(metric_parameters)
        self._level = level
        self._packages = environment()
        self._windows: dict[str, tuple[str | None, str | None]] = {}

    def level(
        self,
        metric: str,
        arm: str,
        *,
        threshold: float | None = None,
        where: Mapping[str, str] | None = None,
        metric_parameters: Mapping[str, Any] | None = None,
    ) -> Evidence:
        """Evidence on one arm's level of a metric."""
        parameters = self._parameters(metric, where, threshold, metric_parameters, cluster=None)
        return self._swear("metric_level", _level_from, {**parameters, "arm": arm})

    def contrast(
        self,
        metric: str,
        *,
        candidate: str,
        baseline: str,
        threshold: float | None = None,
        where: Mapping[str, str] | None = None,
        cluster: str | None = None,
    ) -> Evidence:
        """Evidence on candidate minus baseline of a metric."""
        parameters = self._parameters(metric, where, threshold, None, cluster=cluster)
        return self._swear(
            "metric_contrast", _contrast_from, {**parameters, "candidate": candidate, "baseline": baseline}
        )

    def _parameters(
        self,
        metric: str,
        where: Mapping[str, str] | None,
        threshold: float | None,
        metric_parameters: Mapping[str, Any] | None,
        *,
        cluster: str | None,
    ) -> dict[str, Any]:
        slices = [self._arm_column] + ([cluster] if cluster else []) + sorted(where or {})
        return {
            "metric": metric,
            "lake": self._lake,
            "arm_column": self._arm_column,
            "slices": slices,
            "where": dict(where or {}),
            "metric_parameters": {**self._metric_parameters, **(metric_parameters or {})},
            "cluster": cluster,
            "level": self._level,
            "threshold": threshold,
        }

    def _swear(
        self, computation: str, function: Callable[[Workspace, Mapping[str, Any]], Estimate], p: dict[str, Any]
    ) -> Evidence:
        started, clock = dt.datetime.now(dt.UTC), time.perf_counter()
        metric = self.workspace.metric(p["metric"])
        estimate = function(self.workspace, p)
        if metric.name not in self._windows:
            self._windows[metric.name] = collection_window(self.workspace, metric)
        first, last = self._windows[metric.name]
        receipt = Receipt(
            computation=computation,
            inputs=self._inputs,
            snapshot=self.workspace.snapshot.digest,
            code_sha256=metric.sha256,
            parameters=p,
            seed=None,
            engine=self.workspace.engine.name,
            engine_version=self.workspace.engine.version,
            packages=self._packages,
            started=started.isoformat(timespec="milliseconds"),
            seconds=round(time.perf_counter() - clock, 6),
        )
        return Evidence(estimate=estimate, receipt=receipt, collected_from=first, collected_to=last)
