"""Experiments at scale: twenty million conversations of two million users, beside what one would use instead.

The scorecard is held against the bare GROUP BY per user that any analysis needs, statsmodels' cluster-robust regression, and
tea-tasting over ibis in an environment of its own (it does not run on this DuckDB). Looks are held against re-scans, the
bucket bootstrap against resampling with NumPy. All engines run on one thread, ours because sums must keep their bits.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np

from benchmarks.record import Row, report, row_of
from jurat.experiments.data import ExperimentData, open_data
from jurat.experiments.effects import Scorecard, scan_scorecard
from jurat.experiments.looks import LookLayout, Running, one_pass, reference_values
from jurat.experiments.moments import moment_table
from jurat.experiments.spec import Experiment, load_spec
from jurat.experiments.state import update_state
from jurat.stats.buckets import bucket_bootstrap, bucket_sums

ROWS = int(os.environ.get("JURAT_BENCH_ROWS", "20000000"))
USERS = ROWS // 10
DAYS = 28
METRICS = ("helpful", "unsafe", "thumb", "regenerated", "copied", "latency", "tokens", "cost", "length", "score")
PEERS = os.environ.get("JURAT_BENCH_PEERS", "")

SPEC = """
id = "bench"
hypothesis = "none"
[data]
outcomes = "outcomes.parquet"
time = "ts"
[assignment]
unit = "user_id"
control = "control"
arms = {{ control = 0.5, treatment = 0.5 }}
[inference]
cluster = "user_id"
planned_clusters = {users}
{metrics}
[[bar]]
name = "bar"
value = {{ metric = "helpful", test = "superior", mde = "+1pp" }}
risk = {{ metric = "unsafe", test = "noninferior", margin = "+1pp", rationale = "bench" }}
[[guardrail]]
metric = "latency"
test = "noninferior"
margin = "-5%"
rationale = "bench"
[[guardrail]]
metric = "tokens"
test = "noninferior"
margin = "-5%"
rationale = "bench"
"""


def write_data(folder: Path) -> None:
    """Heavy-tailed users over four weeks, in the order of time as a log would be."""
    connection = duckdb.connect()
    connection.execute("SELECT setseed(0.5)")
    flags = ", ".join(
        f"random() < {p} AS {name}" for name, p in zip(METRICS[:5], (0.6, 0.001, 0.1, 0.08, 0.2), strict=True)
    )
    connection.execute(f"""
        COPY (
            SELECT user_id, CASE WHEN hash(user_id) % 2 = 0 THEN 'control' ELSE 'treatment' END AS arm,
                TIMESTAMP '2026-03-02' + INTERVAL (i * {DAYS * 86_400.0} / {ROWS}) SECOND AS ts, {flags},
                exp(6.8 + 0.7 * (random() + random() + random() - 1.5) * 2) AS latency,
                (random() * 400)::INTEGER AS tokens, random() * 0.01 AS cost, (random() * 2000)::INTEGER AS length,
                random() * 10 AS score
            FROM (SELECT i, (pow(random(), 1.6) * {USERS})::BIGINT AS user_id FROM range({ROWS}) AS r(i)) AS drawn
        ) TO '{folder / "outcomes.parquet"}' (FORMAT parquet)
    """)
    kinds = dict.fromkeys(METRICS[:5], "proportion") | dict.fromkeys(METRICS[5:], "mean")
    roles = {"helpful": "value", "unsafe": "risk"}
    metrics = "\n".join(
        f'[metrics.{name}]\nkind = "{kind}"\nvalue = "{name}"\nbetter = "{"lower" if name == "unsafe" else "higher"}"\n'
        f'role = "{roles.get(name, "exploratory")}"\nbaseline = 0.5\nicc = 0.1'
        for name, kind in kinds.items()
    )
    (folder / "experiment.toml").write_text(SPEC.format(users=USERS, metrics=metrics), encoding="utf-8")


def timed(work: Callable[[], object], rounds: int = 1) -> float:
    """CPU seconds of the best round."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


def bare_group_by(folder: Path) -> None:
    """The per-user sums that any analysis needs, and nothing else."""
    connection = duckdb.connect(config={"threads": 1})
    sums = ", ".join(f"SUM({name}::DOUBLE) AS {name}" for name in METRICS)
    connection.execute(
        f"SELECT COUNT(*), {', '.join(f'MAX({m})' for m in METRICS)} FROM (SELECT arm, user_id, COUNT(*) AS n, {sums} "
        f"FROM '{folder / 'outcomes.parquet'}' GROUP BY arm, user_id)"
    ).fetchall()


def scorecard(folder: Path) -> Scorecard:
    """Ten metrics: opened, summed, every effect with its interval."""
    experiment = load_spec(folder / "experiment.toml")
    data = open_data(experiment)
    card = scan_scorecard(experiment, data)
    for name in METRICS:
        card.effect(name, "treatment")
    data.close()
    return card


def statsmodels_row(folder: Path, ours: float, card: Scorecard) -> Row:
    """One metric by OLS with cluster-robust errors."""
    name = "scorecard per metric against OLS with clusters"
    try:
        import statsmodels.api as sm
    except ImportError:
        return row_of(name, ours / len(METRICS), None, peer_name="statsmodels, missing", goal=10.0)
    table = duckdb.sql(
        f"SELECT helpful::DOUBLE AS y, (arm = 'treatment')::DOUBLE AS t, user_id FROM '{folder / 'outcomes.parquet'}'"
    ).fetchnumpy()
    design = sm.add_constant(np.asarray(table["t"]))
    begin = time.process_time()
    fit = sm.OLS(np.asarray(table["y"]), design).fit(
        cov_type="cluster", cov_kwds={"groups": np.asarray(table["user_id"])}
    )
    peer = time.process_time() - begin
    found = card.effect("helpful", "treatment").effect
    assert abs(found.value - fit.params[1]) < 1e-9 and abs(found.se / fit.bse[1] - 1) < 1e-4
    return row_of(name, ours / len(METRICS), peer, peer_name="statsmodels", goal=10.0)


TEA = """
import json, resource, sys, time
import ibis, tea_tasting as tt
con = ibis.duckdb.connect(threads=1)
t = con.read_parquet(sys.argv[1])
names = sys.argv[2].split(",")
t = t.mutate(**{n: t[n].cast("float64") for n in names})
t = t.group_by(["arm", "user_id"]).aggregate(**{n: t[n].sum() for n in names}, rows=t.count().cast("float64"))
experiment = tt.Experiment({n: tt.RatioOfMeans(n, "rows") for n in names}, variant="arm")
begin = time.process_time()
result = experiment.analyze(t, control="control")
print(json.dumps({"seconds": time.process_time() - begin}))
"""


def tea_tasting_row(folder: Path, ours: float) -> Row:
    """The same ten ratios by tea-tasting over ibis and DuckDB 1.5, in its own environment."""
    name = "scorecard of 10 metrics against tea-tasting"
    if not PEERS:
        return row_of(name, ours, None, peer_name="tea-tasting, missing (make bench-experiments installs it)", goal=1.3)
    done = subprocess.run(
        [PEERS, "-c", TEA, str(folder / "outcomes.parquet"), ",".join(METRICS)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        print(done.stderr[-800:], file=sys.stderr)
        return row_of(name, ours, None, peer_name="tea-tasting, failed", goal=1.3)
    seconds = json.loads(done.stdout.strip().splitlines()[-1])["seconds"]
    return row_of(name, ours, seconds, peer_name="tea-tasting 1.14, ibis 12", goal=1.3)


def looks_rows(experiment: Experiment, folder: Path) -> list[Row]:
    """All looks at once against a re-scan a look, and one more day against one re-scan."""
    data = open_data(experiment)
    looks = LookLayout(experiment, data)
    reference = reference_values(experiment, data, looks, "2026-03-02")
    totals: list = []
    one = timed(lambda: totals.extend(one_pass(experiment, data, looks, reference)))
    rescans = timed(lambda: [rescan(experiment, data, looks, day) for day in range(DAYS)])
    running = Running(looks.names, looks.pairs, reference, ("control", "treatment"))
    for total in totals:
        running.add(total)
    last = rescan(experiment, data, looks, DAYS - 1)
    ours, theirs = running.table(), last.table
    for arm in ("control", "treatment"):
        for name in looks.names:
            a, b = (t.mean(arm, name) * t.clusters(arm) for t in (ours, theirs))
            assert abs(a - b) <= 1e-9 * abs(b), (arm, name, a, b)
    state = folder / "state"
    update_state(experiment, data, looks, state, until="2026-03-22")
    days = []
    for day in range(22, 22 + 8):
        stamp = f"2026-03-{day + 1:02d}" if day < 31 else "2026-03-29"
        days.append(timed(lambda s=stamp: update_state(experiment, data, looks, state, until=s)))
        if stamp == "2026-03-29":
            break
    scan = timed(lambda: rescan(experiment, data, looks, DAYS - 1))
    data.close()
    mean_day = float(np.mean(days))
    return [
        row_of("28 looks in one pass against 28 re-scans", one, rescans, peer_name="re-scan a look", goal=2.5),
        row_of("one more day against a re-scan", mean_day, scan, peer_name="re-scan", goal=0.1, at_most=True),
    ]


def rescan(experiment: Experiment, data: ExperimentData, looks: LookLayout, day: int):
    """The moments of everything up to a day, from the rows."""
    stamp = np.datetime64("2026-03-02") + day + 1
    document = experiment.document
    limited = document.model_copy(
        update={"population": document.population.model_copy(update={"where": f"ts < CAST('{stamp}' AS TIMESTAMP)"})}
    )
    changed = Experiment(path=experiment.path, sha256=experiment.sha256, document=limited, claims=experiment.claims)
    return moment_table(changed, data, looks.layout)


def bootstrap_row() -> Row:
    """A thousand replicates of a ratio over a million clusters."""
    rng = np.random.default_rng(1)
    clusters = 1_000_000
    size = rng.geometric(0.1, clusters).astype(float)
    total = rng.binomial(size.astype(int), rng.beta(3, 2, clusters)).astype(float)
    pair = np.column_stack([total, size])

    def ours() -> float:
        sums = bucket_sums(np.arange(clusters), pair)
        return bucket_bootstrap([sums], lambda t: t[0] / t[1], n=clusters, n_clusters=clusters, seed=1).se or 0.0

    def peer(replicates: int) -> float:
        drawn = np.empty(replicates)
        for i in range(replicates):
            place = rng.integers(0, clusters, clusters)
            drawn[i] = total[place].sum() / size[place].sum()
        return float(drawn.std(ddof=1))

    ours()
    mine = timed(ours, 3)
    theirs = timed(lambda: peer(100)) * 10
    ratio = total.sum() / size.sum()
    exact = float(np.sqrt(((total - ratio * size) ** 2).sum()) / size.sum())
    off = np.mean([
        bucket_bootstrap(
            [bucket_sums(np.arange(clusters), pair, seed=s)], lambda t: t[0] / t[1], n=1, n_clusters=clusters, seed=s
        ).se / exact - 1
        for s in range(8)
    ])  # fmt: skip
    print(f"standard error of the bucket bootstrap over the delta method, mean of 8: {100 * off:+.2f} %")
    assert abs(off) < 0.02
    return row_of(
        "1,000 bootstrap replicates of a ratio, 1e6 clusters",
        mine,
        theirs,
        peer_name="NumPy index, from 100",
        goal=50.0,
    )


def peak_row(folder: Path) -> Row:
    """Peak memory of the scorecard in a process of its own, in gigabytes."""
    code = f"from benchmarks.bench_experiments import *; scorecard(Path({str(folder)!r})); "
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    gigabytes = float(done.stdout)
    return row_of("peak memory of the scorecard", gigabytes, 1.5, peer_name="budget", goal=1.0, at_most=True, unit="GB")


def main() -> list[Row]:
    """Every comparison, on one data set."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        print(f"{ROWS:,} rows, {USERS:,} users, {(folder / 'outcomes.parquet').stat().st_size / 1e6:,.0f} MB")
        experiment = load_spec(folder / "experiment.toml")
        cards: list[Scorecard] = []
        ours = min(timed(lambda: cards.append(scorecard(folder))) for _ in range(2))
        bare = min(timed(lambda: bare_group_by(folder)) for _ in range(2))
        return [
            row_of(
                "scorecard of 10 metrics over the bare GROUP BY", ours, bare, peer_name="DuckDB", goal=1.3, at_most=True
            ),
            peak_row(folder),
            tea_tasting_row(folder, ours),
            *looks_rows(experiment, folder),
            bootstrap_row(),
            statsmodels_row(folder, ours, cards[0]),
        ]


if __name__ == "__main__":
    assert resource
    report("bench-experiments", main())
