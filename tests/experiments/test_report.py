"""The report: one page without script or outside request, hostile names as text, every estimate with interval and n."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jurat.experiments.report import render_report
from jurat.experiments.run import run_analysis
from jurat.simulate.experiment import simulate_experiment, write_experiment
from tests.experiments.case import users_table, write_case

HOSTILE = '<script>alert("1")</script>&\'"><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_experiment(simulate_experiment(users=600, seed=1), folder / "trial")
    run_analysis(folder / "trial/experiment.toml", out=folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def document(result: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((result / "result.json").read_text(encoding="utf-8"))
    return found


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on a tag that closes nothing."""

    _VOID = frozenset({"meta", "br", "hr", "img", "input", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def safe(text: str) -> Page:
    """Hold a page against its policy: nothing runs, nothing is fetched."""
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
        "audio",
        "video",
        "use",
        "image",
    }
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("style", "href", "src", "action", "srcset") or str(value).startswith("#"), (tag, name)
    policy = [a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    style = re.findall(r"<style>(.*?)</style>", text, re.S)
    assert len(policy) == len(style) == 1
    own = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert policy[0] == f"default-src 'none'; style-src 'sha256-{own}'; base-uri 'none'; form-action 'none'"
    assert "@import" not in style[0] and "url(" not in style[0]
    return page


def test_the_page_runs_nothing_fetches_nothing_and_says_so(result: Path) -> None:
    safe((result / "report.html").read_text(encoding="utf-8"))


def test_the_report_from_the_json_is_the_report_of_the_analysis(result: Path, document: dict[str, Any]) -> None:
    text = (result / "experiment.toml").read_text(encoding="utf-8")
    again = render_report(document, spec_text=text)
    assert again == (result / "report.html").read_text(encoding="utf-8") == render_report(document, spec_text=text)


def test_the_page_says_what_the_json_says(result: Path, document: dict[str, Any]) -> None:
    words = " ".join("".join(Page((result / "report.html").read_text(encoding="utf-8")).texts).split())
    for sentence in (*document["plain"], *document["not_shown"], document["recommendation"], document["hypothesis"]):
        assert " ".join(sentence.split()) in words
    for check in document["checks"]:
        assert check["name"].replace("_", " ") in words and " ".join(check["detail"].split()) in words
    assert document["spec"]["sha256"] in words and document["standing_reason"] in words


def rows_of(text: str) -> list[list[str]]:
    """Body rows of every table, tags stripped."""
    found = []
    for body in re.findall(r"<tbody>(.*?)</tbody>", text, re.S):
        for row in re.findall(r"<tr>(.*?)</tr>", body, re.S):
            found.append([re.sub(r"<[^>]+>", "", c).strip() for c in re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)])
    return found


def test_every_estimate_in_a_table_has_its_interval_n_and_method(result: Path, document: dict[str, Any]) -> None:
    rows = rows_of((result / "report.html").read_text(encoding="utf-8"))
    levels = 3 * len(document["effects"])
    assert len(rows) == levels + sum(len(s["rows"]) for s in document["sensitivity"])
    for metric, where, value, interval, n, _, method in rows:
        assert metric and where and value and method
        assert re.fullmatch(r"\[.+, .+\]|–", interval), (metric, where, interval)
        assert int(n.replace(",", "")) > 0


def test_every_claim_has_a_panel_with_its_interval_n_and_a_word(result: Path, document: dict[str, Any]) -> None:
    page = Page((result / "report.html").read_text(encoding="utf-8"))
    panels = [a["aria-label"] for t, a in page.tags if t == "svg" and a.get("class") == "plot panel"]
    assert len(panels) == len(document["claims"])
    for label in panels:
        assert label is not None and re.search(r"\[.+, .+\], (clears|violated|undecided)$", label), label
    words = "".join(page.texts)
    for claim in document["claims"]:
        assert f"n = {claim['estimate']['n']:,}" in words
    pictures = [a for t, a in page.tags if t == "svg"]
    assert all(a.get("role") == "img" and a.get("aria-label") for a in pictures), "each picture is told in words"


def test_value_stands_left_of_risk(result: Path) -> None:
    headings = re.findall(r"<h3>(\w[\w ]*)</h3>", (result / "report.html").read_text(encoding="utf-8"))
    assert headings[:3] == ["Value", "Risk", "Hard line"]


def hostile(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    table = users_table(160, 1)
    table = table.append_column("s", pa.array(rng.choice([HOSTILE, "q"], table.num_rows)))
    arms = {"a": 0.5, HOSTILE: 0.5}
    column = pa.array([HOSTILE if a == "b" else a for a in table["arm"].to_pylist()])
    table = table.set_column(table.schema.get_field_index("arm"), "arm", column)
    metrics = {
        "y": {"kind": "mean", "value": "y", "better": "higher", "role": "value", "title": HOSTILE, "unit": HOSTILE},
        "bad": {"kind": "proportion", "value": "bad", "better": "lower", "role": "risk", "title": HOSTILE},
        "tail": {"kind": "quantile", "value": "y", "q": 0.9, "better": "higher", "title": HOSTILE},
    }
    bar = {
        "name": HOSTILE,
        "value": {"metric": "y", "test": "superior"},
        "risk": {
            "metric": "bad",
            "test": "noninferior",
            "margin": "+5pp",
            "rationale": HOSTILE,
            "max_upper_bound": 0.9,
        },
    }
    spec = write_case(
        folder, {"outcomes": table}, assignment__arms=arms, metrics=metrics, bar=[bar], hypothesis=HOSTILE, owner=HOSTILE,
        population={"describe": HOSTILE}, not_measured=[HOSTILE], simpson={"stratifiers": ["s"]}, data__time="day",
        inference__method="confidence_sequence", inference__planned_clusters=160,
        checks=["sample_ratio", "multiple_exposure"],
    )  # fmt: skip
    found: dict[str, Any] = run_analysis(spec)
    return found


def test_hostile_names_are_text(tmp_path: Path) -> None:
    found = hostile(tmp_path)
    text = render_report(found, spec_text=HOSTILE)
    page = safe(text)
    assert "".join(page.texts).count("<script>alert") > 8
    assert any("<script>" in str(a.get("aria-label")) for t, a in page.tags if t == "svg")


def test_an_invalid_result_warns_before_every_number(document: dict[str, Any]) -> None:
    broken = copy.deepcopy(document)
    broken["answer"] = "invalid"
    broken["checks"][0] |= {"status": "failed", "detail": "10 against 20"}
    text = render_report(broken)
    safe(text)
    warned = text.index("A check failed: these numbers show what the data hold")
    assert text.index("sample ratio failed.") < warned < text.index('class="plot panel"')
    assert "INVALID" in text and "No valid answer" in text


def test_an_exploratory_pass_does_not_say_launch(document: dict[str, Any]) -> None:
    passed = copy.deepcopy(document)
    passed["answer"] = "pass"
    text = render_report(passed)
    assert "nobody bound beforehand" in text and "Launch: every claim" not in text
    passed["standing"] = "confirmatory"
    assert "Launch: every claim clears" in render_report(passed)


def test_an_undefined_estimate_is_drawn_without_a_number_made_up(tmp_path: Path) -> None:
    table = users_table(160, 1)
    flat = table.set_column(table.schema.get_field_index("y"), "y", pa.array(np.full(table.num_rows, 3.0)))
    found = run_analysis(write_case(tmp_path, {"outcomes": flat}))
    text = render_report(found)
    safe(text)
    assert "no lower bound" in text and "NaN" not in text and ">nan<" not in text and "inf]" not in text


def test_several_treatments_each_have_their_panels(tmp_path: Path) -> None:
    table = users_table(240, 1)
    place = {u: "abc"[int(u[1:]) % 3] for u in set(table["user"].to_pylist())}
    column = pa.array([place[u] for u in table["user"].to_pylist()])
    table = table.set_column(table.schema.get_field_index("arm"), "arm", column)
    arms = {"a": 0.34, "b": 0.33, "c": 0.33}
    found = run_analysis(write_case(tmp_path, {"outcomes": table}, assignment__arms=arms))
    text = render_report(found)
    safe(text)
    assert "Value against risk: b" in text and "Value against risk: c" in text
    assert text.count('class="plot panel"') == 4
