"""The cost model against sums made by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from jurat.corpus.cost import cost_model, read_rates
from jurat.errors import DataError


def test_core_hours_are_the_rate_times_the_gigabytes_over_an_hour() -> None:
    plan = cost_model({"scan": 36.0, "extraction": 72.0}, 10, dollars_per_core_hour=0.1, cores=30)
    assert [stage.core_hours for stage in plan.stages] == pytest.approx([100, 200])
    assert (plan.core_hours, plan.dollars, plan.node_hours) == pytest.approx((300, 30, 10))
    assert plan.input_bytes_per_second == pytest.approx(10e12 / 36_000)


def test_sorting_costs_more_per_gigabyte_where_there_is_more_to_sort() -> None:
    small, large = (cost_model({"deduplication": 3.6}, size, bytes_per_document=5_000) for size in (0.0005, 100))
    assert small.core_hours == pytest.approx(3.6 * 0.5 / 3_600)
    growth = math.log(100e12 / 5_000) / math.log(0.5e9 / 5_000)
    assert large.core_hours == pytest.approx(100 * growth)


def test_sizes_of_bands_add_up() -> None:
    plan = cost_model({"scan": 1.0}, 34, bytes_per_document=3_400, share_linked=0.1)
    assert plan.documents == pytest.approx(1e10)
    assert (plan.band_bytes, plan.shuffle_bytes, plan.kept_bytes) == pytest.approx((1.6e11, 2.24e12, 2.4e12))
    assert plan.label_bytes == pytest.approx(8e9)
    assert plan.partition_bytes <= 5e8 < 2 * plan.partition_bytes
    assert "10 billion documents" in str(plan)


@pytest.mark.parametrize(
    "wrong", [{"rates": {}}, {"rates": {"scan": 0.0}}, {"terabytes": -1}, {"share_linked": 1.5}], ids=repr
)
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="got"):
        cost_model(**{"rates": {"scan": 1.0}, "terabytes": 1, **wrong})  # type: ignore[arg-type]


def test_rates_come_from_the_rows_of_a_benchmark(tmp_path: Path) -> None:
    path = tmp_path / "bench-corpus.json"
    about = {"unit": "CPU s/GB", "machine": {"processor": "P", "python": "3"}, "versions": {"numba": "1"}}
    names = ("whole scan", "decontamination, 10 M keys", "language of the first kilobyte", "deduplication of the scan")
    path.write_text(json.dumps([{"name": name, "ours": i + 1.0, **about} for i, name in enumerate(names)]))
    rates = read_rates(path)
    assert rates.seconds_per_gigabyte == {"scan": 1, "decontamination": 2, "language": 3, "deduplication": 4}
    assert rates.machine == "P, Python 3, Numba 1"
    path.write_text(json.dumps([{"name": "whole scan", "ours": 1.0, **about}]))
    with pytest.raises(DataError, match="missing"):
        read_rates(path)
    with pytest.raises(DataError, match="no measured rates"):
        read_rates(tmp_path / "none.json")
