"""A handful of events: clumping that one arm shows counts for both, and never narrows an interval."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jurat.experiments.effects import Scorecard, scan_scorecard
from jurat.stats.mover import mover_difference
from tests.experiments.case import opened


def card_of(folder: Path, clumped: int, single: int, **changes: object) -> Scorecard:
    """Users of five rows, 200 an arm; arm b has its events four to a user, arm a one to a user."""
    user = np.repeat(np.arange(400), 5)
    treated = user % 2 == 1
    bad = np.zeros(2_000, dtype=np.bool_)
    for i in range(clumped):
        bad[np.flatnonzero(user == 2 * i + 1)[:4]] = True
    for i in range(single):
        bad[np.flatnonzero(user == 2 * i)[0]] = True
    rows = {"user": user, "arm": np.where(treated, "b", "a"), "y": np.arange(2_000) % 7.0, "bad": bad}
    return scan_scorecard(*opened(folder, {"outcomes": pa.table(rows)}, **changes))


def test_an_arm_of_single_events_borrows_the_other_arms_clumping(tmp_path: Path) -> None:
    card = card_of(tmp_path, 3, 4)
    found = card.effect("bad", "b")
    alone = mover_difference(*(card.level_of("bad", arm, level=0.95) for arm in "ba"))
    assert found.effect.low is not None and found.effect.high is not None
    assert alone.low is not None and alone.high is not None
    assert found.effect.low < alone.low
    assert found.effect.high >= alone.high
    assert found.effect.value == alone.value


def test_an_arm_without_events_keeps_its_clusters_as_units(tmp_path: Path) -> None:
    card = card_of(tmp_path, 0, 6)
    found = card.effect("bad", "b").effect
    alone = mover_difference(*(card.level_of("bad", arm, level=0.95) for arm in "ba"))
    assert found.high is not None and alone.high is not None
    assert found.high == pytest.approx(alone.high, rel=1e-12)


def test_independent_rows_are_left_as_they_are(tmp_path: Path) -> None:
    card = card_of(tmp_path, 3, 4, inference__cluster="none")
    found = card.effect("bad", "b").effect
    alone = mover_difference(*(card.level_of("bad", arm, level=0.95) for arm in "ba"))
    assert (found.low, found.high) == (alone.low, alone.high)
