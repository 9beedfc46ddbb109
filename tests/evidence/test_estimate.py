"""Estimates, receipts and evidence: what they refuse, and that JSON loses nothing."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jurat.evidence.estimate import Contrast, Estimate, Evidence, InputFile, Receipt, Threshold

finite = st.floats(allow_nan=False, allow_infinity=False)


def an_estimate(**changes: Any) -> Estimate:
    fields: dict[str, Any] = {
        "metric": "refusal_rate",
        "value": 0.1,
        "low": 0.05,
        "high": 0.2,
        "level": 0.95,
        "n": 100,
        "unit": "turn",
        "cluster": "user",
        "method": "wilson",
        "n_clusters": 40,
        "slice": {"tier": "free"},
    }
    return Estimate(**{**fields, **changes})


def some_evidence(**changes: Any) -> Evidence:
    receipt = Receipt(
        computation="mean_of_column",
        inputs=(InputFile(path="labels.csv", size=3, sha256="ab"),),
        snapshot=None,
        code_sha256="cd",
        parameters={"column": "y", "where": {}},
        seed=7,
        engine="duckdb",
        engine_version="2.0.0",
        packages={"numpy": "2.4.0"},
        started="2026-01-01T00:00:00+00:00",
        seconds=0.25,
    )
    return Evidence(estimate=an_estimate(**changes), receipt=receipt, collected_from="2026-01-01T00:00:00+00:00")


@given(value=finite, low=finite | st.none(), high=finite | st.none(), p=st.floats(0, 1))
def test_evidence_survives_json_without_loss(value: float, low: float | None, high: float | None, p: float) -> None:
    evidence = some_evidence(
        value=value,
        low=low,
        high=high,
        contrast=Contrast(candidate="b", baseline="a", paired=True),
        threshold=Threshold(value=value, p_greater=p, p_less=1 - p),
    )
    again = Evidence.from_json(json.loads(json.dumps(evidence.to_json(), allow_nan=False)))
    assert again == evidence
    assert again.digest == evidence.digest


@pytest.mark.parametrize("field", ["value", "low", "high", "level"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_estimate_never_holds_a_number_that_is_none(field: str, bad: float) -> None:
    with pytest.raises(ValueError, match=field):
        an_estimate(**{field: bad})


def test_an_undefined_value_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="reason"):
        an_estimate(value=None)
    assert "no rows" in str(an_estimate(value=None, low=None, high=None, n=0, reason="no rows"))


def test_an_open_side_prints_as_infinite() -> None:
    assert "[0.0500, ∞]" in str(an_estimate(high=None))
    assert "[−∞, 0.2000]" in str(an_estimate(low=None))


def test_evidence_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        some_evidence().estimate.value = 0.0  # type: ignore[misc]


@pytest.mark.parametrize(
    "changes", [{"value": 0.11}, {"n": 101}, {"slice": {}}, {"method": "exact"}, {"n_clusters": None}]
)
def test_any_change_of_the_number_changes_the_digest(changes: dict[str, Any]) -> None:
    assert some_evidence(**changes).digest != some_evidence().digest
