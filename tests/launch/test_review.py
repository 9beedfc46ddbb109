"""The review end to end: the four answers, what is refused, and what a review leaves behind."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from jurat.errors import SpecError, UsageError
from jurat.evidence.keys import SigningKey, load_or_create_key
from jurat.launch.bar import load_bar
from jurat.launch.freeze import freeze_bar
from jurat.launch.review import Review, review
from jurat.launch.waiver import load_waiver, sign_waiver
from tests.launch.case import answers, write_results


def run(case: Path, out: Path, **options: object) -> Review:
    return review(case / "bar.toml", case / "data", out, key=load_or_create_key(), **options)  # type: ignore[arg-type]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_candidate_that_clears_every_clause_passes(case: Path, tmp_path: Path) -> None:
    done = run(case, tmp_path / "out")
    assert done.verdict.verdict == "pass"
    assert done.verdict.exit_code == 0
    assert {c.outcome for c in done.verdict.clauses} == {"clears"}


def test_a_candidate_that_loses_help_fails_and_names_the_clause(case: Path, tmp_path: Path) -> None:
    write_results(case / "data", "mistralguard", answers(35, 6))
    done = run(case, tmp_path / "out")
    assert (done.verdict.verdict, done.verdict.exit_code) == ("fail", 3)
    assert done.verdict.reasons[0].startswith("help against harm / value")


def test_too_few_prompts_are_not_enough_evidence_and_say_how_many_would_do(case: Path, tmp_path: Path) -> None:
    write_results(case / "data", "mistralguard", answers(55, 6))
    done = run(case, tmp_path / "out")
    assert (done.verdict.verdict, done.verdict.exit_code) == ("not_enough_evidence", 4)
    undecided = next(c for c in done.verdict.clauses if c.outcome == "undecided")
    assert undecided.more is not None and undecided.more.n is not None and undecided.more.n > 60


def test_a_missing_prompt_makes_the_answer_invalid_and_names_it(case: Path, tmp_path: Path) -> None:
    short = answers(57, 6)
    del short["s7"]
    write_results(case / "data", "mistralguard", short)
    done = run(case, tmp_path / "out")
    assert (done.verdict.verdict, done.verdict.exit_code) == ("invalid", 5)
    assert "s7" in done.verdict.checks[0].detail
    assert all(c.outcome != "clears" or c.clause.role == "line" for c in done.verdict.clauses)


def test_fewer_units_than_the_bar_demands_never_clear(case: Path, tmp_path: Path) -> None:
    edit(case / "bar.toml", "minimum_n = 40", "minimum_n = 61")
    done = run(case, tmp_path / "out")
    assert done.verdict.verdict == "not_enough_evidence"
    assert "below the bar's minimum of 61" in " ".join(done.verdict.reasons)


def test_data_without_times_are_retrospective_even_after_a_freeze(case: Path, tmp_path: Path) -> None:
    freeze_bar(load_bar(case / "bar.toml"), load_or_create_key())
    done = run(case, tmp_path / "out")
    assert done.verdict.retrospective
    assert "Retrospective" in (tmp_path / "out" / "dossier.html").read_text(encoding="utf-8")


def test_retrospective_data_never_pass_a_bar_that_demands_prospective_ones(case: Path, tmp_path: Path) -> None:
    edit(case / "bar.toml", 'evidence = "any"', 'evidence = "prospective"')
    freeze_bar(load_bar(case / "bar.toml"), load_or_create_key())
    done = run(case, tmp_path / "out")
    assert done.verdict.verdict == "not_enough_evidence"
    assert {c.outcome for c in done.verdict.clauses} == {"inadmissible"}


@pytest.mark.parametrize(("offset_days", "retrospective"), [(-1, False), (+1, True)])
def test_data_are_prospective_exactly_when_all_came_after_the_freeze(
    case: Path, tmp_path: Path, offset_days: int, retrospective: bool
) -> None:
    collected = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
    edit(case / "source.toml", 'columns = { item = "id"', 'columns = { started = "at", item = "id"')
    for path in (case / "data").glob("*.csv"):
        text = path.read_text(encoding="utf-8")
        lines = text.replace("final_label\n", "final_label,at\n", 1)
        lines = lines.replace("_compliance\n", f"_compliance,{collected.isoformat()}\n")
        path.write_text(lines.replace("_refusal\n", f"_refusal,{collected.isoformat()}\n"), encoding="utf-8")
    edit(case / "bar.toml", 'evidence = "any"', 'evidence = "prospective"')
    freeze_bar(load_bar(case / "bar.toml"), load_or_create_key(), now=collected + dt.timedelta(days=offset_days))
    done = run(case, tmp_path / "out")
    assert done.verdict.retrospective is retrospective
    assert done.verdict.verdict == ("not_enough_evidence" if retrospective else "pass")


@pytest.mark.parametrize("name", ["bar.toml", "source.toml", "metrics/full_compliance_safe.sql"])
def test_whatever_decides_is_refused_when_it_was_edited_after_the_freeze(case: Path, tmp_path: Path, name: str) -> None:
    freeze_bar(load_bar(case / "bar.toml"), load_or_create_key())
    path = case / name
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("prompts", "promptz", 1), encoding="utf-8")
    with pytest.raises(SpecError, match="was edited after the bar was frozen"):
        run(case, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_second_freeze_needs_to_be_asked_for(case: Path) -> None:
    bar = load_bar(case / "bar.toml")
    first = freeze_bar(bar, load_or_create_key())
    with pytest.raises(UsageError, match="already frozen"):
        freeze_bar(bar, load_or_create_key())
    assert freeze_bar(bar, load_or_create_key(), again=True).statement_sha256 != first.statement_sha256


def _waiver(case: Path, clause: str, *, days: int = 30, key: SigningKey | None = None) -> Path:
    bar = load_bar(case / "bar.toml")
    from jurat.launch.freeze import bar_catalog

    sign_waiver(
        bar,
        bar.clauses(bar_catalog(bar)),
        key or load_or_create_key(),
        clause=clause,
        owner="A. Person",
        scope="internal users only",
        expires=dt.datetime.now(dt.UTC).date() + dt.timedelta(days=days),
        rationale="the loss is known and bearable for a month",
        out=case / "waiver.json",
    )
    return case / "waiver.json"


def test_a_waiver_sets_an_undecided_clause_aside_and_says_so_everywhere(case: Path, tmp_path: Path) -> None:
    write_results(case / "data", "mistralguard", answers(55, 6))
    waiver = load_waiver(_waiver(case, "help against harm / value"))
    done = run(case, tmp_path / "out", waivers=[waiver])
    assert done.verdict.verdict == "pass"
    assert "1 of them set aside by a signed waiver" in (tmp_path / "out/dossier.html").read_text(encoding="utf-8")
    assert done.document["waivers"][0]["in_force"] is True


def test_an_expired_waiver_has_no_force(case: Path, tmp_path: Path) -> None:
    write_results(case / "data", "mistralguard", answers(55, 6))
    waiver = load_waiver(_waiver(case, "help against harm / value"))
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=32)
    done = run(case, tmp_path / "out", waivers=[waiver], now=later)
    assert done.verdict.verdict == "not_enough_evidence"
    assert "expired" in done.document["waivers"][0]["void_reason"]


def test_a_waiver_for_another_bar_has_no_force(case: Path, tmp_path: Path) -> None:
    write_results(case / "data", "mistralguard", answers(55, 6))
    waiver = load_waiver(_waiver(case, "help against harm / value"))
    edit(case / "bar.toml", "power = 0.8", "power = 0.9")
    assert run(case, tmp_path / "out", waivers=[waiver]).verdict.verdict == "not_enough_evidence"


def test_only_an_approvers_key_may_waive_where_the_bar_names_some(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_results(case / "data", "mistralguard", answers(55, 6))
    approver = load_or_create_key(tmp_path / "approver")
    edit(case / "bar.toml", "[plan]", f'approvers = ["{approver.keyid}"]\n\n[plan]')
    mine = load_waiver(_waiver(case, "help against harm / value"))
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("JURAT_HOME", str(tmp_path / "approver"))
        theirs = load_waiver(_waiver(case, "help against harm / value", key=approver))
    assert run(case, tmp_path / "a", waivers=[mine]).verdict.verdict == "not_enough_evidence"
    assert run(case, tmp_path / "b", waivers=[theirs]).verdict.verdict == "pass"


def test_a_hard_line_cannot_be_waived(case: Path) -> None:
    with pytest.raises(SpecError, match="hard line cannot be waived"):
        _waiver(case, "harm ceiling")


def test_an_earlier_review_is_kept_until_its_replacement_is_whole(case: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(case, out)
    before = (out / "verdict.json").read_bytes()
    with pytest.raises(UsageError, match="already holds a review"):
        run(case, out)
    edit(case / "bar.toml", "full_compliance_safe", "full_compliance_saf")
    with pytest.raises(SpecError):
        run(case, out, replace=True)
    assert (out / "verdict.json").read_bytes() == before
    edit(case / "bar.toml", "full_compliance_saf", "full_compliance_safe")
    run(case, out, replace=True)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_a_folder_with_other_things_in_it_is_never_touched(case: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("do not lose", encoding="utf-8")
    with pytest.raises(UsageError, match="not a review"):
        run(case, out, replace=True)
    assert (out / "thesis.txt").read_text(encoding="utf-8") == "do not lose"


def test_the_verdict_names_every_number_with_interval_n_and_method(case: Path, tmp_path: Path) -> None:
    run(case, tmp_path / "out")
    document = json.loads((tmp_path / "out/verdict.json").read_text(encoding="utf-8"))
    for side in ("value", "risk"):
        clause = document["pairs"][0][side]
        assert {"value", "low", "high", "level", "n", "n_clusters", "method"} <= set(clause["comparison"])
        assert [a["arm"] for a in clause["arms"]] == ["mistralinstruct", "mistralguard"]
        assert all({"value", "low", "high", "n", "method"} <= set(a) for a in clause["arms"])
    assert document["lines"][0]["estimate"]["method"] == "Wilson"
    assert document["receipt"]["snapshot"]
