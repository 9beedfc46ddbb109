"""Computing again: bit for bit on the same engine, within a tolerance on another, clear about differences."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jurat.errors import IntegrityError, UnknownName
from jurat.evidence.estimate import Estimate, Evidence, InputFile, Receipt, Threshold
from jurat.evidence.recompute import ABSOLUTE_TOLERANCE, TOLERANCE, check_inputs, environment, recompute
from jurat.stats.interval import proportion


def share(receipt: Receipt, *, root: Path) -> Estimate:
    """Share of ones in a column of a CSV file."""
    with (root / receipt.inputs[0].path).open(newline="") as stream:
        values = [int(row[receipt.parameters["column"]]) for row in csv.DictReader(stream)]
    return Estimate.from_interval(proportion(sum(values), len(values)), metric="share", unit="row", cluster="none")


REGISTRY = {"share": share}


def swear(root: Path, **engine: str) -> Evidence:
    path = root / "labels.csv"
    path.write_text("y\n" + "1\n0\n0\n" * 20)
    receipt = Receipt(
        computation="share",
        inputs=(
            InputFile(
                path=path.name,
                size=path.stat().st_size,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            ),
        ),
        snapshot=None,
        code_sha256="",
        parameters={"column": "y"},
        seed=None,
        engine=engine.get("engine", "duckdb"),
        engine_version=engine.get("version", importlib.metadata.version("duckdb")),
        packages=environment(),
        started="2026-01-01T00:00:00+00:00",
        seconds=0.0,
    )
    return Evidence(estimate=share(receipt, root=root), receipt=receipt)


def altered(evidence: Evidence, **changes: Any) -> Evidence:
    return dataclasses.replace(evidence, estimate=dataclasses.replace(evidence.estimate, **changes))


def test_a_genuine_number_comes_out_bit_for_bit(tmp_path: Path) -> None:
    evidence = swear(tmp_path)
    again = Evidence.from_json(evidence.to_json())
    found = recompute(again, root=tmp_path, data_root=tmp_path, registry=REGISTRY)
    assert found.exact
    assert found.estimate == evidence.estimate


@pytest.mark.parametrize(
    "changes",
    [
        {"value": 0.5},
        {"low": None},
        {"n": 61},
        {"unit": "turn"},
        {"slice": {"tier": "free"}},
        {"threshold": Threshold(value=0.0, p_greater=0.5, p_less=0.5)},
    ],
)
def test_every_field_that_differs_is_named_with_both_values(tmp_path: Path, changes: dict[str, Any]) -> None:
    evidence = swear(tmp_path)
    (name,) = changes
    genuine = evidence.estimate.to_json()[name]
    with pytest.raises(IntegrityError, match=f"{name}: sworn ") as caught:
        recompute(altered(evidence, **changes), root=tmp_path, registry=REGISTRY)
    assert f"computed {genuine!r}" in str(caught.value)


def test_the_last_bit_counts_on_the_engine_of_the_receipt(tmp_path: Path) -> None:
    evidence = swear(tmp_path)
    value = evidence.estimate.value
    assert value is not None
    with pytest.raises(IntegrityError, match="value: sworn"):
        recompute(altered(evidence, value=value * (1 + 2**-52)), root=tmp_path, registry=REGISTRY)


@pytest.mark.parametrize("engine", [{"version": "0.1"}, {"engine": "an engine nobody has"}])
def test_another_engine_may_differ_by_the_tolerance_and_no_more(tmp_path: Path, engine: dict[str, str]) -> None:
    evidence = swear(tmp_path, **engine)
    value = evidence.estimate.value
    assert value is not None
    near = altered(evidence, value=value * (1 + 0.5 * TOLERANCE))
    assert not recompute(near, root=tmp_path, registry=REGISTRY).exact
    with pytest.raises(IntegrityError, match="value: sworn"):
        recompute(altered(evidence, value=value * (1 + 3 * TOLERANCE)), root=tmp_path, registry=REGISTRY)
    with pytest.raises(IntegrityError, match="n: sworn 61"):
        recompute(altered(evidence, n=61), root=tmp_path, registry=REGISTRY)


def test_a_difference_of_nought_may_be_tiny_on_another_engine(tmp_path: Path) -> None:
    def nought(receipt: Receipt, *, root: Path) -> Estimate:
        return dataclasses.replace(share(receipt, root=root), value=ABSOLUTE_TOLERANCE / 2)

    sworn = altered(swear(tmp_path, version="0.1"), value=0.0)
    assert not recompute(sworn, root=tmp_path, registry={"share": nought}).exact


def test_packages_that_changed_since_are_named(tmp_path: Path) -> None:
    evidence = swear(tmp_path)
    receipt = dataclasses.replace(evidence.receipt, packages={**evidence.receipt.packages, "numpy": "0.9"})
    with pytest.raises(IntegrityError, match=r"numpy 0\.9 → "):
        recompute(altered(dataclasses.replace(evidence, receipt=receipt), n=61), root=tmp_path, registry=REGISTRY)


def test_a_changed_file_is_named_before_anything_is_computed(tmp_path: Path) -> None:
    evidence = swear(tmp_path)
    path = tmp_path / "labels.csv"
    path.write_text(path.read_text().replace("1", "0", 1))
    with pytest.raises(IntegrityError, match=r"labels\.csv changed") as caught:
        recompute(evidence, root=tmp_path, data_root=tmp_path, registry={})
    seen = hashlib.sha256(path.read_bytes()).hexdigest()
    assert seen[:16] in str(caught.value)
    assert evidence.receipt.inputs[0].sha256[:16] in str(caught.value)


def test_all_files_that_do_not_match_are_named(tmp_path: Path) -> None:
    good = swear(tmp_path).receipt.inputs[0]
    check_inputs((good,), tmp_path)
    wrong_size = dataclasses.replace(good, size=good.size + 1)
    missing = InputFile(path="gone.csv", size=1, sha256="00")
    with pytest.raises(IntegrityError, match=r"labels\.csv changed \(and 1 more\)[\s\S]*gone\.csv is missing"):
        check_inputs((wrong_size, good, missing), tmp_path)


def test_an_unknown_computation_is_refused_with_near_names(tmp_path: Path) -> None:
    evidence = swear(tmp_path)
    with pytest.raises(UnknownName, match="did you mean 'shares'"):
        recompute(evidence, root=tmp_path, registry={"shares": share})
    with pytest.raises(UnknownName, match="unknown computation"):
        recompute(evidence, root=tmp_path)


def test_installed_computations_are_found_by_their_entry_points() -> None:
    points = {point.name: point for point in importlib.metadata.entry_points(group="jurat.computations")}
    assert {"metric_level", "metric_contrast"} <= points.keys()


def test_the_environment_is_read_without_importing_what_it_names() -> None:
    code = (
        "import sys; from jurat.evidence.recompute import environment; environment(); "
        "print([m for m in ('numba', 'duckdb', 'deltalake', 'pyarrow', 'sqlglot') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    versions = environment()
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions["numpy"] == importlib.metadata.version("numpy")
