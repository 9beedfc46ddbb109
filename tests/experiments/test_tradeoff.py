"""Value against risk: Fieller's price against simulation, the exchange rate, and who was lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jurat.experiments.effects import Scorecard, scan_scorecard
from jurat.experiments.tradeoff import TradeOffResult, trade_off
from tests.experiments.case import opened

HARM = {"kind": "mean", "value": "harm", "better": "lower", "role": "risk"}
BAR = {
    "name": "bar",
    "value": {"metric": "y", "test": "superior"},
    "risk": {"metric": "harm", "test": "noninferior", "margin": 0.5, "rationale": "because"},
}
METRICS = {"y": {"kind": "mean", "value": "y", "better": "higher", "role": "value"}, "harm": HARM}


def pairs(seed: int, *, users: int = 300, gain: float = -0.4, harm: float = -0.8, shared: float = 0.7) -> pa.Table:
    """Users with a value and a harm that move together; the treatment costs value and avoids harm."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), 3)
    treated = user % 2 == 1
    level = rng.normal(size=users)[user]
    hard = rng.random(len(user)) < 0.25
    y = 5 + gain * treated * np.where(hard, 3.0, 1 / 3) + shared * level + rng.normal(size=len(user)) * 0.7
    risk = 2 + harm * treated + shared * level + 0.7 * rng.normal(size=len(user))
    return pa.table(
        {
            "user": user, "arm": np.where(treated, "b", "a"), "y": y, "harm": risk,
            "intent": np.where(hard, "adversarial", "benign"),
        }
    )  # fmt: skip


def weighed(folder: Path, table: pa.Table, **changes: Any) -> tuple[Scorecard, TradeOffResult]:
    experiment, data = opened(folder, {"outcomes": table}, **{"metrics": METRICS, "bar": [BAR], **changes})
    card = scan_scorecard(experiment, data)
    found = trade_off(card, card.effect("y", "b"), card.effect("harm", "b"))
    data.close()
    assert found is not None
    return card, found


def user_effects(table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    user, treated = table["user"].to_numpy(), np.array(table["arm"].to_pylist()) == "b"
    y, harm = (np.bincount(user, weights=table[c].to_numpy()) / 3 for c in ("y", "harm"))
    return y, harm, np.bincount(user, weights=treated) > 0


def test_the_price_is_the_value_lost_per_harm_avoided_with_the_bounds_of_a_bootstrap(tmp_path: Path) -> None:
    table = pairs(1, users=600)
    _, found = weighed(tmp_path, table)
    y, harm, treated = user_effects(table)
    gain, avoided = y[treated].mean() - y[~treated].mean(), -(harm[treated].mean() - harm[~treated].mean())
    assert found.price.value == pytest.approx(gain / avoided, rel=1e-9)
    rng = np.random.default_rng(2)
    drawn = []
    for _ in range(2_000):
        t, c = (rng.choice(np.flatnonzero(arm), arm.sum()) for arm in (treated, ~treated))
        drawn.append((y[t].mean() - y[c].mean()) / (harm[c].mean() - harm[t].mean()))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.price.low == pytest.approx(low, abs=0.12 * (high - low))
    assert found.price.high == pytest.approx(high, abs=0.12 * (high - low))


def test_the_price_covers_the_truth_about_as_often_as_it_says(tmp_path: Path) -> None:
    covered = 0
    # Value falls by 0.4 × (3 × 0.25 + 0.75 / 3) = 0.4 and harm by 0.8.
    for seed in range(40):
        _, found = weighed(tmp_path / str(seed), pairs(100 + seed, users=200))
        covered += (
            found.price.low is not None
            and found.price.high is not None
            and (found.price.low <= -0.5 <= found.price.high)
        )
    assert covered >= 33  # 95 % of 40, less three standard errors and a bit


def test_a_harm_that_did_not_clearly_move_has_no_price(tmp_path: Path) -> None:
    _, found = weighed(tmp_path, pairs(3, harm=0.0))
    assert found.price.low is None and found.price.high is None
    assert "not told apart from zero" in str(found.price.reason)


def test_two_effects_from_the_same_users_are_correlated(tmp_path: Path) -> None:
    table = pairs(4, users=600)
    _, found = weighed(tmp_path, table)
    y, harm, treated = user_effects(table)
    blocks = [np.cov(y[arm], harm[arm]) / arm.sum() for arm in (treated, ~treated)]
    total = blocks[0] + blocks[1]
    assert found.correlation == pytest.approx(total[0, 1] / np.sqrt(total[0, 0] * total[1, 1]), rel=1e-9)
    assert found.correlation is not None and found.correlation > 0.5


def test_the_net_benefit_uses_the_exchange_rate_and_the_covariance(tmp_path: Path) -> None:
    table = pairs(5, users=600)
    _, found = weighed(tmp_path, table, trade_off__exchange_rate=2.0)
    y, harm, treated = user_effects(table)
    worth = y - 2.0 * harm
    assert found.exchange_rate == 2.0 and found.net is not None
    assert found.net.value == pytest.approx(worth[treated].mean() - worth[~treated].mean(), rel=1e-9)
    variance = sum(worth[arm].var(ddof=1) / arm.sum() for arm in (treated, ~treated))
    assert found.net.se == pytest.approx(np.sqrt(variance), rel=1e-9)
    assert found.net.low is not None and found.net.low > 0  # −0.4 + 2 × 0.8


def test_the_sign_of_the_net_benefit_turns_with_the_exchange_rate(tmp_path: Path) -> None:
    table = pairs(6, users=600)
    cheap = weighed(tmp_path / "cheap", table, trade_off__exchange_rate=0.1)[1].net
    dear = weighed(tmp_path / "dear", table, trade_off__exchange_rate=5.0)[1].net
    assert cheap is not None and dear is not None and cheap.high is not None and dear.low is not None
    assert cheap.high < 0 < dear.low


def test_without_a_rate_there_is_no_net_benefit(tmp_path: Path) -> None:
    found = weighed(tmp_path, pairs(7))[1]
    assert found.net is None and found.exchange_rate is None


def test_the_region_is_the_ellipse_of_hotelling(tmp_path: Path) -> None:
    from scipy import stats as sps

    table = pairs(8, users=300)
    card, found = weighed(tmp_path, table)
    y, harm, treated = user_effects(table)
    centre = np.array([v[treated].mean() - v[~treated].mean() for v in (y, harm)])
    covariance = sum(np.cov(y[arm], harm[arm]) / arm.sum() for arm in (treated, ~treated))
    edge = np.array(found.region) - centre
    distance = np.einsum("ij,jk,ik->i", edge, np.linalg.inv(covariance), edge)
    assert distance == pytest.approx(np.full(len(edge), distance[0]), rel=1e-8)
    assert distance[0] == pytest.approx(2 * sps.f.ppf(0.95, 2, 297) * 298 / 297, rel=1e-6)
    assert card.effect("y", "b").effect.value == pytest.approx(centre[0])


def test_the_region_covers_both_effects_about_as_often_as_it_says(tmp_path: Path) -> None:
    inside = 0
    for seed in range(40):
        _, found = weighed(tmp_path / str(seed), pairs(200 + seed, users=200))
        edge = np.array(found.region)
        centre = edge.mean(axis=0)
        scale = np.cov((edge - centre).T, bias=True) * 2
        away = np.array([-0.4, -0.8]) - centre
        inside += float(away @ np.linalg.inv(scale) @ away) <= 1
    assert inside >= 33


def test_who_was_lost_is_told_by_part(tmp_path: Path) -> None:
    table = pairs(9, users=1_000, gain=-1.0)
    _, found = weighed(tmp_path, table, trade_off={"lost": "y", "adversarial": "intent"})
    assert found.lost is not None
    effects = {s.name: s.effect for s in found.lost.strata}
    # Three quarters of the rows lose a third of a point each, a quarter loses three.
    for name, truth in (("adversarial", -3.0), ("benign", -1 / 3)):
        low, high = effects[name].low, effects[name].high
        assert low is not None and high is not None and low < truth < high
    assert weighed(tmp_path / "unasked", table)[1].lost is None


def test_effects_without_spread_have_neither_region_nor_correlation(tmp_path: Path) -> None:
    table = pairs(10)
    table = table.set_column(table.schema.get_field_index("y"), "y", pa.array(np.full(table.num_rows, 0.1)))
    _, found = weighed(tmp_path, table, trade_off__exchange_rate=1.0)
    assert found.region == () and found.correlation is None


def test_a_quantile_has_no_covariance_and_no_trade_off(tmp_path: Path) -> None:
    from jurat.experiments.quantiles import quantile_effect

    slow = {"kind": "quantile", "value": "harm", "q": 0.9, "better": "lower"}
    experiment, data = opened(tmp_path, {"outcomes": pairs(11)}, metrics={**METRICS, "slow": slow}, bar=[BAR])
    card = scan_scorecard(experiment, data)
    assert trade_off(card, card.effect("y", "b"), quantile_effect(experiment, data, "slow", "b")) is None
