"""``jurat telemetry cost``: money and GPU-hours to experiment, run and person."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jurat.cli.output import emit, note, table

__all__ = ["cost"]


def cost(
    usage: list[Path],
    /,
    *,
    invoice: Annotated[list[Path], Parameter(negative=())],
    by: str = "experiment",
    map_: Annotated[tuple[str, ...], Parameter(name="--map", negative=())] = (),
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Attribute charges to experiment, run and person; what nobody used is a line of its own.

    Parameters
    ----------
    usage
        Records of schedulers and of tokens: CSV, JSONL or Parquet with job, run, experiment, person, gpu, start, end.
    invoice
        Invoices with FOCUS 1.2 columns.
    by
        experiment, run, person, service, sku or invoice.
    map_
        Your name for one of these columns, as ours=yours: person=submitted_by, BilledCost=EffectiveCost.
    out
        File for all lines with FOCUS 1.2 columns: .csv, .jsonl or .parquet.
    json
        Print it as JSON.
    """
    from jurat.telemetry.cost import attribute_costs
    from jurat.telemetry.focus import read_charges, read_usage, write_focus

    theirs, ours = _columns(map_)
    found = attribute_costs(read_usage(usage, columns=ours), read_charges(invoice, columns=theirs))
    totals = found.by(by)
    if out is not None:
        write_focus(found, out)
        note(f"{len(found.lines):,} lines in {out}")
    rows = []
    for currency in sorted({total.currency for total in totals}):
        of = [total for total in totals if total.currency == currency]
        whole = sum(total.minor for total in of)
        for total in of:
            name = total.name or ("–" if total.kind == "attributed" else total.kind)
            rows.append([name, *_cells(total.minor, whole, currency, total.gpu_hours, total.tokens)])
        sums = [sum(total.gpu_hours for total in of), sum(total.tokens for total in of)]
        rows.append(["total", *_cells(whole, whole, currency, *sums)])
    names = ", ".join(name or "(no name)" for name, _ in sorted(found.invoices))
    text = [
        table([by, "cost", "share", "GPU-hours", "tokens"], rows),
        "",
        f"adds up to the invoice exactly: {names}",
        *found.notes,
    ]
    document = {
        "by": by,
        "totals": [asdict(total) for total in totals],
        "lines": [asdict(line) for line in found.lines],
        "invoices": [
            {"invoice": name, "currency": currency, "minor": minor}
            for (name, currency), minor in found.invoices.items()
        ],
        "notes": list(found.notes),
    }
    emit("\n".join(text), document, as_json=json)
    return 0


def _columns(pairs: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Mappings of the invoice's columns and of the usage's."""
    from jurat.errors import UnknownName, UsageError
    from jurat.telemetry.focus import CHARGE_COLUMNS, USAGE_COLUMNS

    charges: dict[str, str] = {}
    usage: dict[str, str] = {}
    for pair in pairs:
        name, sign, theirs = pair.partition("=")
        if not sign or not theirs:
            raise UsageError(
                "a mapping is written ours=yours", seen=pair, next_step="for example --map person=submitted_by"
            )
        if name not in CHARGE_COLUMNS and name not in USAGE_COLUMNS:
            raise UnknownName("column", name, (*CHARGE_COLUMNS, *USAGE_COLUMNS), place="--map")
        (charges if name in CHARGE_COLUMNS else usage)[name] = theirs
    return charges, usage


def _cells(minor: int, whole: int, currency: str, gpu_hours: float, tokens: float) -> list[str]:
    from jurat.telemetry.cost_records import money_text

    share = f"{100 * minor / whole:.1f} %" if whole else "–"
    used = [f"{gpu_hours:,.1f}" if gpu_hours else "–", f"{tokens:,.0f}" if tokens else "–"]
    return [money_text(minor, currency), share, *used]
