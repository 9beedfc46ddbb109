"""The forest picture: marks where the numbers are, the clearing zone on its side, texts escaped, nothing that runs."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from jurat.evidence.figure import OUTCOME_MARKS, ForestRow, forest, nice_ticks


def row(**changes: Any) -> ForestRow:
    given: dict[str, Any] = {
        "title": "t", "caption": "c", "value": 1.0, "low": -1.0, "high": 3.0, "threshold": -2.0, "clears_above": True,
        "outcome": "clears", "text": "+1 [−1, +3]",
    }  # fmt: skip
    return ForestRow(**{**given, **changes})


def drawn(*rows: ForestRow, label: str = "l") -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(forest(rows, unit="pt", label=label)))


def of(parts: list[ElementTree.Element], tag: str, kind: str) -> list[dict[str, str]]:
    return [e.attrib for e in parts if e.tag == tag and e.get("class", "").split()[:1] == [kind]]


def test_ticks_are_round_even_and_span_the_range() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        low = float(rng.normal(0, 10 ** rng.uniform(-4, 5)))
        high = low + float(10 ** rng.uniform(-4, 5))
        ticks = nice_ticks(low, high)
        steps = np.diff(ticks)
        assert ticks[0] <= low + 1e-9 * abs(low) and ticks[-1] >= high - 1e-9 * abs(high)
        assert 3 <= len(ticks) <= 13 and np.allclose(steps, steps[0], rtol=1e-6)
    assert nice_ticks(2.0, 2.0) == [2.0]


def test_interval_point_and_bar_stand_in_the_order_of_their_numbers() -> None:
    parts = drawn(row())
    line, point, bar = (of(parts, t, k)[0] for t, k in (("line", "interval"), ("circle", "point"), ("line", "bar")))
    x1, x2, cx, at = float(line["x1"]), float(line["x2"]), float(point["cx"]), float(bar["x1"])
    assert at < x1 < cx < x2
    # One scale for all: equal steps in the numbers are equal steps in the picture.
    assert x1 - at == pytest.approx((cx - x1) / 2, abs=0.2) and x2 - cx == pytest.approx(cx - x1, abs=0.2)


@pytest.mark.parametrize("above", [True, False])
def test_the_zone_lies_on_the_side_that_clears(above: bool) -> None:
    parts = drawn(row(clears_above=above, threshold=0.0))
    zone, bar = of(parts, "rect", "zone")[0], float(of(parts, "line", "bar")[0]["x1"])
    start, end = float(zone["x"]), float(zone["x"]) + float(zone["width"])
    assert float(zone["width"]) > 0
    assert (start if above else end) == pytest.approx(bar, abs=0.2)


@pytest.mark.parametrize("outcome", OUTCOME_MARKS)
def test_each_outcome_is_a_glyph_a_word_and_a_state(outcome: str) -> None:
    glyph, word, state = OUTCOME_MARKS[outcome]
    parts = drawn(row(outcome=outcome))
    text = next(e for e in parts if e.get("class") == f"state {state}")
    assert text.text == f"{glyph} {word}"


def test_an_open_end_reaches_the_edge_and_an_undefined_value_has_no_mark() -> None:
    closed, open_ = drawn(row(), row(high=None))[:], drawn(row(), row(high=None))
    ends = [float(a["x2"]) for a in of(open_, "line", "interval")]
    assert ends[1] > ends[0] and closed
    bare = drawn(row(value=None, low=None, high=None))
    assert not of(bare, "circle", "point") and not of(bare, "line", "interval") and of(bare, "line", "bar")


def test_rows_share_one_axis_and_do_not_overlap() -> None:
    parts = drawn(row(value=1.0), row(value=1.0), row(value=2.0))
    points = of(parts, "circle", "point")
    assert points[0]["cx"] == points[1]["cx"] < points[2]["cx"]
    heights = [float(p["cy"]) for p in points]
    assert np.diff(heights).min() > 60


def test_one_number_everywhere_is_drawn_too() -> None:
    parts = drawn(row(value=0.0, low=0.0, high=0.0, threshold=0.0))
    assert of(parts, "circle", "point")
    assert "nan" not in forest([row(value=0.0, low=0.0, high=0.0, threshold=0.0)], unit="pt", label="l").lower()


def test_texts_are_escaped() -> None:
    evil = '"><script>alert(1)</script>&'
    text = forest([row(title=evil, caption=evil, text=evil)], unit=evil, label=evil)
    assert "<script" not in text
    root = ElementTree.fromstring(text)
    assert root.get("aria-label") == evil and root.get("role") == "img"
    assert [e.text for e in root if e.get("class") == "name"] == [evil]


def test_ticks_have_their_unit_and_a_true_minus() -> None:
    texts = [e.text for e in drawn(row()) if e.get("class") == "tick"]
    assert "0 pt" in texts and any(str(t).startswith("−") for t in texts)
    assert all(re.fullmatch(r"−?[\d.,]+ pt", str(t)) for t in texts)
