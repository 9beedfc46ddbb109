"""An estimate, how it was made, and the two together: the only thing a launch decision reads.

`Estimate` says what was found, `Receipt` how to find it again, `Evidence` binds them and the time the data
were collected. All three turn into plain JSON and back without loss; the digest is SHA-256 over canonical
JSON (RFC 8785).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jurat.evidence.canonical import digest
from jurat.stats.result import Interval

__all__ = ["Contrast", "Estimate", "Evidence", "InputFile", "Receipt", "Threshold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Which two arms an estimate compares, and on which scale.

    Attributes
    ----------
    candidate, baseline
        Arm names; the estimate is candidate minus baseline (or candidate over baseline).
    scale
        ``"difference"`` or ``"ratio"``.
    paired
        Whether the same units stand in both arms and were compared unit by unit.
    """

    candidate: str
    baseline: str
    scale: str = "difference"
    paired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """The estimate held against a number fixed beforehand, by inverting its own interval.

    Attributes
    ----------
    value
        The number on the scale of the estimate, for example the margin of a launch bar.
    p_greater, p_less
        One-sided p-values against ``value`` for the alternatives "greater" and "less".
    """

    value: float
    p_greater: float
    p_less: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its interval, its n and its unit of analysis.

    Attributes
    ----------
    metric
        Name of the metric.
    value, low, high
        Point estimate and bounds; ``None`` where undefined or open (see ``reason``). Never NaN.
    level
        Nominal coverage of ``[low, high]``.
    n, n_clusters
        Units of analysis, and independent clusters (``None`` where the units are independent).
    unit, cluster
        What one unit is (``"prompt"``, ``"turn"``), and what they cluster in (``"user"``, ``"none"``).
    method
        The field's name of the interval's method.
    slice
        Which part of the data: column to value, empty for all.
    contrast
        The two arms of a comparison; ``None`` for a level.
    threshold
        The estimate against a number fixed beforehand; ``None`` where none was given.
    reason
        Why a number is missing.

    Examples
    --------
    >>> from jurat.stats.interval import proportion
    >>> e = Estimate.from_interval(proportion(8, 250), metric="refusal_rate", unit="turn", cluster="none")
    >>> print(e)
    refusal_rate 0.0320 [0.0163, 0.0619] n=250 turn
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    level: float
    n: int
    unit: str
    cluster: str
    method: str
    n_clusters: int | None = None
    slice: Mapping[str, str] = field(default_factory=dict)
    contrast: Contrast | None = None
    threshold: Threshold | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        for name in ("value", "low", "high", "level"):
            x = getattr(self, name)
            if x is not None and not math.isfinite(x):
                raise ValueError(f"{name} must be finite or None with a reason, got {x!r}")
        if self.value is None and not self.reason:
            raise ValueError("an undefined value needs a reason")

    @classmethod
    def from_interval(
        cls,
        interval: Interval,
        *,
        metric: str,
        unit: str,
        cluster: str,
        slice: Mapping[str, str] | None = None,  # noqa: A002 - the contract's name
        **extra: Any,
    ) -> Estimate:
        """Name what a statistical `Interval` is an interval of."""
        return cls(
            metric=metric,
            value=interval.value,
            low=interval.low,
            high=interval.high,
            level=interval.level,
            n=interval.n,
            n_clusters=interval.n_clusters,
            unit=unit,
            cluster=cluster,
            method=interval.method,
            slice=dict(slice or {}),
            reason=interval.reason,
            **extra,
        )

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.metric} undefined ({self.reason}) n={self.n} {self.unit}"
        low = "−∞" if self.low is None else f"{self.low:.4f}"
        high = "∞" if self.high is None else f"{self.high:.4f}"
        return f"{self.metric} {self.value:.4f} [{low}, {high}] n={self.n} {self.unit}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; nothing is rounded."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Estimate:
        """Rebuild an estimate from `to_json`."""
        fields = dict(document)
        contrast, threshold = fields.pop("contrast", None), fields.pop("threshold", None)
        return cls(
            **fields,
            contrast=Contrast(**contrast) if contrast else None,
            threshold=Threshold(**threshold) if threshold else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A file a number was computed from: path relative to the data root, size in bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Everything needed to compute a number again.

    Attributes
    ----------
    computation
        Name of a registered computation (entry-point group ``jurat.computations``).
    inputs
        Files the number was computed from, sorted by path.
    snapshot
        Digest of the lake snapshot, or ``None`` where no lake was read.
    code_sha256
        SHA-256 of the metric file or of the method's source.
    parameters
        Arguments of the computation, plain JSON.
    seed
        Seed of the random generator; ``None`` where nothing is random.
    engine, engine_version
        Query engine, for example ``"duckdb"``.
    packages
        Versions of the packages that took part, name to version.
    started
        UTC time the computation began, ISO 8601.
    seconds
        Wall time in seconds. Times are part of the record, not of the number: recomputing does not compare
        them.
    """

    computation: str
    inputs: tuple[InputFile, ...]
    snapshot: str | None
    code_sha256: str
    parameters: Mapping[str, Any]
    seed: int | None
    engine: str
    engine_version: str
    packages: Mapping[str, str]
    started: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        document = dataclasses.asdict(self)
        document["inputs"] = [dataclasses.asdict(i) for i in self.inputs]
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Receipt:
        """Rebuild a receipt from `to_json`."""
        fields = dict(document)
        fields["inputs"] = tuple(InputFile(**i) for i in fields["inputs"])
        return cls(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An estimate sworn to by its receipt.

    Attributes
    ----------
    estimate, receipt
        The number and how it was made.
    collected_from, collected_to
        First and last UTC time of the data, ISO 8601; ``None`` where the data do not say, which counts as
        collected before any freeze.
    provisional
        Whether unflushed data took part; provisional evidence cannot stand in a launch bar.
    """

    estimate: Estimate
    receipt: Receipt
    collected_from: str | None = None
    collected_to: str | None = None
    provisional: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON of the whole evidence, in hex."""
        return digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "estimate": self.estimate.to_json(),
            "receipt": self.receipt.to_json(),
            "collected_from": self.collected_from,
            "collected_to": self.collected_to,
            "provisional": self.provisional,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Evidence:
        """Rebuild evidence from `to_json`."""
        return cls(
            estimate=Estimate.from_json(document["estimate"]),
            receipt=Receipt.from_json(document["receipt"]),
            collected_from=document["collected_from"],
            collected_to=document["collected_to"],
            provisional=document["provisional"],
        )
