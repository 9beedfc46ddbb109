"""Numbers of the page *Now* against brute force over the turns themselves."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jurat.stats.interval import proportion
from jurat.store.engine import DuckDB
from jurat.store.lake import Lake
from jurat.telemetry.panels import (
    ERRORS_SQL,
    TURNS_SQL,
    Slice,
    errors_by_type,
    histogram,
    known_slices,
    minute_sums,
    quantile_of,
    refusal_cells,
    slow_counts,
    usual_span,
)
from jurat.telemetry.readings import Usual, alarm, detect_minutes, per_unit, share, share_status, with_dispersion
from jurat.telemetry.recent import DAY, WEEK, Recent, View
from jurat.telemetry.standout import find_standout
from jurat.telemetry.tiles import Board, Tile
from tests.telemetry.minutes_case import UNTIL, add, make_lake, turns

WINDOW = (UNTIL - 15, UNTIL)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return make_lake(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def view(lake: Lake) -> View:
    return Recent(lake, clock=lambda: UNTIL * 60.0).view()


@pytest.fixture(scope="module")
def board(view: View) -> Board:
    return Board(view, Slice(), 15, clock_minute=UNTIL)


def _rows(lake: Lake, span: tuple[int, int], **equal: str) -> pa.Table:
    rows = lake.read("spans")
    kept = pc.and_(pc.greater_equal(rows["ts_s"], span[0] * 60), pc.less(rows["ts_s"], span[1] * 60))
    for name, value in equal.items():
        kept = pc.and_(kept, pc.equal(pc.fill_null(rows[name], ""), value))
    return rows.filter(kept)


def _tile(board: Board, key: str) -> Tile:
    return board.tile(f"now-{key}")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"endpoint": "/chat"},
        {"endpoint": ""},
        {"tier": "pro", "release": "r2"},
        {"org": "acme", "endpoint": "/code"},
    ],
    ids=str,
)
def test_counts_of_any_slice_are_those_of_the_turns(lake: Lake, view: View, given: dict[str, str]) -> None:
    sums = minute_sums(view, Slice(**given))
    equal = {("org_id" if name == "org" else name): value for name, value in given.items()}
    for span in (WINDOW, (UNTIL - 180, UNTIL), (UNTIL - WEEK - 45, UNTIL - WEEK + 30)):
        rows = _rows(lake, span, **equal)
        assert sums.counts("requests", span).sum() == len(rows)
        assert sums.counts("errors", span).sum() == sum(s == "error" for s in rows["status"].to_pylist())
        assert sums.counts("labelled", span).sum() == len(rows) - rows["refused"].null_count
        assert sums.counts("refused", span).sum() == sum(bool(x) for x in rows["refused"].to_pylist())
        cost = sum(rows["cost_usd"].to_pylist())
        assert math.isclose(float(sums.totals("cost_usd", span).sum()), cost, rel_tol=1e-9, abs_tol=1e-12)
        by_minute = np.bincount(rows["ts_s"].to_numpy() // 60 - span[0], minlength=span[1] - span[0])
        assert sums.counts("requests", span).tolist() == by_minute.tolist()


def test_a_model_is_rolled_up_from_its_turns(lake: Lake) -> None:
    view = Recent(lake, clock=lambda: UNTIL * 60.0).view(model="small")
    sums = minute_sums(view, Slice())
    assert sums.counts("requests", WINDOW).sum() == len(_rows(lake, WINDOW, model="small"))


def test_quantiles_are_those_of_the_turns_within_a_bucket(lake: Lake, view: View) -> None:
    usual = usual_span(minute_sums(view, Slice()), WINDOW)
    for measure in ("latency_ms", "ttft_ms"):
        held = histogram(view, Slice(), measure, usual)
        for span in (WINDOW, usual.span):
            assert span is not None
            rows = _rows(lake, span, status="ok")
            found = quantile_of(held.within(span), 0.95)
            exact = float(np.quantile(rows[measure].to_numpy(), 0.95))
            assert found.value is not None and found.n == len(rows)
            assert abs(found.value / exact - 1) < 0.025
            assert found.low is not None and found.high is not None and found.low <= found.value <= found.high
        n, k = slow_counts(held, 355, WINDOW)
        slow = sum(x >= 1.02**356 for x in _rows(lake, WINDOW, status="ok")[measure].to_pylist())
        assert (n.sum(), k.sum()) == (len(_rows(lake, WINDOW, status="ok")), slow)


def test_errors_by_type_are_those_of_the_turns_and_their_sql_runs_over_the_lake(lake: Lake, view: View) -> None:
    usual = usual_span(minute_sums(view, Slice()), WINDOW)
    found, parameters = errors_by_type(view, Slice(tier="free"), WINDOW, usual)
    rows = _rows(lake, WINDOW, tier="free")
    for kind, now, _ in found:
        k = sum(e == kind for e in rows["error_type"].to_pylist())
        assert (now.n, round((now.value or 0) * now.n)) == (len(rows), k)
    assert {kind for kind, _, _ in found} == {"timeout", "overload"}
    engine = DuckDB.from_files({"spans": [Path(p) for p in lake.paths("spans")]})
    again = engine.query(TURNS_SQL + ERRORS_SQL, parameters=parameters)
    assert sum(again.filter(again["now"])["n"].to_pylist()) == len(rows)


def test_the_cell_that_rose_stands_out_and_its_onset_is_found(view: View) -> None:
    sums = minute_sums(view, Slice())
    usual = usual_span(sums, WINDOW)
    cells, _ = refusal_cells(view, Slice(), WINDOW, usual)
    risen = {(c.endpoint, c.tier): c.evidence for c in cells}
    assert risen.pop(("/chat", "pro")) == 3 and max(abs(e) for e in risen.values()) <= 1
    found = find_standout(view, Slice(), cells, usual)
    assert found is not None and found.seen is not None
    assert abs(found.since - (UNTIL - 12)) <= 3 and found.since <= found.seen < UNTIL


def test_without_a_change_no_cell_is_shaded_more_often_than_it_says(tmp_path: Path) -> None:
    shaded = 0
    for seed in range(8):
        lake = Lake(tmp_path / str(seed))
        add(lake, turns(UNTIL - WEEK - 45, UNTIL - WEEK + 60, per_minute=8, seed=100 + seed, name="w"))
        add(lake, turns(UNTIL - 60, UNTIL, per_minute=8, seed=200 + seed))
        view = Recent(lake, clock=lambda: UNTIL * 60.0).view()
        usual = usual_span(minute_sums(view, Slice()), WINDOW)
        shaded += any(c.evidence for c in refusal_cells(view, Slice(), WINDOW, usual)[0])
    assert shaded <= 2  # 5 % of families; the chance of more than two in eight is 0.6 %


def test_what_is_usual_is_the_same_hour_last_week_else_the_day_before_else_nothing(tmp_path: Path, view: View) -> None:
    assert usual_span(minute_sums(view, Slice()), WINDOW).span == (WINDOW[0] - WEEK - 30, WINDOW[1] - WEEK + 30)
    young = make_lake(tmp_path / "young", week=False)
    found = usual_span(minute_sums(Recent(young, clock=lambda: UNTIL * 60.0).view(), Slice()), WINDOW)
    began = min(young.read("spans", columns=["ts_s"])["ts_s"].to_pylist()) // 60
    assert began > WINDOW[0] - 60 - DAY, "the silence before the first turn is not usual"
    assert found.name == "the day before" and found.span == (began, WINDOW[0] - 60)
    new = Lake(tmp_path / "new")
    add(new, turns(UNTIL - 30, UNTIL, per_minute=5, seed=1))
    assert usual_span(minute_sums(Recent(new, clock=lambda: UNTIL * 60.0).view(), Slice()), WINDOW).span is None


def test_tiles_of_an_empty_lake_say_why_there_is_no_number(tmp_path: Path) -> None:
    view = Recent(Lake(tmp_path / "none"), clock=lambda: UNTIL * 60.0).view()
    board = Board(view, Slice(), 15, clock_minute=UNTIL)
    assert view.newest is None and board.turns == 0
    for tile in board.tiles:
        assert tile.status == "no data", tile.key
        assert tile.now.value is not None or tile.now.reason, tile.key


def test_the_tiles_are_the_numbers_of_the_window(lake: Lake, board: Board) -> None:
    rows = _rows(lake, WINDOW)
    assert board.turns == len(rows)
    assert _tile(board, "traffic").now.value == pytest.approx(len(rows) / 900)
    assert _tile(board, "cost").now.value == pytest.approx(np.mean(rows["cost_usd"].to_numpy()))
    assert _tile(board, "tokens").now.value == pytest.approx(sum(rows["tokens_out"].to_pylist()) / 900)
    beside = _tile(board, "cost").beside
    assert beside is not None and beside[1].value == pytest.approx(4 * sum(rows["cost_usd"].to_pylist()))
    thumbs = lake.read("feedback")
    inside = [v for v, t in zip(thumbs["value"].to_pylist(), thumbs["ts"].to_pylist(), strict=True)
              if WINDOW[0] * 60 <= t.timestamp() < WINDOW[1] * 60]  # fmt: skip
    assert _tile(board, "thumbs").now.n == len(inside)
    assert _tile(board, "thumbs").now.value == pytest.approx(sum(v > 0 for v in inside) / len(inside))
    assert _tile(board, "refusals").status in ("warning", "firing") and _tile(board, "errors").status == "ok"


def test_a_rate_leaves_out_the_minute_that_still_goes_on(lake: Lake, view: View) -> None:
    board = Board(view, Slice(), 15, clock_minute=UNTIL - 1)
    rows = _rows(lake, (WINDOW[0], UNTIL - 1))
    assert _tile(board, "traffic").now.value == pytest.approx(len(rows) / 840)


def test_intervals_of_tiles_hold_their_values_and_sparks_have_a_point_every_five_minutes(board: Board) -> None:
    for tile in board.tiles:
        assert len(tile.points) == len(tile.ghost) == 36
        for interval in (tile.now, *(p.interval for p in tile.points)):
            if interval.value is not None and interval.low is not None and interval.high is not None:
                assert interval.low <= interval.value <= interval.high
        assert [p.span[1] - p.span[0] for p in tile.points] == [5] * 36 and tile.points[-1].span[1] == UNTIL


def test_silence_is_no_traffic_as_usual(view: View) -> None:
    late = Board(view, Slice(), 15, clock_minute=UNTIL + 30)
    assert late.silent_minutes == 31 and _tile(late, "traffic").status == "no data"
    past = Board(view, Slice(), 15, clock_minute=UNTIL + 30, moment=True)
    assert past.silent_minutes is None and _tile(past, "traffic").status == "ok"


def test_a_new_commit_is_read_without_what_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import jurat.telemetry.recent as module

    lake = make_lake(tmp_path / "lake", per_minute=4)
    recent = Recent(lake, clock=lambda: UNTIL * 60.0 + 60)
    monkeypatch.setattr(module, "_LOOK_SECONDS", -math.inf)
    first = recent.view()
    assert recent.view() is first
    read: list[Path] = []
    real = module._read_minutes
    monkeypatch.setattr(recent._minutes, "read", lambda path, span: read.append(path) or real(path, span))
    add(lake, turns(UNTIL, UNTIL + 1, per_minute=50, seed=9))
    second = recent.view()
    assert second.until == UNTIL + 1 and len(read) == 1
    counts = minute_sums(second, Slice()).counts("requests", (UNTIL - 240, UNTIL + 1))
    assert counts.sum() == len(_rows(lake, (UNTIL - 240, UNTIL + 1)))


def test_large_files_are_read_by_their_minutes_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import jurat.telemetry.recent as module

    monkeypatch.setattr(module, "_SMALL_BYTES", 0)
    lake = make_lake(tmp_path / "lake", per_minute=4)
    add(lake, turns(UNTIL - 3 * DAY, UNTIL - 3 * DAY + 60, per_minute=4, seed=77, name="old"))
    view = Recent(lake, clock=lambda: UNTIL * 60.0).view()
    assert minute_sums(view, Slice()).counts("requests", WINDOW).sum() == len(_rows(lake, WINDOW))
    found = view.query("SELECT MIN(EPOCH(minute)) AS low FROM rollup_1m WHERE EPOCH(minute) > $a",
                       parameters={"a": str((UNTIL - WEEK + 120) * 60)})  # fmt: skip
    assert found["low"][0].as_py() >= (UNTIL - 30 * 60) * 60


def test_known_slices_list_what_there_is(view: View) -> None:
    known = known_slices(view)
    assert list(known.endpoint) == ["", "/chat", "/code"] and list(known.model) == ["large", "small"]


def test_a_dispersion_widens_the_interval_as_much_as_its_root() -> None:
    plain = share(500, 10_000, Usual(span=None, name=""))
    wide = share(500, 10_000, Usual(span=(0, 1), name="", dispersion=4.0, minutes=10_000))
    assert plain == proportion(500, 10_000)
    assert wide.low is not None and wide.high is not None and plain.low is not None and plain.high is not None
    assert (wide.high - wide.low) / (plain.high - plain.low) == pytest.approx(2.0, rel=0.02)
    none = share(0, 400, Usual(span=(0, 1), name="", dispersion=4.0, minutes=60))
    assert none.n == 400 and none.high == proportion(0, 100).high


def test_minutes_that_vary_more_than_independent_turns_are_seen() -> None:
    rng = np.random.default_rng(3)
    n = np.full(600, 100)
    usual = Usual(span=(0, 600), name="")
    calm = with_dispersion(usual, n, rng.binomial(100, 0.1, 600)).dispersion
    wild = with_dispersion(usual, n, rng.binomial(100, rng.beta(2, 18, 600))).dispersion
    assert calm < 1.25 and wild > 3


def test_time_to_detect_is_that_of_the_detector_over_simulated_rises() -> None:
    rng = np.random.default_rng(5)
    promised = detect_minutes(120.0, 0.05, 0.03)
    assert promised is not None
    times = []
    for _ in range(30):
        n = rng.poisson(120, 60 + 8 * promised)
        k = rng.binomial(n, np.where(np.arange(len(n)) < 60, 0.05, 0.08))
        for end in range(60, len(n) + 1):
            if share_status(n[:end], k[:end], proportion(50_000, 1_000_000), 0.03) == "firing":
                times.append(end - 60)
                break
    assert len(times) == 30 and 0.6 < np.median(times) / promised < 1.6


def test_an_alarm_knows_its_onset_and_a_quiet_share_has_none() -> None:
    n, k = np.full(120, 300), np.full(120, 15)
    base = proportion(3_000, 60_000)
    assert alarm(n, k, base, 0.03) is None and share_status(n, k, base, 0.03) == "ok"
    k[100:] = 40
    found = alarm(n, k, base, 0.03)
    assert found is not None and found.onset is not None and abs(found.onset - 100) <= 1 and found.minute <= 104


def test_cost_per_turn_is_undefined_where_nothing_has_a_price() -> None:
    found = per_unit(np.zeros(5, np.int64), np.zeros(5))
    assert found.value is None and found.reason


def test_a_board_is_quick(view: View) -> None:
    start = time.perf_counter()
    assert len(Board(view, Slice(), 15, clock_minute=UNTIL).tiles) == 8
    assert time.perf_counter() - start < 3.0


def test_a_rise_that_has_passed_is_as_usual_again() -> None:
    n = np.full(170, 200)
    k = np.where((np.arange(170) >= 20) & (np.arange(170) < 60), 60, 8)
    base = share(4_000, 100_000, Usual(span=(0, 1), name="", minutes=500))
    assert [share_status(n[:m], k[:m], base, 0.03) for m in (15, 55, 80, 170)] == ["ok", "firing", "ok", "ok"]
