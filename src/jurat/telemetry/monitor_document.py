"""A monitor's state as JSON and back, so that a watch that was stopped goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from jurat.telemetry.baselines import Count, Hour, Level
from jurat.telemetry.monitor_states import MonitorState, Run, SliceState

__all__ = ["state_from_json", "state_to_json"]


def state_to_json(state: MonitorState) -> dict[str, Any]:
    """State in JSON types; nothing is rounded.

    Examples
    --------
    >>> state_from_json(state_to_json(MonitorState(minute=7))) == MonitorState(minute=7)
    True
    """
    return {
        "minute": state.minute,
        "late": state.late,
        "beyond": state.beyond,
        "slices": [{"slice": [list(pair) for pair in key], **asdict(held)} for key, held in state.slices.items()],
    }


def state_from_json(document: Mapping[str, Any]) -> MonitorState:
    """State from what `state_to_json` gave."""
    slices = {}
    for given in document["slices"]:
        fields = dict(given)
        key = tuple((str(column), str(value)) for column, value in fields.pop("slice"))
        slices[key] = SliceState(
            **{
                **fields,
                "evidence": tuple(fields["evidence"]),
                "run": Run(**fields["run"]),
                "pending": Count(**fields["pending"]),
                "hours": tuple(Hour(**hour) for hour in fields["hours"]),
                "current": Hour(**fields["current"]),
                "levels": tuple(None if level is None else Level(**level) for level in fields["levels"]),
            }
        )
    return MonitorState(minute=document["minute"], slices=slices, late=document["late"], beyond=document["beyond"])
