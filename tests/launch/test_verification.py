"""A sceptic's view of a review folder: whatever is changed is found and named."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from pathlib import Path

import pytest

from jurat.errors import IntegrityError, JuratError
from jurat.evidence.keys import SigningKey, load_or_create_key
from jurat.evidence.ledger import read_entries
from jurat.launch.review import review
from jurat.launch.verification import verify_evidence, verify_review

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def done(case: Path, tmp_path: Path) -> Path:
    key = load_or_create_key()
    review(case / "bar.toml", case / "data", tmp_path / "out", key=key)
    return tmp_path / "out"


def _verify(folder: Path) -> None:
    verify_review(folder, public_key=load_or_create_key().public, data=None)


def test_an_untouched_review_holds(done: Path) -> None:
    report = verify_review(done, public_key=load_or_create_key().public, data=None)
    assert report.verdict == "pass"
    assert any("bit for bit" in step for step in report.steps)


def test_one_flipped_byte_in_any_file_is_found_and_the_file_is_named(done: Path, case: Path) -> None:
    files = sorted(p for p in done.rglob("*") if p.is_file() and p.stat().st_size)
    assert len(files) > 12
    for path in [*files, *sorted((case / "data").iterdir())]:
        original = path.read_bytes()
        position = (len(original) * 2) // 3
        path.write_bytes(original[:position] + bytes([original[position] ^ 1]) + original[position + 1 :])
        with pytest.raises(JuratError) as caught:
            _verify(done)
        told = str(caught.value)
        assert path.name in told or (path.name == "ledger.jsonl" and "entry" in told), (path.name, told)
        path.write_bytes(original)
    _verify(done)


def test_a_file_that_is_missing_or_added_is_named(done: Path) -> None:
    extra = done / "evidence" / "0.json"
    extra.write_text("{}", encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"evidence/0\.json was added"):
        _verify(done)
    extra.unlink()
    (done / "source.toml").unlink()
    with pytest.raises(IntegrityError, match=r"source\.toml is missing"):
        _verify(done)


def test_a_ledger_from_another_key_is_refused(done: Path) -> None:
    with pytest.raises(IntegrityError, match="signed by another key"):
        verify_review(done, public_key=SigningKey.generate().public, data=None)


def test_moved_data_are_found_where_one_says(done: Path, case: Path, tmp_path: Path) -> None:
    shutil.move(case / "data", tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="missing"):
        _verify(done)
    verify_review(done, public_key=None, data=tmp_path / "elsewhere")


def test_one_number_is_checked_by_its_file(done: Path, case: Path) -> None:
    path = sorted((done / "evidence").iterdir())[0]
    report = verify_evidence(path, public_key=None, data=None)
    assert any("bit for bit" in step for step in report.steps)
    data = sorted((case / "data").iterdir())[0]
    data.write_bytes(data.read_bytes().replace(b"1_full", b"2_full", 1))
    with pytest.raises(IntegrityError, match=data.name):
        verify_evidence(path, public_key=None, data=None)


def test_a_verdict_that_does_not_follow_from_its_evidence_is_found_even_when_everything_is_signed_anew(
    done: Path,
) -> None:
    from jurat.evidence.ledger import Ledger
    from jurat.launch.files import files_in

    document = json.loads((done / "verdict.json").read_text(encoding="utf-8"))
    document["verdict"] = "fail"
    (done / "verdict.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    forged = {f.path: {"size": f.size, "sha256": f.sha256} for f in files_in(done)}
    Ledger(done / "ledger.jsonl", load_or_create_key()).append("files", forged)
    with pytest.raises(IntegrityError, match="does not follow from its evidence"):
        _verify(done)


def test_the_folder_can_be_moved_with_its_data(done: Path, case: Path, tmp_path: Path) -> None:
    new = tmp_path / "far" / "away"
    new.mkdir(parents=True)
    relative = os.path.relpath(case, tmp_path)
    shutil.copytree(tmp_path / relative, new / relative)
    shutil.copytree(done, new / "out")
    shutil.rmtree(case)
    verify_review(new / "out", public_key=load_or_create_key().public, data=None)


def test_a_lake_that_was_moved_is_found_where_one_says(tmp_path: Path) -> None:
    from jurat.simulate.assistant import simulate_preset, write_world
    from jurat.store.lake import Lake

    world = simulate_preset("small", seed=1, start=dt.datetime(2026, 1, 5, tzinfo=dt.UTC))
    write_world(world, Lake(tmp_path / "lake"), tmp_path / "truth.json")
    bar = ROOT / "src/jurat/cli/demo_bar.toml"
    key = load_or_create_key()
    review(bar, tmp_path / "lake", tmp_path / "out", key=key)
    shutil.move(tmp_path / "lake", tmp_path / "attic")
    with pytest.raises(IntegrityError, match="missing"):
        verify_review(tmp_path / "out", public_key=key.public, data=None)
    assert verify_review(tmp_path / "out", public_key=key.public, data=tmp_path / "attic").verdict is not None
    number = sorted((tmp_path / "out/evidence").iterdir())[0]
    verify_evidence(number, public_key=key.public, data=tmp_path / "attic")
    parquet = next((tmp_path / "attic/spans").glob("*.parquet"))
    parquet.write_bytes(parquet.read_bytes()[:-9] + b"X" + parquet.read_bytes()[-8:])
    with pytest.raises(IntegrityError, match=parquet.name):
        verify_review(tmp_path / "out", public_key=key.public, data=tmp_path / "attic")


def test_a_folder_that_was_rolled_back_as_a_whole_is_found_by_the_one_who_reviewed(done: Path) -> None:
    from jurat.evidence.ledger import Ledger, head_path
    from jurat.launch.anchor import anchored_head

    ledger = Ledger(done / "ledger.jsonl", load_or_create_key())
    assert anchored_head(done) == ledger.entries()[-1].line_sha256
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    # The state before the last entry was genuine once; the head over it is signed by the owner's own code.
    ledger.path.write_bytes(b"".join(lines[:-1]))
    head_path(ledger.path).unlink()
    with ledger.path.open("r+b") as stream:
        stream.seek(0, os.SEEK_END)
        ledger._seal(stream, read_entries(ledger.path)[-1])
    with pytest.raises(IntegrityError, match="rolled back"):
        _verify(done)
