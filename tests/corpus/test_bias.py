"""Groups by columns and by terms against plain counting; ratios of shares by simulation."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jurat.corpus.bias import (
    Attribute,
    audit_bias,
    load_attributes,
    quality_removals,
    ratio_of_shares,
    term_members,
)
from jurat.errors import SpecError
from jurat.text.column import TextColumn
from jurat.text.quality import quality_counters
from jurat.text.quality_rules import RULES
from jurat.text.words import hash_words


def test_terms_are_found_as_a_plain_search_finds_them() -> None:
    rng = np.random.default_rng(0)
    texts = [
        " ".join(rng.choice(["she", "SHE", "shell", "new", "York", "york,", "new-york", ""], 6)) for _ in range(200)
    ]
    found = term_members(hash_words(TextColumn.of(texts)), ["She", "New York"])
    expected = []
    for text in texts:
        words = re.findall(r"[a-z]+", text.lower())
        expected.append("she" in words or ("new", "york") in itertools.pairwise(words))
    assert found.tolist() == expected


def test_groups_and_removals_are_counted_exactly() -> None:
    n = 300
    rng = np.random.default_rng(1)
    columns = pa.table({"n_words": rng.integers(1, 100, n), "source": rng.choice(["a", "b"], n)})
    gone = rng.random(n) < np.where(np.asarray(columns["source"].to_pylist()) == "a", 0.6, 0.2)
    texts = ["she spoke" if i % 3 == 0 else "rain fell" for i in range(0, n, 2)]
    attributes = [Attribute(name="x", groups={"a": "source = 'a'", "she": ["she"], "none": "n_words > 1000"})]
    by_column, by_term, none = audit_bias(
        attributes, columns, {"f": gone}, sample_rows=np.arange(0, n, 2), sample_texts=texts
    )
    member = np.array(columns["source"].to_pylist()) == "a"
    assert by_column.representation.value == pytest.approx(member.mean()) and by_column.representation.n == n
    line = by_column.removals[0]
    assert line.removed.value == pytest.approx(gone[member].mean())
    assert line.rest.value == pytest.approx(gone[~member].mean())
    assert line.ratio.low > 1  # type: ignore[operator]
    assert by_term.known_by == "terms" and by_term.representation.n == 150
    assert by_term.representation.value == pytest.approx(np.mean(["she" in t for t in texts]))
    assert none.representation.value == 0.0 and none.removals[0].ratio.reason == "a group is empty"


def test_quality_rules_remove_what_they_say() -> None:
    texts = ["short.", "The cat and the dog have to be of that kind with it. " * 12, "", "{ code } " * 80]
    counters = quality_counters(TextColumn.of(texts))
    found = quality_removals(counters)
    assert set(found) == {rule.collection for rule in RULES}
    assert found["gopher-quality"][0] and found["c4"].tolist()[3]


def test_the_interval_of_a_ratio_covers() -> None:
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(400):
        found = ratio_of_shares(int(rng.binomial(150, 0.3)), 150, int(rng.binomial(200, 0.15)), 200)
        assert found.low is not None
        inside += found.low <= 2.0 <= (found.high if found.high is not None else np.inf)
    assert 0.925 <= inside / 400 <= 0.985


def test_a_ratio_turned_round_is_the_inverse() -> None:
    first, second = ratio_of_shares(30, 100, 15, 120), ratio_of_shares(15, 120, 30, 100)
    assert first.value == pytest.approx(1 / second.value)  # type: ignore[operator]
    assert first.low == pytest.approx(1 / second.high) and first.high == pytest.approx(1 / second.low)  # type: ignore[operator]


def test_a_ratio_over_nothing_keeps_its_lower_bound() -> None:
    found = ratio_of_shares(20, 50, 0, 50)
    assert found.value is None and found.high is None and found.low is not None and found.low > 1
    assert ratio_of_shares(0, 50, 10, 50).low == 0.0


def test_attributes_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[gender]\nwomen = ["she"]\nlong = "n_words > 5"\n')
    assert load_attributes(path) == [Attribute(name="gender", groups={"women": ["she"], "long": "n_words > 5"})]


@pytest.mark.parametrize("content", ["", "[gender", "gender = 3", "[gender]\nwomen = 3", "[gender]\nwomen = []"])
def test_a_file_that_declares_nothing_usable_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(content)
    with pytest.raises(SpecError):
        load_attributes(path)


def test_a_condition_over_a_column_that_is_not_there_names_the_columns() -> None:
    columns = pa.table({"n_words": [1, 2]})
    wrong = [Attribute(name="x", groups={"g": "n_wrds > 1"})]
    with pytest.raises(SpecError, match=r"x\.g(.|\n)*n_words"):
        audit_bias(wrong, columns, {}, sample_rows=np.array([0]), sample_texts=["a"])
    with pytest.raises(SpecError, match="no word"):
        audit_bias(
            [Attribute(name="x", groups={"g": ["--"]})], columns, {}, sample_rows=np.array([0]), sample_texts=["a"]
        )
