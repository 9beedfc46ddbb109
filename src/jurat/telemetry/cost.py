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
from itertools import pairwise

from jurat.errors import DataError
from jurat.telemetry.cost_lines import Attribution, CostLine, Kind, apportion
from jurat.telemetry.cost_records import HOUR_US, NANO, TOKEN_UNITS, Charge, Key, Usage
from jurat.telemetry.occupancy import Timeline

__all__ = ["attribute_costs"]

_NOBODY: Key = (None, None, None)
_EVER = 1 << 62
_LineKey = tuple[str, str, str, str, str, Kind, Key]
_Share = tuple[Kind, Key, int, float]


@dataclass(slots=True)
class _Sum:
    """What has been given to a line so far."""

    nano: int
    quantity: float
    start_us: int
    end_us: int


class _Books:
    """Usage in order of who could pay for it, and the lines that charges are split into."""

    def __init__(self, usage: Sequence[Usage], charges: Sequence[Charge]) -> None:
        self.sums: dict[_LineKey, _Sum] = {}
        self.shared_us = 0
        self.notes: list[str] = []
        self.tokens: dict[str, list[Usage]] = defaultdict(list)
        timed = [c for c in charges if c.measure == "time"]
        named = {c.resource for c in timed if c.resource}
        pools = sorted({c.sku for c in timed if not c.resource})
        own: dict[str, list[Usage]] = defaultdict(list)
        shared: dict[str, dict[str, list[Usage]]] = defaultdict(lambda: defaultdict(list))
        for place, one in enumerate(usage):
            if one.tokens is not None:
                self.tokens[one.sku].append(one)
            elif one.gpu in named:
                own[one.gpu].append(one)
            else:
                # Without a GPU's name nothing can be seen to overlap: such a record stands for itself.
                shared[_pool_of(one, pools)][one.gpu or f"\0{place}"].append(one)
        until = max((c.end_us for c in charges), default=0)
        self.own = {gpu: Timeline.of(rows, until) for gpu, rows in own.items()}
        self.pools = {
            sku: [(_slots(gpu, rows), Timeline.of(rows, until)) for gpu, rows in by.items()]
            for sku, by in shared.items()
        }
        for rows in self.tokens.values():
            rows.sort(key=lambda one: one.start_us)

    def split(self, charge: Charge) -> None:
        """Split one charge by what it is measured in."""
        if charge.measure == "time":
            self._by_time(charge)
        elif charge.measure == "tokens":
            self._by_tokens(charge)
        else:
            self._give(charge, [("unattributed", _NOBODY, 1, charge.quantity or 0.0)], charge.unit)

    def _give(self, charge: Charge, shares: Sequence[_Share], unit: str) -> None:
        amounts = apportion(charge.billed, [weight for _, _, weight, _ in shares])
        for (kind, key, _, quantity), nano in zip(shares, amounts, strict=True):
            name = (charge.invoice, charge.currency, charge.service, charge.sku, unit, kind, key)
            line = self.sums.setdefault(name, _Sum(0, 0.0, charge.start_us, charge.end_us))
            line.nano += nano
            line.quantity += quantity
            line.start_us, line.end_us = min(line.start_us, charge.start_us), max(line.end_us, charge.end_us)

    def _by_time(self, charge: Charge) -> None:
        length = charge.end_us - charge.start_us
        capacity = length if charge.quantity is None else round(charge.quantity * HOUR_US)
        if charge.resource:
            timelines = [(max(1, -(-capacity // length)), t) for gpu, t in self.own.items() if gpu == charge.resource]
        elif charge.quantity is None:
            raise DataError(
                f"{charge.place}: a charge for no GPU in particular does not say how many hours it pays for",
                seen="neither ResourceId nor ConsumedQuantity",
                next_step="give one of them",
            )
        else:
            timelines = self.pools.get(charge.sku, [])
        found = [timeline.used(charge.start_us, charge.end_us, slots) for slots, timeline in timelines]
        factor = math.lcm(*(one.factor for one in found))
        parts: dict[Key, int] = defaultdict(int)
        for one in found:
            self.shared_us += one.shared_us
            for key, part in one.parts.items():
                parts[key] += part * (factor // one.factor)
        idle = capacity * factor - sum(parts.values())
        hour = factor * HOUR_US
        shares = [_share(key, part, part / hour) for key, part in sorted(parts.items(), key=_named_first)]
        if idle < 0:
            self.notes.append(f"{charge.place}: {-idle / hour:.4g} GPU-hours more were used than it pays for")
        elif idle > 0 or not shares:
            shares.append(("idle", _NOBODY, max(idle, 1), idle / hour))
        self._give(charge, shares, "hours")

    def _by_tokens(self, charge: Charge) -> None:
        parts: dict[Key, int] = defaultdict(int)
        for one in self._tokens(charge.sku, charge.start_us, charge.end_us):
            parts[one.key] += one.tokens or 0
        used = sum(parts.values())
        paid = used if charge.quantity is None else round(charge.quantity * TOKEN_UNITS[charge.unit.lower()])
        shares = [_share(key, n, float(n)) for key, n in sorted(parts.items(), key=_named_first) if n]
        if paid < used:
            self.notes.append(f"{charge.place}: {used - paid:,} tokens more were used than it pays for")
        elif paid > used or not shares:
            shares.append(("unattributed", _NOBODY, max(paid - used, 1), float(paid - used)))
        self._give(charge, shares, "tokens")

    def _tokens(self, sku: str, start_us: int, end_us: int) -> Sequence[Usage]:
        rows = self.tokens.get(sku, [])
        first, last = (bisect.bisect_left(rows, time, key=lambda one: one.start_us) for time in (start_us, end_us))
        return rows[first:last]

    def unbilled(self, charges: Sequence[Charge]) -> tuple[int, int]:
        """GPU-microseconds and tokens that were used outside every period that is paid for."""
        periods: dict[tuple[str, str], list[Charge]] = defaultdict(list)
        for charge in charges:
            own = charge.measure == "time" and charge.resource
            periods["own" if own else charge.measure, charge.resource if own else charge.sku].append(charge)
        time = tokens = 0
        groups = [(("own", gpu), [timeline]) for gpu, timeline in self.own.items()]
        groups += [(("time", sku), [timeline for _, timeline in several]) for sku, several in self.pools.items()]
        for name, timelines in groups:
            spans = [(-_EVER, _EVER), *_merged(periods[name])]
            asked = [sum(t.asked(start, end) for t in timelines) for start, end in spans]
            time += asked[0] - sum(asked[1:])
        for sku, rows in self.tokens.items():
            inside = [one for start, end in _merged(periods["tokens", sku]) for one in self._tokens(sku, start, end)]
            tokens += sum(one.tokens or 0 for one in rows) - sum(one.tokens or 0 for one in inside)
        return time, tokens


def _slots(gpu: str, rows: Sequence[Usage]) -> int:
    """How many GPUs a name of a pool stands for: one, unless a record holds several of it or names none."""
    return 1 if gpu[0] != "\0" and all(one.gpus == 1 for one in rows) else sum(one.gpus for one in rows)


def _pool_of(one: Usage, pools: Sequence[str]) -> str:
    """The pool that pays for a record: the one of its SKU, or the only one where it names none."""
    if one.sku or not pools:
        return one.sku
    if len(pools) > 1:
        raise DataError(
            f"{one.place}: which pool of GPUs it used cannot be told",
            seen=f"no sku; the invoice has {', '.join(map(repr, pools))}",
            next_step="give the record the SkuId of the charge, or the charges a ResourceId",
        )
    return pools[0]


def _share(key: Key, weight: int, quantity: float) -> _Share:
    return ("unattributed" if key == _NOBODY else "attributed", key, weight, quantity)


def _named_first(part: tuple[Key, int]) -> tuple[tuple[bool, str], ...]:
    return tuple((name is None, name or "") for name in part[0])


def _merged(charges: Sequence[Charge]) -> list[tuple[int, int]]:
    """Periods of charges without the parts that several of them cover."""
    found: list[tuple[int, int]] = []
    last = -_EVER
    for charge in sorted(charges, key=lambda c: c.start_us):
        if charge.end_us > last:
            found.append((max(charge.start_us, last), charge.end_us))
            last = charge.end_us
    return found


def _refuse_overlaps(charges: Sequence[Charge]) -> None:
    """The same thing billed twice for one moment is one invoice too many."""
    billed: dict[tuple[str, str, str, str], list[Charge]] = defaultdict(list)
    for charge in charges:
        if charge.measure:
            billed[charge.measure, charge.service, charge.sku, charge.resource].append(charge)
    for several in billed.values():
        several.sort(key=lambda c: c.start_us)
        for first, second in pairwise(several):
            if second.start_us < first.end_us:
                raise DataError(
                    f"{second.place}: the period is billed already",
                    seen=f"{first.place}, {first.resource or first.sku or first.service or 'no ResourceId'}",
                    next_step="leave one of the two out, or tell them apart by SkuId or ResourceId",
                )


def attribute_costs(usage: Iterable[Usage], charges: Iterable[Charge]) -> Attribution:
    """Split every charge among those who used what it paid for.

    Parameters
    ----------
    usage
        Who used what, when.
    charges
        Lines of invoices.

    Returns
    -------
    Attribution
        Its lines add up to each invoice, rounded to the currency's smallest unit, exactly.

    Raises
    ------
    DataError
        Without a charge; where one thing is billed twice for one moment; where a charge for no GPU in particular does not
        say for how many hours, or usage does not say which of several pools it used.

    Notes
    -----
    *GPU time.* A charge with a ResourceId pays for that GPU (or for as many as its hours are to its period), one without for
    a pool. Of each moment every job gets its GPUs' part; where jobs ask for more than there is, they share it in proportion
    to what they asked (two jobs on one GPU: half each). What nobody used is idle. *Tokens* pay in proportion to the tokens of
    the charge's SKU; those that no record explains are unattributed, and so is a charge measured in anything else.

    Examples
    --------
    >>> hour = 3_600_000_000
    >>> charge = Charge(start_us=0, end_us=24 * hour, billed=4800 * 10**9, currency="USD", resource="gpu-0", unit="Hours")
    >>> day = [Usage(start_us=0, end_us=12 * hour, experiment="a", gpu="gpu-0"),
    ...        Usage(start_us=6 * hour, end_us=18 * hour, experiment="b", gpu="gpu-0")]
    >>> [(t.name or t.kind, t.minor, t.gpu_hours) for t in attribute_costs(day, [charge]).by("experiment")]
    [('a', 1800, 9.0), ('b', 1800, 9.0), ('idle', 1200, 6.0)]
    """
    paid = sorted(charges, key=lambda c: (c.start_us, c.end_us, c.invoice, c.service, c.sku, c.resource, c.billed))
    used = list(usage)
    if not paid:
        raise DataError("there is no charge to split", seen="0 lines", next_step="give an invoice")
    _refuse_overlaps(paid)
    books = _Books(used, paid)
    for charge in paid:
        books.split(charge)
    lines, invoices = _to_minor(books.sums, books.notes)
    open_ended = sum(one.tokens is None and one.end_us is None for one in used)
    unbilled_us, unbilled_tokens = books.unbilled(paid)
    unbilled = unbilled_us / HOUR_US
    shared = books.shared_us / HOUR_US
    notes = [
        (
            shared,
            f"{shared:.4g} GPU-hours had more jobs than GPUs: those at work shared them in proportion to what they asked",
        ),
        (unbilled, f"{unbilled:.4g} GPU-hours were used that no charge pays for"),
        (unbilled_tokens, f"{unbilled_tokens:,} tokens were used that no charge pays for"),
        (open_ended, f"{open_ended:,} records have no end: taken as running until the last charge ends"),
    ]
    said = tuple([text for amount, text in notes if amount] + books.notes)
    return Attribution(lines=lines, invoices=invoices, shared_hours=shared, unbilled_hours=unbilled, notes=said)


def _to_minor(
    sums: Mapping[_LineKey, _Sum], notes: list[str]
) -> tuple[tuple[CostLine, ...], dict[tuple[str, str], int]]:
    """Bring lines to whole smallest units, once an invoice, so that they add up to it."""
    invoices: dict[tuple[str, str], list[_LineKey]] = defaultdict(list)
    for name in sums:
        invoices[name[0], name[1]].append(name)
    lines, totals = [], {}
    for (invoice, currency), names in sorted(invoices.items()):
        names.sort(key=lambda name: (name[2:5], name[5], _named_first((name[6], 0))))
        exact = sum(sums[name].nano for name in names)
        total = (exact + NANO // 2) // NANO
        totals[invoice, currency] = total
        if exact != total * NANO:
            notes.append(
                f"invoice {invoice or '(no name)'}: its lines add up to {exact / NANO:.6f} of the smallest unit, rounded"
            )
        for name, minor in zip(names, apportion(total, [sums[n].nano for n in names]), strict=True):
            _, _, service, sku, unit, kind, (experiment, run, person) = name
            held = sums[name]
            lines.append(
                CostLine(
                    kind=kind, experiment=experiment, run=run, person=person, invoice=invoice, service=service, sku=sku,
                    currency=currency, minor=minor, quantity=held.quantity, unit=unit,
                    start_us=held.start_us, end_us=held.end_us,
                )
            )  # fmt: skip
    return tuple(lines), totals
