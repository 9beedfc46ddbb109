"""Metrics of traffic that look at more than one row: random data, counted by loops in plain Python."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import ndtr, ndtri

from jurat.metrics.loader import catalog
from jurat.metrics.run import run
from jurat.stats.difference import ratio
from jurat.store.engine import DuckDB
from jurat.store.engine_clickhouse import ClickHouse
from jurat.store.schema import TABLES, conform
from tests.metrics.world import DAY_US, FIRST_US, world

SHIPPED = catalog()
Row = dict[str, Any]
Counts = dict[tuple[Any, ...], tuple[int, int]]


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    return world(seed=29, turns=3_000, users=80)


@pytest.fixture(scope="module")
def spans(tables: dict[str, pa.Table]) -> list[Row]:
    return tables["spans"].to_pylist()


@pytest.fixture(scope="module", params=[DuckDB, ClickHouse], ids=lambda kind: kind.name)
def engine(request: pytest.FixtureRequest, tables: dict[str, pa.Table]) -> Iterator[DuckDB | ClickHouse]:
    opened = request.param.from_tables(tables)
    yield opened
    opened.close()


def measured(engine: DuckDB | ClickHouse, name: str, **parameters: Any) -> list[Row]:
    metric = SHIPPED[name]
    return run(metric, engine, slices=metric.slices, parameters=parameters).table.to_pylist()


def counts(engine: DuckDB | ClickHouse, name: str, **parameters: Any) -> Counts:
    slices = SHIPPED[name].slices
    return {
        (*(row[s] for s in slices), row["cluster"]): (row["n"], row["k"])
        for row in measured(engine, name, **parameters)
    }


def tallied(units: list[tuple[tuple[Any, ...], bool]]) -> Counts:
    """Units and hits by key."""
    found: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0])
    for key, hit in units:
        found[key][0] += 1
        found[key][1] += hit
    return {key: (n, k) for key, (n, k) in found.items()}


def followed(spans: list[Row], key: str) -> Iterator[tuple[Any, list[Row]]]:
    """Rows of one user or conversation after another, in order of time; those without a name or time are left out."""
    kept = [s for s in spans if s[key] is not None and s["ts_us"] is not None]
    kept.sort(key=lambda s: (s[key], s["ts_us"], s["span_id"]))
    for name, rows in itertools.groupby(kept, key=lambda s: s[key]):
        yield name, list(rows)


@pytest.mark.parametrize(("most", "hours"), [(3, 24), (1, 1), (5, 72)])
def test_bursts_are_those_that_a_look_at_every_window_finds(
    engine: DuckDB | ClickHouse, spans: list[Row], most: int, hours: int
) -> None:
    due = {(s["release"], s["tier"], s["user_id"]): 0 for s in spans if s["user_id"] is not None}
    for user, rows in followed([s for s in spans if s["blocked"]], "user_id"):
        for place, last in enumerate(rows):
            within = [r for r in rows[: place + 1] if r["ts_us"] > last["ts_us"] - hours * 3_600_000_000]
            if len(within) > most:
                due[last["release"], last["tier"], user] = 1
    found = counts(engine, "blocked_burst_rate", most=most, hours=hours)
    assert 20 < sum(due.values()) < len(due) - 20
    assert found == {key: (1, hit) for key, hit in due.items()}


@pytest.mark.parametrize("gap", [30, 90])
def test_sessions_are_those_that_a_walk_through_each_users_turns_finds(
    engine: DuckDB | ClickHouse, spans: list[Row], gap: int
) -> None:
    due: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for user, rows in followed(spans, "user_id"):
        sessions: list[list[Row]] = []
        for row in rows:
            if not sessions or row["ts_us"] - sessions[-1][-1]["ts_us"] > gap * 60_000_000:
                sessions.append([])
            sessions[-1].append(row)
        for session in sessions:
            first = session[0]
            due[first["release"], first["endpoint"], first["tier"], user].append(len(session))
    found = measured(engine, "session_turns", gap_minutes=gap)
    assert {(r["release"], r["endpoint"], r["tier"], r["cluster"]) for r in found} == set(due)
    for row in found:
        turns = due[row["release"], row["endpoint"], row["tier"], row["cluster"]]
        n, total = len(turns), sum(turns)
        assert [row[c] for c in ("n", "sum_x", "sum_y", "sum_xx", "sum_yy", "sum_xy")] == [
            n, n, total, n, sum(t * t for t in turns), total,
        ]  # fmt: skip
    assert max(max(turns) for turns in due.values()) >= 3


def test_users_come_back_in_the_week_after_as_the_calendar_has_it(
    engine: DuckDB | ClickHouse, spans: list[Row]
) -> None:
    kept = [s for s in spans if s["user_id"] is not None and s["ts"] is not None]
    monday = {id(s): s["ts"].date() - dt.timedelta(days=s["ts"].weekday()) for s in kept}
    last = max(s["ts"].date() for s in spans if s["ts"] is not None)
    named: dict[dt.date, str] = {}
    for s in spans:
        if s["ts"] is not None:
            week = s["ts"].date() - dt.timedelta(days=s["ts"].weekday())
            named[week] = min(named.get(week, "9"), s["day"])
    visits = {(s["user_id"], monday[id(s)]) for s in kept}
    units = {(s["release"], s["user_id"], monday[id(s)]) for s in kept}
    due = tallied(
        [
            ((release, named[week], user), (user, week + dt.timedelta(days=7)) in visits)
            for release, user, week in units
            if week + dt.timedelta(days=13) <= last
        ]
    )
    assert len({week for _, week, _ in due}) == 3
    assert counts(engine, "weekly_return_rate") == due


def test_requests_in_seven_days_are_those_of_a_count_for_each_day(
    engine: DuckDB | ClickHouse, spans: list[Row]
) -> None:
    kept = [(s["org_id"], s["ts"].date()) for s in spans if s["org_id"] is not None and s["ts"] is not None]
    days = sorted({day for _, day in kept})
    due = {}
    for org, day in itertools.product({org for org, _ in kept}, days):
        if day >= min(d for o, d in kept if o == org) and day >= days[0] + dt.timedelta(days=6):
            due[str(day), org] = sum(o == org and day - dt.timedelta(days=7) < d <= day for o, d in kept)
    found = measured(engine, "weekly_requests")
    assert {(r["day"], r["cluster"]): r["sum"] for r in found} == due
    assert all(r["n"] == 1 and r["sum_sq"] == r["sum"] ** 2 for r in found)


def top_users(spans: list[Row], percent: float, accounts: tuple[str, ...] = (), prefix: str = "") -> dict[Any, Any]:
    """By release: every user's tokens, who is on top, and who was blocked."""
    tokens: dict[Any, dict[str, int]] = defaultdict(dict)
    blocked = set()
    for s in spans:
        outside = s["user_id"] in accounts or (prefix and (s["org_id"] or "").startswith(prefix))
        if s["user_id"] is None or outside:
            continue
        if s["blocked"]:
            blocked.add((s["release"], s["user_id"]))
        if s["tokens_in"] is not None or s["tokens_out"] is not None:
            of = tokens[s["release"]]
            of[s["user_id"]] = of.get(s["user_id"], 0) + (s["tokens_in"] or 0) + (s["tokens_out"] or 0)
    found = {}
    for release, of in tokens.items():
        order = sorted(of, key=lambda user: (-of[user], user))
        found[release] = (of, order[: math.ceil(len(of) * percent / 100)], blocked)
    return found


TOP: list[tuple[float, tuple[str, ...], str]] = [(1, (), ""), (5, ("u1", "u17", "u50"), "test-"), (2.5, ("u",), "o1")]


@pytest.mark.parametrize(("percent", "accounts", "prefix"), TOP, ids=[f"{p}" for p, _, _ in TOP])
def test_top_users_hold_the_share_that_sorting_finds(
    engine: DuckDB | ClickHouse, spans: list[Row], percent: float, accounts: tuple[str, ...], prefix: str
) -> None:
    given = {"percent": percent, "test_accounts": ",".join(accounts), "test_org_prefix": prefix}
    due = top_users(spans, percent, accounts, prefix)
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in measured(engine, "top_user_tokens", **given):
        found[row["release"]].append(row)
    assert found.keys() == due.keys()
    for release, (tokens, top, _) in due.items():
        rows = found[release]
        assert {r["cluster"]: r["sum_x"] for r in rows} == tokens
        assert sum(r["sum_y"] for r in rows) == pytest.approx(sum(tokens[user] for user in top), rel=1e-9)
        assert sum(r["sum_xy"] for r in rows) == pytest.approx(sum(r["sum_x"] * r["sum_y"] for r in rows), rel=1e-9)
    blocks = counts(engine, "top_user_block_rate", **given)
    assert blocks == {
        (release, user): (1, int((release, user) in blocked))
        for release, (_, top, blocked) in due.items()
        for user in top
    }


def test_the_interval_of_the_top_users_share_holds_the_share_of_the_population() -> None:
    """600 releases drawn from one log-normal law, whose Lorenz curve is known in closed form."""
    rng, releases, users, sigma, percent = np.random.default_rng(5), 600, 500, 0.7, 10
    true = 1 - ndtr(ndtri(1 - percent / 100) - sigma)  # what lies above the quantile
    data = pa.table(
        {
            "release": np.repeat([f"r{i:03}" for i in range(releases)], users),
            "user_id": np.tile([f"u{i:03}" for i in range(users)], releases),
            "tokens_out": rng.lognormal(7, sigma, releases * users).astype(np.int64),
        }
    )
    duck = DuckDB.from_tables({"spans": conform(data, TABLES["spans"], table="spans")})
    found = run(SHIPPED["top_user_tokens"], duck, slices=("release",), parameters={"percent": percent}).table
    shares = [found[c].to_numpy().reshape(releases, users) for c in ("sum_y", "sum_x")]
    intervals = [ratio(y, x) for y, x in zip(*shares, strict=True)]
    covered = np.mean([i.low <= true <= i.high for i in intervals])
    assert 0.92 <= covered <= 0.97


@pytest.mark.parametrize(("low", "high", "turns"), [(1, 3, 3), (0, 2, 1)])
def test_escalations_are_those_that_a_look_at_every_pair_of_turns_finds(
    engine: DuckDB | ClickHouse, spans: list[Row], low: int, high: int, turns: int
) -> None:
    latest = (1 << 62, 1 << 30)  # what is not known comes last

    def order(s: Row) -> tuple[Any, ...]:
        unknown = (s["ts_us"], s["turn"])
        return (
            *(later if value is None else value for value, later in zip(unknown, latest, strict=True)),
            s["span_id"],
        )

    units = []
    conversations: dict[str, list[Row]] = defaultdict(list)
    for s in spans:
        if s["conversation_id"] is not None:
            conversations[s["conversation_id"]].append(s)
    for rows in conversations.values():
        rows.sort(key=order)
        risks = [r["risk_tier"] for r in rows]
        if all(risk is None for risk in risks):
            continue
        rises = any(
            a is not None and b is not None and a <= low and b >= high
            for i, a in enumerate(risks)
            for b in risks[i + 1 : i + 1 + turns]
        )
        first = rows[0]
        units.append(((first["release"], first["endpoint"], first["tier"], first["user_id"]), rises))
    due = tallied(units)
    assert 50 < sum(k for _, k in due.values()) < len(units) - 50
    assert counts(engine, "escalation_rate", low=low, high=high, turns=turns) == due


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("feedback_rate", ("thumb", "rating", "edit", "report")), ("regenerate_rate", ("regenerate",))],
)
def test_turns_with_feedback_are_counted_once_as_a_set_has_them(
    engine: DuckDB | ClickHouse, tables: dict[str, pa.Table], spans: list[Row], name: str, kinds: tuple[str, ...]
) -> None:
    marked = {f["span_id"] for f in tables["feedback"].to_pylist() if f["kind"] in kinds}
    units = [
        ((s["release"], s["endpoint"], s["tier"], s["user_id"]), s["span_id"] in marked)
        for s in spans
        if s["status"] == "ok"
    ]
    assert counts(engine, name) == tallied(units)


def test_thumbs_are_read_as_they_ended(
    engine: DuckDB | ClickHouse, tables: dict[str, pa.Table], spans: list[Row]
) -> None:
    last: dict[str, tuple[Any, ...]] = {}
    for f in tables["feedback"].to_pylist():
        if f["kind"] == "thumb" and f["value"] is not None:
            order = (f["ts"], f["feedback_id"], f["value"])
            last[f["span_id"]] = max(last.get(f["span_id"], order), order)
    units = [
        ((s["release"], s["endpoint"], s["tier"], s["user_id"]), last[s["span_id"]][2] > 0)
        for s in spans
        if s["span_id"] in last
    ]
    assert counts(engine, "thumbs_up_rate") == tallied(units)


def test_backtracking_takes_the_latest_human_label(
    engine: DuckDB | ClickHouse, tables: dict[str, pa.Table], spans: list[Row]
) -> None:
    last: dict[str, tuple[Any, ...]] = {}
    for f in tables["labels"].to_pylist():
        if f["kind"] == "backtrack" and f["source"] == "human":
            order = (f["recorded_at"], f["label_id"], f["value"])
            last[f["subject_id"]] = max(last.get(f["subject_id"], order), order, key=lambda o: o[:2])
    took_back = {"corrected", "caved", "taken_back"}
    units = [
        ((s["release"], s["endpoint"], s["tier"], s["user_id"]), last[s["span_id"]][2] in took_back)
        for s in spans
        if s["span_id"] in last and last[s["span_id"]][2] in {*took_back, "held"}
    ]
    assert counts(engine, "backtrack_rate") == tallied(units)


def test_errors_of_each_type_add_up_to_errors_of_a_known_type(engine: DuckDB | ClickHouse, spans: list[Row]) -> None:
    found = {t: counts(engine, "error_rate_by_type", error_type=t) for t in ("timeout", "upstream", "none such")}
    turns = sum(s["status"] is not None for s in spans)
    assert all(sum(n for n, _ in by.values()) == turns for by in found.values())
    hits = {t: sum(k for _, k in by.values()) for t, by in found.items()}
    for kind, hit in hits.items():
        assert hit == sum(s["status"] == "error" and s["error_type"] == kind for s in spans)


def test_paces_and_waits_are_those_of_plain_arithmetic(engine: DuckDB | ClickHouse, spans: list[Row]) -> None:
    waits, paces = [], []
    for s in spans:
        latency, first, tokens = s["latency_ms"], s["ttft_ms"], s["tokens_out"]
        if s["status"] != "ok" or first is None or first < 0 or (latency is not None and first > latency):
            continue
        waits.append(first)
        if latency is not None and tokens is not None and tokens >= 2:
            paces.append((latency - first) / (tokens - 1))
    for name, due in (("time_to_first_token", waits), ("time_per_output_token", paces)):
        rows = run(SHIPPED[name], engine).table
        repeated = np.sort(np.repeat(rows["value"].to_numpy(), rows["n"].to_numpy()))
        np.testing.assert_allclose(repeated, np.sort(due), rtol=1e-12)


def test_the_edges_of_days_and_windows_are_in_the_random_data(spans: list[Row]) -> None:
    moments = [s["ts_us"] for s in spans if s["ts_us"] is not None]
    within = {(moment - FIRST_US) % DAY_US for moment in moments}
    assert {0, 1, DAY_US - 1} <= within
    assert max(moments) - min(moments) > 21 * DAY_US
