"""The truth as a record: complete, plain, and closed forms against enumeration."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import duckdb
import pytest

import jurat.metrics
from jurat.errors import UnknownName
from jurat.simulate.assistant import World
from jurat.simulate.parameters import WorldParameters
from jurat.simulate.truth import QUANTILES, Truth

RELEASES = ("2026.11.1", "2026.11.2")
SHIPPED = (
    "refusal_rate",
    "over_refusal_rate",
    "harmful_compliance_rate",
    "error_rate",
    "mean_tokens",
    "requests_per_day",
)


def test_the_truth_survives_json_without_loss(world: World) -> None:
    assert Truth.from_json(json.loads(world.truth.to_text())) == world.truth


def test_every_shipped_metric_has_a_true_value_under_each_release(world: World) -> None:
    for metric, release in product(SHIPPED, RELEASES):
        assert world.truth.value(metric, release).realised is not None
    for quantile, release in product(QUANTILES, RELEASES):
        assert world.truth.value("latency_quantile", release, quantile=quantile).realised is not None


def test_an_undefined_value_comes_with_its_reason(world: World) -> None:
    for value in world.truth.values:
        assert value.expected is not None or value.reason


def test_an_unknown_true_value_names_near_ones(world: World) -> None:
    with pytest.raises(UnknownName, match=r"did you mean 'refusal_rate 2026\.11\.1'"):
        world.truth.value("refusal_rat", "2026.11.1")


def test_the_planted_parameters_are_on_record(world: World) -> None:
    planted = world.truth.parameters
    assert planted["candidate"]["over_refusal"] == WorldParameters().candidate.over_refusal
    assert planted["correlations"]["over_refusal"] == WorldParameters().correlations.over_refusal
    assert planted["traffic"]["endpoints"][0]["path"] == "/v1/chat"


def test_refusal_and_satisfaction_follow_from_enumerating_class_clarity_and_outcome(world: World) -> None:
    parameters = WorldParameters()
    behaviour, thumbs = parameters.behaviour, parameters.thumbs
    for release in parameters.releases:
        refusal = satisfaction = 0.0
        for harmful, borderline, refused in product((True, False), repeat=3):
            p = behaviour.harmful_share if harmful else 1 - behaviour.harmful_share
            p *= behaviour.borderline_share if borderline else 1 - behaviour.borderline_share
            factor = behaviour.borderline_factor if borderline else 1.0
            chance = 1 - release.harmful_compliance if harmful else release.over_refusal * factor
            p *= chance if refused else 1 - chance
            refusal += p * refused
            satisfaction += p * (thumbs.satisfied_refused if refused else thumbs.satisfied_answered)
        assert world.truth.value("refusal_rate", release.name).expected == pytest.approx(refusal)
        assert world.truth.value("satisfaction_share", release.name).expected == pytest.approx(satisfaction)


@pytest.mark.parametrize(
    ("metric", "quantile", "expression", "among"),
    [
        ("refusal_rate", None, "avg(refused::int)", "status = 'ok'"),
        ("error_rate", None, "avg((status = 'error')::int)", "true"),
        ("mean_tokens", None, "avg(tokens_out)", "status = 'ok'"),
        ("requests_per_day", None, "count(*) / 14", "true"),
        ("latency_quantile", 0.5, "quantile_cont(latency_ms, 0.5)", "status = 'ok'"),
        ("latency_quantile", 0.95, "quantile_cont(latency_ms, 0.95)", "status = 'ok'"),
        ("latency_quantile", 0.99, "quantile_cont(latency_ms, 0.99)", "status = 'ok'"),
    ],
)
def test_realised_values_are_what_sql_finds_in_the_spans(
    world: World, metric: str, quantile: float | None, expression: str, among: str
) -> None:
    spans = world.tables["spans"]
    with duckdb.connect() as connection:
        connection.register("spans", spans)
        rows = connection.sql(
            f"SELECT release, {expression}, count(*) FROM spans WHERE {among} GROUP BY release"
        ).fetchall()
    assert len(rows) == 2
    for release, found, n in rows:
        value = world.truth.value(metric, release, quantile=quantile)
        assert value.realised == pytest.approx(found, rel=1e-12)
        assert value.n == n


@pytest.mark.parametrize("source", ["human", "judge", "rule"])
@pytest.mark.parametrize("metric", ["harmful_compliance_rate", "over_refusal_rate", "refusal_rate", "error_rate"])
def test_the_shipped_metrics_find_the_realised_values(census: World, metric: str, source: str) -> None:
    sql = (Path(next(iter(jurat.metrics.__path__))) / f"{metric}.sql").read_text()
    parameters = {"audit_source": source} if "$audit_source" in sql else {}
    with duckdb.connect() as connection:
        for name, table in census.tables.items():
            connection.register(name, table)
        rows = connection.execute(
            f"SELECT release, sum(k) / sum(n), sum(n) FROM ({sql}) GROUP BY release", parameters
        ).fetchall()
    by_source = {(v.metric, v.release): v for v in census.truth.apparent.get(source, ())}
    assert len(rows) == 2
    for release, found, n in rows:
        value = by_source.get((metric, release)) or census.truth.value(metric, release)
        assert value.realised == pytest.approx(found, rel=1e-12)
        assert value.n == n


def test_it_prints_as_an_aligned_table(world: World) -> None:
    lines = str(world.truth).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["metric", "release", "expected", "realised", "n"]
    assert "latency_quantile p95" in str(world.truth)
