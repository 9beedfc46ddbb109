"""What is known afterwards: human audits of a sample, silver labels of everything, a few thumbs.

The audit draws a simple random sample without replacement within two strata, turns that the rule flagged and
turns that it did not. The rule's tier depends on the true class of a prompt and on nothing else, so *within a
class* every audited turn is as likely to be a refusal as any other: unweighted shares within the harmful and
within the benign class estimate the rates over all turns, although harmful turns are audited far more often.
Any quantity that mixes the classes needs the weights, which are inverse inclusion probabilities (Horvitz &
Thompson, 1952).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jurat.simulate.outcomes import Outcomes
from jurat.simulate.parameters import LabellerQuality, ThumbsModel, WorldParameters
from jurat.simulate.randomness import generator
from jurat.simulate.traffic import HOUR_US, SECOND_US

__all__ = [
    "VERDICTS",
    "Audits",
    "SilverLabels",
    "Thumbs",
    "draw_audits",
    "draw_silver_labels",
    "draw_thumbs",
    "verdict",
]

VERDICTS = ("benign_answered", "benign_refused", "harmful_compliance", "harmful_refused")
_AUDIT_WITHIN_US = 48 * HOUR_US
_JUDGED_WITHIN_US = 60 * SECOND_US
_THUMB_WITHIN_US = 120 * SECOND_US

Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audits:
    """Human verdicts on a sample of turns, in order of the turns.

    Attributes
    ----------
    turn
        Index of the turn.
    value
        Verdict as an index into `VERDICTS`.
    weight
        Inverse inclusion probability of the turn's stratum.
    annotator
        Who looked, as a number from 0.
    recorded_us
        When, in microseconds since 1970-01-01 UTC.
    strata
        For each stratum, ``(turns, audited)``.
    """

    turn: Integers
    value: Integers
    weight: npt.NDArray[np.float64]
    annotator: Integers
    recorded_us: Integers
    strata: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SilverLabels:
    """Verdicts of one machine labeller on every turn that got a response; fields as in `Audits`."""

    source: str
    turn: Integers
    value: Integers
    recorded_us: Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbs:
    """Thumbs that were pressed; fields as in `Audits`, and whether the thumb went up."""

    turn: Integers
    up: Flags
    recorded_us: Integers


def verdict(harmful: Flags, refused: Flags) -> Integers:
    """Code class and outcome of each turn as an index into `VERDICTS`.

    Examples
    --------
    >>> [VERDICTS[code] for code in verdict(np.array([True, False]), np.array([False, True]))]
    ['harmful_compliance', 'benign_refused']
    """
    return 2 * harmful.astype(np.int64) + refused


def _later(time_us: Integers, within_us: int, end_us: int, draw: np.random.Generator) -> Integers:
    """Moments after each turn, soon enough and before the end of the window."""
    room = np.minimum(within_us, end_us - 1 - time_us)
    return time_us + (draw.random(len(time_us)) * room).astype(np.int64)


def draw_audits(
    outcomes: Outcomes, time_us: Integers, *, end_us: int, seed: int, parameters: WorldParameters
) -> Audits:
    """Sample turns for human audit and draw what the humans say.

    Parameters
    ----------
    outcomes
        What happened.
    time_us, end_us
        Time of each turn and end of the window, microseconds since 1970-01-01 UTC.
    seed
        Seed of the world.
    parameters
        Shares of the strata, annotators and their errors, and what counts as flagged.
    """
    plan = parameters.audit
    flagged = outcomes.risk_tier >= parameters.behaviour.flag_tier
    responded = outcomes.answered_or_refused
    sampling = generator(seed, "audit sample")
    chosen, weights, strata = [], [], {}
    for name, members, share in (
        ("flagged", np.flatnonzero(responded & flagged), plan.flagged_share),
        ("unflagged", np.flatnonzero(responded & ~flagged), plan.unflagged_share),
    ):
        size = round(share * len(members))
        strata[name] = (len(members), size)
        chosen.append(sampling.permutation(members)[:size])
        weights.append(np.full(size, len(members) / size if size else 0.0))
    sample = np.concatenate(chosen)
    order = np.argsort(sample)
    turn = sample[order]
    people = generator(seed, "annotators")
    slips = people.random(len(turn)) < plan.annotator_error
    return Audits(
        turn=turn,
        value=verdict(outcomes.harmful[turn], outcomes.refused[turn] ^ slips),
        weight=np.concatenate(weights)[order],
        annotator=people.integers(0, plan.annotators, size=len(turn)),
        recorded_us=_later(time_us[turn], _AUDIT_WITHIN_US, end_us, people),
        strata=strata,
    )


def draw_silver_labels(
    outcomes: Outcomes, time_us: Integers, *, end_us: int, seed: int, parameters: WorldParameters
) -> tuple[SilverLabels, SilverLabels]:
    """Draw what the judge and the rule say of every turn that got a response.

    The rule calls a turn harmful where it flags it; otherwise both labellers err independently of each other
    and of everything but the truth.
    """
    turn = np.flatnonzero(outcomes.answered_or_refused)
    harmful, refused = outcomes.harmful[turn], outcomes.refused[turn]
    flagged = outcomes.risk_tier[turn] >= parameters.behaviour.flag_tier
    labels = []
    for source, quality in (("judge", parameters.judge), ("rule", parameters.rule)):
        draw = generator(seed, source)
        says_harmful = flagged if source == "rule" else _harm_call(harmful, quality, draw)
        says_refused = np.where(
            refused,
            draw.random(len(turn)) < quality.refusal_sensitivity,
            draw.random(len(turn)) >= quality.refusal_specificity,
        )
        labels.append(
            SilverLabels(
                source=source,
                turn=turn,
                value=verdict(says_harmful, says_refused),
                recorded_us=_later(time_us[turn], _JUDGED_WITHIN_US, end_us, draw),
            )
        )
    return labels[0], labels[1]


def _harm_call(harmful: Flags, quality: LabellerQuality, draw: np.random.Generator) -> Flags:
    position = draw.random(len(harmful))
    return np.where(harmful, position < quality.harmful_sensitivity, position >= quality.harmful_specificity)


def draw_thumbs(outcomes: Outcomes, time_us: Integers, *, end_us: int, seed: int, model: ThumbsModel) -> Thumbs:
    """Draw who presses a thumb: of those who got a response, rather the dissatisfied."""
    draw = generator(seed, "thumbs")
    response = np.where(outcomes.satisfied, model.response_satisfied, model.response_dissatisfied)
    pressed = (draw.random(len(response)) < response) & outcomes.answered_or_refused
    turn = np.flatnonzero(pressed)
    return Thumbs(
        turn=turn,
        up=outcomes.satisfied[turn],
        recorded_us=_later(time_us[turn], _THUMB_WITHIN_US, end_us, draw),
    )
