"""Small experiments to attack: a spec as nested dictionaries, written as TOML beside its tables."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jurat.experiments.data import ExperimentData, open_data
from jurat.experiments.spec import Experiment, load_spec

_DEFAULT: dict[str, Any] = {
    "id": "case",
    "hypothesis": "b is better than a",
    "checks": ["multiple_exposure"],
    "data": {"outcomes": "outcomes.parquet"},
    "assignment": {"unit": "user", "control": "a", "arms": {"a": 0.5, "b": 0.5}},
    "inference": {"cluster": "user", "method": "fixed", "planned_clusters": 2},
    "stopping": {"minimum_days": 1, "minimum_clusters": 2},
    "metrics": {
        "y": {"kind": "mean", "value": "y", "better": "higher", "role": "value"},
        "bad": {"kind": "proportion", "value": "bad", "better": "lower", "role": "risk"},
    },
    "bar": [
        {
            "name": "y against bad",
            "value": {"metric": "y", "test": "superior"},
            "risk": {"metric": "bad", "test": "noninferior", "margin": "+5pp", "rationale": "because"},
        }
    ],
}
DROP = object()
"""Put in the place of a value, takes the key out."""


def spec_of(**changes: Any) -> dict[str, Any]:
    """The default spec with changes; ``inference__method`` reaches into a section, and `DROP` takes a key out."""
    found = copy.deepcopy(_DEFAULT)
    for path, value in changes.items():
        *sections, last = path.split("__")
        place = found
        for section in sections:
            place = place.setdefault(section, {})
        if value is DROP:
            place.pop(last, None)
        else:
            place[last] = value
    return found


def toml_of(value: Any) -> str:
    """Write a value as TOML, with inline tables throughout."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(k)} = {toml_of(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_of(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else repr(value)


def write_spec(folder: Path, spec: Mapping[str, Any]) -> Path:
    """Write a spec into a folder."""
    path = folder / "experiment.toml"
    path.write_text("\n".join(f"{json.dumps(k)} = {toml_of(v)}" for k, v in spec.items()) + "\n", encoding="utf-8")
    return path


def write_case(folder: Path, tables: Mapping[str, pa.Table], **changes: Any) -> Path:
    """Write tables as Parquet files and the default spec with changes; returns the path of the spec."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    return write_spec(folder, spec_of(**changes))


def opened(folder: Path, tables: Mapping[str, pa.Table], **changes: Any) -> tuple[Experiment, ExperimentData]:
    """Write a case and open it."""
    experiment = load_spec(write_case(folder, tables, **changes))
    return experiment, open_data(experiment)


def users_table(users: int, seed: int, *, rows: float = 3.0, effect: float = 0.0, bad: float = 0.3) -> pa.Table:
    """Rows of users, each in one arm: a clustered mean ``y`` with a covariate ``x``, a ratio's parts, an event ``bad``."""
    rng = np.random.default_rng(seed)
    arm = np.arange(users) % 2
    level = rng.normal(0, 1, users)
    who = np.repeat(np.arange(users), 1 + rng.poisson(rows - 1, users))
    n = len(who)
    return pa.table(
        {
            "user": pa.array([f"u{i}" for i in who]),
            "arm": pa.array(["ab"[arm[i]] for i in who]),
            "y": 10 + level[who] + effect * arm[who] + rng.normal(0, 1, n),
            "x": (level + rng.normal(0, 0.5, users))[who],
            "z": (level - rng.normal(0, 1, users))[who],
            "num": rng.gamma(2.0, 1.0, n) * np.exp(0.3 * level[who]),
            "den": 1 + rng.poisson(4, n).astype(np.float64),
            "bad": rng.random(n) < bad,
            "stratum": pa.array(rng.choice(["p", "q"], n)),
            "day": pa.array(np.datetime64("2026-03-01T12:00:00") + rng.integers(0, 10, n).astype("timedelta64[D]")),
        }
    )
