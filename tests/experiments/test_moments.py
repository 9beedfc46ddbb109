"""Two-level moments against brute force; large means and hostile names change nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jurat.errors import SpecError
from jurat.experiments.analyse import analyse_file
from jurat.experiments.data import open_data, quoted
from jurat.experiments.effects import Scorecard, scan_scorecard
from jurat.experiments.moments import Layout, moment_table, stratum_condition
from jurat.experiments.spec import expression_columns, load_spec
from jurat.stats.moments import Moments
from tests.experiments.case import opened, users_table, write_case

METRICS = {
    "y": {"kind": "mean", "value": "y", "better": "higher", "role": "value", "covariates": ["x", "z"]},
    "bad": {"kind": "proportion", "value": "bad", "better": "lower", "role": "risk"},
    "rate": {"kind": "ratio", "value": "num", "per": "den", "better": "higher", "covariates": ["x"]},
}
HOSTILE = [
    'quote"in', "apostrophe's", "semi;colon", '"; DROP TABLE outcomes; --', "über straße ✓", "a b", "select", "x/y|z",
    "$1", "{brace}", "back\\slash", "e0", "n", "k0__", "arm__", "v1",
]  # fmt: skip


def card_of(folder: Path, table: pa.Table, **changes: object) -> Scorecard:
    return scan_scorecard(*opened(folder, {"outcomes": table}, **changes))


def replaced(table: pa.Table, name: str, values: object) -> pa.Table:
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    place = table.schema.get_field_index(name)
    return table.append_column(name, column) if place < 0 else table.set_column(place, name, column)


def test_means_and_covariances_of_the_sums_agree_with_pandas(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    table = users_table(600, 1)
    holes = np.random.default_rng(2).random(table.num_rows) < 0.1
    y = pa.array(np.where(holes, np.nan, table["y"].to_numpy()), from_pandas=True)
    table = replaced(table, "y", y)
    card = card_of(tmp_path, table, metrics=METRICS)
    frame = table.to_pandas()
    frame["one"], frame["known"], frame["bad"] = 1.0, frame["y"].notna().astype(float), frame["bad"].astype(float)
    sums = card.sums["y"]
    rate = card.sums["rate"]
    written = {
        "n": "one", sums.numerator: "y", sums.denominator: "known", sums.covariates[0][0]: "x", sums.covariates[1][0]: "z",
        rate.numerator: "num", rate.denominator: "den", card.sums["bad"].numerator: "bad",
    }  # fmt: skip
    for arm in "ab":
        moments = card.table.groups[arm]
        per_user = frame[frame["arm"] == arm].groupby("user")[list(dict.fromkeys(written.values()))].sum()
        assert moments.clusters == len(per_user)
        assert moments.rows == int((frame["arm"] == arm).sum())
        expected = per_user.cov()
        for i, a in enumerate(moments.names):
            assert moments.mean[i] == pytest.approx(per_user[written[a]].mean(), rel=1e-12)
            for j, b in enumerate(moments.names):
                if not np.isnan(moments.covariance[i, j]):
                    assert moments.covariance[i, j] == pytest.approx(expected.loc[written[a], written[b]], rel=1e-9)


def test_clusters_that_span_the_arms_have_the_covariance_of_the_arms_too(tmp_path: Path) -> None:
    table = users_table(400, 3)
    org = np.random.default_rng(4).integers(0, 30, table.num_rows)
    table = replaced(table, "org", pa.array([f"o{i}" for i in org]))
    card = card_of(tmp_path, table, inference__cluster="org")
    assert card.table.joint
    arm, y = np.array(table["arm"].to_pylist()), table["y"].to_numpy()
    sums = {
        f"{a}/{v}": np.bincount(org, weights=w * (arm == a), minlength=30)
        for a in "ab"
        for v, w in (("s", y), ("n", np.ones(len(y))))
    }
    brute = Moments.from_clusters(sums)
    group = card.table.groups[""]
    names = [f"{a}/{v}" for a in "ab" for v in (card.sums["y"].numerator, "n")]
    places = [group.names.index(n) for n in names]
    order = [list(sums).index(n) for n in ("a/s", "a/n", "b/s", "b/n")]
    assert group.clusters == 30
    found = group.covariance[np.ix_(places, places)]
    assert found == pytest.approx(brute.covariance[np.ix_(order, order)], rel=1e-9)


def test_independent_rows_are_clusters_of_one(tmp_path: Path) -> None:
    table = users_table(300, 5)
    card = card_of(tmp_path, table, inference__cluster="none")
    y, treated = table["y"].to_numpy(), np.array(table["arm"].to_pylist()) == "b"
    found = card.effect("y", "b").effect
    expected = y[treated].var(ddof=1) / treated.sum() + y[~treated].var(ddof=1) / (~treated).sum()
    assert found.se == pytest.approx(np.sqrt(expected), rel=1e-10)
    assert found.n == len(y)


def test_a_population_keeps_only_its_rows(tmp_path: Path) -> None:
    table = users_table(300, 6)
    card = card_of(tmp_path, table, population__where="stratum = 'p' AND den > 3")
    kept = (np.array(table["stratum"].to_pylist()) == "p") & (table["den"].to_numpy() > 3)
    assert sum(card.scan.rows.values()) == int(kept.sum())


@pytest.mark.parametrize("covariates", [[], ["x"]], ids=["plain", "cuped"])
@pytest.mark.parametrize("design", ["by user", "independent rows", "arms side by side"])
@pytest.mark.parametrize("shift", [-1e8, 1e8])
def test_a_shift_by_a_hundred_million_leaves_the_standard_error(
    tmp_path: Path, covariates: list[str], design: str, shift: float
) -> None:
    table = users_table(500, 7)
    org = np.random.default_rng(8).integers(0, 60, table.num_rows)
    table = replaced(table, "org", pa.array([f"o{i}" for i in org]))
    cluster = {"by user": "user", "independent rows": "none", "arms side by side": "org"}[design]
    changes = {"inference__cluster": cluster, "metrics__y__covariates": covariates}
    near = card_of(tmp_path / "near", table, **changes).effect("y", "b")
    moved = replaced(table, "y", table["y"].to_numpy() + shift)
    moved = replaced(moved, "x", moved["x"].to_numpy() - 3 * shift)
    far = card_of(tmp_path / "far", moved, **changes).effect("y", "b")
    assert near.effect.se is not None and far.effect.se is not None
    assert far.effect.se == pytest.approx(near.effect.se, rel=1e-6)
    assert far.effect.value == pytest.approx(near.effect.value, abs=1e-6)
    for arm in "ab":
        assert far.levels[arm].value == pytest.approx((near.levels[arm].value or 0) + shift, rel=1e-14)
        assert far.levels[arm].se == pytest.approx(near.levels[arm].se, rel=1e-6)


def test_few_clusters_far_from_zero_keep_their_standard_error(tmp_path: Path) -> None:
    table = users_table(24, 9, rows=6)
    moved = replaced(table, "y", table["y"].to_numpy() + 1e8)
    near, far = (card_of(tmp_path / n, t).effect("y", "b").effect for n, t in (("near", table), ("far", moved)))
    assert near.method == far.method == "CR2"
    assert far.se == pytest.approx(near.se, rel=1e-6)


def test_strata_keep_their_levels_far_from_zero(tmp_path: Path) -> None:
    table = users_table(500, 10)
    moved = replaced(table, "y", table["y"].to_numpy() + 1e8)
    found = []
    for name, t in (("near", table), ("far", moved)):
        path = write_case(tmp_path / name, {"outcomes": t}, simpson__stratifiers=["stratum"])
        found.append(analyse_file(path).simpson[0])
    near, far = found
    assert far.standardised.value == pytest.approx(near.standardised.value, abs=1e-6)
    assert far.standardised.se == pytest.approx(near.standardised.se, rel=1e-6)
    assert far.mix.value == pytest.approx(near.mix.value, abs=1e-6)
    assert far.strata[0].levels["a"].value == pytest.approx((near.strata[0].levels["a"].value or 0) + 1e8, rel=1e-14)


def test_values_that_turn_far_only_after_the_first_rows_give_no_number_rather_than_rounding(tmp_path: Path) -> None:
    table = users_table(2_000, 11)
    y = np.full(table.num_rows, 1e8 + 0.1)
    y[:4] = [-1.0, 1.0, -1.0, 1.0]  # the first rows hide that the rest is constant
    found = card_of(tmp_path, replaced(table, "y", y), population__where="y > 1000").effect("y", "b").effect
    assert found.low is None and "no spread" in str(found.reason)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_column_name_is_a_column_and_nothing_else(tmp_path: Path, name: str) -> None:
    table = users_table(120, 12)
    plain = card_of(tmp_path / "plain", table, metrics__y__covariates=["x"]).effect("y", "b").effect
    renames = {"y": name, "x": name + " prior"}
    hostile = table.rename_columns([renames.get(c, c) for c in table.column_names])
    column = quoted(name)
    changes = {"metrics__y__value": column, "metrics__y__covariates": [quoted(name + " prior")]}
    assert expression_columns(column, place="here") == {name}
    found = card_of(tmp_path / "hostile", hostile, **changes).effect("y", "b").effect
    assert (found.value, found.se) == (plain.value, plain.se)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_of_cluster_arm_stratum_time_and_metric_change_nothing(tmp_path: Path, name: str) -> None:
    table = users_table(120, 13)
    plain = analyse_file(write_case(tmp_path / "plain", {"outcomes": table}, simpson__stratifiers=["stratum"]))
    names = {"user": name + " u", "arm": name + " a", "stratum": name + " s", "day": name + " d", "y": name + " y"}
    hostile = table.rename_columns([names.get(c, c) for c in table.column_names])
    y = {"kind": "mean", "value": quoted(names["y"]), "better": "higher", "role": "value"}
    path = write_case(
        tmp_path / "hostile", {"outcomes": hostile}, assignment__unit=names["user"], assignment__arm=names["arm"],
        inference__cluster=names["user"], simpson__stratifiers=[names["stratum"]], data__time=names["day"],
        metrics={name: y, "bad": {"kind": "proportion", "value": "bad", "better": "lower", "role": "risk"}},
        bar=[
            {
                "name": name,
                "value": {"metric": name, "test": "superior"},
                "risk": {"metric": "bad", "test": "noninferior", "margin": "+5pp", "rationale": name},
            }
        ],
    )  # fmt: skip
    found = analyse_file(path)
    ours, theirs = found.effect(name, "b").effect, plain.effect("y", "b").effect
    assert (ours.value, ours.se) == (theirs.value, theirs.se)
    assert found.simpson[0].standardised.value == plain.simpson[0].standardised.value


@pytest.mark.parametrize("arm", HOSTILE)
def test_hostile_names_of_arms_and_strata_are_values_and_nothing_else(tmp_path: Path, arm: str) -> None:
    table = users_table(120, 14)
    org = pa.array([f"o{i}" for i in np.random.default_rng(15).integers(0, 20, table.num_rows)])
    table = replaced(table, "org", org)
    plain = analyse_file(
        write_case(tmp_path / "plain", {"outcomes": table}, inference__cluster="org", simpson__stratifiers=["stratum"])
    )
    arms = [arm if a == "b" else "a" for a in table["arm"].to_pylist()]
    strata = [arm if s == "p" else "q" for s in table["stratum"].to_pylist()]
    hostile = replaced(replaced(table, "arm", arms), "stratum", strata)
    path = write_case(
        tmp_path / "hostile", {"outcomes": hostile}, inference__cluster="org", simpson__stratifiers=["stratum"],
        assignment__arms={"a": 0.5, arm: 0.5},
    )  # fmt: skip
    found = analyse_file(path)
    assert found.effect("y", arm).effect.se == pytest.approx(plain.effect("y", "b").effect.se, rel=1e-12)
    assert found.simpson[0].standardised.value == pytest.approx(plain.simpson[0].standardised.value, rel=1e-12)
    assert arm in {s.name for s in found.simpson[0].strata}


@pytest.mark.parametrize("other", ["A", '"a', 'a"', "a "])
@pytest.mark.parametrize("cluster", ["user", "org", "none"])
def test_arms_whose_names_an_engine_may_confuse_are_two_arms(tmp_path: Path, other: str, cluster: str) -> None:
    table = users_table(120, 17)
    table = replaced(table, "org", pa.array(np.random.default_rng(18).integers(0, 50, table.num_rows)))
    plain = card_of(tmp_path / "plain", table, inference__cluster=cluster).effect("y", "b").effect
    renamed = replaced(table, "arm", [other if a == "b" else "a" for a in table["arm"].to_pylist()])
    changes = {"inference__cluster": cluster, "assignment__arms": {"a": 0.5, other: 0.5}}
    found = card_of(tmp_path / "renamed", renamed, **changes).effect("y", other).effect
    assert plain.value != 0 and found.value == pytest.approx(plain.value, rel=1e-12)
    assert found.se == pytest.approx(plain.se, rel=1e-12)


def test_a_stratum_of_sql_is_written_as_a_literal() -> None:
    assert stratum_condition("s", "'; DROP TABLE t; --") == "\"s\" = '''; DROP TABLE t; --'"
    assert stratum_condition("s", None) == '"s" IS NULL'


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("y; DROP TABLE outcomes", "not an SQL expression"),
        ("y) FROM outcomes; DROP TABLE outcomes; --", "not an SQL expression"),
        ("y -- the rest", "no comment"),
        ("y /* the rest */", "no comment"),
        ("(SELECT MAX(y) FROM outcomes)", "no aggregate, window, subquery"),
        ("SUM(y)", "no aggregate"),
        ("SUM(y) OVER ()", "no aggregate"),
        ("y, x", "no aggregate"),
        ("y UNION SELECT x", "no aggregate"),
        ("y FROM outcomes WHERE TRUE OR x", "not an SQL expression"),
        ("$1", "parameter"),
        (" ", "not an SQL expression"),
    ],
)
def test_what_is_no_expression_over_one_row_is_refused(tmp_path: Path, text: str, what: str) -> None:
    path = write_case(tmp_path, {"outcomes": users_table(20, 1)}, metrics__y__value=text)
    with pytest.raises(SpecError, match=what) as caught:
        load_spec(path)
    assert "metrics.y" in caught.value.what
    assert caught.value.next_step


def test_sums_that_two_metrics_share_are_taken_once(tmp_path: Path) -> None:
    twin = {"kind": "mean", "value": "y", "better": "higher"}
    experiment, data = opened(tmp_path, {"outcomes": users_table(50, 1)}, metrics__twin=twin)
    layout = Layout(data)
    first, second = (layout.metric(experiment, name) for name in ("y", "twin"))
    assert first.variables == second.variables
    assert set(moment_table(experiment, data, layout).rows) == {"a", "b"}


def test_files_of_many_parts_and_formats_give_the_same_moments(tmp_path: Path) -> None:
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    table = users_table(300, 16)
    whole = card_of(tmp_path / "whole", table).effect("y", "b").effect
    path = write_case(tmp_path / "parts", {}, data__outcomes="part-*.parquet")
    for i in range(3):
        pq.write_table(table.slice(i * 300, 300 if i < 2 else None), path.parent / f"part-{i}.parquet")
    csv = write_case(tmp_path / "csv", {}, data__outcomes="outcomes.csv")
    pa_csv.write_csv(table, csv.parent / "outcomes.csv")
    for spec in (path, csv):
        experiment = load_spec(spec)
        found = scan_scorecard(experiment, open_data(experiment)).effect("y", "b").effect
        assert found.value == pytest.approx(whole.value, rel=1e-12)
        assert found.se == pytest.approx(whole.se, rel=1e-9)
