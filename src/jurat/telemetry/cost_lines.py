"""Where the money went: lines that add up to the invoice, and sums of them by whom or what they name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jurat.errors import UnknownName

__all__ = ["Attribution", "CostLine", "Kind", "Total", "apportion"]

Kind = Literal["attributed", "idle", "unattributed"]
_DIMENSIONS = ("experiment", "run", "person", "service", "sku", "invoice")


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """What one run's use came to, or what nobody used.

    Attributes
    ----------
    kind
        ``"attributed"``, ``"idle"`` (paid and not used) or ``"unattributed"`` (used or paid, nobody named).
    experiment, run, person
        For whom.
    invoice, service, sku, currency
        Of which charges.
    minor
        Amount in the currency's smallest unit.
    quantity, unit
        GPU-hours or tokens.
    start_us, end_us
        First and last moment of these charges.
    """

    kind: Kind
    experiment: str | None
    run: str | None
    person: str | None
    invoice: str
    service: str
    sku: str
    currency: str
    minor: int
    quantity: float
    unit: str
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Sum of lines: name (``None`` where a record names none), kind, currency, smallest units, GPU-hours, tokens."""

    name: str | None
    kind: Kind
    currency: str
    minor: int
    gpu_hours: float
    tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Where the money went.

    Attributes
    ----------
    lines
        By invoice, service, SKU, experiment, run and person.
    invoices
        Amount in smallest units by invoice and currency; lines of one add up to it exactly.
    shared_hours
        GPU-hours in which jobs asked for more than there was, and shared it.
    unbilled_hours
        GPU-hours used that no charge pays for.
    notes
        What a reader must know.
    """

    lines: tuple[CostLine, ...]
    invoices: Mapping[tuple[str, str], int]
    shared_hours: float
    unbilled_hours: float
    notes: tuple[str, ...]

    def by(self, dimension: str) -> tuple[Total, ...]:
        """Add lines up by experiment, run, person, service, sku or invoice; idle and unattributed stay apart.

        Raises
        ------
        UnknownName
            For another name.
        """
        if dimension not in _DIMENSIONS:
            raise UnknownName("dimension", dimension, _DIMENSIONS)
        sums: dict[tuple[str, Kind, str | None], list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
        for line in self.lines:
            own = line.kind == "attributed" or dimension in ("service", "sku", "invoice")
            entry = sums[line.currency, line.kind, getattr(line, dimension) if own else None]
            entry[0] += line.minor
            entry[1 if line.unit == "hours" else 2] += line.quantity if line.unit in ("hours", "tokens") else 0.0
        order = ("attributed", "unattributed", "idle")
        ordered = sorted(sums.items(), key=lambda s: (s[0][0], order.index(s[0][1]), -s[1][0], s[0][2] or "~"))
        return tuple(
            Total(name=name, kind=kind, currency=currency, minor=int(minor), gpu_hours=hours, tokens=tokens)
            for (currency, kind, name), (minor, hours, tokens) in ordered
        )


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Split a whole number in proportion to weights, by largest remainders.

    Parameters
    ----------
    total
        At least 0.
    weights
        At least 0, not all of them 0 unless the total is.

    Returns
    -------
    list of int
        They add up to the total, and none is a whole unit or more off its exact part; of equal remainders the first gets
        the unit.

    References
    ----------
    Balinski, M. L. and Young, H. P. (2001). Fair Representation, 2nd ed. (Hamilton's method).

    Examples
    --------
    >>> apportion(100, [1, 1, 1])
    [34, 33, 33]
    """
    whole = sum(weights)
    if total < 0 or min(weights, default=0) < 0 or (whole == 0 and total):
        raise ValueError(f"a total of {total} cannot be split by weights that add up to {whole}")
    if whole == 0:
        return [0] * len(weights)
    parts = [divmod(total * weight, whole) for weight in weights]
    found = [part for part, _ in parts]
    order = sorted(range(len(parts)), key=lambda i: -parts[i][1])
    for place in order[: total - sum(found)]:
        found[place] += 1
    return found
