"""``jurat experiments scaling``: from finished training runs to a scaling law, its predictions and its doubts."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jurat.cli.output import emit, note

__all__ = ["scaling"]


def scaling(
    runs: Path,
    *,
    parameters: str = "parameters",
    tokens: str | None = None,
    flop: str | None = None,
    loss: str = "loss",
    cluster: str | None = None,
    drop_highest: int = 0,
    hold_out: float = 0.2,
    predict: Annotated[list[str] | None, Parameter(negative=())] = None,
    budget: Annotated[list[float] | None, Parameter(negative=())] = None,
    replicates: int = 400,
    seed: int = 0,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Fit a scaling law to training runs; predict losses and split budgets, with intervals.

    Parameters
    ----------
    runs
        Table of runs: CSV, JSONL or Parquet.
    parameters
        Column of model size.
    tokens
        Column of training tokens.
    flop
        Column of training compute, in place of tokens.
    loss
        Column of final loss, in nats per token.
    cluster
        Column that names what was trained together (checkpoints of one run).
    drop_highest
        Leave out this many runs of the highest loss.
    hold_out
        Share of the largest runs on which to test the law of the smaller ones; 0 for no test.
    predict
        Model whose loss is asked for, as "70e9,1.4e12": parameters, tokens. May be repeated.
    budget
        Compute in FLOP whose best split is asked for. May be repeated.
    replicates
        Refits on resampled runs.
    seed
        Seed of the resampling.
    out
        Folder that receives scaling.html (figures and tables) and scaling.json.
    json
        Print the study as JSON.
    """
    from jurat.experiments.scaling import scaling_study
    from jurat.experiments.scaling_page import render_scaling_page
    from jurat.experiments.scaling_runs import read_runs

    asked = [_pair(text) for text in predict or ()]
    table = read_runs(runs)
    if sys.stderr.isatty():
        note(f"fitting {table.num_rows} runs and {replicates} refits")
    study = scaling_study(
        table,
        parameters=parameters,
        tokens=tokens,
        flop=flop,
        loss=loss,
        cluster=cluster,
        drop_highest=drop_highest,
        hold_out=hold_out,
        predict=asked,
        budget=budget or (),
        replicates=replicates,
        seed=seed,
    )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "scaling.html").write_text(render_scaling_page(study, title=runs.name), encoding="utf-8")
        document = json_format.dumps(study.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        (out / "scaling.json").write_text(document + "\n", encoding="utf-8")
        note(f"open {out / 'scaling.html'}")
    emit(str(study), study.to_json(), as_json=json)


def _pair(text: str) -> tuple[float, float]:
    from jurat.errors import UsageError

    try:
        size, data = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            "a model to predict is parameters and tokens", seen=repr(text), next_step='write it as "70e9,1.4e12"'
        ) from error
    return size, data
