"""Quantiles of skewed outcomes against a brute-force cluster bootstrap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from jurat.errors import DataError
from jurat.experiments.analyse import analyse_file
from jurat.experiments.quantiles import arm_quantile, quantile_curve, quantile_effect
from tests.experiments.case import opened, write_case

Floats = npt.NDArray[np.float64]
DELAY = {"kind": "quantile", "value": "delay", "q": 0.5, "better": "lower", "role": "guardrail"}


def delays(users: int, seed: int, *, factor: float = 1.0, between: float = 0.8) -> pa.Table:
    """Log-normal delays that cluster by user; arm b's are ``factor`` times as long."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), 1 + rng.poisson(4, users))
    treated = user % 2 == 1
    noise = between * rng.normal(size=users)[user] + 0.6 * rng.normal(size=len(user))
    return pa.table(
        {
            "user": pa.array(user), "arm": np.where(treated, "b", "a"), "y": rng.normal(size=len(user)),
            "bad": rng.random(len(user)) < 0.3, "delay": 900 * np.exp(noise) * np.where(treated, factor, 1.0),
        }
    )  # fmt: skip


def bootstrapped(table: pa.Table, q: float, seed: int, draws: int = 600) -> dict[str, Floats]:
    """Quantile of each arm in samples of its users, with all their rows."""
    rng = np.random.default_rng(seed)
    user, delay = table["user"].to_numpy(), table["delay"].to_numpy()
    arm = np.array(table["arm"].to_pylist())
    found = {}
    for name in "ab":
        own = arm == name
        members, place = np.unique(user[own], return_inverse=True)
        values = delay[own]
        order = np.argsort(values)
        values, place = values[order], place[order]
        draw = np.empty(draws)
        for i in range(draws):
            weights = np.bincount(rng.integers(0, len(members), len(members)), minlength=len(members))[place]
            running = np.cumsum(weights)
            draw[i] = values[np.searchsorted(running, q * running[-1])]
        found[name] = draw
    return found


@pytest.mark.parametrize("q", [0.25, 0.5, 0.9])
def test_the_difference_of_quantiles_has_the_bounds_of_the_cluster_bootstrap(tmp_path: Path, q: float) -> None:
    table = delays(1_200, 1, factor=1.1)
    experiment, data = opened(tmp_path, {"outcomes": table}, metrics__delay={**DELAY, "q": q})
    found = quantile_effect(experiment, data, "delay", "b").effect
    draws = bootstrapped(table, q, seed=2)
    difference = draws["b"] - draws["a"]
    delay, arm = table["delay"].to_numpy(), np.array(table["arm"].to_pylist())
    expected = np.quantile(delay[arm == "b"], q) - np.quantile(delay[arm == "a"], q)
    assert found.value == pytest.approx(expected, rel=1e-12)
    low, high = np.quantile(difference, [0.025, 0.975])
    assert found.low is not None and found.high is not None
    assert found.high - found.low == pytest.approx(high - low, rel=0.12)
    assert found.low == pytest.approx(low, abs=0.15 * (high - low))
    assert found.high == pytest.approx(high, abs=0.15 * (high - low))
    assert found.n_clusters == 1_200


@pytest.mark.parametrize("q", [0.5, 0.95])
def test_an_arms_quantile_has_the_bounds_of_the_cluster_bootstrap(tmp_path: Path, q: float) -> None:
    table = delays(1_000, 3)
    experiment, data = opened(tmp_path, {"outcomes": table}, metrics__delay={**DELAY, "q": q})
    found = arm_quantile(experiment, data, "delay", "a")
    low, high = np.quantile(bootstrapped(table, q, seed=4)["a"], [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.15 * (high - low))
    assert found.high == pytest.approx(high, abs=0.15 * (high - low))


def test_rows_taken_as_independent_give_an_interval_that_is_too_narrow(tmp_path: Path) -> None:
    table = delays(1_000, 5)
    by_user, by_row = (
        quantile_effect(
            *opened(tmp_path / name, {"outcomes": table}, metrics__delay=DELAY, inference__cluster=name), "delay", "b"
        ).effect
        for name in ("user", "none")
    )
    widths = [(i.high or 0) - (i.low or 0) for i in (by_user, by_row)]
    assert widths[0] > 1.5 * widths[1]
    assert by_row.n_clusters is None


def test_the_interval_covers_no_difference_about_as_often_as_it_says(tmp_path: Path) -> None:
    covered = 0
    for seed in range(40):
        experiment, data = opened(tmp_path / str(seed), {"outcomes": delays(200, 100 + seed)}, metrics__delay=DELAY)
        found = quantile_effect(experiment, data, "delay", "b").effect
        assert found.low is not None and found.high is not None
        covered += found.low <= 0 <= found.high
        data.close()
    assert covered >= 33  # 95 % of 40, less three standard errors and a bit


def test_nulls_are_left_out_and_counted_out(tmp_path: Path) -> None:
    table = delays(400, 6)
    hole = np.arange(table.num_rows) % 4 == 0
    holed = table.set_column(
        table.schema.get_field_index("delay"), "delay", pa.array(table["delay"].to_numpy(), mask=hole)
    )
    kept = table.filter(pa.array(~hole))
    found = [
        quantile_effect(*opened(tmp_path / str(i), {"outcomes": t}, metrics__delay=DELAY), "delay", "b").effect
        for i, t in enumerate((holed, kept))
    ]
    assert (found[0].low, found[0].high, found[0].n) == (found[1].low, found[1].high, found[1].n)


def test_a_sequence_is_wider_than_the_interval_of_one_look(tmp_path: Path) -> None:
    experiment, data = opened(
        tmp_path, {"outcomes": delays(1_000, 7)}, metrics__delay=DELAY,
        inference__method="confidence_sequence", inference__planned_clusters=1_000,
    )  # fmt: skip
    found = quantile_effect(experiment, data, "delay", "b")
    assert found.sequence is not None and found.sequence.low is not None and found.effect.low is not None
    assert found.sequence.low < found.effect.low
    assert found.deciding is found.sequence


def test_a_tail_that_the_sample_does_not_reach_has_no_bounds_and_says_so(tmp_path: Path) -> None:
    experiment, data = opened(tmp_path, {"outcomes": delays(30, 8)}, metrics__delay={**DELAY, "q": 0.999})
    found = quantile_effect(experiment, data, "delay", "b").effect
    assert found.low is None and found.high is None
    assert "tail" in str(found.reason)


def test_the_curve_finds_where_in_the_distribution_the_treatment_acts(tmp_path: Path) -> None:
    table = delays(1_200, 9, between=0.1)
    delay, arm = table["delay"].to_numpy(), np.array(table["arm"].to_pylist())
    slow = np.where((arm == "b") & (delay > 1_500), delay * 2, delay)
    table = table.set_column(table.schema.get_field_index("delay"), "delay", pa.array(slow))
    experiment, data = opened(tmp_path, {"outcomes": table}, metrics__delay=DELAY)
    curve = quantile_curve(experiment, data, "delay", "b", shares=(0.25, 0.95))
    assert curve[0.25].low is not None and curve[0.25].high is not None and curve[0.95].low is not None
    assert curve[0.25].low < 0 < curve[0.25].high
    assert curve[0.95].low > 0


def guarded(folder: Path, table: pa.Table, margin: str, value: str = "delay") -> str:
    rail = {"metric": "delay", "test": "noninferior", "margin": margin, "rationale": "because", "name": "rail"}
    path = write_case(folder, {"outcomes": table}, metrics__delay={**DELAY, "value": value}, guardrail=[rail])
    return next(j.outcome for j in analyse_file(path).judged if j.name == "rail")


def test_a_guardrail_on_a_quantile_clears_within_its_margin_and_is_violated_beyond(tmp_path: Path) -> None:
    assert guarded(tmp_path / "same", delays(1_500, 10), "+50%") == "clears"
    assert guarded(tmp_path / "twice", delays(1_500, 11, factor=2.0), "+50%") == "violated"


def test_a_relative_margin_of_a_negative_quantile_is_a_share_of_its_size(tmp_path: Path) -> None:
    # Delays on a scale that ends at zero: lower is better, and the same arms differ by nothing.
    table = delays(1_500, 12)
    assert guarded(tmp_path, table, "+50%", value="delay - 5000") == "clears"


@pytest.mark.parametrize(
    ("bad_value", "what", "seen"),
    [
        (np.nan, "not finite", "nan"),
        (np.inf, "not finite", "inf"),
        (-np.inf, "not finite", "-inf"),
        (-1.0, "cannot have", "-1.0 on b, below 0"),
    ],
)
def test_what_is_no_delay_is_refused(tmp_path: Path, bad_value: float, what: str, seen: str) -> None:
    table = delays(100, 13)
    delay = table["delay"].to_numpy().copy()
    delay[np.flatnonzero(np.array(table["arm"].to_pylist()) == "b")[0]] = bad_value
    table = table.set_column(table.schema.get_field_index("delay"), "delay", pa.array(delay, from_pandas=False))
    path = write_case(tmp_path, {"outcomes": table}, metrics__delay={**DELAY, "non_negative": True})
    with pytest.raises(DataError, match=what) as caught:
        analyse_file(path)
    assert "the metric delay" in caught.value.what
    assert seen in str(caught.value.seen)
    assert caught.value.next_step


def test_a_quantile_without_values_in_an_arm_is_refused(tmp_path: Path) -> None:
    table = delays(100, 14)
    treated = np.array(table["arm"].to_pylist()) == "b"
    column = pa.array(table["delay"].to_numpy(), mask=treated)
    table = table.set_column(table.schema.get_field_index("delay"), "delay", column)
    with pytest.raises(DataError, match="the metric delay has no values on b"):
        analyse_file(write_case(tmp_path, {"outcomes": table}, metrics__delay=DELAY))
