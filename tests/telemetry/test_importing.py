"""Logs into the lake: every record accounted for, once, whatever kills it; in bounded memory; without names or secrets."""

from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jurat.cli.telemetry import import_logs
from jurat.errors import DataError, EngineError, SpecError, UnknownName
from jurat.store.lake import Lake
from jurat.telemetry import importing
from jurat.telemetry.derive import Settings
from jurat.telemetry.importing import import_log
from jurat.telemetry.log_mapping import LogMapping, load_mapping
from jurat.telemetry.prices import load_prices

SETTINGS = Settings(user_secret=b"s" * 32)
TABLES = ("spans", "span_text", "rollup_1m")


def record(i: int, **changes: Any) -> dict[str, Any]:
    told = "I can't help with that." if i % 10 == 0 else f"Write to person{i}@mail.example, said {i}."
    return {
        "id": f"r{i}", "time": f"2026-03-{1 + i // 500 % 28:02d}T{i % 24:02d}:00:{i % 60:02d}.123456Z",
        "user": f"person-{i % 30}", "model_version": f"v{i % 2}", "status": [200, 200, 500][i % 3],
        "completion_tokens": i % 400, "response": told, **changes,
    }  # fmt: skip


def jsonl(path: Path, records: list[dict[str, Any] | str]) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return path


def rows(lake: Lake, table: str = "spans") -> list[dict[str, Any]]:
    found = lake.read(table).to_pylist()
    return sorted(found, key=lambda r: json.dumps(r, sort_keys=True, default=str))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def test_rows_and_quarantined_records_add_up_to_what_was_met(tmp_path: Path, lake: Lake) -> None:
    bad = ['{"id": 1', "[]", json.dumps(record(1, time="noon")), json.dumps(record(2, completion_tokens=-3)),
           json.dumps(record(3, completion_tokens="my secret prompt")), json.dumps({"id": "no time"})]  # fmt: skip
    path = jsonl(tmp_path / "log.jsonl", [*(record(i) for i in range(100)), *bad, "", record(100)])
    report = import_log(path, lake, SETTINGS, load_mapping())
    assert (report.records, report.rows, report.quarantined) == (107, 101, 6)
    assert sum(report.reasons.values()) == 6 and len(rows(lake)) == 101
    assert report.reasons["completion_tokens: not a whole number of at least 0"] == 2
    assert report.quarantine is not None
    told = [json.loads(line) for line in (lake.root / report.quarantine).read_text().splitlines()]
    assert [t["line"] for t in told] == [101, 102, 103, 104, 105, 106]
    assert "secret" not in json.dumps(told) and "noon" not in json.dumps(told)
    assert report.taken["release"] == "model_version" and report.passed_over == []


def test_what_the_lake_holds_is_what_the_records_say(tmp_path: Path, lake: Lake) -> None:
    path = jsonl(tmp_path / "log.jsonl", [record(i) for i in range(60)])
    import_log(path, lake, SETTINGS, load_mapping())
    found = {r["span_id"]: r for r in rows(lake)}
    assert [found[f"r{i}"]["status"] for i in range(3)] == ["ok", "ok", "error"]
    assert found["r10"]["refused"] is True and found["r1"]["refused"] is False and found["r2"]["refused"] is None
    assert found["r7"]["ts_us"] % 10**6 == 123456 and found["r7"]["tokens_out"] == 7
    assert found["r1"]["user_id"] == found["r31"]["user_id"] != found["r2"]["user_id"]
    held = b"".join(p.read_bytes() for p in lake.root.rglob("*.parquet"))
    text = " ".join(r["response"] for r in rows(lake, "span_text"))
    assert "person" not in text and b"person-1" not in held
    requests = sum(r["n"] for r in rows(lake, "rollup_1m") if r["measure"] == "requests")
    assert requests == 60


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl.gz", "parquet"])
def test_all_formats_give_the_same_rows(kind: str, tmp_path: Path, lake: Lake) -> None:
    records = [record(i) for i in range(40)]
    path, other = tmp_path / f"log.{kind}", Lake(tmp_path / "other")
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, records)).encode()))
    else:
        with gzip.open(path, "wt") if kind.endswith("gz") else path.open("w") as stream:
            writer = csv.DictWriter(stream, list(records[0]))
            writer.writeheader()
            writer.writerows(records)
    import_log(path, lake, SETTINGS, load_mapping())
    import_log(jsonl(tmp_path / "plain.jsonl", list(records)), other, SETTINGS, load_mapping())
    for table in TABLES:
        assert rows(lake, table) == rows(other, table)


@pytest.mark.parametrize("dies_at", [0, 1, 2, 4, 7, 11])
def test_a_killed_import_goes_on_and_ends_as_if_nothing_had_happened(
    dies_at: int, tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK_ROWS", 25)
    records: list[dict[str, Any] | str] = [record(i) for i in range(100)]
    path = jsonl(tmp_path / "log.jsonl", [*records[:40], "{", *records[40:]])
    whole = Lake(tmp_path / "whole")
    import_log(path, whole, SETTINGS, load_mapping())
    append, calls = Lake.append, 0

    def dying(self: Lake, *given: Any, **more: Any) -> int:
        nonlocal calls
        calls += 1
        if calls > dies_at:
            raise EngineError("killed")
        return append(self, *given, **more)

    monkeypatch.setattr(Lake, "append", dying)
    with pytest.raises(EngineError, match="killed"):
        import_log(path, lake, SETTINGS, load_mapping())
    monkeypatch.setattr(Lake, "append", append)
    report = import_log(path, lake, SETTINGS, load_mapping())
    assert (report.records, report.rows, report.quarantined, report.chunks) == (101, 100, 1, 4)
    assert report.done_before == dies_at // 3
    for table in TABLES:
        assert rows(lake, table) == rows(whole, table)
    again = import_log(path, lake, SETTINGS, load_mapping())
    assert (again.rows, again.quarantined, again.done_before) == (100, 1, 4)
    assert len(rows(lake)) == 100


def test_a_file_that_was_brought_in_another_way_is_refused(tmp_path: Path, lake: Lake) -> None:
    path = jsonl(tmp_path / "log.jsonl", [record(i) for i in range(5)])
    import_log(path, lake, SETTINGS, load_mapping())
    with pytest.raises(DataError, match="in another way") as told:
        import_log(path, lake, SETTINGS, load_mapping(), tenant="acme")
    assert told.value.seen == "other tenant" and len(rows(lake)) == 5


def test_a_mapping_that_fits_nothing_commits_nothing(tmp_path: Path, lake: Lake) -> None:
    path = jsonl(tmp_path / "log.jsonl", [record(i) for i in range(3000)])
    wrong = LogMapping(columns={"ts": "time", "latency_ms": "response"}, constants={}, values={})
    with pytest.raises(DataError, match="cannot be read, 10 % allowed"):
        import_log(path, lake, SETTINGS, wrong)
    assert lake.tables() == []


def test_memory_does_not_grow_with_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "CHUNK_ROWS", 500)
    peaks = []
    for n in (2_000, 12_000):
        lines: list[dict[str, Any] | str] = [record(i, response="yes") if i % 50 else "{" for i in range(n)]
        path = jsonl(tmp_path / f"{n}.jsonl", lines)
        tracemalloc.start()
        report = import_log(path, Lake(tmp_path / f"lake-{n}"), SETTINGS, load_mapping())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert report.quarantined == n // 50 and report.chunks == -(-(n - n // 50) // 500)
    assert peaks[1] < 1.3 * peaks[0]


def test_long_texts_end_a_chunk_early(tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "CHUNK_BYTES", 1000)
    path = jsonl(tmp_path / "log.jsonl", [record(i, response="long " * 100) for i in range(10)])
    assert import_log(path, lake, SETTINGS, load_mapping()).chunks == 5


def test_a_mapping_names_nested_columns_values_constants_and_units(tmp_path: Path, lake: Lake) -> None:
    (tmp_path / "map.toml").write_text(
        'name = "gateway"\ntime_unit = "us"\n'
        '[columns]\nts = "at"\nuser_id = "who.id"\ntokens_out = "usage.out"\nstatus = "outcome"\nrisk_tier = "risk"\n'
        'prompt = "messages"\nblocked = "filtered"\nturn = "n"\n'
        '[constants]\nendpoint = "/chat"\ntier = "pro"\n[values.status]\n"refused-by-proxy" = "error"\ntrue = "ok"\n'
    )
    line = {
        "at": 1_774_742_399_999_999, "who": {"id": "ann"}, "usage": {"out": 9}, "outcome": "refused-by-proxy", "risk": 3,
        "messages": [{"role": "user", "content": "call 212-555-0142"}], "filtered": True, "n": 2, "who.is": "?",
    }  # fmt: skip
    path = jsonl(tmp_path / "log.jsonl", [line, {"at": "1774742400000000", "outcome": True, "who": None}])
    report = import_log(path, lake, SETTINGS, load_mapping(tmp_path / "map.toml"))
    first, second = sorted(rows(lake), key=lambda r: r["ts_us"])
    assert (first["ts_us"], first["day"]) == (1_774_742_399_999_999, "2026-03-28")
    assert (second["day"], second["status"], second["user_id"]) == ("2026-03-29", "ok", None)
    assert [first[n] for n in ("endpoint", "tier", "tokens_out", "status", "risk_tier", "blocked", "turn")] == [
        "/chat", "pro", 9, "error", 3, True, 2,
    ]  # fmt: skip
    assert second["blocked"] is None and first["span_id"] != second["span_id"]
    assert "555" not in rows(lake, "span_text")[0]["prompt"]
    assert report.passed_over == ["who.is"]


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ('[columns]\nts = "t"\nusr_id = "u"\n', UnknownName, "did you mean 'user_id'"),
        ('[columns]\nuser_id = "u"\n', SpecError, "no column gives the time"),
        ('[columns]\nts = "t"\ntier = "x"\n[constants]\ntier = "pro"\n', SpecError, "given twice"),
        ('[columns]\nts = "t"\n[constants]\nrisk_tier = "high"\n', SpecError, "cannot hold its constant"),
        ('time_unit = "h"\n[columns]\nts = "t"\n', SpecError, "time_unit"),
    ],
    ids=["unknown", "time", "twice", "constant", "unit"],
)
def test_a_mapping_that_cannot_be_followed_is_told(
    text: str, error: type[Exception], told: str, tmp_path: Path
) -> None:
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(error) as raised:
        load_mapping(tmp_path / "map.toml")
    assert told in str(raised.value)


def test_without_text_and_with_prices(tmp_path: Path, lake: Lake) -> None:
    (tmp_path / "prices.toml").write_text('[[price]]\nmodel = "m-*"\nsince = 2026-01-01\ninput = 1.0\noutput = 2.0\n')
    settings = Settings(user_secret=b"s" * 32, prices=load_prices(tmp_path / "prices.toml"), keep_text=False)
    path = jsonl(tmp_path / "log.jsonl", [record(i, model="m-1", prompt_tokens=1_000_000) for i in range(1, 4)])
    import_log(path, lake, settings, load_mapping())
    assert lake.tables() == ["rollup_1m", "spans"]
    assert [r["cost_usd"] for r in sorted(rows(lake), key=lambda r: r["span_id"])] == pytest.approx(
        [1.000002, 1.000004, 1.000006]
    )


def test_the_command_tells_what_it_read_and_what_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = jsonl(tmp_path / "log.jsonl", [*(record(i, x=1) for i in range(20)), "{"])
    assert import_logs([path], lake=tmp_path / "lake") == 0
    out, told = capsys.readouterr()
    assert out.splitlines()[1].split() == ["log.jsonl", "21", "20", "1"]
    assert "release = model_version" in told and "passed over: x" in told and "quarantined 1: not a JSON object" in told
    assert import_logs([path], lake=tmp_path / "lake", json=True) == 0
    assert json.loads(capsys.readouterr().out)[0]["done_before"] == 1
    with pytest.raises(DataError, match="no such file"):
        import_logs([tmp_path / "gone.jsonl"], lake=tmp_path / "lake")
