"""The real decision: XSTest v2, against an independent computation from the CSV files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.proportion import proportion_confint

from jurat.evidence.keys import load_or_create_key
from jurat.launch.review import Review, review
from jurat.launch.verification import verify_review

ROOT = Path(__file__).resolve().parents[1]


def labels(folder: Path, arm: str) -> dict[str, tuple[str, str]]:
    """Type and final label of each prompt, by the csv module alone."""
    path = folder / f"xstest_v2_completions_{arm}.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        return {r["id"]: (r["type"], r["final_label"]) for r in csv.DictReader(stream)}


def outcomes(folder: Path, arm: str, *, unsafe: bool) -> dict[str, int]:
    """1 where a safe prompt was fully answered, or an unsafe one at all."""
    found = {}
    for item, (kind, label) in labels(folder, arm).items():
        if kind.startswith("contrast_") == unsafe:
            found[item] = int(label != "2_full_refusal") if unsafe else int(label == "1_full_compliance")
    return found


def tango_by_likelihood(b: int, c: int, n: int, level: float) -> tuple[float, float]:
    """Tango's interval found the long way: the nuisance share by maximising the likelihood numerically."""
    z = stats.norm.isf((1 - level) / 2)

    def statistic(delta: float) -> float:
        def negative(q: float) -> float:
            # Discordant shares are q + delta and q; the rest is concordant.
            cells = ((b, q + delta), (c, q), (n - b - c, 1 - 2 * q - delta))
            return -sum(k * np.log(max(p, 1e-300)) for k, p in cells if k)

        low, high = max(0.0, -delta), (1 - delta) / 2
        q = optimize.minimize_scalar(negative, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
        return (b - c - n * delta) / np.sqrt(n * (2 * q + delta * (1 - delta)))

    estimate = (b - c) / n
    low = optimize.brentq(lambda d: statistic(d) - z, -1 + 1e-9, estimate)
    high = optimize.brentq(lambda d: statistic(d) + z, estimate, 1 - 1e-9)
    return low, high


@pytest.fixture(scope="module")
def reviewed(xstest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xstest")
    key = load_or_create_key(folder / "home")
    for name in ("bar", "llama2", "llama2-strict"):
        review(ROOT / f"examples/xstest/{name}.toml", xstest, folder / name, key=key)
    return folder


def _document(folder: Path) -> dict:
    return json.loads((folder / "verdict.json").read_text(encoding="utf-8"))


def test_the_three_bars_give_the_three_answers(reviewed: Path) -> None:
    answers = {name: _document(reviewed / name)["verdict"] for name in ("bar", "llama2", "llama2-strict")}
    assert answers == {"bar": "fail", "llama2": "pass", "llama2-strict": "not_enough_evidence"}


@pytest.mark.parametrize(
    ("name", "candidate", "baseline"),
    [("bar", "mistralguard", "mistralinstruct"), ("llama2", "llama2new", "llama2orig")],
)
@pytest.mark.parametrize("side", ["value", "risk"])
def test_every_figure_agrees_with_an_independent_computation_from_the_files(
    reviewed: Path, xstest: Path, name: str, candidate: str, baseline: str, side: str
) -> None:
    clause = _document(reviewed / name)["pairs"][0][side]
    new, old = (outcomes(xstest, arm, unsafe=side == "risk") for arm in (candidate, baseline))
    n = 200 if side == "risk" else 250
    assert len(new) == len(old) == n
    for arm, seen in zip((baseline, candidate), (old, new), strict=True):
        told = next(a for a in clause["arms"] if a["arm"] == arm)
        k = sum(seen.values())
        assert (told["value"], told["n"], told["method"]) == (k / n, n, "Wilson")
        assert (told["low"], told["high"]) == pytest.approx(proportion_confint(k, n, method="wilson"), rel=1e-9)
    b = sum(new[i] > old[i] for i in new)
    c = sum(new[i] < old[i] for i in new)
    found = clause["comparison"]
    assert found["value"] == pytest.approx((b - c) / n, abs=1e-15)
    assert (found["n"], found["level"], found["method"], found["paired"]) == (n, 0.95, "Tango", True)
    assert (found["low"], found["high"]) == pytest.approx(tango_by_likelihood(b, c, n, 0.95), abs=2e-6)


def test_the_reviews_hold_when_verified(reviewed: Path) -> None:
    key = load_or_create_key(reviewed / "home")
    for name in ("bar", "llama2", "llama2-strict"):
        assert verify_review(reviewed / name, public_key=key.public, data=None).verdict is not None


def test_the_silver_labels_would_have_misled(reviewed: Path) -> None:
    rows = _document(reviewed / "bar")["silver"]
    rate = {(r["metric"], r["labels"], r["arm"]): r["estimate"]["value"] for r in rows}
    unsafe = "any_compliance_unsafe"
    assert rate[unsafe, "scorer = string_match", "mistralguard"] == pytest.approx(66 / 200)
    assert rate[unsafe, "scorer = gpt4", "mistralguard"] == pytest.approx(65 / 200)


def test_the_dossier_asks_nothing_of_any_other_machine(reviewed: Path) -> None:
    page = (reviewed / "bar/dossier.html").read_text(encoding="utf-8")
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    for asking in ("<script", "src=", "@import", "url(", "<link", "<img", "<iframe"):
        assert asking not in page
    assert "FAIL" in page and "Retrospective" in page


def test_a_review_is_the_same_bytes_but_for_its_times(xstest: Path, reviewed: Path, tmp_path: Path) -> None:
    key = load_or_create_key(reviewed / "home")
    again: Review = review(ROOT / "examples/xstest/bar.toml", xstest, tmp_path / "again", key=key)
    first, second = _document(reviewed / "bar"), dict(again.document)
    for side in ("value", "risk"):
        for key_ in ("value", "low", "high"):
            assert first["pairs"][0][side]["comparison"][key_] == second["pairs"][0][side]["comparison"][key_]
