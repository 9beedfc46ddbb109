"""Attribution of charges: to the cent, whatever the order; overlaps against a count of every minute; bad input is told."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.cli.cost import cost
from jurat.errors import DataError, UnknownName, UsageError
from jurat.telemetry.cost import attribute_costs
from jurat.telemetry.cost_lines import Attribution, apportion
from jurat.telemetry.cost_records import HOUR_US, NANO, Charge, Usage
from jurat.telemetry.focus import CHARGE_COLUMNS, read_charges, read_usage, write_focus
from jurat.telemetry.occupancy import Timeline

MINUTE = 60_000_000
DAY = 24 * HOUR_US
CENT = NANO
MIDNIGHT = int(dt.datetime(2026, 3, 29, tzinfo=dt.UTC).timestamp() * 1e6)


def gpu(billed: int = 2400, **changes: Any) -> Charge:
    """A day of one GPU; ``billed`` in cents."""
    given = {
        "start_us": 0,
        "end_us": DAY,
        "currency": "USD",
        "resource": "gpu-0",
        "unit": "Hours",
        "service": "Compute",
    }
    return Charge(**{**given, "billed": billed * CENT, **changes})


def on(start: float, end: float | None, experiment: str | None = "a", **changes: Any) -> Usage:
    """Hours of a day on that GPU."""
    last = None if end is None else int(end * HOUR_US)
    return Usage(
        **{"start_us": int(start * HOUR_US), "end_us": last, "experiment": experiment, "gpu": "gpu-0", **changes}
    )


def shares(found: Attribution, by: str = "experiment") -> dict[str, int]:
    return {total.name or total.kind: total.minor for total in found.by(by)}


# To the cent ------------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**14), st.lists(st.integers(0, 10**12), min_size=1, max_size=40).filter(any))
def test_parts_add_up_and_are_less_than_a_unit_off(total: int, weights: list[int]) -> None:
    parts = apportion(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        exact = Fraction(total * weight, sum(weights))
        assert math.floor(exact) <= part <= math.ceil(exact)


def test_what_cannot_be_split_is_refused() -> None:
    for total, weights in ((1, [0, 0]), (1, []), (-1, [1]), (1, [2, -1])):
        with pytest.raises(ValueError, match="cannot be split"):
            apportion(total, weights)
    assert apportion(0, [0, 0]) == [0, 0]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Usage], list[Charge]]:
    """Some days of a few GPUs, a pool and tokens, in three currencies; records of every kind, many of them overlapping."""
    names = st.sampled_from([None, "a", "b", "c"])
    charges = []
    for day, name in itertools.product(range(draw(st.integers(1, 3))), ("gpu-0", "gpu-1", "", "tokens", "storage")):
        if draw(st.booleans()):
            given: dict[str, Any] = {"resource": name, "unit": "Hours"}
            if name in ("", "tokens", "storage"):
                quantity = draw(st.floats(0, 1000))
                given = {"resource": "", "unit": {"": "Hours"}.get(name, name), "quantity": quantity, "sku": name}
            charges.append(
                Charge(
                    start_us=day * DAY,
                    end_us=(day + 1) * DAY,
                    billed=draw(st.integers(0, 10**7 * NANO)),
                    currency=draw(st.sampled_from(["USD", "JPY", "KWD"])),
                    invoice=draw(st.sampled_from(["", "I-1"])),
                    service=f"{name}{day}",
                    **given,
                )
            )
    usage = []
    for _ in range(draw(st.integers(0, 12))):
        start = draw(st.integers(-DAY, 4 * DAY))
        tokens = draw(st.none() | st.integers(0, 10**6))
        usage.append(
            Usage(
                start_us=start,
                end_us=draw(st.none() | st.just(start + draw(st.integers(0, 2 * DAY)))),
                experiment=draw(names),
                run=draw(names),
                person=draw(names),
                job=draw(names),
                gpu=draw(st.sampled_from(["", "gpu-0", "gpu-1", "gpu-9"])),
                gpus=draw(st.integers(1, 8)),
                sku="tokens" if tokens is not None else "",
                tokens=tokens,
            )
        )
    return usage, charges


@settings(max_examples=150, deadline=None)
@given(worlds(), st.randoms())
def test_lines_add_up_to_each_invoice_to_the_cent_in_any_order(
    world: tuple[list[Usage], list[Charge]], random: Any
) -> None:
    usage, charges = world
    if not charges:
        with pytest.raises(DataError, match="no charge"):
            attribute_costs(usage, charges)
        return
    found = attribute_costs(usage, charges)
    exact: dict[tuple[str, str], int] = defaultdict(int)
    added: dict[tuple[str, str], int] = defaultdict(int)
    for charge in charges:
        exact[charge.invoice, charge.currency] += charge.billed
    for line in found.lines:
        assert line.minor >= 0
        added[line.invoice, line.currency] += line.minor
    assert added == found.invoices == {name: (nano + NANO // 2) // NANO for name, nano in exact.items()}
    for by in ("experiment", "run", "person", "service", "sku", "invoice"):
        assert sum(total.minor for total in found.by(by)) == sum(found.invoices.values())
    random.shuffle(usage)
    random.shuffle(charges)
    assert attribute_costs(usage, charges).lines == found.lines


def test_many_small_charges_are_not_rounded_one_by_one() -> None:
    charges = [gpu(start_us=i * DAY, end_us=(i + 1) * DAY, billed=0) for i in range(1000)]
    charges = [
        Charge(**{**{f: getattr(c, f) for f in Charge.__dataclass_fields__}, "billed": NANO * 4 // 10}) for c in charges
    ]
    usage = [on(24 * i, 24 * (i + 1), "a" if i % 4 else "b") for i in range(1000)]
    assert shares(attribute_costs(usage, charges)) == {"a": 300, "b": 100}


# Time -------------------------------------------------------------------------------------------------------------


def test_jobs_on_one_gpu_share_it_as_a_count_of_every_minute_finds() -> None:
    rng = np.random.default_rng(4)
    for slots in (1, 3):
        usage = []
        for job in range(40):
            first, last = np.sort(rng.integers(0, 600, 2))
            usage.append(
                Usage(
                    start_us=int(first) * MINUTE, end_us=int(last) * MINUTE, experiment=str(rng.integers(5)),
                    gpus=int(rng.integers(1, 4)), job=str(job),
                )
            )  # fmt: skip
        due: dict[str, Fraction] = defaultdict(Fraction)
        for minute in range(600):
            here = [u for u in usage if u.start_us <= minute * MINUTE < (u.end_us or 0)]
            asked = sum(u.gpus for u in here)
            for u in here:
                due[str(u.experiment)] += Fraction(u.gpus * MINUTE * min(asked, slots), asked)
        used = Timeline.of(usage, 0).used(0, 600 * MINUTE, slots)
        assert {str(key[0]): Fraction(part, used.factor) for key, part in used.parts.items()} == due
        whole = Timeline.of(usage, 0)
        cut = [whole.used(a * MINUTE, b * MINUTE, slots) for a, b in itertools.pairwise((0, 7, 100, 101, 333, 600))]
        assert sum(Fraction(sum(c.parts.values()), c.factor) for c in cut) == sum(due.values())


def test_two_jobs_at_once_pay_half_each_and_that_is_said() -> None:
    found = attribute_costs([on(0, 12, "a", job="1"), on(6, 18, "b", job="2")], [gpu()])
    assert shares(found) == {"a": 900, "b": 900, "idle": 600}
    assert found.shared_hours == 6
    assert "6 GPU-hours had more jobs than GPUs" in found.notes[0]


def test_a_record_that_stands_twice_does_not_take_a_larger_share() -> None:
    once = attribute_costs([on(0, 12, "a", job="1"), on(0, 12, "b", job="2")], [gpu()])
    twice = attribute_costs([on(0, 12, "a", job="1"), on(0, 12, "a", job="1"), on(0, 12, "b", job="2")], [gpu()])
    assert shares(once) == shares(twice) == {"a": 600, "b": 600, "idle": 1200}


def test_who_is_not_named_is_not_idle() -> None:
    found = attribute_costs([on(0, 6, None), on(6, 12, None, person="p")], [gpu()])
    assert shares(found) == {"attributed": 600, "unattributed": 600, "idle": 1200}
    assert shares(found, "person") == {"p": 600, "unattributed": 600, "idle": 1200}


def test_time_outside_the_invoice_is_told_and_not_paid() -> None:
    found = attribute_costs([on(-2, 1), on(23, 26), on(3, 4, gpu="gpu-7")], [gpu()])
    assert shares(found) == {"a": 200, "idle": 2200}
    assert found.unbilled_hours == 5
    assert any("5 GPU-hours were used that no charge pays for" in note for note in found.notes)


def test_a_job_without_an_end_runs_until_the_invoice_ends_and_that_is_said() -> None:
    found = attribute_costs([on(18, None)], [gpu()])
    assert shares(found) == {"a": 600, "idle": 1800}
    assert any("1 records have no end" in note for note in found.notes)


def test_a_node_of_eight_gpus_is_not_shared_until_it_is_full() -> None:
    node = gpu(19200, quantity=192.0)
    assert shares(attribute_costs([on(0, 24, "a", gpus=4), on(0, 24, "b", gpus=2)], [node])) == {
        "a": 9600, "b": 4800, "idle": 4800,
    }  # fmt: skip
    crowded = attribute_costs([on(0, 24, "a", gpus=8, job="1"), on(0, 12, "b", gpus=8, job="2")], [node])
    assert shares(crowded) == {"a": 14400, "b": 4800}


def test_a_pool_pays_by_hours_and_says_when_more_were_used() -> None:
    pool = gpu(10000, resource="", quantity=100.0)
    used = [on(0, 20, "a", gpu=""), on(0, 20, "b", gpu="", gpus=2)]
    assert shares(attribute_costs(used, [pool])) == {"a": 2000, "b": 4000, "idle": 4000}
    over = attribute_costs([*used, on(0, 24, "c", gpu="", gpus=5)], [pool])
    assert shares(over) == {"c": 6667, "b": 2222, "a": 1111}
    assert any("80 GPU-hours more were used" in note for note in over.notes)


def test_pools_are_told_apart_by_sku() -> None:
    pools = [gpu(1000, resource="", quantity=10.0, sku=sku) for sku in ("A", "B")]
    found = attribute_costs([on(0, 10, "a", gpu="", sku="A"), on(0, 5, "b", gpu="", sku="B")], pools)
    assert shares(found) == {"a": 1000, "b": 500, "idle": 500}
    with pytest.raises(DataError, match="which pool"):
        attribute_costs([on(0, 10, "a", gpu="")], pools)
    with pytest.raises(DataError, match="how many hours"):
        attribute_costs([], [gpu(resource="")])


# Tokens -----------------------------------------------------------------------------------------------------------


def test_tokens_pay_by_number_and_what_nobody_recorded_is_unattributed() -> None:
    charge = gpu(1000, resource="", unit="1M tokens", quantity=2.0, sku="m/output")
    used = [on(1, 1, name, gpu="", sku="m/output", tokens=n) for name, n in (("a", 500_000), ("b", 250_000))]
    used += [on(24, 24, "late", gpu="", sku="m/output", tokens=7), on(1, 1, "c", gpu="", sku="m/input", tokens=9)]
    found = attribute_costs(used, [charge])
    assert shares(found) == {"a": 250, "b": 125, "unattributed": 625}
    assert any("16 tokens were used that no charge pays for" in note for note in found.notes)
    bare = Charge(**{**{f: getattr(charge, f) for f in Charge.__dataclass_fields__}, "quantity": None})
    assert shares(attribute_costs(used, [bare])) == {"a": 667, "b": 333}


def test_a_charge_that_usage_cannot_explain_is_unattributed() -> None:
    assert shares(attribute_costs([on(0, 24)], [gpu(), gpu(99, unit="GB-months")])) == {"a": 2400, "unattributed": 99}


# Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gpu(end_us=0), "ends before it has begun"),
        (lambda: gpu(-1), "a charge is negative"),
        (lambda: gpu(quantity=-1.0), "quantity is negative"),
        (lambda: gpu(quantity=math.nan), "quantity is negative or no number"),
        (lambda: gpu(currency="USB"), "did you mean 'USD'"),
        (lambda: on(2, 1), "ends before it starts"),
        (lambda: on(0, 1, gpus=0), "number of GPUs"),
        (lambda: on(0, 1, tokens=-1), "tokens is negative"),
        (
            lambda: attribute_costs([], [gpu(place="i.csv, line 2"), gpu(start_us=DAY - 1, end_us=2 * DAY)]),
            "billed already",
        ),
        (lambda: attribute_costs([], [gpu()]).by("team"), "unknown dimension"),
    ],
)
def test_bad_input_is_told(make: Any, message: str) -> None:
    with pytest.raises((DataError, UnknownName), match=message):
        make()


def test_one_gpu_may_have_charges_of_several_kinds_at_once() -> None:
    found = attribute_costs([on(0, 12)], [gpu(), gpu(240, sku="licence")])
    assert shares(found) == {"a": 1320, "idle": 1320}


INVOICE = f"""{",".join(CHARGE_COLUMNS)}
2026-03-29T00:00:00Z,2026-03-30T00:00:00Z,48.005,USD,I-1,Compute,h100,gpu-0,24,Hours
2026-03-30T00:00:00Z,2026-03-31T00:00:00Z,48.004,USD,I-1,Compute,h100,gpu-0,24,Hours
2026-03-29T00:00:00Z,2026-03-31T00:00:00Z,12.5,USD,I-1,Models,m,,1000000,Tokens
"""
RECORDS = [
    {"JobID": "1", "run": "r1", "experiment": "filter", "who": "ada", "gpu": "gpu-0",
     "start": "2026-03-29T22:00:00+00:00", "end": "2026-03-30T02:00:00Z"},
    {"JobID": "2", "run": "r2", "experiment": "=1+1", "who": "bob", "gpu": "gpu-0",
     "start": "2026-03-30T03:00:00+02:00", "end": "2026-03-30T04:00:00Z"},
    {"run": "r3", "experiment": "filter", "who": "ada", "model": "m", "tokens": 400000, "start": "2026-03-30T12:00:00Z"},
]  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "invoice.csv").write_text(INVOICE)
    (tmp_path / "usage.jsonl").write_text("".join(json.dumps(r) + "\n" for r in RECORDS))
    return tmp_path / "usage.jsonl", tmp_path / "invoice.csv"


def test_files_are_read_split_and_written_as_focus_in_every_format(files: tuple[Path, Path], tmp_path: Path) -> None:
    usage, invoice = files
    found = attribute_costs(read_usage([usage], columns={"person": "who"}), read_charges([invoice]))
    assert found.invoices == {("I-1", "USD"): 10851}
    # 22:00 to 24:00, then 0:00 to 1:00 alone, 1:00 to 2:00 shared by two, 2:00 to 4:00 alone.
    hours = {"ada": 3.5, "bob": 2.5}
    assert {t.name: t.gpu_hours for t in found.by("person") if t.kind == "attributed"} == hours
    assert {t.name: t.tokens for t in found.by("person") if t.tokens} == {"ada": 400_000, None: 600_000}
    for suffix in ("csv", "jsonl", "parquet"):
        path = tmp_path / f"out.{suffix}"
        write_focus(found, path)
        again = read_charges([path])
        assert sum(charge.billed for charge in again) == 10851 * NANO
        assert len(again) == len(found.lines)
    table = pq.read_table(tmp_path / "out.parquet")
    tags = [json.loads(t) for t in table["Tags"].to_pylist()]
    assert {(t["kind"], t.get("person")) for t in tags} == {
        ("attributed", "ada"), ("attributed", "bob"), ("idle", None), ("unattributed", None),
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"out\.xlsx"):
        write_focus(found, tmp_path / "out.xlsx")


def test_a_name_that_a_spreadsheet_would_run_is_made_inert_in_csv(tmp_path: Path) -> None:
    write_focus(attribute_costs([], [gpu(service="=cmd()", invoice="@x")]), tmp_path / "out.csv")
    text = (tmp_path / "out.csv").read_text()
    assert '"\'=cmd()"' in text and '"\'@x"' in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("48.005", "-48.005", r"invoice\.csv, line 2: a charge is negative"),
        ("48.005", "many", "BilledCost is no amount"),
        ("48.005", "1e999", "BilledCost is no amount"),
        ("48.005", "", "BilledCost is missing"),
        ("48.005,USD", "48.005,XYZ", r"invoice\.csv, line 2: unknown currency"),
        ("2026-03-30T00:00:00Z,48.005", "2026-03-29T00:00:00Z,48.005", r"line 2: the period ends before it has begun"),
        ("2026-03-30T00:00:00Z,48.005", "2026-03-30T12:00:00Z,48.005", r"line 3: the period is billed already"),
        ("2026-03-30T00:00:00Z,48.005", "yesterday,48.005", "ChargePeriodEnd cannot be read"),
        ("2026-03-30T00:00:00Z,48.005", "2026-03-30T00:00:00,48.005", "has no time zone"),
        ("BilledCost", "Cost", "BilledCost is missing"),
        ("gpu-0,24,Hours\n2026-03-30", "gpu-0,24\n2026-03-30", r"line 2: the record cannot be read"),
    ],
)
def test_a_bad_line_of_an_invoice_is_told_with_its_place(
    files: tuple[Path, Path], old: str, new: str, message: str
) -> None:
    assert INVOICE.count(old) >= 1
    files[1].write_text(INVOICE.replace(old, new, 1))
    with pytest.raises((DataError, UnknownName), match=message):
        attribute_costs([], read_charges([files[1]]))


def test_a_bad_record_or_mapping_is_told(files: tuple[Path, Path]) -> None:
    usage, _ = files
    with pytest.raises(UnknownName, match="did you mean 'who'"):
        read_usage([usage], columns={"person": "whoo"})
    with pytest.raises(UnknownName, match="did you mean 'person'"):
        read_usage([usage], columns={"persons": "who"})
    with pytest.raises(DataError, match="no such file"):
        read_usage([usage.with_name("none.csv")])
    usage.write_text('{"gpu": "g", "start": "2026-03-29T01:00:00Z", "end": "2026-03-29T00:00:00Z"}\n')
    with pytest.raises(DataError, match=r"usage\.jsonl, line 1: the usage ends before it starts"):
        read_usage([usage])
    usage.write_text('{"gpu": "g", "end": "2026-03-29T00:00:00Z"}\n')
    with pytest.raises(DataError, match="line 1: start is missing"):
        read_usage([usage])


def test_the_command_prints_totals_and_their_sum(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usage, invoice = files
    out = tmp_path / "lines" / "out.csv"
    assert cost([usage], invoice=[invoice], by="person", map_=("person=who",), out=out) == 0
    text = capsys.readouterr().out
    assert "total" in text and "108.51 USD" in text and "100.0 %" in text and "I-1" in text
    assert out.is_file()
    cost([usage], invoice=[invoice], map_=("person=who",), json=True)
    document = json.loads(capsys.readouterr().out)
    assert sum(line["minor"] for line in document["lines"]) == document["invoices"][0]["minor"] == 10851
    for pair, error in (("person", UsageError), ("persn=who", UnknownName)):
        with pytest.raises(error):
            cost([usage], invoice=[invoice], map_=(pair,))
