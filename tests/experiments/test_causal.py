"""Answers without randomisation: each names its assumption, its placebo and its cap, and refuses bad tables by name."""

from __future__ import annotations

import datetime
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from statsmodels.datasets import nile

from jurat.errors import DataError, SpecError, UnknownName, UsageError
from jurat.experiments.causal import (
    CausalAnswer,
    PlaceboCheck,
    analyse_difference_in_differences,
    analyse_event_study,
    analyse_local_level,
    analyse_synthetic_control,
    analyse_synthetic_difference_in_differences,
    analyse_weighting,
)
from jurat.experiments.causal_figures import (
    causal_figure,
    event_study_figure,
    forecast_figure,
    overlap_figure,
    twin_figure,
)
from jurat.stats.weighting import augmented_inverse_probability_weighting, regression_adjustment
from tests.conftest import data_folder

SOURCE = Path(__file__).resolve().parents[2] / "src/jurat"
STYLE = (SOURCE / "experiments/templates/causal.css").read_text(encoding="utf-8")
SMOKING = {"outcome": "PacksPerCapita", "unit": "State", "time": "Year", "first_treated_time": 1989}


@pytest.fixture(scope="module")
def smoking() -> pa.Table:
    path = data_folder("experiments") / "prop99.csv"
    return pacsv.read_csv(path, parse_options=pacsv.ParseOptions(delimiter=";"))


@pytest.fixture(scope="module")
def earnings() -> pa.Table:
    return pacsv.read_csv(data_folder("experiments") / "lalonde_matchit.csv")


def _panel(*, drift: float = 0.0, dates: bool = False) -> pa.Table:
    rng = np.random.default_rng(1)
    unit, time = np.repeat(np.arange(30), 8), np.tile(np.arange(8), 30)
    treated = unit < 10
    y = (unit % 7) * 0.2 + time * 0.3 + treated * (2.0 * (time >= 5) + drift * time) + rng.normal(0, 0.5, 240)
    days = [datetime.date(2026, 1 + t, 1) for t in range(8)]
    return pa.table(
        {
            "y": y,
            "unit": [f"u{u}" for u in unit],
            "time": [days[t] for t in time] if dates else time,
            "start": [(days[5] if dates else 5) if t else None for t in treated],
            "treated": treated,
            "after": time >= 5,
        }
    )


def _rows() -> pa.Table:
    rng = np.random.default_rng(7)
    x = rng.normal(size=500)
    t = rng.random(500) < 1 / (1 + np.exp(-x))
    harm = (rng.random(500) < np.where(t, 0.5, 0.2)).astype(int)
    region = np.where(x > 1, "north", np.where(x < -1, "south", "west"))
    return pa.table(
        {
            "x": x,
            "t": t,
            "y": t + x + rng.normal(size=500),
            "harm": harm,
            "region": region,
            "past": x + rng.normal(size=500),
        }
    )


def _series() -> pa.Table:
    rng = np.random.default_rng(4)
    x = rng.normal(size=60).cumsum()
    y = 2 * x + rng.normal(0, 0.5, 60) + 3.0 * (np.arange(60) >= 45)
    order = rng.permutation(60)
    return pa.table({"y": y[order], "x": x[order], "week": np.arange(60)[order]})


def _answers() -> dict[str, CausalAnswer]:
    panel = _panel()
    synthetic = {"outcome": "y", "unit": "unit", "time": "time", "first_treated_time": 5}
    ten = [f"u{i}" for i in range(10)]
    kept = panel.filter(pa.array([u == "u4" or u not in ten for u in panel["unit"].to_pylist()]))
    return {
        "did": analyse_difference_in_differences(panel, "y", "treated", "after", cluster="unit"),
        "event": analyse_event_study(panel, "y", "unit", "time", "start"),
        "sc": analyse_synthetic_control(kept, **synthetic, treated_unit="u4"),
        "sdid": analyse_synthetic_difference_in_differences(kept, **synthetic, treated_units=["u4"]),
        "weighting": analyse_weighting(_rows(), "y", "t", ["x"], placebo_outcome="past"),
        "local": analyse_local_level(_series(), "y", "week", first_treated_time=45, controls=["x"]),
    }


@pytest.fixture(scope="module")
def answers() -> dict[str, CausalAnswer]:
    return _answers()


METHODS = ("did", "event", "sc", "sdid", "weighting", "local")


@pytest.mark.parametrize("method", METHODS)
def test_every_answer_holds_the_truth_names_its_assumption_and_is_capped(
    answers: dict[str, CausalAnswer], method: str
) -> None:
    answer = answers[method]
    truth = {"local": 3.0, "weighting": 1.0}.get(method, 2.0)
    assert answer.effect.low < truth < answer.effect.high
    assert answer.assumption.endswith(".") and answer.cap == "not enough evidence"
    assert answer.placebo.passes is (None if method == "did" else True)
    told = str(answer)
    for part in (answer.method, answer.assumption, answer.placebo.test, "not enough evidence"):
        assert part in told
    assert all(isinstance(name, str) for name, _ in answer.diagnostics)


def test_case_37_proposition_99_is_the_estimators_own_answer(smoking: pa.Table) -> None:
    control = analyse_synthetic_control(smoking, **SMOKING, treated_unit="California")
    assert control.effect.value == pytest.approx(-19.5137, abs=1e-4)
    figures = dict(control.diagnostics)
    assert figures["weight of Utah"] == pytest.approx(0.3939, abs=5e-5)
    assert (figures["in-space rank"], figures["units"]) == (3.0, 39.0)
    assert control.placebo.test == "no effect of a made-up start at 1982" and control.placebo.p_value > 0.5
    both = analyse_synthetic_difference_in_differences(smoking, **SMOKING, treated_units=["California"])
    assert both.effect.value == pytest.approx(-15.6054, abs=5e-5)


def test_the_lalonde_comparison_shows_how_thin_its_overlap_is(earnings: pa.Table) -> None:
    answer = analyse_weighting(
        earnings, "re78", "treat", ["age", "educ", "race", "married", "nodegree", "re74"], placebo_outcome="re75"
    )
    figures = dict(answer.diagnostics)
    assert figures["unadjusted difference"] == pytest.approx(-635.03, abs=0.01)
    assert figures["effective treated rows"] < 70 < 185
    assert answer.effect.low < 1794 < answer.effect.high  # what the randomised comparison found
    assert figures["E-value of the bound"] == 1.0


def test_a_policy_lifts_the_cap_always_or_where_the_placebo_passes() -> None:
    good, bad = _panel(), _panel(drift=0.7)
    names = ("y", "unit", "time", "start")
    cap = {
        (policy, name): analyse_event_study(table, *names, risk_policy=policy).cap
        for policy in ("capped", "if placebo passes", "uncapped")
        for name, table in (("good", good), ("bad", bad))
    }
    held, lifted = "not enough evidence", "none"
    assert cap["capped", "good"] == cap["capped", "bad"] == cap["if placebo passes", "bad"] == held
    assert cap["if placebo passes", "good"] == cap["uncapped", "bad"] == lifted
    untested = analyse_difference_in_differences(good, "y", "treated", "after", risk_policy="if placebo passes")
    assert untested.cap == held
    with pytest.raises(SpecError, match="unknown policy"):
        analyse_event_study(good, *names, risk_policy="never mind")  # type: ignore[arg-type]


def test_a_trend_before_adoption_fails_the_placebo() -> None:
    answer = analyse_event_study(_panel(drift=0.7), "y", "unit", "time", "start")
    assert answer.placebo.passes is False and answer.placebo.p_value < 1e-4
    assert "fails" in str(answer.placebo)


def test_dates_serve_as_times_and_give_the_same_effect() -> None:
    numbers, dates = (analyse_event_study(_panel(dates=d), "y", "unit", "time", "start") for d in (False, True))
    assert numbers.effect == dates.effect
    assert dict(dates.diagnostics)["units by adoption"] == "2026-06-01: 10"


def test_estimators_and_categories_are_those_of_the_pure_functions() -> None:
    table = _rows()
    x, y, t = (table[c].to_numpy() for c in ("x", "y", "t"))
    region = table["region"].to_numpy(zero_copy_only=False)
    design = np.column_stack([x, region == "south", region == "west"]).astype(float)
    found = analyse_weighting(table, "y", "t", ["x", "region"])
    known = augmented_inverse_probability_weighting(y, t, design, se="stacked").effect
    assert (found.effect.value, found.effect.se) == pytest.approx((known.value, known.se), rel=1e-12)
    lines = analyse_weighting(table, "y", "t", ["x"], estimator="regression")
    assert lines.effect == regression_adjustment(y, t, x).effect
    assert "effective treated rows" not in dict(lines.diagnostics)
    ipw = analyse_weighting(table, "y", "t", ["x"], estimator="ipw", link="probit", cluster="region")
    assert ipw.effect.n_clusters == 3 and ipw.method == "inverse-probability weighting"
    assert ipw.placebo.passes is None and "not tested" in str(ipw.placebo)


def test_a_yes_no_outcome_has_an_e_value_of_its_risk_ratio() -> None:
    answer = analyse_weighting(_rows(), "harm", "t", ["x"])
    figures = dict(answer.diagnostics)
    ratio = figures["mean if all treated"] / figures["mean if none treated"]
    assert figures["E-value"] == pytest.approx(ratio + np.sqrt(ratio * (ratio - 1)))
    assert 1.0 < figures["E-value of the bound"] < figures["E-value"]


def test_the_nile_before_and_after_the_dam_is_a_wide_answer() -> None:
    y = np.asarray(nile.load_pandas().data["volume"], dtype=float)
    table = pa.table({"flow": y, "year": np.arange(1871, 1971)})
    answer = analyse_local_level(table, "flow", "year", first_treated_time=1899)
    assert answer.effect.low < -247.78 < answer.effect.high
    assert answer.placebo.test == "no effect of a made-up start at 1889"
    assert dict(answer.diagnostics)["sum of effects"] == pytest.approx(72 * answer.effect.value)


def _with(table: pa.Table, name: str, values: list) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values))


def test_unknown_names_are_answered_with_near_ones() -> None:
    panel = _panel()
    calls = [
        lambda: analyse_difference_in_differences(panel, "y", "treatd", "after"),
        lambda: analyse_event_study(panel, "y", "unit", "time", "strat"),
        lambda: analyse_weighting(_rows(), "y", "t", ["xx"]),
        lambda: analyse_local_level(_series(), "y", "wek", first_treated_time=3),
        lambda: analyse_local_level(_series(), "y", "week", first_treated_time=99),
        lambda: analyse_synthetic_control(panel, "y", "unit", "time", treated_unit="u99", first_treated_time=5),
        lambda: analyse_synthetic_control(panel, "y", "unit", "time", treated_unit="u1", first_treated_time=77),
    ]
    for call in calls:
        with pytest.raises(UnknownName) as caught:
            call()
        assert "known" in str(caught.value)


def test_nulls_and_values_that_are_not_finite_are_placed() -> None:
    panel, y = _panel(), _panel()["y"].to_pylist()
    for bad, said in ((None, "has nulls"), (float("nan"), "not finite"), (float("inf"), "not finite")):
        table = _with(panel, "y", [*y[:3], bad, *y[4:]])
        for call in (
            lambda t=table: analyse_difference_in_differences(t, "y", "treated", "after"),
            lambda t=table: analyse_event_study(t, "y", "unit", "time", "start"),
        ):
            with pytest.raises(DataError, match=said) as caught:
                call()
            assert "row 3" in str(caught.value)
    with pytest.raises(DataError, match="'unit' has nulls"):
        analyse_event_study(_with(panel, "unit", [None] * 240), "y", "unit", "time", "start")
    with pytest.raises(DataError, match="no rows"):
        analyse_difference_in_differences(panel.slice(0, 0), "y", "treated", "after")
    nan_times = _with(panel, "time", [float("nan")] * 240)
    with pytest.raises(DataError, match="not finite"):
        analyse_event_study(nan_times, "y", "unit", "time", "start")


def test_missing_arms_wrong_values_and_wrong_types_are_named() -> None:
    panel, rows = _panel(), _rows()
    with pytest.raises(DataError, match="one value only"):
        analyse_difference_in_differences(_with(panel, "treated", [True] * 240), "y", "treated", "after")
    with pytest.raises(DataError, match="0 and 1"):
        analyse_difference_in_differences(_with(panel, "treated", [2] * 240), "y", "treated", "after")
    with pytest.raises(SpecError, match="must hold numbers"):
        analyse_difference_in_differences(panel, "unit", "treated", "after")
    with pytest.raises(DataError, match="four cells"):
        analyse_difference_in_differences(_with(panel, "after", panel["treated"].to_pylist()), "y", "treated", "after")
    with pytest.raises(DataError, match="separate the arms"):
        analyse_weighting(rows.append_column("copy", rows["t"]), "y", "t", ["copy"])
    with pytest.raises(SpecError, match="cannot be covariates"):
        analyse_weighting(rows, "y", "t", ["y", "x"])
    with pytest.raises(SpecError, match="list of at least one"):
        analyse_weighting(rows, "y", "t", [])
    with pytest.raises(SpecError, match="estimator"):
        analyse_weighting(rows, "y", "t", ["x"], estimator="matching")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="categories"):
        analyse_weighting(_with(rows, "region", ["all"] * 500), "y", "t", ["region"])


def test_panels_with_holes_or_repeats_are_refused() -> None:
    panel = _panel()
    for table in (panel.slice(1), pa.concat_tables([panel, panel.slice(0, 1)])):
        with pytest.raises(DataError, match="not balanced") as caught:
            analyse_event_study(table, "y", "unit", "time", "start")
        assert "u0 at 0" in str(caught.value)


def test_adoption_must_be_one_time_per_unit_of_the_times_type_and_after_the_start() -> None:
    panel = _panel()
    start = panel["start"].to_pylist()
    with pytest.raises(DataError, match="changes within a unit"):
        analyse_event_study(_with(panel, "start", [4, *start[1:]]), "y", "unit", "time", "start")
    words = ["later" if s else None for s in start]
    with pytest.raises(SpecError, match="type of the times"):
        analyse_event_study(_with(panel, "start", words), "y", "unit", "time", "start")
    with pytest.raises(DataError, match="base period"):
        analyse_event_study(_with(panel, "start", [0 if s else None for s in start]), "y", "unit", "time", "start")
    with pytest.raises(DataError, match="never treated"):
        analyse_event_study(_with(panel, "start", [5] * 240), "y", "unit", "time", "start")


def test_series_with_gaps_repeats_or_words_for_times_are_refused() -> None:
    table = _series()
    week = np.array(table["week"].to_pylist())
    with pytest.raises(DataError, match="equally spaced"):
        analyse_local_level(table.filter(pa.array(week != 20)), "y", "week", first_treated_time=45)
    with pytest.raises(DataError, match="twice"):
        analyse_local_level(_with(table, "week", np.where(week == 20, 21, week)), "y", "week", first_treated_time=45)
    with pytest.raises(SpecError, match="numbers or dates"):
        analyse_local_level(_with(table, "week", [f"w{w:02}" for w in week]), "y", "week", first_treated_time="w45")
    with pytest.raises(DataError, match="too few"):
        analyse_local_level(table, "y", "week", first_treated_time=3)
    with pytest.raises(DataError, match="no series"):
        analyse_local_level(table.slice(0, 1), "y", "week", first_treated_time=3)
    months = [datetime.date(2021 + i // 12, 1 + i % 12, 1) for i in range(60)]
    dated = _with(table, "week", [months[w] for w in week])
    same = analyse_local_level(dated, "y", "week", first_treated_time=months[45])
    assert same.effect == analyse_local_level(table, "y", "week", first_treated_time=45).effect


def test_treated_units_must_be_a_list() -> None:
    with pytest.raises(SpecError, match="list of at least one"):
        analyse_synthetic_difference_in_differences(
            _panel(), "y", "unit", "time", treated_units="u1", first_treated_time=5
        )


def _figure(method: str, answer: CausalAnswer) -> str | None:
    series = np.array(sorted(zip(_series()["week"].to_pylist(), _series()["y"].to_pylist(), strict=True)))[:, 1]
    options = {
        "sc": {"times": range(8), "first": 5},
        "sdid": {"times": range(8), "first": 5},
        "local": {"times": range(60), "series": series.tolist()},
    }
    return causal_figure(answer, unit="packs <&>", **options.get(method, {}))


@pytest.mark.parametrize("method", METHODS)
def test_pictures_are_plain_svg_within_their_frame(answers: dict[str, CausalAnswer], method: str) -> None:
    drawn = _figure(method, answers[method])
    if method == "did":
        assert drawn is None
        return
    root = ET.fromstring(drawn)
    assert root.get("role") == "img" and root.get("aria-label")
    for asking in ("<script", "style=", "href", "url(", "NaN", "nan", 'inf"'):
        assert asking not in drawn
    width, height = (float(v) for v in root.get("viewBox").split()[2:])
    for element in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert 0 <= float(element.get(name, 0)) <= width
        for name in ("y", "y1", "y2", "cy"):
            assert 0 <= float(element.get(name, 0)) <= height
        for pair in element.get("points", "").split():
            x, y = (float(v) for v in pair.split(","))
            assert 0 <= x <= width and 0 <= y <= height
    for kind in {e.get("class") for e in root.iter() if e.get("class")} - {"causal"}:
        assert "." + kind.split()[0] in STYLE


def test_pictures_say_in_words_what_they_show(answers: dict[str, CausalAnswer]) -> None:
    assert "treated</text>" in overlap_figure(answers["weighting"].result.overlap)
    assert "synthetic</text>" in twin_figure(answers["sc"].result, range(8), 5)
    study = answers["event"].result
    assert event_study_figure(study).count("<circle") == len(study.path)
    assert "open circle is the base" in event_study_figure(study)


def test_pictures_of_other_data_than_the_answers_are_refused(answers: dict[str, CausalAnswer]) -> None:
    with pytest.raises(UsageError):
        twin_figure(answers["sc"].result, range(3), 1)
    with pytest.raises(UsageError):
        forecast_figure(answers["local"].result, [1.0, 2.0], [1, 2])


def test_a_placebo_without_an_interval_is_not_a_pass() -> None:
    table = _panel()
    kept = table.filter(pa.array([t < 4 and u in ("u4", "u20", "u21", "u22") for u, t in zip(
        table["unit"].to_pylist(), table["time"].to_pylist(), strict=True)]))  # fmt: skip
    answer = analyse_synthetic_control(kept, "y", "unit", "time", treated_unit="u4", first_treated_time=2)
    assert isinstance(answer.placebo, PlaceboCheck) and answer.placebo.passes is None
    assert "too few" in answer.placebo.reason


def test_the_style_lies_beside_the_pictures_and_uses_the_houses_colours() -> None:
    sheet = (SOURCE / "evidence/templates/sheet.css").read_text(encoding="utf-8")
    used = {word.split(")")[0] for word in STYLE.split("var(")[1:]}
    assert used and all(f"{name}:" in sheet for name in used)
