"""Four worlds that a launch decision must tell apart, each at the size at which it shows what it is for.

A safe win to pass, a harmful candidate to fail, too little data to know, and a broken split that voids the
comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from jurat.simulate.parameters import WorldParameters

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A named world and the size at which it shows what it is for."""

    title: str
    turns: int
    parameters: WorldParameters


_SAFE_WIN = WorldParameters()

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "safe_win": Preset(
            title="the candidate halves over-refusal, harm is unchanged: a sound gate passes it",
            turns=100_000,
            parameters=_SAFE_WIN,
        ),
        "harm_up": Preset(
            title="the candidate halves over-refusal and complies with harm five times as often: it fails",
            turns=100_000,
            parameters=replace(_SAFE_WIN, candidate=replace(_SAFE_WIN.candidate, harmful_compliance=0.10)),
        ),
        "small": Preset(
            title="the safe win with too little traffic to know: not enough evidence",
            turns=1_000,
            parameters=_SAFE_WIN,
        ),
        "broken_split": Preset(
            title="the safe win with a split of 56 to 44 instead of 50 to 50: invalid",
            turns=100_000,
            parameters=replace(_SAFE_WIN, candidate_share=0.44),
        ),
    }
)
