"""Pages carry the hash of their own style, run nothing, and escape everything that is not markup of the house."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import jinja2
import pytest
from markupsafe import Markup

from jurat.evidence import page as page_module
from jurat.evidence.page import render_page, stamp

SRC = Path(__file__).resolve().parents[2] / "src/jurat"
TEMPLATES = sorted(p.relative_to(SRC).as_posix() for p in SRC.rglob("*.html.j2"))


@pytest.fixture
def template(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small template in place of a package's."""
    text = '<meta content="style-src \'{{ style_hash }}\'"><style>{{ style }}</style><p title="{{ x }}">{{ x }}</p>'
    sheets = {"t.html.j2": text, "sheet.css": "p { color: red }", "own.css": "\np > b { }"}
    monkeypatch.setattr(page_module, "_read", lambda _, name: sheets[name])


@pytest.mark.usefixtures("template")
@pytest.mark.parametrize("style", ["", "own.css"])
def test_the_policy_names_the_hash_of_the_style_that_is_there(style: str) -> None:
    text = render_page("p", "t.html.j2", style=style, x="x")
    sheet = re.findall(r"<style>(.*?)</style>", text, re.S)[0]
    assert ("p > b" in sheet) == bool(style)
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in text


@pytest.mark.usefixtures("template")
def test_what_is_not_markup_is_escaped_in_text_and_attribute() -> None:
    text = render_page("p", "t.html.j2", x='"><script>1</script>')
    assert "<script>" not in text and text.count("&#34;&gt;&lt;script&gt;") == 2
    assert "<b>bold</b></p>" in render_page("p", "t.html.j2", x=Markup("<b>bold</b>"))


@pytest.mark.usefixtures("template")
def test_the_same_input_gives_the_same_bytes_and_a_missing_name_is_an_error() -> None:
    assert render_page("p", "t.html.j2", x="ä") == render_page("p", "t.html.j2", x="ä")
    with pytest.raises(jinja2.UndefinedError):
        render_page("p", "t.html.j2")


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_has_the_strict_policy_and_nothing_that_runs_or_fetches(name: str) -> None:
    text = (SRC / name).read_text(encoding="utf-8")
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    if "<head>" not in text:
        pytest.skip("a part of another page")
    assert len(policy) == 1
    directives = dict(d.strip().split(" ", 1) for d in policy[0].split(";") if d.strip())
    assert directives["default-src"] == "'none'" and "unsafe" not in policy[0]
    if "script-src" not in directives:
        assert "<script" not in text
    assert not re.search(r"\son\w+=|javascript:|@import|<iframe|<img", text)
    assert "| safe" not in text and "|safe" not in text, "only the code says what is markup"


@pytest.mark.parametrize(
    ("verdict", "word", "state"),
    [
        ("pass", "PASS", "ok"), ("fail", "FAIL", "bad"), ("invalid", "INVALID", "bad"),
        ("not_enough_evidence", "NOT ENOUGH EVIDENCE", "watch"), ("not enough evidence", "NOT ENOUGH EVIDENCE", "watch"),
    ],
)  # fmt: skip
def test_a_seal_says_its_verdict_and_fits_its_ring(verdict: str, word: str, state: str) -> None:
    found = stamp(verdict)
    assert (found["word"], found["state"]) == (word, state)
    assert 30 < found["first"] < found["foot"] < 110


def test_an_unknown_verdict_has_no_seal() -> None:
    with pytest.raises(KeyError):
        stamp("maybe")
