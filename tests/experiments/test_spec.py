"""The spec: what it keeps, what it refuses, and what its messages say."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest

from jurat.errors import SpecError, UnknownName
from jurat.experiments.margin import parse_margin
from jurat.experiments.spec import CHECKS, Experiment, load_spec
from tests.experiments.case import DROP, spec_of, toml_of, write_spec

VALUE = {"metric": "y", "test": "superior"}
RISK = {"metric": "bad", "test": "noninferior", "margin": "+5pp", "rationale": "because"}


def bar(value: dict[str, Any] | None = None, risk: dict[str, Any] | None = None, name: str = "bar") -> dict[str, Any]:
    return {"name": name, "value": {**VALUE, **(value or {})}, "risk": {**RISK, **(risk or {})}}


def loaded(folder: Path, **changes: Any) -> Experiment:
    return load_spec(write_spec(folder, spec_of(**changes)))


def refused(folder: Path, **changes: Any) -> SpecError:
    with pytest.raises(SpecError) as caught:
        loaded(folder, **changes)
    return caught.value


def test_a_spec_is_read_as_written(tmp_path: Path) -> None:
    found = loaded(tmp_path, bar=[bar({"mde": "+2%"}, {"max_upper_bound": 0.4})], guardrail=[{**RISK, "name": "rail"}])
    assert [c.name for c in found.claims] == ["bar / value", "bar / risk", "rail"]
    assert [c.role for c in found.claims] == ["value", "risk", "guardrail"]
    assert found.claims[0].mde is not None and found.claims[0].mde.scale == "relative"
    assert found.claims[1].margin.value == 0.05 and found.claims[1].max_upper_bound == 0.4
    assert found.treatments == ("b",) and found.cluster == "user"
    assert found.level == pytest.approx(0.95)


def test_rows_are_independent_only_where_the_spec_says_so(tmp_path: Path) -> None:
    assert loaded(tmp_path, inference__cluster="none").cluster is None
    missing = refused(tmp_path, inference__cluster=DROP)
    assert "inference.cluster" in missing.what


def test_one_changed_byte_is_another_spec(tmp_path: Path) -> None:
    path = write_spec(tmp_path, spec_of())
    before = load_spec(path).sha256
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    assert load_spec(path).sha256 != before


def test_the_writer_of_these_tests_writes_what_toml_reads() -> None:
    assert tomllib.loads(f"x = {toml_of(spec_of())}")["x"] == spec_of()


@pytest.mark.parametrize(
    ("changes", "what", "seen", "next_step"),
    [
        ({"hypotesis": "h"}, "unknown key", "hypotesis", "hypothesis"),
        ({"metrics__y__betther": "higher"}, "unknown key", "betther", "better"),
        ({"inference__clusters": "user"}, "unknown key", "clusters", "cluster"),
        ({"assignment__unit": 3}, "assignment.unit", "3", "experiment-spec"),
        ({"inference__planned_clusters": "many"}, "planned_clusters", "many", "experiment-spec"),
        ({"inference__planned_clusters": 1}, "planned_clusters", "1", "experiment-spec"),
        ({"inference__alpha": 0.7}, "inference.alpha", "0.7", "experiment-spec"),
        ({"inference__alpha": math.nan}, "inference.alpha", "nan", "experiment-spec"),
        ({"inference__method": "bayes"}, "inference.method", "bayes", "experiment-spec"),
        ({"metrics__y__kind": "median"}, "metrics.y.kind", "median", "experiment-spec"),
        ({"metrics__y__better": "up"}, "metrics.y.better", "up", "experiment-spec"),
        ({"metrics__y__baseline": math.inf}, "metrics.y.baseline", "inf", "experiment-spec"),
        ({"trade_off__exchange_rate": math.inf}, "exchange_rate", "inf", "experiment-spec"),
        ({"trade_off__exchange_rate": -1.0}, "exchange_rate", "-1", "experiment-spec"),
        ({"bar": [bar(risk={"max_upper_bound": math.nan})]}, "max_upper_bound", "nan", "experiment-spec"),
        ({"checks": ["sample_ration"]}, "checks", "sample_ration", "experiment-spec"),
        ({"metrics": {}}, "metrics", "{}", "experiment-spec"),
        ({"bar": []}, "bar", "[]", "experiment-spec"),
        ({"id": "no spaces"}, "id", "no spaces", "experiment-spec"),
        ({"hypothesis": DROP}, "the key hypothesis is missing", "nothing there", "add hypothesis"),
    ],
)
def test_a_key_or_a_type_that_does_not_belong_is_told_with_its_place(
    tmp_path: Path, changes: dict[str, Any], what: str, seen: str, next_step: str
) -> None:
    found = refused(tmp_path, **changes)
    assert "experiment.toml" in found.what
    assert what in found.what
    assert seen in str(found.seen)
    assert next_step in str(found.next_step)


@pytest.mark.parametrize(
    ("changes", "what", "seen", "next_step"),
    [
        ({"bar": [bar(risk={"margin": None})]}, "bar / risk: a non-inferiority test needs its margin", "no margin", "loss"),
        ({"bar": [bar(risk={"rationale": " "})]}, "bar / risk: a margin needs its reason", "empty", "rationale"),
        ({"bar": [bar(risk={"margin": "-5pp"})]}, "bar / risk: the margin has the wrong sign", "'-5pp'", "above 0"),
        ({"bar": [bar(risk={"margin": 0.0})]}, "bar / risk: the margin has the wrong sign", "'0'", "above 0"),
        ({"bar": [bar({"test": "noninferior", "margin": "+1%", "rationale": "r"})]}, "wrong sign", "'+1%'", "below 0"),
        ({"bar": [bar({"margin": "-1%"})]}, "bar / value: the margin has the wrong sign", "'-1%'", "above 0"),
        ({"bar": [bar({"mde": "-1%"})]}, "bar / value: the mde has the wrong sign", "'-1%'", "above 0"),
        ({"bar": [bar(risk={"margin": "five"})]}, "bar / risk: not a margin", "'five'", "+5%"),
        ({"bar": [bar(risk={"margin": "5 percent"})]}, "bar / risk: not a margin", "'5 percent'", "+5%"),
        ({"bar": [bar(), bar()]}, "two claims have the same name", "'bar / value'", "rename"),
        ({"bar": [bar({"metric": "bad"})]}, "stands as the value metric but is declared risk", "'risk'", "value metric"),
        ({"bar": [bar(risk={"metric": "y"})]}, "stands as the risk metric but is declared value", "'value'", "risk"),
        ({"assignment__arms": {"a": 0.5, "b": 0.6}}, "add up to one", "sum 1.1", "share of each arm"),
        ({"assignment__arms": {"a": 1.0, "b": 0.0}}, "must be positive", "'b': 0", "share of each arm"),
        ({"assignment__arms": {"a": -0.5, "b": 1.5}}, "must be positive", "-0.5", "share of each arm"),
        ({"metrics__r": {"kind": "ratio", "value": "num", "better": "higher"}}, "a ratio needs per", "nothing", "add per"),
        ({"metrics__q": {"kind": "quantile", "value": "y", "better": "higher"}}, "needs q", "nothing there", "add q"),
        ({"metrics__y__q": 0.5}, "q has no meaning for a mean", "0.5", "leave it out"),
        ({"metrics__y__per": "den"}, "per has no meaning for a mean", "'den'", "leave it out"),
        ({"metrics__bad__baseline": 1.5}, "baseline of a proportion", "1.5", "mend"),
        (
            {"metrics__q": {"kind": "quantile", "value": "y", "q": 0.5, "better": "higher", "covariates": ["x"]}},
            "a quantile takes no covariates", "x", "leave them out",
        ),
        ({"metrics__y__covariates": ["y"]}, "y cannot be its own covariate", "y", "before assignment"),
        (
            {"metrics__y__covariates": ["x + 1"], "simpson__post_treatment": ["x"]},
            "x comes after the treatment and cannot be a covariate", "x + 1", "before assignment",
        ),
        ({"checks": ["spillover"]}, "needs the groups", "assignment.group", "group = 'column'"),
        ({"assignment__design": "switchback"}, "needs the column of its periods", "assignment.period", "period ="),
        ({"assignment__design": "clusters", "inference__cluster": "none"}, "has a cluster", "'none'", "randomised"),
    ],
)  # fmt: skip
def test_a_spec_that_contradicts_itself_is_refused_with_what_to_do(
    tmp_path: Path, changes: dict[str, Any], what: str, seen: str, next_step: str
) -> None:
    changes = {k: _without_nothing(v) for k, v in changes.items()}
    found = refused(tmp_path, **changes)
    assert found.what.startswith("experiment.toml") and what in found.what
    assert seen in str(found.seen)
    assert next_step in str(found.next_step)


def _without_nothing(value: Any) -> Any:
    """TOML has no null: a key without a value is not there."""
    if isinstance(value, dict):
        return {k: _without_nothing(v) for k, v in value.items() if v is not None}
    return [_without_nothing(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("changes", "kind", "name", "near"),
    [
        ({"bar": [bar({"metric": "yy"})]}, "metric", "yy", "did you mean 'y'?"),
        ({"guardrail": [{**RISK, "metric": "badd"}]}, "metric", "badd", "did you mean 'bad'?"),
        ({"trade_off__lost": "gone"}, "metric", "gone", "known: bad, y"),
        ({"assignment__control": "A"}, "arm", "A", "known: a, b"),
    ],
)
def test_a_name_that_does_not_exist_is_told_with_near_ones(
    tmp_path: Path, changes: dict[str, Any], kind: str, name: str, near: str
) -> None:
    found = refused(tmp_path, **changes)
    assert isinstance(found, UnknownName)
    assert f"unknown {kind}" in found.what
    assert found.seen == repr(name)
    assert near in str(found.next_step)


def test_a_file_that_is_not_there_or_not_toml_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such experiment spec"):
        load_spec(tmp_path / "nowhere.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("id = ", encoding="utf-8")
    with pytest.raises(SpecError, match=r"broken\.toml is not valid TOML"):
        load_spec(broken)
    broken.write_bytes(b"id = '\xff'")
    with pytest.raises(SpecError, match=r"broken\.toml is not valid TOML"):
        load_spec(broken)


@pytest.mark.parametrize(
    ("text", "value", "scale"),
    [
        ("-1.0pp", -0.01, "absolute"),
        ("−1.0pp", -0.01, "absolute"),
        ("+5%", 0.05, "relative"),
        ("2", 2.0, "absolute"),
        (" +.5 % ", 0.005, "relative"),
        ("1e-3", 0.001, "absolute"),
        (0.002, 0.002, "absolute"),
        (3, 3.0, "absolute"),
    ],
)
def test_margins_are_read_as_people_write_them(text: str | float, value: float, scale: str) -> None:
    found = parse_margin(text)
    assert found.value == pytest.approx(value, rel=1e-15)
    assert found.scale == scale


@pytest.mark.parametrize("text", ["", "pp", "--1", "1 000", "nan", "inf", "1,5%", "5%%", math.nan, math.inf, True])
def test_what_is_no_margin_is_refused(text: str | float) -> None:
    with pytest.raises(ValueError, match="got "):
        parse_margin(text)


def test_a_relative_margin_is_a_share_of_the_size_of_the_control() -> None:
    assert parse_margin("+10%").absolute(-4.0) == pytest.approx(0.4)
    assert parse_margin("-10%").absolute(4.0) == pytest.approx(-0.4)
    assert parse_margin("0.5").absolute(4.0) == 0.5


def test_the_checks_have_one_order() -> None:
    assert len(set(CHECKS)) == len(CHECKS)
    assert CHECKS.index("sample_ratio") < CHECKS.index("fingerprint") < CHECKS.index("judge_anchor")
