"""Usage records and invoices as files beside a running server: read when they change, attributed, and held against the turns."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from jurat.errors import JuratError
from jurat.telemetry.cost import attribute_costs
from jurat.telemetry.cost_lines import Attribution
from jurat.telemetry.cost_records import NANO, TOKEN_UNITS, Charge, Usage
from jurat.telemetry.focus import read_charges, read_usage
from jurat.telemetry.tenant_view import TenantView

__all__ = ["Books", "CostBooks", "DayCost", "InvoiceCheck", "TokenCheck", "invoice_checks", "token_checks"]

_STAMP = tuple[tuple[str, int, int], ...]
_TOKENS_SQL = """SELECT model, COUNT(*) AS turns,
  CAST(COALESCE(SUM(tokens_in), 0) + COALESCE(SUM(tokens_out), 0) AS BIGINT) AS tokens, SUM(cost_usd) AS cost
FROM spans
WHERE model = $model AND ts_us >= $start AND ts_us < $until
GROUP BY model"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCost:
    """What the charges of one day came to.

    Attributes
    ----------
    day
        Day on which the charges begin, UTC.
    attribution
        Of that day's charges alone; rounded by itself, so days may differ from the whole by a cent.
    """

    day: str
    attribution: Attribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The files as they were read last.

    Attributes
    ----------
    usage, charges
        Their records.
    whole
        All charges attributed.
    days
        The charges of each day attributed.
    """

    usage: tuple[Usage, ...]
    charges: tuple[Charge, ...]
    whole: Attribution
    days: tuple[DayCost, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceCheck:
    """One invoice against the lines it was split into; amounts in the currency's smallest unit.

    Attributes
    ----------
    invoice, currency
        Which.
    billed
        Sum of its charges, rounded once.
    attributed, unattributed, idle
        Sums of its lines by kind.
    """

    invoice: str
    currency: str
    billed: int
    attributed: int
    unattributed: int
    idle: int

    @property
    def difference(self) -> int:
        """What is missing or too much; 0 unless something is wrong with this very software."""
        return self.billed - self.attributed - self.unattributed - self.idle


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCheck:
    """What an invoice says of a model's tokens, and what the turns of the same period say.

    Attributes
    ----------
    sku, currency
        The model, as both name it.
    billed, billed_tokens
        Amount in the smallest unit, and tokens paid for (``None`` where a charge does not say).
    turns, tokens
        Turns of that model in the periods, and their tokens.
    list_cost
        US dollars by the list of prices; ``None`` where there is none.
    """

    sku: str
    currency: str
    billed: int
    billed_tokens: int | None
    turns: int
    tokens: int
    list_cost: float | None


class CostBooks:
    """Usage and invoice files.

    Parameters
    ----------
    usage, invoices
        CSV, JSONL or Parquet files, see `jurat.telemetry.focus`.
    """

    def __init__(self, usage: Sequence[Path] = (), invoices: Sequence[Path] = ()) -> None:
        self.usage, self.invoices = tuple(usage), tuple(invoices)
        self._lock = Lock()
        self._read: tuple[_STAMP, Books | JuratError] | None = None

    def __bool__(self) -> bool:
        return bool(self.invoices)

    def read(self) -> Books:
        """Read the files, unless they are as they were.

        Raises
        ------
        JuratError
            With file and line, where one cannot be read; again at each call until it is mended.
        """
        with self._lock:
            stamp = tuple(_stamp(path) for path in (*self.usage, *self.invoices))
            if self._read is None or self._read[0] != stamp:
                try:
                    self._read = (stamp, self._books())
                except JuratError as error:
                    self._read = (stamp, error)
            found = self._read[1]
        if isinstance(found, JuratError):
            raise found
        return found

    def _books(self) -> Books:
        usage, charges = read_usage(self.usage), read_charges(self.invoices)
        whole = attribute_costs(usage, charges)
        by_day: dict[str, list[Charge]] = defaultdict(list)
        for charge in charges:
            by_day[_day(charge.start_us)].append(charge)
        days = tuple(DayCost(day=day, attribution=attribute_costs(usage, by_day[day])) for day in sorted(by_day))
        return Books(usage=tuple(usage), charges=tuple(charges), whole=whole, days=days)


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (str(path), -1, -1)
    return (str(path), found.st_mtime_ns, found.st_size)


def _day(microseconds: int) -> str:
    return dt.datetime.fromtimestamp(microseconds // 1_000_000, dt.UTC).date().isoformat()


def invoice_checks(found: Attribution) -> list[InvoiceCheck]:
    """Hold every invoice against its lines.

    Examples
    --------
    >>> charge = Charge(start_us=0, end_us=3_600_000_000, billed=250 * NANO, currency="USD", resource="gpu-0", unit="Hours")
    >>> [(c.billed, c.idle, c.difference) for c in invoice_checks(attribute_costs([], [charge]))]
    [(250, 250, 0)]
    """
    sums: Mapping[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for line in found.lines:
        sums[line.invoice, line.currency][line.kind] += line.minor
    return [
        InvoiceCheck(
            invoice=invoice,
            currency=currency,
            billed=billed,
            attributed=sums[invoice, currency]["attributed"],
            unattributed=sums[invoice, currency]["unattributed"],
            idle=sums[invoice, currency]["idle"],
        )
        for (invoice, currency), billed in sorted(found.invoices.items())
    ]


def token_checks(charges: Sequence[Charge], view: TenantView) -> list[TokenCheck]:
    """Hold token charges against the turns of the same model and period.

    Parameters
    ----------
    charges
        Lines of invoices; those not measured in tokens are passed over.
    view
        All turns of the house.
    """
    of_sku: dict[tuple[str, str], list[Charge]] = defaultdict(list)
    for charge in charges:
        if charge.measure == "tokens":
            of_sku[charge.sku, charge.currency].append(charge)
    found = []
    for (sku, currency), several in sorted(of_sku.items()):
        turns = tokens = 0
        costs: list[float | None] = []
        for start, until in sorted({(c.start_us, c.end_us) for c in several}):
            rows = view.query(_TOKENS_SQL, parameters={"model": sku, "start": start, "until": until}).to_pylist()
            for row in rows:
                turns, tokens = turns + row["turns"], tokens + row["tokens"]
                costs.append(row["cost"])
        paid = [None if c.quantity is None else round(c.quantity * TOKEN_UNITS[c.unit.lower()]) for c in several]
        known = [cost for cost in costs if cost is not None]
        found.append(
            TokenCheck(
                sku=sku,
                currency=currency,
                billed=(sum(c.billed for c in several) + NANO // 2) // NANO,
                billed_tokens=None if None in paid else sum(p for p in paid if p is not None),
                turns=turns,
                tokens=tokens,
                list_cost=sum(known) if known else None,
            )
        )
    return found
