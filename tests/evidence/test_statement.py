"""The companion statement: only a pass passes."""

from __future__ import annotations

import pytest

from jurat.errors import UnknownName
from jurat.evidence.statement import TEST_RESULT_TYPE, as_test_result


@pytest.mark.parametrize(
    ("verdict", "outcomes", "result"),
    [
        ("pass", {"a": "clears"}, "PASSED"),
        ("pass", {"a": "clears", "b": "waived"}, "WARNED"),
        ("pass", {}, "PASSED"),
        ("fail", {"a": "violated"}, "FAILED"),
        ("fail", {"a": "violated", "b": "waived"}, "FAILED"),
        ("not_enough_evidence", {"a": "undecided"}, "FAILED"),
        ("invalid", {"a": "clears"}, "FAILED"),
    ],
)
def test_doubt_is_never_taken_for_consent(verdict: str, outcomes: dict[str, str], result: str) -> None:
    document = as_test_result(verdict, outcomes, subject={"v": "aa"}, configuration={"bar.toml": "bb"})
    assert document["predicate"]["result"] == result
    assert document["predicateType"] == TEST_RESULT_TYPE


def test_the_predicate_has_the_fields_of_test_result_v0_1() -> None:
    outcomes = {"a": "clears", "b": "waived", "c": "violated", "d": "inadmissible", "e": "undecided"}
    document = as_test_result("fail", outcomes, subject={"v": "aa"}, configuration={"bar.toml": "bb"})
    assert document["subject"] == [{"name": "v", "digest": {"sha256": "aa"}}]
    assert document["predicate"] == {
        "result": "FAILED",
        "configuration": [{"name": "bar.toml", "digest": {"sha256": "bb"}}],
        "passedTests": ["a"],
        "warnedTests": ["b"],
        "failedTests": ["c", "d", "e"],
    }


def test_an_unknown_verdict_is_refused_with_near_names() -> None:
    with pytest.raises(UnknownName, match="did you mean 'pass'"):
        as_test_result("passed", subject={}, configuration={})
