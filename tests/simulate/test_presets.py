"""The presets differ only in what they are for."""

from __future__ import annotations

from dataclasses import replace

from jurat.simulate.presets import PRESETS


def test_the_presets_differ_from_the_safe_win_only_in_what_their_title_says() -> None:
    safe = PRESETS["safe_win"].parameters
    harm_up = PRESETS["harm_up"].parameters
    assert replace(harm_up, candidate=safe.candidate) == safe
    assert harm_up.candidate.harmful_compliance > safe.candidate.harmful_compliance
    assert PRESETS["small"].parameters == safe
    assert PRESETS["small"].turns < PRESETS["safe_win"].turns / 10
    assert replace(PRESETS["broken_split"].parameters, candidate_share=0.5) == safe
