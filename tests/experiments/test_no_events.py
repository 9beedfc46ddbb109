"""A rare outcome that has not happened yet: bounds, not errors."""

from __future__ import annotations

from pathlib import Path

from jurat.experiments.run import run_monitoring
from jurat.simulate.experiment import simulate_experiment, write_experiment


def test_looks_before_the_first_event_have_a_bound_above_zero(tmp_path: Path) -> None:
    folder = tmp_path / "world"
    write_experiment(simulate_experiment(users=3000, seed=1, flaws=("simpson",)), folder)
    found, _ = run_monitoring(folder / "experiment.toml")
    lines = {name: series for name, _, series in found.looks if name.endswith("hard line")}
    first = next(iter(lines.values()))[0].always
    assert (first.value, first.low) == (0.0, 0.0)
    assert first.high is not None and 0.0 < first.high < 1.0
