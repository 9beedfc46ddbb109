"""Production by the minute: the load, what is planted and where, and nothing else that moves."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow.compute as pc
import pytest

from jurat.errors import UsageError
from jurat.simulate.incidents import PlantedIncident, Production, simulate_production

START = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)


def test_the_load_follows_the_day_and_the_week() -> None:
    load = Production().load(START, 7 * 1_440)
    assert load[8 * 60] == pytest.approx(600) and load[14 * 60] == pytest.approx(960)
    assert load[5 * 1_440 + 8 * 60] == pytest.approx(600 * 0.55)
    assert load[:1_440].mean() == pytest.approx(600)


def test_an_incident_touches_its_slice_and_its_time_only() -> None:
    spike = PlantedIncident(kind="refusal spike", onset=300.5, minutes=60, size=0.2, endpoint="/v1/chat", tier="free")
    plain = simulate_production(start=START, days=0.5, seed=3)
    hurt = simulate_production(start=START, days=0.5, seed=3, incidents=(spike,))
    assert plain["n"] == hurt["n"]  # as many come
    differs = pc.not_equal(pc.fill_null(plain["k"], 0), pc.fill_null(hurt["k"], 0))
    changed = hurt.filter(differs)
    assert set(changed["endpoint"].to_pylist()) == {"/v1/chat"} and set(changed["tier"].to_pylist()) == {"free"}
    assert set(changed["metric"].to_pylist()) == {"refusal_rate"}
    minutes = (changed["minute"].cast("int64").to_numpy() // 60_000_000) - int(START.timestamp()) // 60
    assert minutes.min() >= 300
    during = hurt.filter(
        pc.and_(
            pc.and_(pc.equal(hurt["metric"], "refusal_rate"), pc.equal(hurt["endpoint"], "/v1/chat")),
            pc.equal(hurt["tier"], "free"),
        )
    ).slice(301, 59)
    assert sum(during["k"].to_pylist()) / sum(during["n"].to_pylist()) == pytest.approx(0.24, abs=0.015)


def test_a_latency_regression_multiplies_and_sums_are_those_of_the_draws() -> None:
    slow = PlantedIncident(kind="latency regression", onset=0, minutes=10_000, size=1.5)
    a = simulate_production(start=START, days=0.1, seed=3, metrics=("latency_ms",))
    b = simulate_production(start=START, days=0.1, seed=3, metrics=("latency_ms",), incidents=(slow,))
    assert np.allclose(b["sum"].to_numpy(), 1.5 * a["sum"].to_numpy())
    assert np.allclose(b["sum_sq"].to_numpy(), 2.25 * a["sum_sq"].to_numpy())


def test_minutes_may_vary_more_than_independent_requests_would() -> None:
    def spread(correlation: float) -> float:
        table = simulate_production(
            Production(correlation=correlation, daily_swing=0.0, endpoints=(("/", 1.0),), tiers=(("all", 1.0),)),
            start=START, days=2, seed=1, metrics=("refusal_rate",),
        )  # fmt: skip
        n, k = table["n"].to_numpy(), table["k"].to_numpy()
        return float(np.mean((k - 0.04 * n) ** 2 / (n * 0.04 * 0.96)))

    assert spread(0.0) == pytest.approx(1.0, abs=0.1)
    assert spread(0.005) == pytest.approx(1 + 599 * 0.005, rel=0.15)


def test_what_cannot_be_is_refused() -> None:
    for wrong in (
        lambda: PlantedIncident(kind="error storm", onset=-1, minutes=5, size=0.1),
        lambda: Production(tiers=(("free", 0.5),)),
        lambda: Production(refusal_rate=1.0),
        lambda: simulate_production(start=START.replace(tzinfo=None), days=1, seed=1),
        lambda: simulate_production(start=START, days=1, seed=1, metrics=("cost",)),
    ):
        with pytest.raises(UsageError):
            wrong()
