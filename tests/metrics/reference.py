"""The reference page of the shipped metrics, written from the files themselves.

``python -m tests.metrics.reference`` writes ``docs/reference/metrics.md``; a test holds the page to what this makes.
"""

from __future__ import annotations

import textwrap

from jurat.metrics.loader import Metric, catalog
from tests.conftest import ROOT

__all__ = ["PAGE", "rendered"]

PAGE = ROOT / "docs" / "reference" / "metrics.md"

_HEAD = """# Shipped metrics

Written from the [metric files](metric-files.md) that come with Jurat, by `python -m tests.metrics.reference`; a test holds
the page to the files. Each file is the definition: `jurat metrics show NAME` prints it, `jurat metrics test` runs its examples.

`jurat metrics run NAME --lake LAKE --by SLICE` measures one; `--set name=value` sets a parameter. Every estimate comes with an
interval that takes units of one cluster for dependent ([which interval for what](../explanation/intervals.md)).
"""
_ASKED = {
    "proportion": "share",
    "mean": "mean",
    "ratio": "ratio",
    "quantile": "quantile",
    "rate": "rate over periods",
}


def rendered() -> str:
    """The whole page."""
    metrics = catalog()
    rows = [f"| [{m.name}](#{m.name}) | {m.question} | {m.role} | {m.better} |" for m in metrics.values()]
    table = "\n".join(["| metric | question | role | better |", "|---|---|---|---|", *rows])
    return "\n".join([_HEAD, table, *(_section(metric) for metric in metrics.values())]) + "\n"


def _section(metric: Metric) -> str:
    cluster = "units are independent" if metric.cluster == "none" else f"units cluster by {metric.cluster}"
    kind = f"**{metric.title}**: a {_ASKED[metric.kind]}; the unit is a *{metric.unit}*, {cluster}"
    facts = [kind + (f"; in {metric.scale}." if metric.scale else ".")]
    facts.append(f"Cut by {', '.join(f'`{s}`' for s in metric.slices)}.")
    if metric.quantiles:
        facts.append(f"Read at {', '.join(f'{q:g}' for q in metric.quantiles)}.")
    if metric.parameters:
        shown = (
            f'`{name} = "{v}"`' if isinstance(v, str) else f"`{name} = {v}`" for name, v in metric.parameters.items()
        )
        facts.append(f"Parameters: {', '.join(shown)}.")
    read = (f"`{table}` ({', '.join(columns)})" for table, columns in metric.needs.items())
    facts.append(f"Reads {' and '.join(read)}.")
    facts.append(f"Owner: {metric.owner}; source: {metric.source}.")
    body = textwrap.fill(" ".join(facts), 124, break_long_words=False, break_on_hyphens=False)
    examples = (
        textwrap.fill(f"- {e.name}", 124, subsequent_indent="  ", break_on_hyphens=False) for e in metric.examples
    )
    return "\n".join(
        ["", f"## {metric.name}", "", metric.question, "", body, "", "Its examples hold it to:", "", *examples]
    )


if __name__ == "__main__":
    PAGE.write_text(rendered(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(catalog())} metrics")
