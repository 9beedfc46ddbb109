"""Calls with planted incidents: who calls does not change, what was planted is what is there, and the truth says so."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jurat.errors import UsageError
from jurat.simulate.calls import QUIET, Calls, simulate_calls
from jurat.simulate.incidents import PlantedIncident, simulate_production
from jurat.simulate.wording import ANSWERS, ASKED, BLOCKED, HARMFUL, REFUSALS
from jurat.telemetry.refusal import find_refusal

START = dt.datetime(2026, 11, 2, 10, 30, tzinfo=dt.UTC)
ONSET_US = int((START + dt.timedelta(minutes=120)).timestamp() * 1e6)


def calls(*incidents: PlantedIncident) -> Calls:
    return simulate_calls(start=START, days=0.25, rate=0.5, seed=4, incidents=incidents)


def test_the_window_is_kept_and_thumbs_belong_to_calls() -> None:
    plain = calls()
    times = plain.spans["ts_us"].to_numpy()
    begin = int(START.timestamp() * 1e6)
    assert times.min() >= begin and times.max() < begin + 6 * 3_600_000_000
    assert 60 < len(plain.feedback) < plain.spans.num_rows
    assert pc.all(pc.is_in(plain.feedback["span_id"], value_set=plain.spans["span_id"].combine_chunks())).as_py()
    assert plain.truth["calls"] == plain.spans.num_rows == sum(s["calls"] for s in plain.truth["slices"])
    assert 0.03 < pc.mean(plain.spans["refused"]).as_py() < 0.08
    assert calls().spans.equals(plain.spans)


@pytest.mark.parametrize("kind", ["refusal spike", "error storm"])
def test_a_spike_raises_its_slice_from_its_onset_on(kind: str) -> None:
    spike = PlantedIncident(kind=kind, onset=120, minutes=120, size=0.3, endpoint="/v1/chat", tier="pro")  # type: ignore[arg-type]
    plain, hurt = calls(), calls(spike)
    assert plain.spans["span_id"] == hurt.spans["span_id"] and plain.spans["ts_us"] == hurt.spans["ts_us"]
    name = "refused" if kind == "refusal spike" else "status"
    differs = hurt.spans.filter(pc.not_equal(plain.spans[name], hurt.spans[name]))
    told = hurt.truth["incidents"][0]
    assert len(differs) == told["changed"] > 0 and told["onset_us"] == ONSET_US
    assert set(differs["endpoint"].to_pylist()) == {"/v1/chat"} and set(differs["tier"].to_pylist()) == {"pro"}
    times = differs["ts_us"].to_numpy()
    assert times.min() >= ONSET_US and times.max() < ONSET_US + 7_200_000_000
    assert told["rate_inside"] == pytest.approx(0.35 if kind == "refusal spike" else 0.30, abs=0.06)
    failed = hurt.spans.filter(pc.equal(hurt.spans["status"], "error"))
    assert failed["ttft_ms"].null_count == failed["error_type"].null_count + len(failed) and not any(
        failed["refused"].to_pylist()
    )


def test_latency_and_cost_are_multiplied_and_nothing_else() -> None:
    slow = PlantedIncident(kind="latency regression", onset=120, minutes=60, size=2.0, endpoint="/v1/agent")
    dear = PlantedIncident(kind="cost jump", onset=120, minutes=60, size=3.0, endpoint="/v1/agent")
    plain, hurt = calls(), calls(slow, dear)
    inside = pc.and_(
        pc.equal(plain.spans["endpoint"], "/v1/agent"),
        pc.and_(
            pc.greater_equal(plain.spans["ts_us"], ONSET_US), pc.less(plain.spans["ts_us"], ONSET_US + 3_600_000_000)
        ),
    )
    for name, factor in (("latency_ms", 2.0), ("tokens_out", 3.0), ("cost_usd", 3.0)):
        before, after = (np.asarray(w.spans[name].filter(inside).to_numpy()) for w in (plain, hurt))
        assert np.allclose(after, factor * before, rtol=1e-6)
    assert plain.spans.filter(pc.invert(inside)) == hurt.spans.filter(pc.invert(inside))


def test_users_who_escalate_come_besides_and_end_blocked() -> None:
    worse = PlantedIncident(kind="escalating users", onset=120, minutes=60, size=5, endpoint="/v1/chat")
    plain, hurt = calls(), calls(worse)
    assert hurt.spans.num_rows == plain.spans.num_rows + 20
    users = hurt.truth["incidents"][0]["users"]
    new = hurt.spans.filter(pc.is_in(hurt.spans["user_id"], value_set=pa.array(users))).sort_by(
        [("user_id", "ascending"), ("turn", "ascending")]
    )
    assert (
        new["risk_tier"].to_pylist() == [0, 1, 2, 3] * 5
        and new["blocked"].to_pylist() == [False] * 3 * 1 + [True] + ([False] * 3 + [True]) * 4
    )
    assert len(set(new["span_id"].to_pylist())) == 20 and len(set(new["conversation_id"].to_pylist())) == 5


def test_what_cannot_be_drawn_is_said() -> None:
    late = PlantedIncident(kind="error storm", onset=10_000, minutes=1, size=0.1)
    nowhere = PlantedIncident(kind="error storm", onset=0, minutes=1, size=0.1, endpoint="/none")
    for incident in (late, nowhere):
        with pytest.raises(UsageError, match="touches no call"):
            calls(incident)
    with pytest.raises(UsageError, match="some calls"):
        simulate_calls(start=START, days=0, rate=1, seed=1)
    with pytest.raises(UsageError, match="time zone"):
        simulate_calls(start=START.replace(tzinfo=None), days=1, rate=1, seed=1)
    dear = PlantedIncident(kind="cost jump", onset=0, minutes=1, size=2.0)
    with pytest.raises(UsageError, match="minutes cannot show"):
        simulate_production(start=START, days=0.01, seed=1, incidents=(dear,))


def test_the_rules_find_each_refusal_and_no_answer() -> None:
    assert all(find_refusal(sentence) for sentence in (*REFUSALS, *BLOCKED))
    assert not any(find_refusal(sentence) for sentence in ANSWERS)
    assert set(ASKED) == {endpoint.path for endpoint in QUIET.traffic.endpoints} and len(HARMFUL) == 4
