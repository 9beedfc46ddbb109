"""Metric files: what is wrong in one is said with its file, key and line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from jurat.errors import SpecError, UnknownName
from jurat.metrics.loader import STATISTICS, catalog, load, load_folder, parse_metric
from jurat.metrics.run import example_tables, run_example
from jurat.store.engine import DuckDB
from jurat.store.lint import ALLOWED_FUNCTIONS
from tests.conftest import ROOT
from tests.metrics.reference import PAGE, rendered

TEXT = """/*---
title = "Long answers"
question = "What share of turns is longer than a limit?"
kind = "proportion"
better = "neither"
role = "guardrail"
unit = "turn"
cluster = "user"
slices = ["release"]
owner = "evaluation"
source = "this test"
parameters = { limit = 100 }

[needs.spans]
release = "string"
user_id = "string"
tokens_out = "int64"

[[example]]
name = "one long, one short"
expect = [{ release = "r1", cluster = "u1", n = 2, k = 1 }]
[example.tables]
spans = [
  { release = "r1", user_id = "u1", tokens_out = 101 },
  { release = "r1", user_id = "u1", tokens_out = 100 },
]
---*/
SELECT
  release,
  user_id AS cluster,
  CAST(COUNT(*) AS BIGINT) AS n,
  CAST(COUNT(*) FILTER (WHERE tokens_out > $limit) AS BIGINT) AS k
FROM spans
WHERE tokens_out IS NOT NULL
GROUP BY release, user_id
"""


def changed(old: str, new: str) -> str:
    assert TEXT.count(old) == 1, old
    return TEXT.replace(old, new)


def test_a_file_becomes_a_metric_with_the_digest_of_its_bytes(tmp_path: Path) -> None:
    for name, text in (("unix", TEXT), ("windows", TEXT.replace("\n", "\r\n"))):
        path = tmp_path / f"{name}.sql"
        path.write_bytes(text.encode())
        metric = load(path)
        assert metric.name == name
        assert metric.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert metric.keys == ("cluster",)
        assert metric.statistics == ("n", "k")
        assert metric.parameters == {"limit": 100}
        assert len(metric.examples) == 1


# (old, new, words the message must have)
BROKEN = [
    ('owner = "evaluation"', 'ownr = "evaluation"', ["unknown key", "did you mean 'owner'"]),
    ('owner = "evaluation"\n', "", ["key owner is missing"]),
    ('owner = "evaluation"', "owner = 3", ["owner cannot be that", "3"]),
    ('kind = "proportion"', 'kind = "share"', ["kind cannot be that", "proportion, mean"]),
    ('better = "neither"', 'better = "up"', ["better cannot be that", "'up'"]),
    ('role = "guardrail"', 'role = "counter"', ["role cannot be that"]),
    ('slices = ["release"]', 'slices = "release"', ["slices cannot be that"]),
    ('slices = ["release"]', 'slices = ["release", "release"]', ["slices cannot be that"]),
    ('slices = ["release"]', 'slices = ["release", "tier"]', ["missing: tier"]),
    ('cluster = "user"', 'cluster = "none"', ["not known: cluster"]),
    ('kind = "proportion"', 'kind = "mean"', ["missing: sum, sum_sq", "not known: k"]),
    ("{ limit = 100 }", "{ limit = [1] }", ["parameters cannot be that"]),
    ("{ limit = 100 }", "{ limit = 100, unused = 1 }", ["changes nothing", "unused"]),
    ("{ limit = 100 }", "{ limti = 100 }", ["not declared under parameters", "did you mean 'limti'"]),
    ('source = "this test"', 'source = "this test"\nquantiles = [95]', ["quantiles cannot be that", "[95]"]),
    ('tokens_out = "int64"', 'tokens_out = "integer"', ["needs.spans.tokens_out", "one of string, int32"]),
    ('tokens_out = "int64"', 'tokens_out = "double"', ["needs.spans.tokens_out", "int64"]),
    ('tokens_out = "int64"', 'token_out = "int64"', ["unknown column", "did you mean 'tokens_out'"]),
    ("[needs.spans]", "[needs.span]", ["unknown table"]),
    ("FROM spans", "FROM labels", ["not declared under [needs]", "'labels'"]),
    ('title = "Long answers"', "title = Long", ["not TOML", "line 2"]),
    ("FROM spans", "FROM spans WHERE", ["cannot be parsed", "line 34"]),
    ("tokens_out IS NOT NULL", "frobnicate(tokens_out)", ["not portable", "line 34: rule 7"]),
    ("AS n,", "AS n, CAST(MAX(tokens_out) AS DOUBLE) AS most,", ["not known: most"]),
    ('name = "one long, one short"', 'nmae = "x"', ["lacks name"]),
    ("[example.tables]\nspans", "[example.tables]\nspan", ["unknown table", "did you mean 'spans'"]),
    ("[example.tables]", "[example.parameters]\nlimt = 3\n[example.tables]", ["unknown parameter"]),
    ("[example.tables]", "[example.tabels]", ["unknown key", "did you mean 'tables'"]),
    ("/*---\n", "/*\n", ["no front matter"]),
    ("GROUP BY release, user_id\n", "GROUP BY release, user_id; SELECT 1 AS one\n", ["one SELECT", "Select, Select"]),
]


@pytest.mark.parametrize(("old", "new", "words"), BROKEN, ids=[f"{new[:40]!r}" for _, new, _ in BROKEN])
def test_a_broken_file_is_refused_with_its_name_and_what_to_mend(old: str, new: str, words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_metric("long_answers", changed(old, new), place="long_answers.sql")
    for word in words:
        assert word in str(caught.value)
    assert "next:" in str(caught.value)


def test_every_message_about_the_front_matter_names_the_file() -> None:
    with pytest.raises(SpecError, match=r"long_answers\.sql"):
        parse_metric("long_answers", changed('role = "guardrail"', 'role = "x"'), place="long_answers.sql")


def test_a_table_that_is_not_of_the_house_may_have_any_columns() -> None:
    text = TEXT.replace("spans", "turns")
    assert parse_metric("m", text, place="m.sql").needs["turns"]["tokens_out"] == "int64"


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.sql"
    path.write_bytes(TEXT.replace("Long", "L\u00f6ng").encode("latin-1"))
    with pytest.raises(SpecError, match="UTF-8"):
        load(path)


def test_a_missing_file_or_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such metric file"):
        load(tmp_path / "none.sql")
    with pytest.raises(SpecError, match="no such metrics folder"):
        load_folder(tmp_path / "none")


def test_a_name_that_two_files_define_is_refused(tmp_path: Path) -> None:
    (tmp_path / "refusal_rate.sql").write_text(TEXT)
    with pytest.raises(SpecError, match="two files define the metric refusal_rate"):
        catalog(tmp_path)


def test_the_catalogue_holds_the_shipped_metrics_and_those_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "long_answers.sql").write_text(TEXT)
    found = catalog(tmp_path)
    assert {
        "backtrack_rate",
        "blocked_burst_rate",
        "blocked_rate",
        "cost_per_turn",
        "error_rate",
        "error_rate_by_type",
        "escalation_rate",
        "feedback_rate",
        "harmful_compliance_rate",
        "latency_quantile",
        "long_answers",
        "mean_tokens",
        "over_refusal_rate",
        "refusal_rate",
        "regenerate_rate",
        "requests_per_day",
        "session_turns",
        "thumbs_up_rate",
        "time_per_output_token",
        "time_to_first_token",
        "top_user_block_rate",
        "top_user_tokens",
        "weekly_requests",
        "weekly_return_rate",
    } == set(found)
    assert {metric.kind for metric in found.values()} <= set(STATISTICS)


def test_every_shipped_metric_has_an_example_and_is_cut_by_release() -> None:
    for metric in catalog().values():
        assert metric.examples, metric.name
        # What an organisation asks for in a week is asked of whatever release answers: a day of it has no release.
        assert metric.slices[0] == "release" or metric.name == "weekly_requests"


def test_unknown_names_are_spec_errors() -> None:
    assert issubclass(UnknownName, SpecError)


def test_the_file_in_the_reference_page_loads_and_its_example_holds() -> None:
    page = (ROOT / "docs" / "reference" / "metric-files.md").read_text(encoding="utf-8")
    text = page.partition("```sql\n")[2].partition("```")[0]
    metric = parse_metric("refusal_rate", text, place="metric-files.md")
    run_example(metric, metric.examples[0], DuckDB.from_tables(example_tables(metric, metric.examples[0])))


def test_the_reference_page_names_every_allowed_function() -> None:
    page = (ROOT / "docs" / "reference" / "metric-files.md").read_text(encoding="utf-8").lower()
    names = {name.replace("percentile_cont", "quantile_cont").replace("power", "pow") for name in ALLOWED_FUNCTIONS}
    assert {name for name in names if name not in page} <= {"and", "or"}


def test_the_page_of_shipped_metrics_is_what_the_files_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == rendered(), "write it anew: python -m tests.metrics.reference"
