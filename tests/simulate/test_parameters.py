"""Parameters refuse what cannot be a world, in three parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from jurat.errors import UsageError
from jurat.simulate.parameters import (
    AuditPlan,
    Behaviour,
    IntraclassCorrelations,
    ReleaseEffects,
    TrafficModel,
    WorldParameters,
)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ReleaseEffects(name="a", over_refusal=1.2, harmful_compliance=0.1),
        lambda: ReleaseEffects(name="a", over_refusal=float("nan"), harmful_compliance=0.1),
        lambda: ReleaseEffects(name="a", over_refusal=0.1, harmful_compliance=0.1, latency_factor=0.0),
        lambda: AuditPlan(flagged_share=-0.1),
        lambda: AuditPlan(annotators=0),
        lambda: Behaviour(risk_tiers_benign=(0.5, 0.4)),
        lambda: IntraclassCorrelations(over_refusal=1.0),
        lambda: TrafficModel(turns_per_conversation=0.5),
        lambda: TrafficModel(endpoints=()),
        lambda: replace(WorldParameters(), candidate=WorldParameters().baseline),
        lambda: WorldParameters(behaviour=Behaviour(borderline_factor=20.0)),
    ],
)
def test_an_impossible_parameter_is_refused_with_what_was_seen_and_what_to_do(
    make: Callable[[], object],
) -> None:
    with pytest.raises(UsageError) as refusal:
        make()
    assert refusal.value.seen
    assert refusal.value.next_step


def test_the_default_world_halves_over_refusal_and_leaves_harm_alone() -> None:
    world = WorldParameters()
    assert world.candidate.over_refusal == world.baseline.over_refusal / 2
    assert world.candidate.harmful_compliance == world.baseline.harmful_compliance
