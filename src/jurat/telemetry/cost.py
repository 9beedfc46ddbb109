"""Money and GPU-hours to experiment, run and person, with what nobody used beside it.

A charge is a line of an invoice, a usage a record of a scheduler (this job, on this GPU, from then to then) or of tokens.
Every charge is split among those who used what it paid for; the rest is a line of its own, *idle* where a GPU stood still and
*unattributed* where nobody is named. Nothing is lost on the way: lines add up to the invoice to the cent.

Splitting is done in whole numbers. Shares of a charge are counted in billionths of a cent, added up over all charges, and
brought to cents once, by largest remainders, so that neither many small charges nor their order can favour anyone.
"""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jurat.errors import DataError, UnknownName

__all__ = ["NANO", "Attribution", "Charge", "CostLine", "Total", "Usage", "apportion", "attribute_costs", "minor_digits"]

NANO = 10**9
"""Parts of a minor unit (a cent) that charges are counted in."""

HOUR_US = 3_600_000_000
_DIMENSIONS = ("experiment", "run", "person", "service", "sku", "invoice")
_DIGITS = {0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF", 3: "BHD IQD JOD KWD LYD OMR TND",
           2: "AED ARS AUD BDT BGN BRL CAD CHF CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR KES LKR MAD MXN MYR NGN NOK "
              "NZD PEN PHP PKR PLN QAR RON RSD SAR SEK SGD THB TRY TWD UAH USD UYU ZAR"}  # fmt: skip
_MINOR = {code: digits for digits, codes in _DIGITS.items() for code in codes.split()}
_TIME = {"hour": 1, "hours": 1, "gpu-hour": 1, "gpu-hours": 1, "gpu hours": 1, "h": 1, "hrs": 1}
_TOKENS = {"token": 1, "tokens": 1, "1k tokens": 10**3, "thousand tokens": 10**3, "1m tokens": 10**6, "million tokens": 10**6}

Kind = Literal["attributed", "idle", "unattributed"]
Key = tuple[str | None, str | None, str | None]
"""Experiment, run and person."""


def minor_digits(currency: str) -> int:
    """Decimal digits of a currency's smallest unit.

    Raises
    ------
    UnknownName
        Where it is none of the currencies (ISO 4217) known here.

    Examples
    --------
    >>> minor_digits("USD"), minor_digits("JPY")
    (2, 0)
    """
    if currency not in _MINOR:
        raise UnknownName("currency", currency, _MINOR)
    return _MINOR[currency]


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A line of an invoice; FOCUS 1.2 names in brackets.

    Attributes
    ----------
    start_us, end_us
        Period, microseconds since 1970; the end is not part of it (ChargePeriodStart, ChargePeriodEnd).
    billed
        Billionths of the currency's smallest unit (BilledCost).
    currency
        ISO 4217 (BillingCurrency).
    invoice, service, sku
        InvoiceId, ServiceName, SkuId; empty where there is none.
    resource
        The GPU or node it pays for (ResourceId); empty for a pool, or for tokens.
    quantity, unit
        ConsumedQuantity and ConsumedUnit: hours, or tokens; other units cannot be split by usage.
    place
        File and line, for messages.
    """

    start_us: int
    end_us: int
    billed: int
    currency: str
    invoice: str = ""
    service: str = ""
    sku: str = ""
    resource: str = ""
    quantity: float | None = None
    unit: str = ""
    place: str = "a charge"

    def __post_init__(self) -> None:
        minor_digits(self.currency)
        _check(self.end_us > self.start_us, self.place, "the period ends before it has begun", _span(self), "mend it")
        _check(
            self.billed >= 0, self.place, "a charge is negative", f"{self.billed / NANO:g} in the smallest unit",
            "take credits off the charges they belong to, or leave them out and say so",
        )  # fmt: skip
        wrong = self.quantity is not None and not (math.isfinite(self.quantity) and self.quantity >= 0)
        _check(not wrong, self.place, "the quantity is negative or no number", repr(self.quantity), "mend it")

    @property
    def measure(self) -> str:
        """What it is split by: ``"time"``, ``"tokens"`` or ``""``."""
        unit = self.unit.lower()
        if unit in _TOKENS:
            return "tokens"
        return "time" if unit in _TIME or (not unit and self.resource) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What somebody used: a GPU for a time, or tokens.

    Attributes
    ----------
    start_us, end_us
        When; ``end_us`` is ``None`` for a job that still runs. Tokens belong to the period in which they start.
    experiment, run, person, job
        For whom; any may be ``None``.
    gpu
        The GPU or node; empty where the scheduler names none.
    gpus
        How many of it.
    sku
        What kind (a model, a GPU type), to match a charge's SkuId.
    tokens
        How many, for a record of tokens.
    place
        File and line, for messages.
    """

    start_us: int
    end_us: int | None = None
    experiment: str | None = None
    run: str | None = None
    person: str | None = None
    job: str | None = None
    gpu: str = ""
    gpus: int = 1
    sku: str = ""
    tokens: int | None = None
    place: str = "a usage record"

    def __post_init__(self) -> None:
        late = self.end_us is not None and self.end_us < self.start_us
        _check(not late, self.place, "the usage ends before it starts", _span(self), "mend the record")
        _check(self.gpus >= 1, self.place, "the number of GPUs is not positive", str(self.gpus), "mend the record")
        negative = self.tokens is not None and self.tokens < 0
        _check(not negative, self.place, "the number of tokens is negative", str(self.tokens), "mend the record")

    @property
    def key(self) -> Key:
        """Experiment, run and person."""
        return (self.experiment, self.run, self.person)


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


def _check(holds: bool, place: str, what: str, seen: str, next_step: str) -> None:
    if not holds:
        raise DataError(f"{place}: {what}", seen=seen, next_step=next_step)


def _span(of: Charge | Usage) -> str:
    return f"from {of.start_us} to {of.end_us} (microseconds since 1970)"


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


# Time on a GPU ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Timeline:
    """Who was on a resource when: segments without a gap between changes, sorted."""

    starts: list[int]
    ends: list[int]
    active: list[dict[Key, int]]

    @classmethod
    def of(cls, usage: Iterable[Usage], until: int) -> _Timeline:
        """Walk through starts and ends; records of one job that cover each other count once."""
        changes: dict[int, list[tuple[tuple[Key, str | None], int]]] = defaultdict(list)
        for one in usage:
            end = max(one.start_us, until) if one.end_us is None else one.end_us
            if end > one.start_us:
                who = (one.key, one.job)
                changes[one.start_us].append((who, one.gpus))
                changes[end].append((who, -one.gpus))
        found, now = cls([], [], []), defaultdict[tuple[Key, str | None], list[int]](list)
        times = sorted(changes)
        for time, after in zip(times, [*times[1:], None], strict=True):
            for who, gpus in changes[time]:
                if gpus > 0:
                    now[who].append(gpus)
                else:
                    now[who].remove(-gpus)
            held: dict[Key, int] = defaultdict(int)
            for (key, _), each in now.items():
                held[key] += max(each, default=0)
            held = {key: gpus for key, gpus in held.items() if gpus}
            if held and after is not None:
                found.starts.append(time)
                found.ends.append(after)
                found.active.append(held)
        return found

    def within(self, start: int, end: int) -> Iterable[tuple[int, dict[Key, int]]]:
        """Length and users of each segment, cut to a period."""
        for place in range(bisect.bisect_right(self.ends, start), len(self.starts)):
            if self.starts[place] >= end:
                break
            yield min(self.ends[place], end) - max(self.starts[place], start), self.active[place]

    def used(self, start: int, end: int, slots: int | None) -> tuple[dict[Key, int], int, int]:
        """Microseconds by user times a common factor, that factor, and the microseconds that were shared.

        Where more GPUs are asked for than there are, those at work share what there is in proportion to what they asked.
        """
        segments = [(length, held, sum(held.values())) for length, held in self.within(start, end)]
        crowded = [asked for _, _, asked in segments if slots is not None and asked > slots]
        factor = math.lcm(*set(crowded)) if crowded else 1
        parts: dict[Key, int] = defaultdict(int)
        shared = 0
        for length, held, asked in segments:
            too_many = slots is not None and asked > slots
            for key, gpus in held.items():
                parts[key] += length * gpus * (factor // asked * (slots or 1) if too_many else factor)
            shared += length * (slots or 0) if too_many else 0
        return parts, factor, shared


# Charges ----------------------------------------------------------------------------------------------------------

_LineKey = tuple[str, str, str, str, Kind, Key]


@dataclass(slots=True)
class _Sums:
    """What has been given to each line so far."""

    nano: int = 0
    quantity: float = 0.0
    unit: str = ""
    start_us: int = 1 << 62
    end_us: int = 0


class _Books:
    """Usage in order, and the lines that charges are split into."""

    def __init__(self, usage: Sequence[Usage], charges: Sequence[Charge]) -> None:
        self.until = max(c.end_us for c in charges)
        self.own = {c.resource for c in charges if c.measure == "time" and c.resource}
        self.timelines: dict[tuple[str, str, str], _Timeline] = {}
        self.tokens: dict[str, list[Usage]] = defaultdict(list)
        self.sums: dict[_LineKey, _Sums] = defaultdict(_Sums)
        self.shared = self.crowded = 0
        self.overused: list[str] = []
        self.matched: set[str] = set()
        grouped: dict[tuple[str, str, str], list[Usage]] = defaultdict(list)
        pools = {c.sku for c in charges if c.measure == "time" and not c.resource}
        for place, one in enumerate(usage):
            if one.tokens is not None:
                self.tokens[one.sku].append(one)
            elif one.gpu in self.own:
                grouped["own", one.gpu, ""].append(one)
            else:
                if not one.sku and len(pools) > 1:
                    _check(
                        False, one.place, "which of the pools it used cannot be told",
                        f"pools {', '.join(sorted(pools))}", "give the usage a sku, or the charges a ResourceId",
                    )  # fmt: skip
                sku = one.sku if one.sku in pools or not pools else next(iter(pools)) if not one.sku else one.sku
                # Without a GPU's name nothing can be seen to overlap: every record stands for itself.
                grouped["pool", sku, one.gpu or f"\0{place}"].append(one)
        self.timelines = {name: _Timeline.of(rows, self.until) for name, rows in grouped.items()}

    def give(self, charge: Charge, shares: Sequence[tuple[Kind, Key, int, float]], unit: str) -> None:
        """Split a charge by whole-number weights."""
        amounts = apportion(charge.billed, [weight for _, _, weight, _ in shares])
        for (kind, key, _, quantity), nano in zip(shares, amounts, strict=True):
            line = self.sums[charge.invoice, charge.currency, charge.service, charge.sku, kind, key]
            line.nano += nano
            line.quantity += quantity
            line.unit = unit
            line.start_us, line.end_us = min(line.start_us, charge.start_us), max(line.end_us, charge.end_us)

    def split(self, charge: Charge) -> None:
        """Split one charge by what it is measured in."""
        if charge.measure == "time":
            self._by_time(charge)
        elif charge.measure == "tokens":
            self._by_tokens(charge)
        else:
            self.give(charge, [("unattributed", (None, None, None), 1, charge.quantity or 0.0)], charge.unit)

    def _by_time(self, charge: Charge) -> None:
        length = charge.end_us - charge.start_us
        capacity = length if charge.quantity is None else round(charge.quantity * HOUR_US)
        if charge.resource:
            slots = max(1, -(-capacity // length))
            timelines = [t for name, t in self.timelines.items() if name == ("own", charge.resource, "")]
        else:
            _check(
                charge.quantity is not None, charge.place, "a pool's charge does not say how many hours it pays for",
                "no ConsumedQuantity", "give it, in hours, or name the GPU in ResourceId",
            )  # fmt: skip
            slots = 1
            timelines = [t for name, t in self.timelines.items() if name[:2] == ("pool", charge.sku)]
        found = [
            t.used(charge.start_us, charge.end_us, slots if charge.resource or _is_named(name) else None)
            for name, t in self._named(timelines)
        ]
        factor = math.lcm(1, *(f for _, f, _ in found))
        parts: dict[Key, int] = defaultdict(int)
        for by, own, shared in found:
            self.shared += shared
            for key, amount in by.items():
                parts[key] += amount * (factor // own)
        idle = capacity * factor - sum(parts.values())
        if idle < 0:
            self.overused.append(f"{charge.place}: {-idle / factor / HOUR_US:.3g} hours more were used than it pays for")
        shares = [_share(key, amount, amount / factor / HOUR_US) for key, amount in sorted(parts.items(), key=_order)]
        if idle > 0 or not shares:
            shares.append(("idle", (None, None, None), max(idle, 1), max(idle, 0) / factor / HOUR_US))
        self.give(charge, shares, "hours")

    def _named(self, timelines: list[_Timeline]) -> list[tuple[str, _Timeline]]:
        return [(name[2] or name[1], t) for name, t in self.timelines.items() if any(t is each for each in timelines)]

    def _by_tokens(self, charge: Charge) -> None:
        parts: dict[Key, int] = defaultdict(int)
        for one in self.tokens[charge.sku]:
            if charge.start_us <= one.start_us < charge.end_us:
                parts[one.key] += one.tokens or 0
        self.matched.add(charge.sku)
        named = sum(parts.values())
        paid = named if charge.quantity is None else round(charge.quantity * _TOKENS[charge.unit.lower()])
        if named > paid:
            self.overused.append(f"{charge.place}: {named - paid:,} tokens more were used than it pays for")
        shares = [_share(key, n, float(n)) for key, n in sorted(parts.items(), key=_order) if n]
        if paid > named or not shares:
            shares.append(("unattributed", (None, None, None), max(paid - named, 1), float(max(paid - named, 0))))
        self.give(charge, shares, "tokens")
