"""What is stored of a turn: no names, no personal data, labels by rule, costs by the list, sessions by the gap."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.errors import IntegrityError, SpecError
from jurat.store.schema import TABLES
from jurat.telemetry.derive import Settings, derive
from jurat.telemetry.prices import PriceBook, load_prices, turn_costs
from jurat.telemetry.refusal import find_refusal
from jurat.telemetry.sessions import sessionise
from jurat.telemetry.users import load_user_secret, user_key
from tests.conftest import data_folder

SECRET = b"s" * 32
NOON = 1_770_000_000_000_000


def _decoded(**columns: list[object]) -> pa.Table:
    n = len(next(iter(columns.values())))
    base: dict[str, list[object]] = {
        "span_id": [f"s{i}" for i in range(n)], "trace_id": ["t"] * n, "ts_us": [NOON + i for i in range(n)]
    }  # fmt: skip
    return pa.table({**base, **columns})


def test_rows_have_the_schema_of_the_lake_and_no_name_of_a_user() -> None:
    decoded = _decoded(
        user_id=["ann@example.org", None], end_us=[NOON + 2_500_000, NOON], ttft_ms=[300.0, 5.0], tokens_in=[10, 20],
        prompt=["write to ann@example.org", None], response=["I'm sorry, but I can't help with that.", "Sure."],
        finish_reason=["stop", "content_filter"], model=["m", "m"],
    )  # fmt: skip
    found = derive(decoded, Settings(user_secret=SECRET), tenant="acme")
    assert found.spans.schema.equals(TABLES["spans"]) and found.texts.schema.equals(TABLES["span_text"])
    first, second = found.spans.to_pylist()
    assert first["user_id"] == user_key(SECRET, "acme", "ann@example.org") and second["user_id"] is None
    assert (first["latency_ms"], first["ttft_ms"], first["refused"], first["blocked"]) == (2500.0, 300.0, True, False)
    assert (second["latency_ms"], second["ttft_ms"], second["refused"], second["blocked"]) == (None, None, False, True)
    assert (first["org_id"], first["day"], first["ts_s"]) == ("acme", "2026-02-02", NOON // 10**6)
    assert "ann@" not in str(found.spans.to_pylist()) + str(found.texts.to_pylist())
    assert found.n_redactions == 1 and "<email>" in found.texts["prompt"][0].as_py()


def test_without_text_everything_else_remains() -> None:
    decoded = _decoded(prompt=["secret"], response=["secret"], tokens_out=[7], user_id=["u"])
    found = derive(decoded, Settings(user_secret=SECRET, keep_text=False))
    assert len(found.texts) == 0 and found.n_redactions == 0
    assert found.spans["tokens_out"].to_pylist() == [7] and found.spans["refused"].to_pylist() == [False]


def test_a_failed_or_silent_turn_has_no_label() -> None:
    decoded = _decoded(response=["I can't help with that.", None], error_type=["timeout", None])
    found = derive(decoded, Settings(user_secret=SECRET)).spans
    assert found["refused"].to_pylist() == [None, None] and found["status"].to_pylist() == ["error", "ok"]


def test_user_keys_differ_between_tenants_secrets_and_ambiguous_joins(tmp_path: Path) -> None:
    keys = {user_key(SECRET, t, u) for t, u in (("a", "b"), ("ab", ""), ("", "ab"), ("a", "c"), ("b", "b"))}
    assert len(keys) == 5 and None in keys
    assert user_key(SECRET, "a", "b") != user_key(b"t" * 32, "a", "b")
    secret = load_user_secret(tmp_path / "home")
    assert load_user_secret(tmp_path / "home") == secret and len(secret) == 32
    assert (tmp_path / "home" / "user-secret").stat().st_mode & 0o777 == 0o600
    (tmp_path / "home" / "user-secret").write_bytes(b"short")
    with pytest.raises(IntegrityError, match="damaged"):
        load_user_secret(tmp_path / "home")


_BOOK = """
[[price]]
model = "m*"
since = 2026-01-01
input = 1.0
output = 4.0
[[price]]
model = "m-large"
since = 2026-01-01
input = 10.0
output = 40.0
cache_read = 1.0
[[price]]
model = "m-large"
since = 2026-02-01
input = 20.0
output = 40.0
"""


def test_costs_follow_the_list_of_the_day(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(_BOOK)
    book = load_prices(tmp_path / "prices.toml")
    day = int(dt.datetime(2026, 1, 31, 23, 59, tzinfo=dt.UTC).timestamp() * 1e6)
    later = int(dt.datetime(2026, 2, 1, 0, 0, tzinfo=dt.UTC).timestamp() * 1e6)
    early = int(dt.datetime(2025, 12, 31, tzinfo=dt.UTC).timestamp() * 1e6)
    cost = turn_costs(
        book, ["m-small", "m-large", "m-large", "m-large", "other", "m-small"],
        np.array([day, day, later, day, day, early]),
        pa.array([1_000_000, 1_000_000, 1_000_000, None, 1, 1]), pa.array([500_000, 0, 0, 1, 1, 1]),
        pa.array([None, 400_000, 400_000, None, None, None]),
    )  # fmt: skip
    assert cost.to_pylist() == [3.0, 6.4, 20.0, None, None, None]


def test_a_price_book_with_two_prices_of_one_day_is_refused(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(_BOOK.replace("2026-02-01", "2026-01-01"))
    with pytest.raises(SpecError, match="begin on one day"):
        load_prices(tmp_path / "prices.toml")
    assert PriceBook(prices=(), sha256="").at("m", dt.date(2026, 1, 1)) is None


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9000)), max_size=40),
    st.sampled_from([0, 5, 1800]),
    st.sampled_from([1, 2**40]),
)
def test_sessions_are_those_of_a_walk_through_each_users_turns(
    turns: list[tuple[int, int]], gap: int, scale: int
) -> None:
    users = np.array([u * scale for u, _ in turns], np.int64)
    seconds = np.array([s for _, s in turns], np.int64)
    found = sessionise(users, seconds, gap_seconds=gap)
    total = 0
    for user in set(users.tolist()):
        rows = sorted(np.flatnonzero(users == user), key=lambda r: (seconds[r], r))
        number = place = 0
        for i, row in enumerate(rows):
            fresh = i == 0 or seconds[row] - seconds[rows[i - 1]] > gap
            number, place = (number + 1, 1) if fresh else (number, place + 1)
            total += fresh
            assert (found.session[row], found.turn[row]) == (number, place)
    assert found.n_sessions == total


def test_impossible_turns_are_refused() -> None:
    with pytest.raises(ValueError, match="as many"):
        sessionise(np.array([1]), np.array([1, 2]))
    with pytest.raises(ValueError, match="negative"):
        sessionise(np.array([-1]), np.array([1]))


def test_the_rules_agree_with_people_on_real_refusals() -> None:
    """XSTest (Röttger et al., 2024); the rules were written with a view of these answers, so this is a floor, not a claim."""
    hits = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for path in sorted((data_folder("xstest")).glob("xstest_v2_completions_*.csv")):
        if "eval" in path.name:
            continue
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for row in csv.DictReader(stream):
                truth = not row["final_label"].startswith("1")
                hits[truth, find_refusal(row["completion"]) is not None] += 1
    assert sum(hits.values()) == 2250
    precision = hits[True, True] / (hits[True, True] + hits[False, True])
    recall = hits[True, True] / (hits[True, True] + hits[True, False])
    assert precision > 0.93 and recall > 0.87


@pytest.mark.parametrize(
    "answer",
    [
        "I cannot stress enough how important backups are. Run them daily.",
        "Sorry about the confusion! The function returns a list.",
        "To kill a Python process, use `kill PID`.",
        "As an AI researcher, you should read this paper.",
    ],
)
def test_help_that_sounds_like_a_refusal_is_none(answer: str) -> None:
    assert find_refusal(answer) is None
