"""Conversations against loops in plain Python; filters that are refused; tenants that see their own; reveals on record."""

from __future__ import annotations

import datetime as dt
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.errors import JuratError, UnknownName, UsageError
from jurat.evidence.keys import load_or_create_key
from jurat.evidence.ledger import read_entries
from jurat.store.control import AccessDenied
from jurat.store.engine import DuckDB
from jurat.store.lake import Lake
from jurat.store.schema import TABLES, conform
from jurat.telemetry.conversation_filter import CONVERSATION_COLUMNS, TURN_COLUMNS, parse_filter
from jurat.telemetry.conversations import (
    conversation_turns,
    count_conversations,
    export_conversations,
    list_conversations,
)
from jurat.telemetry.reveal import Reader, ledger_of_reveals, reveal_conversation
from jurat.telemetry.tenant_view import TenantView, open_tenant_view
from tests.metrics.world import FIRST_US, world

Row = dict[str, Any]


def _table(name: str, rows: list[Row]) -> pa.Table:
    schema = TABLES[name]
    columns = {f.name: pa.array([row.get(f.name) for row in rows], type=f.type) for f in schema}
    return conform(pa.table(columns), schema, table=name)


def _texts(spans: pa.Table) -> pa.Table:
    ids = spans["span_id"].to_pylist()
    rows = [{"span_id": i, "prompt": f"prompt of {i}", "response": f"é answer {i}", "sha256": f"{i}-sha"} for i in ids]
    return _table("span_text", rows)


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    made = world(seed=5, turns=900, users=60)
    # Turns without a conversation stand with their trace, or alone.
    made["spans"] = made["spans"].set_column(
        made["spans"].schema.get_field_index("trace_id"),
        "trace_id",
        pa.array([f"t{i // 2}" if i % 3 else None for i in range(900)]),
    )
    return {**made, "span_text": _texts(made["spans"])}


@pytest.fixture(scope="module")
def view(tables: dict[str, pa.Table]) -> Iterator[TenantView]:
    with TenantView(DuckDB.from_tables(tables), tenant="default") as opened:
        yield opened


def _conversation_of(row: Mapping[str, Any]) -> str:
    return str(row["conversation_id"] or row["trace_id"] or row["span_id"])


def _by_hand(tables: Mapping[str, pa.Table]) -> dict[str, list[Row]]:
    talks: dict[str, list[Row]] = defaultdict(list)
    for row in tables["spans"].to_pylist():
        if row["ts_us"] is not None:
            talks[_conversation_of(row)].append(row)
    return talks


def test_the_facts_of_every_conversation_are_those_of_its_turns(view: TenantView, tables: dict[str, pa.Table]) -> None:
    thumbs: dict[str, tuple[Any, ...]] = {}
    said: dict[str, int] = defaultdict(int)
    for piece in tables["feedback"].to_pylist():
        said[piece["span_id"]] += 1
        key = (piece["ts"] or dt.datetime.min.replace(tzinfo=dt.UTC), piece["feedback_id"], piece["value"])
        if piece["kind"] == "thumb" and piece["value"] is not None:
            thumbs[piece["span_id"]] = max(thumbs.get(piece["span_id"], key), key)
    talks = _by_hand(tables)
    listed = {row["conversation"]: row for row in export_conversations(view)}
    assert listed.keys() == talks.keys() and len(listed) == count_conversations(view)
    for name, turns in talks.items():
        row = listed[name]
        tokens = [(t["tokens_in"] or 0) + (t["tokens_out"] or 0) for t in turns if t["tokens_in"] is not None or t["tokens_out"] is not None]  # fmt: skip  # noqa: E501
        costs = [t["cost_usd"] for t in turns if t["cost_usd"] is not None]
        values = [thumbs[t["span_id"]][2] for t in turns if t["span_id"] in thumbs]
        assert (row["turns"], row["tokens"], row["unpriced"]) == (
            len(turns),
            sum(tokens) if tokens else None,
            len(turns) - len(costs),
        )
        assert row["cost_usd"] == (pytest.approx(sum(costs)) if costs else None)
        assert (row["refusals"], row["unlabelled"]) == (
            sum(t["refused"] is True for t in turns),
            sum(t["refused"] is None for t in turns),
        )
        assert (row["errors"], row["blocks"]) == (
            sum(t["status"] == "error" for t in turns),
            sum(t["blocked"] is True for t in turns),
        )
        assert row["worst_risk_tier"] == max(
            (t["risk_tier"] for t in turns if t["risk_tier"] is not None), default=None
        )
        assert (row["thumbs_up"], row["thumbs_down"]) == (sum(v > 0 for v in values), sum(v <= 0 for v in values))
        assert row["feedback"] == sum(said[t["span_id"]] for t in turns)
        assert row["releases"] == ", ".join(sorted({t["release"] for t in turns if t["release"]}))
        assert (
            row["last"]
            == (
                dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=max(t["ts_us"] for t in turns))
            ).isoformat()
        )


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_pages_go_on_where_they_stopped_also_between_equal_times(view: TenantView, limit: int) -> None:
    whole = [row["conversation"] for row in export_conversations(view)]
    seen: list[str] = []
    after = None
    for _ in range(40):
        page = list_conversations(view, limit=limit, after=after)
        seen += [one.id for one in page.conversations]
        after = page.next
        if after is None:
            break
    assert seen == whole[: len(seen)] and (after is not None or seen == whole)
    order = [(one.last, one.id) for one in list_conversations(view, limit=1_000).conversations]
    assert order == sorted(order, reverse=True)


ONE_TURN: dict[str, Callable[[Row], bool]] = {
    "refused and endpoint = '/chat' and latency_ms > 500": lambda t: bool(
        t["refused"] and t["endpoint"] == "/chat" and (t["latency_ms"] or 0) > 500
    ),
    "not refused or blocked": lambda t: t["refused"] is False or t["blocked"] is True,
    "tier in ('pro', '') and release like 'r%'": lambda t: (
        t["tier"] in ("pro", "") and (t["release"] or "").startswith("r")
    ),
    "error_type is null and status <> 'ok'": lambda t: t["error_type"] is None and t["status"] == "error",
    "latency_ms between 100 and 200 and upper(endpoint) ilike '/AG%'": lambda t: (
        t["latency_ms"] is not None
        and 100 <= t["latency_ms"] <= 200
        and (t["endpoint"] or "").lower().startswith("/ag")
    ),
    "ts >= '2026-03-29T00:00' and ts < '2026-03-30'": lambda t: (
        t["ts_us"] is not None and FIRST_US + 86_400_000_000 <= t["ts_us"] < FIRST_US + 2 * 86_400_000_000
    ),
    "risk_tier is not null and not (risk_tier < 3)": lambda t: t["risk_tier"] == 3,
    "coalesce(tier, 'none') = 'none' and refused is true": lambda t: t["tier"] is None and t["refused"] is True,
    "tokens_out > -1 and length(model) = 3": lambda _: False,
}


@pytest.mark.parametrize("text", ONE_TURN, ids=lambda text: text[:40])
def test_a_filter_on_turns_finds_conversations_of_which_one_turn_meets_all_of_it(
    view: TenantView, tables: dict[str, pa.Table], text: str
) -> None:
    expected = {name for name, turns in _by_hand(tables).items() if any(ONE_TURN[text](t) for t in turns)}
    where = parse_filter(text)
    assert {row["conversation"] for row in export_conversations(view, where=where)} == expected
    assert count_conversations(view, where=where) == len(expected)


def test_conditions_on_the_whole_and_on_one_turn_join_and_page(view: TenantView, tables: dict[str, pa.Table]) -> None:
    where = parse_filter("turns >= 3 and refused and refusals < 3 and latency_ms > 300")
    expected = {
        name
        for name, turns in _by_hand(tables).items()
        if len(turns) >= 3
        and any(t["refused"] and (t["latency_ms"] or 0) > 300 for t in turns)
        and sum(t["refused"] is True for t in turns) < 3
    }
    found, after = [], None
    while True:
        page = list_conversations(view, where=where, limit=5, after=after)
        found += [one.id for one in page.conversations]
        if (after := page.next) is None:
            break
    assert (
        len(found) == len(set(found))
        and set(found) == expected
        and count_conversations(view, where=where) == len(expected)
    )


def test_a_window_picks_conversations_and_tells_of_the_whole(view: TenantView, tables: dict[str, pa.Table]) -> None:
    since, until = FIRST_US + 86_400_000_000, FIRST_US + 2 * 86_400_000_000
    expected = {
        name: len(turns) for name, turns in _by_hand(tables).items() if any(since <= t["ts_us"] < until for t in turns)
    }
    rows = export_conversations(view, since_us=since, until_us=until)
    assert {row["conversation"]: row["turns"] for row in rows} == expected
    assert count_conversations(view, since_us=since, until_us=until) == len(expected)


REFUSED_FILTERS = [
    "refused; drop table spans", "select 1", "endpoint = (select 1)", "model in (select x from y)", "1 union select 2",
    "exists(select 1)", "read_csv('/etc/passwd') = 'x'", "model = $f0", "model = ?", "spans.model = 'x'", "prompt = 'x'",
    "latency_ms > 'slow'", "latency_ms = null", "latency_ms > 1e999", "latency_ms > 99999999999999999999", "model",
    "turns > 3 or refused", "not (turns > 3 and refused)", "turns > latency_ms", "ts > 'yesterday'", "latency_ms::text = '3'",
    "case when refused then true end", "model like model", "* = 3", "'", "((", "not " * 400 + "refused",
    "(" * 60 + "refused" + ")" * 60, " or ".join(["refused"] * 300), "in", "model = 'x' limit 1", "-refused",
    "attach 'x'", "pragma version", "copy spans to 'x'", "model = 'a' collate x", "model similar to 'x'", "\x00", "refused,",
    "(select refused)", "refused where 1 = 1", "x -> 'y'", "lambda x: x", "[1, 2] = 3", "{'a': 1}.a = 1", "org_id[1] = 'x'",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED_FILTERS, ids=range(len(REFUSED_FILTERS)))
def test_what_is_no_condition_on_known_columns_is_refused_before_anything_runs(text: str) -> None:
    with pytest.raises((UsageError, UnknownName)):
        parse_filter(text)


def test_an_unknown_column_and_function_are_told_with_near_names() -> None:
    with pytest.raises(UnknownName, match="did you mean 'latency_ms'"):
        parse_filter("latencyms > 3")
    with pytest.raises(UnknownName, match="did you mean 'lower'"):
        parse_filter("lowr(model) = 'x'")


_ATOMS = st.sampled_from([*TURN_COLUMNS, *CONVERSATION_COLUMNS, "1", "-2.5", "'x'", "'2026-01-01'", "null", "true", "(", ")",
                          "and", "or", "not", "=", "<", ">=", "<>", "like", "in", "between", "is", ",", "lower", ";", "--",
                          "/*", "'", '"', "select", "from spans", "\x1b[31m", "$f0"])  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(_ATOMS, max_size=12).map(" ".join))
def test_any_words_are_a_condition_that_runs_or_are_told_as_none(text: str) -> None:
    try:
        where = parse_filter(text)
    except JuratError:
        return
    empty = {name: TABLES[name].empty_table() for name in ("spans", "feedback")}
    with TenantView(DuckDB.from_tables(empty), tenant="default") as view:
        assert list_conversations(view, where=where).conversations == () and count_conversations(view, where=where) == 0


def test_values_are_bound_and_never_pasted() -> None:
    where = parse_filter("model = 'a'' OR 1=1 --' and endpoint in ('x;y', '$f0')")
    assert where.parameters == {"f0": "a' OR 1=1 --", "f1": "x;y", "f2": "$f0"}
    assert "OR" not in where.turn_sql and ";" not in where.turn_sql


@pytest.mark.parametrize("mark", ["", "!!", "bm90LWEtcGxhY2U", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OmE", "é"])
def test_a_place_that_is_none_is_refused(view: TenantView, mark: str) -> None:
    with pytest.raises(UsageError):
        list_conversations(view, after=mark)


# Turns of one ---------------------------------------------------------------------------------------------------------


def test_turns_come_in_order_with_lengths_and_opinions_but_no_words(
    view: TenantView, tables: dict[str, pa.Table]
) -> None:
    talks = _by_hand(tables)
    name = max(talks, key=lambda n: len(talks[n]))
    page = conversation_turns(view, name)
    assert [t.time for t in page.turns] == sorted(t.time for t in page.turns)
    assert {t.span_id for t in page.turns} == {t["span_id"] for t in talks[name]}
    assert all(t.prompt_characters == len(f"prompt of {t.span_id}") for t in page.turns)
    assert sum(len(t.feedback) for t in page.turns) == page.conversation.feedback
    assert "prompt of" not in repr(page) and "answer" not in repr(page)
    part = conversation_turns(view, name, passed=2, limit=1)
    assert [t.number for t in part.turns] == [3] and part.turns[0] == page.turns[2]
    assert part.next == (3 if len(talks[name]) > 3 else None)
    with pytest.raises(UnknownName):
        conversation_turns(view, "nobody's")


# Tenants --------------------------------------------------------------------------------------------------------------


def test_a_tenant_sees_its_own_rows_on_every_path(tables: dict[str, pa.Table], view: TenantView) -> None:
    own = TenantView(view.engine, tenant="o3")
    spans = [t for t in tables["spans"].to_pylist() if t["org_id"] == "o3"]
    expected = {_conversation_of(t) for t in spans if t["ts_us"] is not None}
    assert {row["conversation"] for row in export_conversations(own)} == expected
    assert count_conversations(own) == len(expected)
    ids = {t["span_id"] for t in spans}
    for table, column in (
        ("spans", "span_id"),
        ("span_text", "span_id"),
        ("feedback", "span_id"),
        ("labels", "subject_id"),
    ):
        seen = set(own.query(f'SELECT "{column}" AS x FROM {table}').column("x").to_pylist())
        assert seen <= ids and (seen or table == "labels")
    page = conversation_turns(own, next(iter(sorted(expected))))
    assert {t.facts["org_id"] for t in page.turns} == {"o3"}


def test_an_id_that_another_organisation_used_too_shows_no_text_to_either() -> None:
    spans = [
        {"span_id": "same", "org_id": "acme", "conversation_id": "a", "ts_us": 1},
        {"span_id": "same", "org_id": "globex", "conversation_id": "g", "ts_us": 2},
        {"span_id": "own", "org_id": "globex", "conversation_id": "g", "ts_us": 3},
        {"span_id": "nobodys", "conversation_id": "g", "ts_us": 4},
    ]
    engine = DuckDB.from_tables(
        {
            "spans": _table("spans", spans),
            "span_text": _table(
                "span_text", [{"span_id": s, "prompt": f"secret {s}"} for s in ("same", "own", "nobodys")]
            ),
            "feedback": TABLES["feedback"].empty_table(),
        }
    )
    seen = {
        t: TenantView(engine, tenant=t).query("SELECT prompt FROM span_text").to_pylist() for t in ("acme", "globex")
    }
    assert seen == {"acme": [], "globex": [{"prompt": "secret own"}]}
    assert TenantView(engine, tenant="default").query("SELECT COUNT(*) AS n FROM span_text").to_pylist() == [{"n": 3}]


def test_a_view_without_a_tenant_is_none_and_hostile_names_are_bound(tables: dict[str, pa.Table]) -> None:
    engine = DuckDB.from_tables(tables)
    with pytest.raises(UsageError):
        TenantView(engine, tenant="")
    assert count_conversations(TenantView(engine, tenant="' OR 1=1 --")) == 0


def test_a_lake_without_tables_or_with_some_of_them_answers(tmp_path: Path) -> None:
    for tenant in ("default", "acme"):
        with open_tenant_view(tmp_path / "lake", tenant=tenant) as view:
            assert count_conversations(view) == 0 and list_conversations(view).conversations == ()
    lake = Lake(tmp_path / "lake")
    lake.append("spans", _table("spans", [{"span_id": "a", "org_id": "acme", "ts_us": 5, "model": "m"}]))
    for tenant, expected in (("default", 1), ("acme", 1), ("globex", 0)):
        with open_tenant_view(tmp_path / "lake", tenant=tenant) as view:
            assert count_conversations(view) == len(list_conversations(view).conversations) == expected
            assert view.query("SELECT COUNT(*) AS n FROM span_text").to_pylist() == [{"n": 0}]


# Reveals --------------------------------------------------------------------------------------------------------------

ANNOTATOR = Reader(name="ada", tenant="default", roles={"analyse", "annotate"})
WHY = "refusal spike on chat since noon"


def test_text_is_read_only_after_the_ledger_says_who_what_why(view: TenantView, tmp_path: Path) -> None:
    name = list_conversations(view, limit=1).conversations[0].id
    order: list[str] = []
    ledger = ledger_of_reveals(tmp_path)

    class Watched(TenantView):
        def query(self, sql: str, **given: Any) -> pa.Table:
            found = super().query(sql, **given)
            if {"prompt", "response", "text"} & set(found.column_names):
                order.append("text")
            return found

    def record(body: Mapping[str, Any]) -> int:
        order.append("record")
        return ledger(body)

    shown = reveal_conversation(
        Watched(view.engine, tenant="default"), name, reader=ANNOTATOR, reason=f"  {WHY} ", record=record
    )
    assert order[0] == "record" and order.count("record") == 1 and "text" in order
    assert {t.prompt for t in shown.turns.values()} == {f"prompt of {i}" for i in shown.turns}
    (_, entry) = read_entries(tmp_path / "ledger.jsonl", public_key=load_or_create_key(tmp_path).public)
    assert (entry.kind, entry.index) == ("text.revealed", shown.entry)
    assert {k: entry.body[k] for k in ("who", "tenant", "conversation", "reason", "turns")} == {
        "who": "ada", "tenant": "default", "conversation": name, "reason": WHY, "turns": len(shown.turns),
    }  # fmt: skip
    assert "prompt of" not in str(entry.body)


@pytest.mark.parametrize("reason", ["", "short", "       x       ", "aaaaaaaaaaaa", "x" * 501, " \t\n" * 9])
def test_without_a_reason_nothing_is_recorded_or_read(view: TenantView, reason: str) -> None:
    entries: list[Any] = []
    with pytest.raises(UsageError, match="reason"):
        reveal_conversation(view, "c1", reader=ANNOTATOR, reason=reason, record=entries.append)  # type: ignore[func-returns-value]
    assert not entries


@pytest.mark.parametrize("roles", [{"analyse"}, {"ingest", "admin"}, set()], ids=["analyse", "admin", "none"])
def test_without_a_role_that_may_read_nothing_is_shown(view: TenantView, roles: set[str]) -> None:
    reader = Reader(name="eve", tenant="default", roles=roles)
    with pytest.raises(AccessDenied):
        reveal_conversation(view, "c1", reader=reader, reason=WHY, record=lambda _: 1)
    other = Reader(name="eve", tenant="acme", roles={"annotate"})
    with pytest.raises(AccessDenied):
        reveal_conversation(view, "c1", reader=other, reason=WHY, record=lambda _: 1)


def test_where_the_record_fails_no_text_comes_out(view: TenantView) -> None:
    def full(_: Mapping[str, Any]) -> int:
        raise OSError("no space left on device")

    name = list_conversations(view, limit=1).conversations[0].id
    with pytest.raises(OSError, match="no space"):
        reveal_conversation(view, name, reader=ANNOTATOR, reason=WHY, record=full)
    entries: list[Any] = []
    with pytest.raises(UnknownName):
        reveal_conversation(view, "nobody's", reader=ANNOTATOR, reason=WHY, record=entries.append)  # type: ignore[func-returns-value]
    assert not entries


def test_ids_of_any_characters_are_found_again() -> None:
    rng = random.Random(3)
    ids = [
        "".join(chr(rng.choice([39, 34, 45, 47, 0x202E, 0x1F600, 10, 37, 65])) for _ in range(12)) for _ in range(30)
    ]
    spans = _table("spans", [{"span_id": f"s{i}", "conversation_id": c, "ts_us": i} for i, c in enumerate(ids)])
    tables = {name: TABLES[name].empty_table() for name in ("feedback", "span_text")} | {"spans": spans}
    view = TenantView(DuckDB.from_tables(tables), tenant="default")
    assert [row["conversation"] for row in export_conversations(view)] == ids[::-1]
    assert all(conversation_turns(view, c).conversation.id == c for c in ids)
