"""Designs for dependence: spill-over found where it is, switchbacks washed out, shadow runs barred from value claims."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jurat.errors import SpecError
from jurat.experiments.analyse import Analysis, analyse_file
from jurat.experiments.data import open_data
from jurat.experiments.interference import spillover_slope
from jurat.experiments.spec import load_spec

HEAD = """
id = "design"
hypothesis = "h"
checks = {checks}
[data]
outcomes = "outcomes.parquet"
[assignment]
unit = "{unit}"
control = "control"
arms = {{ control = 0.5, treatment = 0.5 }}
{assignment}
[inference]
cluster = "{cluster}"
method = "fixed"
planned_clusters = {clusters}
[stopping]
minimum_clusters = 2
[metrics.good]
kind = "mean"
value = "good"
better = "higher"
role = "value"
[metrics.bad]
kind = "mean"
value = "bad"
better = "lower"
role = "risk"
[[bar]]
name = "bar"
value = {{ metric = "good", test = "superior" }}
risk = {{ metric = "bad", test = "noninferior", margin = 0.5, rationale = "half a point" }}
"""


def written(folder: Path, columns: dict[str, object], **fields: object) -> Path:
    pq.write_table(pa.table(columns), folder / "outcomes.parquet")
    defaults: dict[str, object] = {"checks": '["sample_ratio"]', "assignment": "", "clusters": 2}
    path = folder / "experiment.toml"
    path.write_text(HEAD.format(**{**defaults, **fields}), encoding="utf-8")
    return path


def organisations(rng: np.random.Generator, spill: float) -> dict[str, object]:
    """Two-stage design: organisations with a fifth or four fifths of their users treated."""
    org = np.repeat(np.arange(300), 10)
    shares = np.where(np.arange(300) % 2 == 0, 0.2, 0.8)
    treated = rng.random(3_000) < shares[org]
    around = (np.bincount(org, treated) / 10)[org]
    good = rng.normal(size=3_000) + 0.3 * rng.normal(size=300)[org] + np.where(treated, 0.4, spill * around)
    arms = np.where(treated, "treatment", "control")
    return {
        "user": np.arange(3_000), "org": org, "arm": arms, "good": good, "bad": rng.normal(size=3_000),
    }  # fmt: skip


def slopes(folder: Path, spill: float, worlds: int) -> list[tuple[float, float]]:
    found = []
    for seed in range(worlds):
        fields = {"unit": "user", "cluster": "org", "assignment": 'group = "org"'}
        spec = load_spec(written(folder, organisations(np.random.default_rng(seed), spill), **fields))
        data = open_data(spec)
        i = spillover_slope(spec, data, "good", "org")
        data.close()
        assert i.low is not None and i.high is not None
        found.append((i.low, i.high))
    return found


def test_the_slope_covers_the_planted_spill_over_and_nothing_where_there_is_none(tmp_path: Path) -> None:
    none = slopes(tmp_path, 0.0, 60)
    assert sum(low <= 0 <= high for low, high in none) >= 52  # 95 % of 60, less three standard errors
    planted = slopes(tmp_path, 0.4, 30)
    assert sum(low <= 0.4 <= high for low, high in planted) >= 25
    assert sum(low > 0 for low, _ in planted) >= 25


def test_spill_over_voids_the_comparison(tmp_path: Path) -> None:
    spec = written(
        tmp_path, organisations(np.random.default_rng(5), 0.6), unit="user", cluster="org", assignment='group = "org"',
        checks='["spillover"]',
    )  # fmt: skip
    found = analyse_file(spec)
    assert found.answer == "invalid"
    assert "groups without treated units" in found.checks[0].detail


def test_a_check_for_spill_over_needs_its_groups(tmp_path: Path) -> None:
    spec = written(
        tmp_path, organisations(np.random.default_rng(5), 0), unit="user", cluster="org", checks='["spillover"]'
    )
    with pytest.raises(SpecError, match="needs the groups"):
        load_spec(spec)


def switchback(folder: Path, washout: int) -> Analysis:
    """Sixty blocks of six periods; the effect builds up over the first two periods of a block."""
    rng = np.random.default_rng(11)
    block = np.repeat(np.arange(60), 6 * 20)
    period = np.repeat(np.arange(360), 20)
    treated = (rng.permutation(60) < 30)[block]
    built = np.minimum((period % 6) / 2, 1.0)
    good = rng.normal(size=len(block)) + 0.3 * rng.normal(size=60)[block] + 0.5 * treated * built
    columns = {
        "block": block, "period": period, "arm": np.where(treated, "treatment", "control"), "good": good,
        "bad": rng.normal(size=len(block)),
    }  # fmt: skip
    assignment = f'design = "switchback"\nperiod = "period"\nwashout_periods = {washout}'
    return analyse_file(written(folder, columns, unit="block", cluster="block", assignment=assignment, clusters=60))


def test_a_switchback_drops_the_first_periods_of_every_block_and_clusters_by_block(tmp_path: Path) -> None:
    whole, washed = switchback(tmp_path, 0), switchback(tmp_path, 2)
    assert sum(washed.window.rows.values()) * 6 == sum(whole.window.rows.values()) * 4
    effect = washed.effect("good", "treatment").effect
    assert effect.n_clusters == 60 and effect.low is not None and effect.high is not None
    assert effect.low < 0.5 < effect.high
    early = whole.effect("good", "treatment").effect
    assert early.value is not None and effect.value is not None and early.value < effect.value


def test_a_shadow_run_pairs_the_same_prompts_and_cannot_show_value(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    level = rng.normal(size=400)
    good = np.concatenate([level + 0.1 * rng.normal(size=400), level + 0.3 + 0.1 * rng.normal(size=400)])
    columns = {
        "prompt": np.tile(np.arange(400), 2), "arm": np.repeat(["control", "treatment"], 400), "good": good,
        "bad": rng.normal(size=800) * 0.1,
    }  # fmt: skip
    spec = written(
        tmp_path, columns, unit="prompt", cluster="prompt", assignment='design = "shadow"', clusters=400,
        checks='["sample_ratio", "multiple_exposure"]',
    )  # fmt: skip
    found = analyse_file(spec)
    by_name = {j.name: j for j in found.judged}
    assert by_name["bar / value"].outcome == "barred" and "no user outcome" in str(by_name["bar / value"].note)
    assert by_name["bar / risk"].outcome == "clears"
    assert found.answer == "not enough evidence"
    effect = found.effect("good", "treatment").effect
    # Paired: the prompts' own level cancels, so the error is that of the difference.
    difference = good[400:] - good[:400]
    assert effect.se == pytest.approx(difference.std(ddof=1) / 20, rel=1e-9)
    assert effect.value == pytest.approx(difference.mean(), rel=1e-9)


def test_a_shadow_run_with_a_prompt_that_one_arm_lacks_is_invalid(tmp_path: Path) -> None:
    columns = {
        "prompt": [0, 1, 2, 0, 1], "arm": ["control"] * 3 + ["treatment"] * 2, "good": [1.0, 2, 3, 2, 3],
        "bad": [0.0, 1, 0, 1, 0],
    }  # fmt: skip
    spec = written(tmp_path, columns, unit="prompt", cluster="prompt", assignment='design = "shadow"', clusters=3)
    assert analyse_file(spec).answer == "invalid"
