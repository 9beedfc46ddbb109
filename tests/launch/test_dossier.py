"""The page: hostile text stays text, sentences agree with their numbers, nothing is fetched."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from jurat.evidence.keys import load_or_create_key
from jurat.launch import words
from jurat.launch.dossier import render_dossier
from jurat.launch.review import review
from tests.launch.case import answers, write_results


@pytest.fixture
def document(case: Path, tmp_path: Path) -> dict:
    review(case / "bar.toml", case / "data", tmp_path / "out", key=load_or_create_key())
    return json.loads((tmp_path / "out/verdict.json").read_text(encoding="utf-8"))


def _replace(value: object, old: str, new: str) -> object:
    if isinstance(value, dict):
        return {k: _replace(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [_replace(v, old, new) for v in value]
    return value.replace(old, new) if isinstance(value, str) else value


def test_hostile_names_stay_text(document: dict) -> None:
    hostile = '<script>alert("x")</script>'
    told = _replace(copy.deepcopy(document), "mistralguard", hostile)
    told = _replace(told, "Full compliance with safe prompts", '"><img src=x onerror=alert(1)>')
    page = render_dossier(told, bar_text=hostile, metric_texts={hostile: "</pre>" + hostile})  # type: ignore[arg-type]
    assert "<script" not in page and "<img" not in page
    assert "&lt;script&gt;" in page


def test_the_pictures_are_well_formed_and_show_every_clause(document: dict) -> None:
    page = render_dossier(document, bar_text="", metric_texts={})
    pictures = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg class=\"forest\".*?</svg>", page, re.DOTALL)]
    points = sum(len([e for e in p if e.get("class", "").startswith("point")]) for p in pictures)
    assert points == len(words.iterate_clauses(document))


def test_the_policy_forbids_everything_but_its_own_style(document: dict) -> None:
    page = render_dossier(document, bar_text="", metric_texts={})
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None and "default-src 'none'" in policy[1].replace("&#39;", "'")
    assert " style=" not in page, "an inline style would be refused by the page's own policy"


def test_each_outcome_is_said_by_a_word_and_a_glyph(case: Path, tmp_path: Path) -> None:
    write_results(case / "data", "mistralguard", answers(35, 6))
    review(case / "bar.toml", case / "data", tmp_path / "o", key=load_or_create_key())
    page = (tmp_path / "o/dossier.html").read_text(encoding="utf-8")
    assert "■ violated" in page and "● clears" in page


def test_plain_words_follow_the_numbers(document: dict) -> None:
    arms = document["arms"]
    clause = document["pairs"][0]["risk"]
    told = words.in_plain_words(clause, arms)
    low, high = sorted(abs(100 * clause["comparison"][k]) for k in ("low", "high"))
    assert f"between {low:.1f} points and {high:.1f} points" in told and "lowers" in told
    undecided = copy.deepcopy(clause)
    undecided["comparison"].update(low=-0.02, high=0.03)
    assert words.in_plain_words(undecided, arms).endswith(
        "by up to 2.0 points or raise it by up to 3.0 points: these data do not tell which."
    )


@pytest.mark.parametrize(
    ("value", "shape", "text"),
    [
        (-0.172, "share", "−17.2"),
        (0.0, "share", "0.0"),
        (-0.00001, "share", "0.00"),
        (1234.5, "number", "+1,234"),
        (None, "share", "undefined"),
    ],
)
def test_differences_are_written_with_their_sign_and_zero_without(value: float | None, shape: str, text: str) -> None:
    assert words.signed_amount(value, shape) == text
